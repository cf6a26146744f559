"""TREC runs and qrels: read with the line of an error named, written so that trec_eval gives the same figures."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.boundary.cells import parse_grade
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_writing import text_to_write
from evalkit.boundary.text import escape_id, parse_integer, parse_number, quoted, read_lines
from evalkit.evaluation import ranking
from evalkit.evaluation.surrogate_scores import strictly_decreasing, to_float32
from evalkit.types import Hit, Run

ORDERS = ("score", "rank")
"""Columns of a run file that can determine its order."""


@dataclass(frozen=True)
class RunFile:
    """A run as it was read, with the scores of the file."""

    run: Run
    rank_conflicts: int
    """Queries whose rank column contradicts trec_eval's order, which is by score."""
    sort_keys: Mapping[str, tuple[float, ...]]
    """query_id -> the sort key of each hit, best first: 32-bit scores, or negative ranks. Equal keys are ties."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> the column that it was read from, of a table; none for TREC's own format."""
    order: str = "score"
    """What determined the order, one of `ORDERS`."""

    @property
    def max_hits(self) -> int:
        """The largest number of hits of a query."""
        return max(map(len, self.run.rankings.values()))


def check_order(setting: str, order: str) -> None:
    """Check the setting of the order in which a run file is read.

    Args:
        setting: name of the setting, for the message.
        order: its value, one of `ORDERS`.

    Raises:
        EvalkitError: it is none of them.
    """
    if order not in ORDERS:
        raise EvalkitError(f"{setting}={order}: give score (as trec_eval reads a run) or rank (the file's rank column)")


@dataclass(frozen=True)
class AdjustedScore:
    """A hit whose score in the run file is not its own."""

    query_id: str
    doc_id: str
    score: float
    written: float


def read_run(path: str | Path, order: str = "score") -> RunFile:
    """Read a TREC run: six columns ``query_id Q0 doc_id rank score tag``, separated by white space.

    Columns end at ASCII white space; ids are escaped by `evalkit.boundary.text.escape_id`.

    Args:
        path: the file.
        order: ``score`` for trec_eval's order, by descending 32-bit score and then by descending doc_id, which ignores
            the rank column; ``rank`` for the rank column, with equal ranks ordered as by ``score``.

    Raises:
        EvalkitError: the file is missing, not a file, or not UTF-8; a line does not have six columns, a rank is not an
            integer, or a score not a finite number; a passage occurs twice for a query (the message names file and
            line); or `order` is not valid.
    """
    check_order("order", order)
    path = Path(path)
    scores: dict[str, dict[str, float]] = {}
    ranks: dict[str, dict[str, int]] = {}
    spelt: dict[str, str] = {}
    tag = path.stem
    for number, line in read_lines(path, "a TREC run"):
        query_id, written_id, rank, score, tag = _parse(path, number, line)
        doc_id = escape_id(written_id)
        if doc_id in scores.setdefault(query_id, {}):
            raise EvalkitError(
                f"{path}, line {number}: passage {quoted(doc_id)} occurs twice for query {quoted(query_id)}"
            )
        scores[query_id][doc_id] = score
        ranks.setdefault(query_id, {})[doc_id] = rank
        if doc_id != written_id:
            spelt[doc_id] = written_id
    if not scores:
        raise EvalkitError(f"{path} holds no hits; a TREC run has lines 'query_id Q0 doc_id rank score tag'")
    return ordered(tag, scores, ranks, spelt, order)


def ordered(
    tag: str,
    scores: Mapping[str, Mapping[str, float]],
    ranks: Mapping[str, Mapping[str, int]],
    spelt: Mapping[str, str],
    order: str,
    columns: Mapping[str, str] | None = None,
) -> RunFile:
    """Return a run in the order that its scores or its ranks give.

    Args:
        tag: name of the run.
        scores: query_id -> doc_id -> score.
        ranks: query_id -> doc_id -> rank of each scored passage; {} where there are no ranks and `order` is ``score``.
        spelt: doc_id -> the id as it was read, where that differs; ties are broken by the id as read.
        order: one of `ORDERS`.
        columns: role -> the column that it was read from.

    Raises:
        EvalkitError: a score is NaN.
    """
    rankings = {
        query_id: ranking.trec_eval_order((Hit(doc_id, score) for doc_id, score in hits.items()), spelt)
        for query_id, hits in scores.items()
    }
    conflicts = sum(_contradicts(hits, ranks[query_id]) for query_id, hits in rankings.items() if ranks)
    if order == "rank":
        rankings = {query_id: ranking.order_by_rank(hits, ranks[query_id]) for query_id, hits in rankings.items()}
        sort_keys = {q: tuple(-float(ranks[q][hit.doc_id]) for hit in hits) for q, hits in rankings.items()}
    else:
        sort_keys = {q: tuple(to_float32(hit.score) for hit in hits) for q, hits in rankings.items()}
    return RunFile(Run(tag, rankings), conflicts, sort_keys, columns or {}, order)


