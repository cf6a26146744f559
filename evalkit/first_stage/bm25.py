"""BM25 by bm25s, with explicit k1, b and text analysis."""

import time
import unicodedata
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.boundary import index_cache, languages, words
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage, track
from evalkit.first_stage import analysis as text_analysis
from evalkit.first_stage.analysis import Analysis, select_analysis
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.top_hits import top_hits
from evalkit.types import Hit, Run, Settings, Slice

METHODS = ("lucene", "robertson", "atire")
"""Methods of bm25s in which a passage without any query term scores 0, and is not a hit."""

_CHUNK = 1 << 20
"""Scores computed at a time, as intermediate results are in double precision."""
CACHED_FROM = 200_000
"""Passages from which ``first_stage_cache=auto`` caches an index, which then takes some seconds to build."""


@dataclass
class BM25(FirstStage):
    """BM25; "lucene" with k1 0.9 and b 0.4 are Anserini's settings for MS MARCO."""

    k1: float = 0.9
    """Term frequency saturation, 0 or more."""
    b: float = 0.4
    """Length normalization, from 0 (none) to 1 (full)."""
    method: str = "lucene"
    """Formula, in bm25s's terms: lucene, robertson or atire."""
    analysis: str = "auto"
    """How texts become tokens: auto (by language), words, folded, bigrams or whitespace."""
    cache: str = "off"
    """Where the index is cached: auto (the cache folder, large indexes only), off, or a folder."""
    name: str = "bm25"
    """Name in results and reports."""

    def __post_init__(self) -> None:
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """Check the parameters.

        Raises:
            EvalkitError: one of them is out of range.
        """
        select_analysis(self.analysis, "en")
        index_cache.check(self.cache)
        if self.method not in METHODS:
            raise EvalkitError(f"first_stage.method={self.method}: choose from {', '.join(METHODS)}")
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise EvalkitError(f"first_stage.k1={self.k1}, first_stage.b={self.b}: k1 is 0 or more, b between 0 and 1")

    def check_language(self, lang: str) -> None:
        """Check that the text analysis is available for a language.

        Raises:
            EvalkitError: it is not (see `evalkit.first_stage.analysis.select_analysis`).
        """
        select_analysis(self.analysis, languages.canonical(lang))

    def search(self, data: Slice, depth: int) -> Run:
        """Index the slice and return the best `depth` passages of each query; a passage that scores 0 is not a hit.

        A cached index is reused (see `evalkit.boundary.index_cache`).

        Args:
            data: ``data.queries``, ``data.docs`` and ``data.lang``.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: no passage of the slice has a token.
        """
        began = time.perf_counter()
        got = self._index(data)
        index, self.cache_s = got.value, got.cache_s
        self.index_s = time.perf_counter() - began - self.cache_s
        self._facts = {
            "analysis": dict(index.analysis.facts),
            "tokens_per_doc": index.tokens_per_doc,
            "from_cache": got.from_cache,
        }
        queries = track(data.queries.items(), "searching", "queries", len(data.queries))
        return Run(self.name, {query_id: index.search(text, depth) for query_id, text in queries})

    def _index(self, data: Slice) -> "index_cache.CacheResult[Index]":
        place = index_cache.open_cache(self.cache, len(data.docs), CACHED_FROM)
        if place is None:
            return index_cache.CacheResult(self.index(data), False, 0.0)
        how = select_analysis(self.analysis, data.lang)
        facts = {
            "method": self.method,
            "k1": self.k1,
            "b": self.b,
            "analysis": {**how.facts, "unicode": unicodedata.unidata_version},
            "code": index_cache.hash_code(__file__, text_analysis.__file__, words.__file__),
            "versions": index_cache.package_versions("bm25s", "numpy", "scipy", "PyStemmer", "regex"),
        }
        return place.get_or_create(
            "bm25", facts, data.docs, lambda: self.index(data), _pack, lambda arrays: self._unpack(arrays, how)
        )

    def _unpack(self, arrays: index_cache.Arrays, how: Analysis) -> "Index":
        """Return the index that `_pack` packed.

        Raises:
            ValueError: the arrays do not fit together.
        """
        doc_ids = tuple(index_cache.unpack_texts(arrays, "doc_ids"))
        vocabulary = {token: number for number, token in enumerate(index_cache.unpack_texts(arrays, "tokens"), 1)}
        data, rows, ends = (arrays[name] for name in ("scores", "rows", "columns"))
        if len(ends) != len(vocabulary) + 2 or not ends[-1] == len(data) == len(rows) or rows.max() >= len(doc_ids):
            raise ValueError("its arrays do not fit together")
        engine = self._engine()
        engine.scores = {"data": data, "indices": rows, "indptr": ends, "num_docs": len(doc_ids)}
        return Index(doc_ids, vocabulary, how, engine, float(arrays["tokens_per_doc"][0]))

    def _engine(self) -> Any:
        import bm25s

        engine = bm25s.BM25(method=self.method, k1=self.k1, b=self.b)
        engine.nonoccurrence_array = None
        return engine

    def index(self, data: Slice) -> "Index":
        """Analyse and index the passages of the slice.

        Raises:
            EvalkitError: no passage of the slice has a token.
        """
        import numpy as np

        how = select_analysis(self.analysis, data.lang)
        ids = _Ids(how)
        tokens = array("i")  # of all passages, concatenated: the 8.8 million of MS MARCO take 1.4 GB
        ends = array("q", [0])
        for text in track(data.docs.values(), "analysing passages", "passages", len(data.docs)):
            tokens.extend(filter(None, map(ids.__getitem__, how.split(text))))
            ends.append(len(tokens))
        if not ids.of_token:
            raise EvalkitError(f"{data.name}: first_stage.analysis={self.analysis} finds no token in any passage")
        engine = self._engine()
        with stage("indexing"):
            # Bit for bit what engine.index computes, without its loops over passages: seven times as fast.
            engine.scores = _scores(
                engine, np.frombuffer(tokens, np.int32), np.frombuffer(ends, np.int64), len(ids.of_token) + 1
            )
        return Index(tuple(data.docs), ids.of_token, how, engine, round(len(tokens) / len(data.docs), 1))

    def describe(self) -> Settings:
        """Return the parameters, and the text analysis that was selected for the slice's language."""
        from importlib.metadata import version

        return {
            "name": self.name,
            "engine": f"bm25s {version('bm25s')}",
            "method": self.method,
            "k1": self.k1,
            "b": self.b,
            **self._facts,
        }


