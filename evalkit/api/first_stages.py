"""First stages that a caller hands over: a finished run in memory, or a function that searches."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import describe_type, errors_as_one_sentence, refuse_awaitable
from evalkit.boundary.progress import stage
from evalkit.boundary.text import quoted
from evalkit.evaluation.run_sources import run_from
from evalkit.evaluation.trec import RunFile
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.trec_run import hits_of
from evalkit.types import Run, Settings, Slice


class GivenRun(FirstStage):
    """A finished run in memory; ties are ordered as trec_eval does."""

    def __init__(self, source: Any, name: str = "run") -> None:
        """Read the run.

        Args:
            source: as for `evalkit.evaluation.run_sources.run_from`.
            name: in results and reports.

        Raises:
            EvalkitError: as for `evalkit.evaluation.run_sources.run_from`.
        """
        self.name = name
        self._file: RunFile = run_from(source, name, where="first_stage")
        self._facts: dict[str, Any] = {}

    def max_hits(self) -> int:
        """Return the largest number of hits of a query."""
        return self._file.max_hits

    def search(self, data: Slice, depth: int) -> Run:
        """Return the best `depth` hits of the slice's queries; a query that the run lacks has none.

        Args:
            data: ``data.queries``; texts are not used.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: the run has no query of the slice.
        """
        run, self._facts = hits_of(self._file, data, depth, self.label, "first_stage")
        return run

    def describe(self) -> Settings:
        """Return counts of queries that do not match the slice, and the columns that were read."""
        return {"name": self.label, "source": "memory", **self._facts}


class FunctionSearch(FirstStage):
    """A function ``(query, depth) -> hits``, called for one query after the other, which is timed."""

    index_s = 0.0  # what the function needs exists before it is called

    def __init__(self, function: Callable[[str, int], Any]) -> None:
        """Wrap a function.

        Args:
            function: takes the text of a query and a depth, and returns hits: (doc_id, score) best first, doc_ids best
                first, or a mapping doc_id -> score.
        """
        self._function = function
        self.name = str(getattr(function, "__name__", type(function).__name__)).strip("<>")

    def search(self, data: Slice, depth: int) -> Run:
        """Return the best `depth` hits of each query, ties in trec_eval's order where the function gave a mapping.

        Args:
            data: ``data.queries`` and ``data.docs``; a hit that is no passage of the slice is refused.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: the function failed, returned something else, or a passage that the slice lacks.
        """
        found: dict[str, Any] = {}
        with stage(f"searching with {self.name}", len(data.queries), "queries") as advance:
            for query_id, query in data.queries.items():
                with errors_as_one_sentence(f"first_stage {self.name}", f"query {quoted(query_id)}"):
                    hits = refuse_awaitable(self._function(query, depth), f"first_stage {self.name}")
                found[query_id] = self._plain(hits, query_id)
                advance(1)
        started = time.perf_counter()
        run = run_from(_non_empty(found), self.label, where=f"first_stage {self.name}").run
        rankings = {query_id: run.rankings.get(query_id, ())[:depth] for query_id in data.queries}
        known = data.docs.keys() | data.empty_docs
        unknown = next((hit.doc_id for hits in rankings.values() for hit in hits if hit.doc_id not in known), None)
        if unknown is not None:
            raise EvalkitError(
                f"first_stage {self.name} returned {quoted(unknown)}, which is no passage of {data.name}"
            )
        self.cache_s = time.perf_counter() - started  # checks are no part of the search
        return Run(self.label, rankings)

    def _plain(self, hits: object, query_id: str) -> Any:
        """Return hits as `run_from` takes them: doc_id -> score, or a list of doc_ids."""
        where = f"first_stage {self.name}, query {quoted(query_id)}"
        if isinstance(hits, Mapping):
            return hits
        if isinstance(hits, str) or not hasattr(hits, "__iter__"):
            raise EvalkitError(
                f"{where}: it returned {describe_type(hits)}, and has to return hits: (doc_id, score) or doc_ids, best "
                "first, or a mapping doc_id -> score"
            )
        listed = list(hits)
        if not any(isinstance(hit, tuple | list) for hit in listed):
            return listed
        if wrong := next((hit for hit in listed if not isinstance(hit, tuple | list) or len(hit) != 2), None):
            raise EvalkitError(f"{where}: the hit {quoted(wrong)} is not (doc_id, score)")
        scores = dict(listed)
        if len(scores) < len(listed):
            raise EvalkitError(f"{where}: a passage occurs twice among the hits")
        return scores


def _non_empty(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the queries with hits.

    Raises:
        EvalkitError: there is none.
    """
    kept = {query_id: hits for query_id, hits in found.items() if hits}
    if not kept:
        raise EvalkitError("the first stage found no passage for any query")
    return kept