def _parse(path: Path, number: int, line: str) -> tuple[str, str, int, float, str]:
    # str.split would also split at a no-break space, which other readers of TREC files do not.
    columns = line.split() if line.isascii() else _COLUMN.findall(line)
    if len(columns) != 6:
        raise EvalkitError(
            f"{path}, line {number}: {len(columns)} columns where a TREC run has six "
            f"(query_id Q0 doc_id rank score tag): {quoted(line.strip())}"
        )
    query_id, _, doc_id, rank, score, tag = columns
    try:
        value, position = parse_number(score), parse_integer(rank)
    except ValueError:
        raise EvalkitError(
            f"{path}, line {number}: rank {quoted(rank)} and score {quoted(score)} must be an integer and a number"
        ) from None
    if not math.isfinite(value):
        raise EvalkitError(f"{path}, line {number}: the score is {score[:80]}, and a score must be a finite number")
    return escape_id(query_id), doc_id, position, value, tag


_COLUMN = re.compile("[^ \t\n\v\f\r]+")


def _contradicts(hits: tuple[Hit, ...], ranks: Mapping[str, int]) -> bool:
    positions = [ranks[hit.doc_id] for hit in hits]
    return positions != sorted(positions)


def judgments(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield trec_eval's ``query_id iteration doc_id grade``, separated by white space, with escaped ids.

    Args:
        path: the file.

    Yields:
        File and line for messages, query_id, doc_id and grade.

    Raises:
        EvalkitError: the file is missing, or a line has other columns.
    """
    for number, line in read_lines(path, "judgments"):
        try:
            query_id, _, doc_id, grade = _COLUMN.findall(line)
            value = parse_grade(grade)
        except ValueError:
            raise EvalkitError(
                f"{path}, line {number}: not 'query_id 0 doc_id integer-grade', as trec_eval has it: "
                f"{quoted(line.strip())}"
            ) from None
        yield f"{path}, line {number}", escape_id(query_id), escape_id(doc_id), value


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return the judgments of a file that `write_qrels` wrote: query_id -> doc_id -> grade.

    Raises:
        EvalkitError: the file is missing, or a line has other columns.
    """
    found: dict[str, dict[str, int]] = {}
    for _, query_id, doc_id, grade in judgments(path):
        found.setdefault(query_id, {})[doc_id] = grade
    return found


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Write judgments as trec_eval reads them: ``query_id 0 doc_id grade``, with escaped ids.

    Args:
        qrels: query_id -> doc_id -> grade.
        path: path of the file, compressed as its extension says; one that exists is overwritten.

    Raises:
        OSError: the file cannot be written.
    """
    with text_to_write(path) as out:
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                out.write(f"{escape_id(query_id)} 0 {escape_id(doc_id)} {grade}\n")


def write_run(run: Run, path: Path) -> list[AdjustedScore]:
    """Write a run so that every tool reads it in its order, with ranks from 1 and escaped ids.

    trec_eval ignores the rank column, breaks ties by descending doc_id, and stores scores in 32 bits. Scores that do
    not strictly decrease in 32 bits are therefore replaced (`evalkit.evaluation.surrogate_scores`).

    Args:
        run: the ranking of each query, best first.
        path: path of the file, compressed as its extension says; one that exists is overwritten.

    Returns:
        The hits whose score was replaced.

    Raises:
        OSError: the file cannot be written.
    """
    tag = escape_id("-".join(run.name.split())) or "run"
    adjusted: list[AdjustedScore] = []
    with text_to_write(path) as out:
        for query_id, hits in run.rankings.items():
            asked = escape_id(query_id)
            for rank, (hit, written) in enumerate(
                zip(hits, strictly_decreasing([hit.score for hit in hits]), strict=True), 1
            ):
                doc_id = escape_id(hit.doc_id)
                out.write(f"{asked} Q0 {doc_id} {rank} {written!r} {tag}\n")
                if written != hit.score:
                    adjusted.append(AdjustedScore(asked, doc_id, hit.score, written))
    return adjusted


def count_adjusted_scores(run: Run) -> int:
    """Return how many scores `write_run` replaces."""
    return sum(
        written != hit.score
        for hits in run.rankings.values()
        for hit, written in zip(hits, strictly_decreasing([hit.score for hit in hits]), strict=True)
    )
