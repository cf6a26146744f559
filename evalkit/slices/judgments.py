"""Judgments (qrels): files of every format, under one rule for repetitions and contradictions."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from evalkit.boundary.cells import is_missing, to_grade, to_id
from evalkit.boundary.columns import JUDGMENTS
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.rows import Picker, Row
from evalkit.boundary.table_files import has_table, open_table
from evalkit.boundary.text import quoted, user_path
from evalkit.evaluation import trec

Judgment = tuple[str, str, str, Any]
"""Position in the source (for messages), query_id, doc_id and grade."""
Grades = dict[str, dict[str, int]]


@dataclass(frozen=True)
class JudgmentsFile:
    """Judgments as they were read."""

    grades: Grades
    columns: Mapping[str, str]
    """Role -> the column that it was read from; none for trec_eval's format and for a JSON object."""
    is_trec: bool
    """Whether it is trec_eval's format, whose ids are escaped by `evalkit.boundary.text.escape_id`."""


def collect_judgments(judgments: Iterable[Judgment], way_out: str = "") -> Grades:
    """Return query_id -> doc_id -> grade; a repeated judgment counts once.

    Args:
        judgments: one after the other, in any order.
        way_out: what the user can do about a contradiction; it ends the message.

    Raises:
        EvalkitError: a passage has two different grades for a query.
    """
    qrels: Grades = {}
    for where, query_id, doc_id, grade in judgments:
        before = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise EvalkitError(
                f"{where}: {quoted(query_id)} and {quoted(doc_id)} are judged twice, differently{way_out}"
            )
    return qrels


def collect_queries(where: str, queries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return query_id -> text; a query that is repeated word for word counts once.

    Args:
        where: the source, for the message.
        queries: (query_id, text) of each query.

    Raises:
        EvalkitError: an id has two texts.
    """
    texts: dict[str, str] = {}
    for query_id, text in queries:
        if texts.setdefault(query_id, text) != text:
            raise EvalkitError(f"{where}: query id {quoted(query_id)} has two texts; ids must be unique")
    return texts


def read(*paths: Path, columns: Mapping[str, str] | None = None) -> JudgmentsFile:
    """Read files of judgments: trec_eval's format, or a table (`evalkit.boundary.table_files`).

    Args:
        paths: the files, all of one format, which may be compressed. With another extension than a table's, or without
            tabs in a .tsv file, they are in trec_eval's format, unless tabs separate three columns or columns with
            names.
        columns: role -> column of a table, where columns have other names.

    Raises:
        EvalkitError: a file is missing or malformed (file and line are named), or a passage has two grades for a query.
    """
    if not has_table(user_path(paths[0]), JUDGMENTS, "judgments"):
        rows = chain.from_iterable(trec.judgments(user_path(path)) for path in paths)
        return JudgmentsFile(collect_judgments(rows), {}, is_trec=True)
    used: dict[str, str] = {}
    rows = chain.from_iterable(_table(user_path(path), columns, used) for path in paths)
    return JudgmentsFile(collect_judgments(rows), used, is_trec=False)


def _table(path: Path, columns: Mapping[str, str] | None, used: dict[str, str]) -> Iterator[Judgment]:
    """Yield the judgments of a table, and add the columns that they come from to `used`."""
    table = open_table(path, JUDGMENTS, "judgments", columns)
    if isinstance(table.content, Mapping):
        yield from judged(table.content, str(path))
        return
    picker = Picker(JUDGMENTS, table.stated)
    yield from judgment_rows(table.content, picker)
    used.update(picker.columns)


def judgment_rows(rows: Iterable[Row], picker: Picker) -> Iterator[Judgment]:
    """Yield the judgments of a table.

    Args:
        rows: place and values of each.
        picker: for `evalkit.boundary.columns.JUDGMENTS`.

    Raises:
        EvalkitError: an id or a grade is missing or not valid, a row names a judge, or a column is not found.
    """
    for place, row in rows:
        found = picker.pick(place, row)
        if not is_missing(found.get("judge")):
            raise EvalkitError(
                f"{place}: this is a label of judge {quoted(found['judge'])}; labels that name their judge are read "
                "from one file named .jsonl, .csv or .tsv (slice.qrels=FILE slice.judge=NAME), not compressed"
            )
        yield (
            place,
            to_id(found["query_id"], place, "query id"),
            to_id(found["doc_id"], place, "passage id"),
            to_grade(found["grade"], place),
        )


def judged(source: Mapping[Any, Any], where: str) -> Iterator[Judgment]:
    """Yield the judgments of a mapping query_id -> {doc_id: grade}, as ranx and pytrec_eval have it.

    Args:
        source: the mapping.
        where: names it in messages.

    Raises:
        EvalkitError: it has another form, or an id or a grade is not valid.
    """
    for query, grades in source.items():
        query_id = to_id(query, where, "query id")
        place = f"{where}, query {quoted(query_id)}"
        if not isinstance(grades, Mapping):
            raise EvalkitError(f"{place}: {quoted(grades)} is not a mapping of passage ids to grades")
        for doc, grade in grades.items():
            yield place, query_id, to_id(doc, place, "passage id"), to_grade(grade, place)
