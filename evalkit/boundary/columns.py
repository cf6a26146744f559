"""Column names of tables: which column holds a query id, a passage id, a text, a grade, a score or a rank."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.text import printable_name, quoted


@dataclass(frozen=True)
class Role:
    """What a column can hold."""

    name: str
    """As settings and results name it, such as ``query_id``."""
    accepted: tuple[str, ...]
    """Names of columns with this content; case, and what is neither a letter nor a digit, does not matter."""
    required: bool = True


_QUERY_ID = ("query_id", "qid", "topic", "topic_id")
_DOC_ID = ("doc_id", "docno", "docid", "corpus_id", "document_id", "passage_id", "pid")
_TITLE = Role("title", ("title",), required=False)
_EXCLUDED = Role("excluded_ids", ("excluded_ids",), required=False)

QUERIES = (
    Role("query_id", ("_id", "id", *_QUERY_ID)),
    Role("text", ("text", "query", "query_text", "question")),
    _TITLE,
    _EXCLUDED,
)
"""Of a table of queries: BEIR and MTEB (_id, text), ir_datasets (query_id, text), PyTerrier (qid, query)."""
DOCS = (
    Role("doc_id", ("_id", "id", *_DOC_ID)),
    Role("text", ("text", "passage", "passage_text", "contents", "content", "body", "document")),
    _TITLE,
)
"""Of a table of passages: BEIR and MTEB (_id, title, text), ir_datasets (doc_id), PyTerrier (docno), Pyserini (id,
contents)."""
JUDGMENTS = (
    Role("query_id", _QUERY_ID),
    Role("doc_id", _DOC_ID),
    Role("grade", ("score", "relevance", "label", "grade", "rel", "judgment")),
    Role("judge", ("judge",), required=False),
)
"""Of a table of judgments: BEIR and MTEB (query-id, corpus-id, score), ir_datasets (query_id, doc_id, relevance),
PyTerrier (qid, docno, label)."""
RUNS = (
    Role("query_id", _QUERY_ID),
    Role("doc_id", _DOC_ID),
    Role("score", ("score", "_score", "similarity"), required=False),
    Role("rank", ("rank", "position"), required=False),
    Role("tag", ("tag", "run_id", "run", "system"), required=False),
)
"""Of a table of ranked passages: PyTerrier (qid, docno, score, rank), ir_datasets (query_id, doc_id, score)."""

_BEFORE = (("docno", "docid"),)
"""PyTerrier's results have both: ``docno`` is the id of the collection, ``docid`` an internal number."""


def find_columns(
    where: str, roles: Sequence[Role], columns: Iterable[str], stated: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return role -> column, for each required role and for the others that a column has.

    Args:
        where: the table, for messages.
        roles: one of `QUERIES`, `DOCS`, `JUDGMENTS` and `RUNS`.
        columns: names of the columns of the table.
        stated: role -> column, where columns have other names.

    Raises:
        EvalkitError: a role has no column or several, or `stated` names a role or a column that does not exist; the
            message lists the columns and the accepted names.
    """
    there = list(columns)
    stated = stated or {}
    known = [role.name for role in roles]
    for name, column in stated.items():
        if name not in known:
            raise EvalkitError(f"{where}: {quoted(name)} is nothing that a column can hold{nearest(name, known)}")
        if there.count(column) != 1:
            raise EvalkitError(f"{where}: {name} was to be the column {quoted(column)}{listing(there)}")
    found: dict[str, str] = {}
    for role in roles:
        if role.name in stated:
            found[role.name] = stated[role.name]
            continue
        free = [column for column in there if column not in stated.values()]
        candidates = _named(role, free)
        if len(candidates) > 1:
            raise EvalkitError(
                f"{where}: the {_words(role)} can be any of the columns {_list(candidates)}; rename all but one, or "
                f"name it ({role.name}: COLUMN)"
            )
        if candidates:
            found[role.name] = candidates[0]
        elif role.required:
            raise EvalkitError(
                f"{where}: no column is named as the {_words(role)}: {', '.join(role.accepted)}{listing(there)}"
            )
    return found


def is_header(roles: Sequence[Role], cells: Iterable[str]) -> bool:
    """Return whether the first line of a table names a column that is required; a tag, for one, may be called ``run``.

    Args:
        roles: one of `QUERIES`, `DOCS`, `JUDGMENTS` and `RUNS`.
        cells: of the line.
    """
    names = {_plain(name) for role in roles if role.required for name in role.accepted}
    return any(_plain(cell) in names for cell in cells)


def _named(role: Role, columns: Iterable[str]) -> list[str]:
    accepted = {_plain(name) for name in role.accepted}
    found = [column for column in columns if _plain(column) in accepted]
    for first, other in _BEFORE:
        if {first, other} == {_plain(column) for column in found}:
            return [column for column in found if _plain(column) == first]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", str(name)).casefold()  # a DataFrame can have numbers as names


def _words(role: Role) -> str:
    return role.name.replace("doc_id", "passage id").replace("_", " ")


def listing(columns: Sequence[str]) -> str:
    """Return the end of a message about a column that is missing.

    Args:
        columns: those that there are.
    """
    return "; there is no column at all" if not columns else f"; the columns are {_list(columns)}"


def _list(columns: Sequence[str]) -> str:
    shown = ", ".join(printable_name(str(column)) or "''" for column in columns[:12])
    return f"{shown}, ..." if len(columns) > 12 else shown
