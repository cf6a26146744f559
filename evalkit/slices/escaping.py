"""Ids and texts of a slice as files can hold them: ids without white space, texts without lone surrogates."""

from collections.abc import Collection, Mapping
from itertools import chain
from typing import TypeVar

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.text import escape_id, is_unicode, quoted, replace_surrogates

T = TypeVar("T")
Qrels = Mapping[str, Mapping[str, int]]


def escaped(
    where: str, queries: Mapping[str, str], docs: Mapping[str, str], qrels: Qrels
) -> tuple[Mapping[str, str], Mapping[str, str], Qrels, dict[str, int]]:
    """Return queries, passages and judgments with escaped ids and without lone surrogates.

    Args:
        where: the source, for messages.
        queries: query_id -> text.
        docs: doc_id -> text.
        qrels: query_id -> doc_id -> grade.

    Returns:
        All three, and the numbers of changes, ``ids_escaped`` and ``texts_mended``, as facts of the slice.

    Raises:
        EvalkitError: an id is empty, or two ids become equal by escaping.
    """
    query_names = _renamed(where, "query", queries)
    textless = {doc_id for grades in qrels.values() for doc_id in grades} - docs.keys()
    doc_names = _renamed(where, "passage", docs, textless)
    if renamed := query_names | doc_names:
        queries, docs = _under(query_names, queries), _under(doc_names, docs)
        qrels = {name: _under(doc_names, grades) for name, grades in _under(query_names, qrels).items()}
        example = next(iter(renamed))
        say(
            "  note: ids with white space or control characters are written percent-encoded, such as "
            f"{quoted(renamed[example])} for {quoted(example)} ({len(query_names) + len(doc_names)} ids)"
        )
    queries, queries_mended = _mended(queries)
    docs, docs_mended = _mended(docs)
    if broken := queries_mended + docs_mended:
        say(f"  note: lone surrogates, which UTF-8 cannot write, were replaced by U+FFFD ({broken} texts)")
    return queries, docs, qrels, {"ids_escaped": len(query_names) + len(doc_names), "texts_mended": broken}


def _renamed(where: str, kind: str, ids: Collection[str], more: Collection[str] = ()) -> dict[str, str]:
    """Return id -> escaped id for those that change; `more` are ids that only judgments have."""
    names: dict[str, str] = {}
    for item in chain(ids, more):
        name = escape_id(item)
        if not name:
            raise EvalkitError(f"{where}: a {kind} has an empty id; give it one, in the qrels too")
        if name != item:
            names[item] = name
    taken = set(more)
    for item, name in names.items():
        if name in ids or name in taken:
            raise EvalkitError(
                f"{where}: the {kind} ids {quoted(item)} and {quoted(name)} are the same one once white space is "
                "percent-encoded, which a TREC run file needs; rename one in the collection and its qrels"
            )
    return names


def _under(names: Mapping[str, str], values: Mapping[str, T]) -> dict[str, T]:
    return {names.get(key, key): value for key, value in values.items()}


def _mended(texts: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
    broken = {key: replace_surrogates(text) for key, text in texts.items() if not is_unicode(text)}
    return ({**texts, **broken} if broken else texts), len(broken)
