"""TREC files: runs read with the broken line named, runs and qrels written so that trec_eval finds our figures."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.boundary.text import escape_id, parse_integer, parse_number, quoted, read_lines
from evalkit.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.evaluation.surrogate_scores import strictly_decreasing, to_float32
from evalkit.types import Hit, Run

ORDERS = ("score", "rank")
"""What may decide the order of a run that is read."""


@dataclass(frozen=True)
class RunFile:
    """A run as read, with the scores of the file, and how many queries its rank column orders otherwise."""

    run: Run
    rank_conflicts: int
    """Queries whose rank column contradicts the order of trec_eval, which is by score."""
    sort_keys: Mapping[str, tuple[float, ...]]
    """query_id -> what decided the order, best first: scores in 32 bits, or minus the ranks. Equal ones are tied."""

    @property
    def max_hits(self) -> int:
        """Passages of the query that has most."""
        return max(map(len, self.run.rankings.values()))


def check_order(setting: str, order: str) -> None:
    """Raise an EvalkitError where `order` is neither of `ORDERS`; `setting` is its name."""
    if order not in ORDERS:
        raise EvalkitError(f"{setting}={order}: give score (as trec_eval reads a run) or rank (the file's rank column)")


@dataclass(frozen=True)
class AdjustedScore:
    """A hit that a run was written with another score for: its own, and the written one."""

    query_id: str
    doc_id: str
    score: float
    written: float


def read_run(path: str | Path, order: str = "score") -> RunFile:
    """Read a TREC run: six columns ``query_id Q0 doc_id rank score tag``, separated by white space.

    By ``score``, hits are ordered as trec_eval orders them: falling score, held in 32 bits, and tied passages by
    falling doc_id; the rank column decides nothing. By ``rank``, they are ordered by the rank column, and passages of
    one rank as by score. Columns end at ASCII white space; ids become what `evalkit.boundary.text.escape_id` says.

    Raises:
        EvalkitError: the file is missing, no file, or not UTF-8 text; a line has other than six columns, a rank that
            is no integer, or a score that is no finite number; a passage occurs twice for a query. The message names
            file and line. Or `order` is neither.
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
    rankings = {
        query_id: ranking.trec_eval_order((Hit(doc_id, score) for doc_id, score in hits.items()), spelt)
        for query_id, hits in scores.items()
    }
    conflicts = sum(_contradicts(hits, ranks[query_id]) for query_id, hits in rankings.items())
    if order == "rank":
        rankings = {query_id: ranking.order_by_rank(hits, ranks[query_id]) for query_id, hits in rankings.items()}
        sort_keys = {q: tuple(-float(ranks[q][hit.doc_id]) for hit in hits) for q, hits in rankings.items()}
    else:
        sort_keys = {q: tuple(to_float32(hit.score) for hit in hits) for q, hits in rankings.items()}
    return RunFile(Run(tag, rankings), conflicts, sort_keys)


def _parse(path: Path, number: int, line: str) -> tuple[str, str, int, float, str]:
    # str.split would part an id at a no-break space too, which no other reader of TREC files takes for a blank.
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


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Write judgments as trec_eval reads them: ``query_id 0 doc_id grade``, ids as `escape_id` has them."""
    with path.open("w", encoding="utf-8") as out:
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                out.write(f"{escape_id(query_id)} 0 {escape_id(doc_id)} {grade}\n")


def write_run(run: Run, path: Path) -> list[AdjustedScore]:
    """Write `run` so that any tool reads the order that it has, with ranks from 1 and ids as `escape_id` has them.

    trec_eval ignores the rank column, orders tied passages by falling doc_id, and holds scores in 32 bits. So scores
    are written as they are only where they fall in 32 bits; where they do not, the nearest ones that do are written
    (`evalkit.evaluation.surrogate_scores`). Returned are the hits whose score is another one in the file.
    """
    tag = escape_id("-".join(run.name.split())) or "run"
    moved: list[AdjustedScore] = []
    with path.open("w", encoding="utf-8") as out:
        for query_id, hits in run.rankings.items():
            asked = escape_id(query_id)
            for rank, (hit, written) in enumerate(
                zip(hits, strictly_decreasing([hit.score for hit in hits]), strict=True), 1
            ):
                doc_id = escape_id(hit.doc_id)
                out.write(f"{asked} Q0 {doc_id} {rank} {written!r} {tag}\n")
                if written != hit.score:
                    moved.append(AdjustedScore(asked, doc_id, hit.score, written))
    return moved


def count_adjusted_scores(run: Run) -> int:
    """Return how many hits `write_run` writes with another score than theirs."""
    return sum(
        written != hit.score
        for hits in run.rankings.values()
        for hit, written in zip(hits, strictly_decreasing([hit.score for hit in hits]), strict=True)
    )
