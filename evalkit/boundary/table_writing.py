"""Writes tables as JSONL, JSON, CSV, TSV or parquet, compressed as the extension says."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from evalkit.boundary.compression import open_to_write
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_files import suffix_of
from evalkit.boundary.text import quoted

WRITTEN = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""Extensions of tables; that of a compression may follow, except after parquet, which compresses itself."""


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows with a header.

    Args:
        path: the file, with one of the extensions `WRITTEN`; one that exists is overwritten.
        columns: their names.
        rows: values of each, texts or numbers, in the order of `columns`.

    Raises:
        EvalkitError: the extension is another one, a text has what the format cannot hold, or a package is missing.
        OSError: the file cannot be written.
    """
    suffix = suffix_of(path)
    if suffix == ".parquet":
        _parquet(path, columns, rows)
        return
    with text_to_write(path) as out:
        if suffix == ".csv":
            csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows([columns, *rows])
        elif suffix == ".tsv":
            out.writelines("\t".join(map(_tsv_cell, row)) + "\n" for row in [columns, *rows])
        elif suffix in WRITTEN:
            out.writelines(json.dumps(dict(zip(columns, row)), ensure_ascii=False) + "\n" for row in rows)
        else:
            raise EvalkitError(f"{path}: tables are written to files named {', '.join(WRITTEN)}")


def write_json(path: Path, value: Mapping[str, Mapping[str, float]]) -> None:
    """Write a mapping query_id -> {doc_id: number}, as ranx and pytrec_eval read it.

    Args:
        path: the file; one that exists is overwritten.
        value: the mapping.

    Raises:
        EvalkitError: an id is not Unicode.
        OSError: the file cannot be written.
    """
    with text_to_write(path) as out:
        json.dump(value, out, ensure_ascii=False)
        out.write("\n")


@contextmanager
def text_to_write(path: Path) -> Iterator[TextIO]:
    """Open a file for UTF-8 text, compressed as its extension says.

    Args:
        path: the file; one that exists is overwritten.

    Raises:
        EvalkitError: what is written is not Unicode, or a package is missing.
        OSError: the file cannot be written.
    """
    try:
        with io.TextIOWrapper(open_to_write(path), encoding="utf-8", newline="\n") as out:
            yield out
    except UnicodeEncodeError:
        raise EvalkitError(f"{path}: a text has half a character (a lone surrogate), which UTF-8 cannot hold") from None


def _tsv_cell(value: Any) -> str:
    text = str(value)
    if "\n" in text or "\r" in text:
        raise EvalkitError(f"{quoted(text)} has a line break, which .tsv cannot hold; write .csv, .jsonl or .parquet")
    return '"' + text.replace('"', '""') + '"' if "\t" in text or '"' in text else text


def _parquet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise EvalkitError(
            f"{path}: parquet files are written by pyarrow, which is not installed; pip install "
            "'evalkit-rerank[formats]' brings it"
        ) from None
    try:
        table = pa.Table.from_pylist([dict(zip(columns, row)) for row in rows])
    except UnicodeEncodeError:
        raise EvalkitError(f"{path}: a text has half a character (a lone surrogate), which UTF-8 cannot hold") from None
    pq.write_table(table, path)
