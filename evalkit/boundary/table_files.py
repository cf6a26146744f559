"""Tables in files, JSONL, JSON, CSV, TSV, parquet and Arrow, as rows with the place of each."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.boundary import text
from evalkit.boundary.columns import DOCS, JUDGMENTS, QUERIES, RUNS, Role, find_columns, is_header
from evalkit.boundary.compression import without_suffix
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.rows import Row
from evalkit.boundary.strict_json import parse_json
from evalkit.boundary.text import opened, quoted, read_lines

DELIMITED = (".tsv", ".csv")
ARROW = (".parquet", ".arrow")
TABLES = (".jsonl", ".ndjson", ".json", *DELIMITED, *ARROW)
"""Extensions of tables; that of a compression may follow (`evalkit.boundary.compression.SUFFIXES`)."""

LARGEST_JSON = 2**30
"""Bytes, decompressed. A JSON file is read as a whole."""

_WITHOUT_HEADER: Mapping[tuple[Role, ...], Mapping[int, tuple[str, ...]]] = {
    QUERIES: {2: ("query_id", "text")},  # MS MARCO's queries.tsv
    DOCS: {2: ("doc_id", "text")},  # MS MARCO's collection.tsv
    JUDGMENTS: {3: ("query_id", "doc_id", "grade"), 4: ("query_id", "", "doc_id", "grade")},  # BEIR, and MS MARCO
    RUNS: {
        3: ("query_id", "doc_id", "rank"),  # MS MARCO
        4: ("query_id", "doc_id", "rank", "score"),  # ColBERT
        6: ("query_id", "", "doc_id", "rank", "score", "tag"),  # TREC
    },
}
"""Number of columns -> what they hold, in CSV and TSV files without a header."""
_OF_TREC = {4, 6}
"""Columns of TREC's judgments and runs, which tabs may separate too."""


@dataclass(frozen=True)
class Table:
    """What a file holds."""

    content: Mapping[str, Any] | Iterator[Row]
    """A JSON object as it is; else rows, read while they are used."""
    stated: Mapping[str, str]
    """Role -> column, where columns have other names; without a header these are numbers from 1."""


def suffix_of(path: Path) -> str:
    """Return the extension of a file, without that of a compression, in lower case."""
    return without_suffix(path).suffix.lower()


def base_name(path: Path) -> str:
    """Return the name of a file without its extensions: ``test`` for ``test.tsv.gz``."""
    return without_suffix(path).stem


def open_table(path: Path, roles: tuple[Role, ...], what: str, stated: Mapping[str, str] | None = None) -> Table:
    """Open a file by its extension, one of `TABLES`.

    Args:
        path: the file.
        roles: what is wanted of it, one of the tuples of `evalkit.boundary.columns`.
        what: what it should contain, for messages.
        stated: role -> column, where columns have other names; numbers from 1 for a file without a header.

    Raises:
        EvalkitError: the file cannot be read, is malformed, or has another extension; or a package is missing.
    """
    stated = stated or {}
    suffix = suffix_of(path)
    if suffix in DELIMITED or (suffix not in TABLES and "\t" in _first_line(path, what)):
        return _delimited(path, suffix != ".csv", roles, what, stated)
    if suffix == ".json":
        content = _json(path, roles, what, stated)
        return Table(content if isinstance(content, Mapping) else iter(content), stated)
    if suffix in ARROW:
        return Table(_arrow(path, suffix, roles, what, stated), stated)
    if suffix in TABLES:
        return Table(_json_lines(path, what), stated)
    raise EvalkitError(f"{path}: {what} are read from files named {', '.join(TABLES)}")