@dataclass(frozen=True)
class Index:
    """Passages ready to be searched."""

    doc_ids: tuple[str, ...]
    vocabulary: Mapping[str, int]
    analysis: Analysis
    engine: Any
    """A `bm25s.BM25` with the score of each token in each passage."""
    tokens_per_doc: float

    def search(self, query: str, depth: int) -> tuple[Hit, ...]:
        """Return the best `depth` passages that score above 0.

        Args:
            query: text of the query.
            depth: the largest number of hits of a query.

        Returns:
            Hits, best first; empty where no passage has a token of the query.
        """
        known = [self.vocabulary[token] for token in self.analysis.tokens(query) if token in self.vocabulary]
        return top_hits(self.doc_ids, self.engine.get_scores_from_ids(known), depth) if known else ()


class _Ids(dict[str, int]):
    """Maps pieces of text to the ids of their tokens, from 1, or 0 for a stopword; each piece is analysed once."""

    def __init__(self, analysis: Analysis) -> None:
        self.of_token: dict[str, int] = {}
        self._token = analysis.token

    def __missing__(self, piece: str) -> int:
        token = self._token(piece)
        self[piece] = 0 if token is None else self.of_token.setdefault(token, len(self.of_token) + 1)
        return self[piece]


def _pack(index: Index) -> dict[str, Any]:
    import numpy as np

    scores = index.engine.scores
    return {
        **index_cache.pack_texts(index.doc_ids, "doc_ids"),
        **index_cache.pack_texts(index.vocabulary, "tokens"),
        "scores": scores["data"],
        "rows": scores["indices"],
        "columns": scores["indptr"],
        "tokens_per_doc": np.array([index.tokens_per_doc]),
    }


def _scores(engine: Any, tokens: Any, ends: Any, vocabulary: int) -> dict[str, Any]:
    """Return bm25s's score of each token in each passage as a sparse matrix in columns, one for each token.

    Args:
        engine: the `bm25s.BM25` with its parameters.
        tokens: token ids of all passages, concatenated, shape (tokens,).
        ends: 0, and the end of each passage in `tokens`, shape (passages + 1,).
        vocabulary: number of token ids, 0 included.
    """
    import numpy as np
    from bm25s.scoring import _select_idf_scorer, _select_tfc_scorer
    from scipy.sparse import csr_matrix

    lengths = np.diff(ends)
    counts = csr_matrix((np.ones(len(tokens), np.float32), tokens, ends), shape=(len(lengths), vocabulary))
    counts.sum_duplicates()
    counts = counts.tocsc()
    found_in = np.diff(counts.indptr)
    idf_of, part_of = _select_idf_scorer(engine.idf_method), _select_tfc_scorer(engine.method)
    idf = np.array([idf_of(n, N=len(lengths)) if n else 0.0 for n in found_in.tolist()], np.float32)
    columns = np.repeat(np.arange(vocabulary, dtype=np.int32), found_in)
    for start in range(0, counts.nnz, _CHUNK):
        part = slice(start, start + _CHUNK)
        counts.data[part] = idf[columns[part]] * part_of(
            tf_array=counts.data[part], l_d=lengths[counts.indices[part]], l_avg=lengths.mean(),
            k1=engine.k1, b=engine.b, delta=engine.delta,
        )  # fmt: skip
    return {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr, "num_docs": len(lengths)}
