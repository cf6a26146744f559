"""A finished TREC run as the first stage."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_files import base_name
from evalkit.boundary.text import user_path
from evalkit.evaluation.run_files import check_columns, read_run_file
from evalkit.evaluation.trec import RunFile, check_order
from evalkit.first_stage.base import FirstStage
from evalkit.types import Hit, Run, Settings, Slice


@dataclass
class TrecRun(FirstStage):
    """The run file at `path`, in trec_eval's order: by descending 32-bit score, then by descending doc_id."""

    path: str
    """The run file: TREC's six columns, MS MARCO's three, or a table in JSON, CSV or parquet; it may be compressed."""
    name: str | None = None
    """Name in results and reports; null for that of the file."""
    columns: Any = None
    """Names of a table's columns other than the known ones, such as {doc_id: key, score: bm25}."""
    order: str = "score"
    """score (as trec_eval orders a run), or rank: the rank column decides, and the score is minus the rank."""

    def __post_init__(self) -> None:
        self._facts: dict[str, Any] = {}

    def check(self) -> None:
        """Read the file.

        Raises:
            EvalkitError: the file is malformed (see `evalkit.evaluation.run_files.read_run_file`), or `order` is not
                valid.
        """
        check_order("first_stage.order", self.order)
        check_columns("first_stage.columns", self.columns)
        _ = self._file

    def max_hits(self) -> int:
        """Return the largest number of hits of a query in the file.

        Raises:
            EvalkitError: the file is malformed (see `evalkit.evaluation.run_files.read_run_file`).
        """
        return self._file.max_hits

    def search(self, data: Slice, depth: int) -> Run:
        """Return the file's best `depth` hits of the slice's queries; a query that it lacks has none.

        Args:
            data: ``data.queries``; texts are not used.
            depth: the largest number of hits of a query.

        Raises:
            EvalkitError: the file is malformed (see `evalkit.evaluation.run_files.read_run_file`), or has no query of
                the slice.
        """
        run, facts = hits_of(self._file, data, depth, self.label, f"first_stage.path={self.path}")
        self._facts = {"tag": self._file.run.name, "order": self._file.order, **facts}
        return run

    def describe(self) -> Settings:
        """Return the file, its tag, and counts of queries that do not match the slice."""
        return {"name": self.label, "path": self.path, **self._facts}

    @property
    def label(self) -> str:
        """The setting `name`, else that of the file."""
        return self.name or base_name(Path(self.path))  # the tag in the file is often not a name: "rank", "run"

    @cached_property
    def _file(self) -> RunFile:
        return read_run_file(user_path(self.path), self.order, self.columns)


def hits_of(file: RunFile, data: Slice, depth: int, name: str, where: str) -> tuple[Run, dict[str, Any]]:
    """Return the best hits of a finished run for the queries of a slice; a query that it lacks has none.

    Args:
        file: the run.
        data: ``data.queries``; texts are not used.
        depth: the largest number of hits of a query.
        name: of the run that is returned.
        where: names the run in messages.

    Returns:
        The run, whose scores are the sort keys of `file`, and counts of queries that do not match the slice.

    Raises:
        EvalkitError: the run has no query of the slice.
    """
    found = file.run.rankings
    missing = [query_id for query_id in data.queries if query_id not in found]
    if len(missing) == len(data.queries):
        raise EvalkitError(
            f"{where}: none of its queries (e.g. {next(iter(found))!r}) is in {data.name} "
            f"(e.g. {next(iter(data.queries))!r})"
        )
    facts = {
        "queries_missing": len(missing),
        "queries_of_other_slices": sum(query_id not in data.queries for query_id in found),
        "queries_where_rank_and_score_disagree": file.rank_conflicts,
        **({"columns": dict(file.columns)} if file.columns else {}),
    }
    return Run(name, {
        query_id: tuple(
            Hit(hit.doc_id, value)
            for hit, value in zip(found.get(query_id, ())[:depth], file.sort_keys.get(query_id, ()))
        )
        for query_id in data.queries
    }), facts  # fmt: skip