def has_table(path: Path, roles: tuple[Role, ...], what: str) -> bool:
    """Return whether a file holds a table, by its extension, or else by its first line; if not, it may be TREC's.

    Args:
        path: the file.
        roles: as for `open_table`.
        what: as for `open_table`.

    Raises:
        EvalkitError: the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix in TABLES and suffix != ".tsv":
        return True
    cells = _cells(_first_line(path, what))
    has_header = is_header(roles, cells)
    return len(cells) > 1 and (suffix == ".tsv" or has_header or len(cells) in set(_WITHOUT_HEADER[roles]) - _OF_TREC)


def _first_line(path: Path, what: str) -> str:
    return next((line.rstrip("\r\n") for _, line in read_lines(path, what)), "")


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_lines(path: Path, what: str) -> Iterator[Row]:
    for number, line in read_lines(path, f"{what}, JSON objects, one a line"):
        place = f"{path}, line {number}"
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise EvalkitError(f"{place}: not a JSON object: {quoted(line.strip())}")
        yield place, record


def _json(
    path: Path, roles: tuple[Role, ...], what: str, stated: Mapping[str, str]
) -> Mapping[str, Any] | Iterable[Row]:
    """Return an object, or the rows of a list; a file of objects, one a line, is read as JSONL."""
    with opened(path, what) as file:
        raw = file.read(LARGEST_JSON)
    if len(raw) == LARGEST_JSON:
        raise EvalkitError(f"{path}: a JSON file is read as a whole, up to {LARGEST_JSON >> 20} MiB; write it as JSONL")
    try:
        value = parse_json(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):
            return _json_lines(path, what)
        raise EvalkitError(f"{path} is not JSON ({' '.join(str(error).split())[:200]}); it should be {what}") from None
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return ((f"{path}, row {number}", row) for number, row in enumerate(value, 1))
    if not isinstance(value, dict):
        raise EvalkitError(f"{path} holds {quoted(value)}; {what} are a JSON object, or a list of objects")
    if any(isinstance(one, dict | list) for one in value.values()):
        return value
    with suppress(EvalkitError):  # a single object of JSONL
        find_columns(str(path), roles, value, stated)
        return [(f"{path}, row 1", value)]
    return value


# --- CSV and TSV ------------------------------------------------------------------------------------------------------


def _delimited(path: Path, is_tsv: bool, roles: tuple[Role, ...], what: str, stated: Mapping[str, str]) -> Table:
    first = next(_tsv(path, what) if is_tsv else _csv(path, what), None)
    if first is None:
        return Table(iter(()), stated)
    place, names = first
    numbered = bool(stated) and all(column.isdigit() for column in stated.values())
    has_header = not numbered and (bool(stated) or is_header(roles, names))
    # MS MARCO's texts are not quoted, and some of them begin and end with a quotation mark.
    literal = not has_header and roles in (QUERIES, DOCS)
    rows = _tsv(path, what, literal) if is_tsv else _csv(path, what)
    if has_header:
        find_columns(place, roles, names, stated)
        next(rows)
    else:
        stated = stated if numbered else _layout(place, names, roles)
        names = [str(number) for number in range(1, len(names) + 1)]
        find_columns(place, roles, names, stated)
    return Table(_named(rows, names), stated)


def _layout(place: str, cells: Sequence[str], roles: tuple[Role, ...]) -> dict[str, str]:
    """Return role -> number of the column in a file without a header.

    Raises:
        EvalkitError: there is no layout with so many columns, or a number is expected where none is.
    """
    layout = _WITHOUT_HEADER[roles].get(len(cells))
    columns = {role: str(number) for number, role in enumerate(layout or (), 1) if role}
    if roles == RUNS and len(cells) == 3 and not _DIGITS.fullmatch(cells[2]):
        columns = {"query_id": "1", "doc_id": "2", "score": "3"}
    numbers = [cells[int(columns[role]) - 1] for role in ("grade", "rank", "score") if role in columns]
    if not layout or not all(_NUMBER.fullmatch(cell.strip()) for cell in numbers):
        shown = "; ".join(", ".join(role or "(ignored)" for role in known) for known in _WITHOUT_HEADER[roles].values())
        accepted = "; ".join(f"{role.name}: {', '.join(role.accepted)}" for role in roles if role.required)
        raise EvalkitError(
            f"{place}: {quoted(' | '.join(cells))} has no name of a column ({accepted}), and without a header the "
            f"columns are {shown}"
        )
    return columns


_DIGITS = re.compile("[0-9]+")
_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")


def _named(rows: Iterable[tuple[str, list[str]]], names: Sequence[str]) -> Iterator[Row]:
    for place, cells in rows:
        if len(cells) != len(names):
            raise EvalkitError(
                f"{place}: {len(cells)} column{'s' * (len(cells) != 1)} where the first line has {len(names)}: "
                f"{quoted(' | '.join(cells))}"
            )
        yield place, dict(zip(names, cells, strict=True))


def _csv(path: Path, what: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of each row by RFC 4180; commas separate them, or else semicolons or tabs."""
    head = _first_line(path, what)
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    csv.field_size_limit(text.LONGEST_LINE)
    lines = (line for _, line in read_lines(path, what, blank_too=True))
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise EvalkitError(f"{place}: not a row of CSV ({str(error).replace(chr(9), 'TAB')})") from None
        if any(cell.strip() for cell in cells):
            yield place, cells


