"""Reads passages.jsonl: the queries of a trial, passages to show, and the scores that reranked.trec has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.strict_json import parse_json
from evalkit.boundary.text import escape_id, read_text
from evalkit.boundary.typed import Integer, Number, Text, typed


@dataclass(frozen=True)
class Passage:
    """A passage that the report shows: one of the top 10 of either list, or a relevant one."""

    doc_id: str
    grade: int | None
    """None for a passage without a judgment."""
    text: str
    """The beginning of its text."""


@dataclass(frozen=True)
class Passages:
    """The content of passages.jsonl."""

    queries: Mapping[str, str]
    """query_id -> text."""
    shown: Mapping[str, Mapping[str, Passage]]
    """query_id -> doc_id -> passage."""
    adjusted: Mapping[tuple[str, str, float], float]
    """(escaped query_id, doc_id, score in reranked.trec) -> the reranker's own score, where they differ."""


class _Passage(TypedDict):
    doc_id: Text
    grade: Integer | None
    text: Text


class _AdjustedScore(TypedDict):
    doc_id: Text
    score: Number | None
    """None where it is infinite."""
    written: Number


class _AdjustedScores(TypedDict):
    reranked: NotRequired[Sequence[_AdjustedScore]]


class _Line(TypedDict):
    """One query; the keys that a report reads."""

    query_id: Text
    query: Text
    passages: Sequence[_Passage]
    moved_scores: NotRequired[_AdjustedScores]


def read_passages(path: Path) -> Passages:
    """Read passages.jsonl.

    Args:
        path: the file.

    Raises:
        EvalkitError: the file is missing, or a line is not what `evalkit.report.per_query` writes.
    """
    queries, shown, adjusted = {}, {}, {}
    text = read_text(path, "the passages of a trial; the whole folder is needed")
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: texts may hold U+2028
        if not line:
            continue
        try:
            entry: _Line = typed(_Line, parse_json(line))
        except (ValueError, RecursionError) as error:
            raise EvalkitError(f"{path} is damaged (line {number}: {error}); run the trial again") from None
        query_id = entry["query_id"]
        queries[query_id] = entry["query"]
        shown[query_id] = {one["doc_id"]: Passage(**one) for one in entry["passages"]}
        for hit in entry.get("moved_scores", {}).get("reranked", ()):
            if hit["score"] is not None:
                adjusted[escape_id(query_id), hit["doc_id"], hit["written"]] = float(hit["score"])
    return Passages(queries, shown, adjusted)
