"""Queries, passages and judgments from any table in memory or from mappings, with the columns that were used."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from evalkit.boundary.cells import id_text, is_missing, to_id, to_text
from evalkit.boundary.columns import DOCS, JUDGMENTS, QUERIES, Role
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.rows import Picker, Row, table_rows
from evalkit.boundary.text import quoted
from evalkit.slices.assemble import join_title
from evalkit.slices.judgments import Grades, collect_judgments, judged, judgment_rows

T = TypeVar("T")


@dataclass(frozen=True)
class Sourced(Generic[T]):
    """Values, and where they were found."""

    values: T
    columns: Mapping[str, str]
    """Role -> the column that it was read from, such as ``doc_id`` -> ``docno``; none for a mapping."""


def queries_from(
    source: Any, columns: Mapping[str, str] | None = None, where: str = "queries"
) -> Sourced[dict[str, str]]:
    """Return query_id -> text.

    Args:
        source: a mapping query_id -> text; or a DataFrame, or rows as dictionaries
            (`evalkit.boundary.columns.QUERIES`).
        columns: role -> column, where columns have other names.
        where: names the source in messages.

    Raises:
        EvalkitError: an id occurs twice, an id or a text is missing or is none, or a column is not found (the message
            names the row and the columns).
    """
    picker = Picker(QUERIES, columns)
    pairs: Iterator[tuple[str, str, str]]
    if isinstance(source, Mapping):
        pairs = (
            (place, query_id, to_text(text, place, "text").strip())
            for place, query_id, text in _entries(source, where, "query")
        )
    else:
        pairs = ((row.place, row.query_id, row.text) for row in query_rows(table_rows(source, where), picker))
    return Sourced(_unique(pairs, "query"), picker.columns)


def docs_from(source: Any, columns: Mapping[str, str] | None = None, where: str = "docs") -> Sourced[dict[str, str]]:
    """Return doc_id -> text, with the title joined in front by `evalkit.slices.assemble.join_title`.

    Args:
        source: a mapping doc_id -> text, or doc_id -> {"title": ..., "text": ...}; or a DataFrame, or rows as
            dictionaries (`evalkit.boundary.columns.DOCS`).
        columns: role -> column, where columns have other names.
        where: names the source in messages.

    Raises:
        EvalkitError: as `queries_from`.
    """
    picker = Picker(DOCS, columns)
    pairs: Iterator[tuple[str, str, str]]
    if isinstance(source, Mapping):
        pairs = ((place, doc_id, _titled(value, place)) for place, doc_id, value in _entries(source, where, "passage"))
    else:
        pairs = doc_rows(table_rows(source, where), picker)
    return Sourced(_unique(pairs, "passage"), picker.columns)


def qrels_from(source: Any, columns: Mapping[str, str] | None = None, where: str = "qrels") -> Sourced[Grades]:
    """Return query_id -> doc_id -> grade; a judgment that is repeated counts once, and 2.0 is the grade 2.

    Args:
        source: a mapping query_id -> {doc_id: grade}; or a DataFrame, or rows as dictionaries
            (`evalkit.boundary.columns.JUDGMENTS`).
        columns: role -> column, where columns have other names.
        where: names the source in messages.

    Raises:
        EvalkitError: a passage has two grades for a query, an id or a grade is missing or not valid, or a column
            is not found (the message names the row and the columns).
    """
    picker = Picker(JUDGMENTS, columns)
    rows = judged(source, where) if isinstance(source, Mapping) else judgment_rows(table_rows(source, where), picker)
    return Sourced(collect_judgments(rows), picker.columns)


@dataclass(frozen=True)
class QueryRow:
    """One row of a table of queries."""

    place: str
    query_id: str
    text: str
    has_title: bool
    """Whether it has a title, which is not part of the query."""
    excluded_ids: tuple[str, ...]
    """Passages that must not be retrieved for it, as in BRIGHT."""


def query_rows(rows: Iterable[Row], picker: Picker) -> Iterator[QueryRow]:
    """Yield the queries of a table, without white space around their texts.

    Args:
        rows: place and values of each.
        picker: for `evalkit.boundary.columns.QUERIES`.

    Raises:
        EvalkitError: as `queries_from`.
    """
    for place, row in rows:
        found = picker.pick(place, row)
        query_id = to_id(found["query_id"], place, "query id")
        title = found.get("title")
        has_title = not is_missing(title) and bool(str(title).strip())
        text = to_text(found["text"], place, "text").strip()
        yield QueryRow(place, query_id, text, has_title, _excluded(place, found, row))


def _excluded(place: str, found: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = row.get("metadata")
    listed = found.get("excluded_ids", metadata.get("excluded_ids") if isinstance(metadata, Mapping) else None)
    if listed is None:
        return ()
    try:
        if not isinstance(listed, list | tuple):
            raise TypeError("a list is needed")
        return tuple(map(id_text, listed))
    except TypeError:
        raise EvalkitError(f"{place}: excluded_ids is {quoted(listed)}, and has to be a list of passage ids") from None


def doc_rows(rows: Iterable[Row], picker: Picker) -> Iterator[tuple[str, str, str]]:
    """Yield place, doc_id and text of each passage, with the title joined in front.

    Args:
        rows: place and values of each.
        picker: for `evalkit.boundary.columns.DOCS`.

    Raises:
        EvalkitError: as `docs_from`.
    """
    for place, row in rows:
        found = picker.pick(place, row)
        yield place, to_id(found["doc_id"], place, "passage id"), _titled(found, place)


def mapping_rows(source: Mapping[Any, Any], where: str, roles: tuple[Role, ...]) -> Iterator[Row]:
    """Yield the entries of a mapping id -> text, or id -> {"title": ..., "text": ...}, as rows.

    Args:
        source: the mapping.
        where: names it in messages.
        roles: `evalkit.boundary.columns.QUERIES` or `evalkit.boundary.columns.DOCS`.
    """
    key = roles[0].name
    for item, value in source.items():
        rest = value if isinstance(value, Mapping) else {"text": value}
        yield f"{where}, {quoted(item)}", {key: item, **rest}


def _entries(source: Mapping[Any, Any], where: str, kind: str) -> Iterator[tuple[str, str, Any]]:
    for key, value in source.items():
        item = to_id(key, where, f"{kind} id")
        yield f"{where}, {kind} {quoted(item)}", item, value


def _titled(value: Any, place: str) -> str:
    """Return a passage's text from the text itself, or from a mapping with ``text`` and possibly ``title``."""
    if not isinstance(value, Mapping):
        return join_title("", to_text(value, place, "text"))
    title = value.get("title", "")
    if type(title) is not str:
        title = "" if is_missing(title) else to_text(title, place, "title")
    return join_title(title, to_text(value.get("text"), place, "text"))


def _unique(pairs: Iterable[tuple[str, str, str]], kind: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, item, text in pairs:
        if item in texts:
            raise EvalkitError(f"{place}: {kind} id {quoted(item)} occurs twice; ids must be unique")
        texts[item] = text
    return texts
