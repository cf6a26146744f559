"""BM25 by bm25s, with k1, b and the text analysis set openly."""

from array import array
from dataclasses import dataclass, field
from typing import Any

from evalkit import ranking
from evalkit.errors import EvalkitError
from evalkit.first_stage.analysis import choose
from evalkit.progress import stage, track
from evalkit.types import Hit, Run, Settings, Slice

METHODS = ("lucene", "robertson", "atire")
"""bm25s's methods in which a passage without any query term scores 0, and so is no hit."""


@dataclass
class BM25:
    """BM25 in bm25s's `method`; "lucene" with k1 0.9 and b 0.4 are Anserini's MS MARCO settings."""

    k1: float = 0.9
    b: float = 0.4
    method: str = "lucene"
    analysis: str = "auto"
    name: str = "bm25"
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Check the parameters.

        Raises:
            EvalkitError: one of them is out of range.
        """
        choose(self.analysis, "en")
        if self.method not in METHODS:
            raise EvalkitError(f"first_stage.method={self.method}: there is {', '.join(METHODS)}")
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise EvalkitError(f"first_stage.k1={self.k1}, first_stage.b={self.b}: k1 is 0 or more, b between 0 and 1")

    def search(self, data: Slice, depth: int) -> Run:
        """Index the slice and return the best `depth` passages of each query; a passage that scores 0 is no hit.

        Raises:
            EvalkitError: the analysis finds no token in the whole slice.
        """
        import bm25s
        import numpy as np

        how = choose(self.analysis, data.lang)
        doc_ids = list(data.docs)
        # Ids in compact arrays instead of lists of strings: 8.8 million passages of MS MARCO fit into some 2 GB.
        vocabulary: dict[str, int] = {}
        ids = [
            array("i", (vocabulary.setdefault(token, len(vocabulary)) for token in how.tokens(text)))
            for text in track(data.docs.values(), "analysing passages", "passages", len(doc_ids))
        ]
        if not vocabulary:
            raise EvalkitError(f"{data.name}: first_stage.analysis={self.analysis} finds no token in any passage")
        index = bm25s.BM25(method=self.method, k1=self.k1, b=self.b)
        with stage("indexing"):
            index.index((ids, vocabulary), show_progress=False)
        rankings: dict[str, tuple[Hit, ...]] = {}
        for query_id, text in track(data.queries.items(), "searching", "queries", len(data.queries)):
            known = [token for token in how.tokens(text) if token in vocabulary]
            scores = index.get_scores(known) if known else np.zeros(len(doc_ids), dtype=np.float32)
            rankings[query_id] = _top(doc_ids, scores, depth)
        self._facts = {
            "analysis": dict(how.facts),
            "tokens_per_doc": round(sum(map(len, ids)) / len(ids), 1),
        }
        return Run(self.name, rankings)

    def describe(self) -> Settings:
        """Return the parameters in force and the text analysis that the slice's language got."""
        from importlib.metadata import version

        return {
            "name": self.name,
            "engine": f"bm25s {version('bm25s')}",
            "method": self.method,
            "k1": self.k1,
            "b": self.b,
            **self._facts,
        }


def _top(doc_ids: list[str], scores: Any, depth: int) -> tuple[Hit, ...]:
    """Return the best `depth` positive scores; all that tie with the last one compete for it by our own order."""
    import numpy as np

    least = np.partition(scores, -depth)[-depth] if depth < len(scores) else 0.0
    found = np.flatnonzero((scores >= least) & (scores > 0))
    return ranking.order(Hit(doc_ids[i], float(scores[i])) for i in found)[:depth]
