"""TREC files: runs read with the broken line named, runs and qrels written so that any tool reads them as we do."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit import ranking
from evalkit.errors import EvalkitError
from evalkit.outside import integer, lines, quoted, real, storable_id
from evalkit.types import Hit, Run


@dataclass(frozen=True)
class RunFile:
    """A run as read, and how many queries had ranks that contradict the scores (the scores decide)."""

    run: Run
    rank_conflicts: int


def read_run(path: str | Path) -> RunFile:
    """Read a TREC run: six columns ``query_id Q0 doc_id rank score tag``, separated by white space.

    Hits are ordered by score, ties by the rank column, then doc_id: what trec_eval would see, made stable. Columns
    end at ASCII white space; ids become what `evalkit.outside.storable_id` says.

    Raises:
        EvalkitError: the file is missing, no file, or not UTF-8 text; a line has other than six columns, a rank that
            is no integer, or a score that is no finite number; a passage occurs twice for a query. The message names
            file and line.
    """
    path = Path(path)
    scores: dict[str, dict[str, float]] = {}
    ranks: dict[str, dict[str, int]] = {}
    tag = path.stem
    for number, line in lines(path, "a TREC run"):
        query_id, doc_id, rank, score, tag = _parse(path, number, line)
        if doc_id in scores.setdefault(query_id, {}):
            raise EvalkitError(
                f"{path}, line {number}: passage {quoted(doc_id)} occurs twice for query {quoted(query_id)}"
            )
        scores[query_id][doc_id] = score
        ranks.setdefault(query_id, {})[doc_id] = rank
    if not scores:
        raise EvalkitError(f"{path} holds no hits; a TREC run has lines 'query_id Q0 doc_id rank score tag'")
    rankings = {
        query_id: ranking.order((Hit(doc_id, score) for doc_id, score in hits.items()), ranks[query_id])
        for query_id, hits in scores.items()
    }
    conflicts = sum(_contradicts(rankings[query_id], ranks[query_id]) for query_id in rankings)
    return RunFile(Run(tag, rankings), conflicts)


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
        value, position = real(score), integer(rank)
    except ValueError:
        raise EvalkitError(
            f"{path}, line {number}: rank {quoted(rank)} and score {quoted(score)} must be an integer and a number"
        ) from None
    if not math.isfinite(value):
        raise EvalkitError(f"{path}, line {number}: the score is {score[:80]}, and a score must be a finite number")
    return storable_id(query_id), storable_id(doc_id), position, value, tag


_COLUMN = re.compile("[^ \t\n\v\f\r]+")


def _contradicts(hits: tuple[Hit, ...], ranks: Mapping[str, int]) -> bool:
    positions = [ranks[hit.doc_id] for hit in hits]
    return positions != sorted(positions)


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Write judgments as trec_eval reads them: ``query_id 0 doc_id grade``, ids as `storable_id` has them."""
    with path.open("w", encoding="utf-8") as out:
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                out.write(f"{storable_id(query_id)} 0 {storable_id(doc_id)} {grade}\n")


def write_run(run: Run, path: Path) -> None:
    """Write `run` with ranks from 1, ids as `storable_id` has them.

    Tied scores are written as they are: the rank column holds our order.
    """
    tag = storable_id("-".join(run.name.split())) or "run"
    with path.open("w", encoding="utf-8") as out:
        for query_id, hits in run.rankings.items():
            for rank, (doc_id, score) in enumerate(hits, 1):
                out.write(f"{storable_id(query_id)} Q0 {storable_id(doc_id)} {rank} {score!r} {tag}\n")
