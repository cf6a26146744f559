"""A finished TREC run as the reranker, so that any reranking can be evaluated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_files import base_name
from evalkit.boundary.text import user_path
from evalkit.evaluation import ranking
from evalkit.evaluation.run_files import check_columns, read_run_file
from evalkit.evaluation.trec import RunFile, check_order
from evalkit.rerankers.base import Reranker
from evalkit.types import Pair, Scores, Settings


@dataclass
class TrecRun(Reranker):
    """The run file at `path`: the "logit" of a passage is its negative rank, and equal scores share a rank.

    Ranks are in trec_eval's order: by descending 32-bit score, then by descending doc_id.
    """

    path: str
    """The run file: TREC's six columns, MS MARCO's three, or a table in JSON, CSV or parquet; it may be compressed."""
    name: str | None = None
    """Name in results and reports; null for that of the file."""
    columns: Any = None
    """Names of a table's columns other than the known ones, such as {doc_id: key, score: bm25}."""
    order: str = "score"
    """score (as trec_eval orders a run), or rank: the rank column decides."""
    computes = False
    """Nothing is computed, so there is no cost to measure."""

    def __post_init__(self) -> None:
        self._ranks: Mapping[str, Mapping[str, int]] = {}
        """query_id -> doc_id -> rank, from 1; tied passages have the rank of the first of them."""
        self._places: Mapping[str, Mapping[str, int]] = {}
        """query_id -> doc_id -> place in the file's order, from 1; no two passages of a query share one."""
        self._facts: dict[str, Any] = {}

    @property
    def shown_name(self) -> str:
        """Return the file's path."""
        return self.path

    def check(self) -> None:
        """Read the file.

        Raises:
            EvalkitError: the file is broken (see `evalkit.evaluation.run_files.read_run_file`), or `order` is none.
        """
        check_order("reranker.order", self.order)
        check_columns("reranker.columns", self.columns)
        _ = self._file

    def max_hits(self) -> int:
        """Return how many passages the file has for the query that has most.

        Raises:
            EvalkitError: the file is broken (see `evalkit.evaluation.run_files.read_run_file`).
        """
        return self._file.max_hits

    def load(self) -> None:
        """Turn the file's order into ranks.

        Raises:
            EvalkitError: the file is broken (see `evalkit.evaluation.run_files.read_run_file`).
        """
        file = self._file
        self._places = {
            query_id: {hit.doc_id: place for place, hit in enumerate(hits, 1)}
            for query_id, hits in file.run.rankings.items()
        }
        self._ranks = {
            query_id: dict(zip(places, ranking.competition_ranks(file.sort_keys[query_id]), strict=True))
            for query_id, places in self._places.items()
        }
        self._facts = {
            "tag": file.run.name,
            "order": file.order,
            "most_ranked_of_a_query": file.max_hits,
            "queries_where_rank_and_score_disagree": file.rank_conflicts,
            **({"columns": dict(file.columns)} if file.columns else {}),
        }

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return the negative rank of each pair, None where the run lacks it, and the run's order of ties.

        Args:
            pairs: as for `Reranker.score`.
            queries: not used.
            docs: not used.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: the run has none of the pairs.
        """
        ranks = [self._ranks.get(pair.query_id, {}).get(pair.doc_id) for pair in pairs]
        unranked = sum(rank is None for rank in ranks)
        if pairs and unranked == len(pairs):
            raise EvalkitError(
                f"reranker.path={self.path}: the run ranks none of the {len(pairs)} candidates of the "
                "first stage; it is of another slice, or of another first stage"
            )
        asked = set(pairs)
        extra = sum(
            Pair(query_id, doc_id) not in asked
            for query_id in {pair.query_id for pair in pairs}
            for doc_id in self._ranks.get(query_id, {})
        )
        on_progress(len(pairs))
        self._facts |= {"candidates_unranked": unranked, "ranked_but_no_candidate": extra}
        logits = tuple(None if rank is None else -float(rank) for rank in ranks)
        return Scores(logits, tie_order=self._places)

    def describe(self) -> Settings:
        """Return the file, its tag, and counts of passages that do not match the candidates."""
        return {"name": self.name or base_name(Path(self.path)), "path": self.path, **self._facts}

    @cached_property
    def _file(self) -> RunFile:
        return read_run_file(user_path(self.path), self.order, self.columns)