def _tsv(path: Path, what: str, literal: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of each line; unless `literal`, quotation marks around a complete cell are removed.

    A line is a row, as in BEIR and MS MARCO: quotation marks do not join lines.
    """
    width = 0
    for number, line in read_lines(path, what):
        place = f"{path}, line {number}"
        line = line.rstrip("\r\n")
        try:
            cells = line.split("\t") if literal else _cells(line, width)
        except csv.Error:
            raise EvalkitError(f"{place}: quotation marks have to enclose a whole column: {quoted(line)}") from None
        width = width or len(cells)
        yield place, cells


def _cells(line: str, width: int = 0) -> list[str]:
    """Return the cells of a line; quotation marks that do not enclose a complete cell are part of it."""
    cells = line.split("\t")
    if '"' not in line:
        return cells
    if len(cells) != width:  # a quoted cell may contain a tab
        try:
            return next(csv.reader([line], delimiter="\t", strict=True))
        except csv.Error:
            if width:
                raise
    return [cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell for cell in cells]


_QUOTED = re.compile('"([^"]|"")*"')


# --- parquet and Arrow ------------------------------------------------------------------------------------------------


def _arrow(path: Path, suffix: str, roles: tuple[Role, ...], what: str, stated: Mapping[str, str]) -> Iterator[Row]:
    """Yield rows with the columns that are wanted; the others, such as embeddings, are not read."""
    try:
        import pyarrow as pa
    except ImportError:
        raise EvalkitError(
            f"{path}: {suffix} files are read by pyarrow, which is not installed; pip install "
            "'evalkit-rerank[formats]' brings it"
        ) from None
    with opened(path, what, as_it_is=True) as file:
        try:
            number = 0
            for batch in _batches(file, suffix, roles, str(path), stated):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except (pa.ArrowException, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())[:200]
            raise EvalkitError(f"{path} is not a whole {suffix} file ({why}); it should be {what}") from None


def _batches(file: Any, suffix: str, roles: tuple[Role, ...], where: str, stated: Mapping[str, str]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if suffix == ".parquet":
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        yield from table.iter_batches(10_000, columns=_wanted(where, roles, names, stated))
        return
    stream = file.read(6) != b"ARROW1"
    file.seek(0)
    reader = pa.ipc.open_stream(file) if stream else pa.ipc.open_file(file)
    columns = _wanted(where, roles, reader.schema.names, stated)
    for batch in reader if stream else map(reader.get_batch, range(reader.num_record_batches)):
        yield batch.select(columns)


def _wanted(where: str, roles: tuple[Role, ...], names: Sequence[str], stated: Mapping[str, str]) -> list[str]:
    return list(find_columns(where, roles, names, stated).values())
