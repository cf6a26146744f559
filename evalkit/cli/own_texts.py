"""The texts that a user gives the quick check: the settings ``query`` and ``passages``, checked and read."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit.boundary.cells import id_text
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.strict_json import parse_json
from evalkit.boundary.text import is_unicode, quoted, read_lines, replace_surrogates, user_path
from evalkit.rerankers.quickcheck import Check

MOST_PASSAGES = 10_000
"""A collection is measured by a trial; more passages of one query than this are a mistake."""

LIST = """passages='["one text","another text"]'"""
"""A list as it is typed, for messages."""
_Passage = tuple[str, str | None]
"""Text, and id or None."""


def read(query: str | None, passages: object) -> Check | None:
    """Return the texts of a quick check; None where the user gives none.

    Args:
        query: the setting ``query``.
        passages: the setting ``passages``: a list of texts, or the path of a file.

    Raises:
        EvalkitError: one of the two is missing, empty or malformed, or there are too many passages.
    """
    if query is None and passages is None:
        return None
    if passages is None:
        raise EvalkitError(f"query is given without passages; add {LIST} or passages=FILE to the command")
    if query is None:
        raise EvalkitError("passages are given without a query; add query=TEXT to the command")
    if not query.strip():
        raise EvalkitError("query is empty; give the text that the passages are ranked for")
    if isinstance(passages, str):
        where = quoted(passages)
        found = list(islice(_of_file(passages), MOST_PASSAGES + 1))
    else:
        where = "passages"
        found = _of_list(passages)
    if not found:
        raise EvalkitError(f"{where} has no passage; give one or more")
    if len(found) > MOST_PASSAGES:
        raise EvalkitError(
            f"{where} has more than {MOST_PASSAGES:,} passages, the most that the quick check takes; a collection is "
            "measured by a trial, such as slice=beir slice.path=DIR"
        )
    if broken := sum(not is_unicode(text) for text in (query, *(text for text, _ in found))):
        say(f"  note: lone surrogates, which UTF-8 cannot write, were replaced by U+FFFD ({broken} texts)")
    ids = tuple(one for _, one in found)
    return Check(
        lang=None,
        query=replace_surrogates(query.strip()),
        passages=tuple(replace_surrogates(text) for text, _ in found),
        ids=ids if any(one is not None for one in ids) else (),
    )


def _of_list(passages: object) -> list[_Passage]:
    if not isinstance(passages, list):
        raise EvalkitError(f"passages={quoted(passages)}: give a list of texts, {LIST}, or a file of them")
    for number, text in enumerate(passages, 1):
        if not isinstance(text, str):
            raise EvalkitError(f"passages: number {number} is {quoted(text)}, and has to be a text; put it in quotes")
        if not text.strip():
            raise EvalkitError(f"passages: number {number} is empty")
    return [(text.strip(), None) for text in passages]


def _of_file(name: str) -> Iterator[_Passage]:
    path = user_path(name)
    kind = path.suffix.lower()
    if kind not in (".txt", ".jsonl"):
        raise EvalkitError(
            f"passages={quoted(name)}: give a list of texts, {LIST}, or a file of them: .txt with one a line, or .jsonl"
        )
    if kind == ".txt":
        yield from ((line.strip(), None) for _, line in read_lines(path, "passages, one a line"))
    else:
        yield from _of_jsonl(path)


def _of_jsonl(path: Path) -> Iterator[_Passage]:
    """Yield the passages of lines as a BEIR corpus has them, or of lines that are JSON texts."""
    from evalkit.slices.assemble import join_title

    for number, line in read_lines(path, "passages in JSON, one a line"):
        try:
            record: Any = parse_json(line)
            if isinstance(record, str):
                record = {"text": record}
            title, text, name = record.get("title") or "", record["text"], record.get("_id")
            if not isinstance(title, str) or not isinstance(text, str):
                raise TypeError("title and text are texts")
            passage = join_title(title, text), None if name is None else id_text(name)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise EvalkitError(
                f'{path}, line {number}: not a JSON text, nor an object with "text": {quoted(line.strip())}'
            ) from None
        if not passage[0]:
            raise EvalkitError(f"{path}, line {number}: the passage is empty")
        yield passage
