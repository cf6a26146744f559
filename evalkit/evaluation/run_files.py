"""Run files of every kind: TREC's six columns, MS MARCO's three, and tables in JSON, CSV or parquet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.boundary.columns import RUNS
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_files import base_name, has_table, open_table
from evalkit.boundary.text import quoted
from evalkit.evaluation.run_sources import run_from, run_of_rows
from evalkit.evaluation.trec import RunFile, check_order, read_run


def read_run_file(path: str | Path, order: str = "score", columns: Any = None) -> RunFile:
    """Read a finished run.

    A file with another extension than a table's is in TREC's format, unless tabs separate its columns and they are
    named, or are three or four: MS MARCO's query_id, doc_id, rank, and ColBERT's, with the score behind them.

    Args:
        path: the file, which may be compressed.
        order: ``score`` for trec_eval's order, by descending 32-bit score and then by descending doc_id; ``rank`` for
            the rank column. A run without scores is ordered by its ranks in both cases, as `RunFile.order` says.
        columns: role -> column of a table, where columns have other names; None for none.

    Raises:
        EvalkitError: the file cannot be read or is malformed (file and line are named), as in
            `evalkit.evaluation.trec.read_run` and `evalkit.evaluation.run_sources.run_from`.
    """
    check_order("order", order)
    check_columns("columns", columns)
    path = Path(path)
    if not has_table(path, RUNS, "a run"):
        return read_run(path, order)
    table = open_table(path, RUNS, "a run", {role: str(column) for role, column in (columns or {}).items()})
    by = None if order == "score" else order
    if isinstance(table.content, Mapping):
        return run_from(table.content, base_name(path), by, where=str(path))
    file = run_of_rows(table.content, base_name(path), by, table.stated, str(path))
    if file.columns.get("rank", "").isdigit():
        _check_ranks(path, file)
    return file


def check_columns(setting: str, columns: Any) -> None:
    """Check the setting of the columns of a run.

    Args:
        setting: name of the setting, for the message.
        columns: its value, role -> column, or None.

    Raises:
        EvalkitError: it is no mapping.
    """
    if columns is not None and not isinstance(columns, Mapping):
        raise EvalkitError(f"{setting}={quoted(columns)}: name them by what they hold, such as {{doc_id: key}}")


def _check_ranks(path: Path, file: RunFile) -> None:
    """Refuse a file without a header whose third column may be a score in whole numbers."""
    if "score" in file.columns:
        return
    for query_id, keys in file.sort_keys.items():
        if keys[0] not in (0.0, -1.0) or len(set(keys)) < len(keys):
            raise EvalkitError(
                f"{path}: the third column of a file without a header is the rank, and the ranks of query {query_id!r} "
                "do not count up from 1; give the columns a header, such as query_id, doc_id, score"
            )
