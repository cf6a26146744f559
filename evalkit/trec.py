"""TREC files: runs read with the broken line named, runs and qrels written so that any tool reads them as we do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit import ranking
from evalkit.errors import EvalkitError
from evalkit.types import Hit, Run


@dataclass(frozen=True)
class RunFile:
    """A run as read, and how many queries had ranks that contradict the scores (the scores decide)."""

    run: Run
    rank_conflicts: int


def read_run(path: str | Path) -> RunFile:
    """Read a TREC run: six columns ``query_id Q0 doc_id rank score tag``, separated by white space.

    Hits are ordered by score, ties by the rank column, then doc_id: what trec_eval would see, made stable.

    Raises:
        EvalkitError: the file is missing or not UTF-8 text; a line has other than six columns, a rank that is no
            integer, or a score that is no finite number; a passage occurs twice for a query. The message names
            file and line.
    """
    path = Path(path)
    scores: dict[str, dict[str, float]] = {}
    ranks: dict[str, dict[str, int]] = {}
    tag = path.stem
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                query_id, doc_id, rank, score, tag = _parse(path, number, line)
                if doc_id in scores.setdefault(query_id, {}):
                    raise EvalkitError(f"{path}, line {number}: passage {doc_id!r} occurs twice for query {query_id!r}")
                scores[query_id][doc_id] = score
                ranks.setdefault(query_id, {})[doc_id] = rank
    except FileNotFoundError:
        raise EvalkitError(f"there is no TREC run file at {path}") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise EvalkitError(f"cannot read {path} as a TREC run: {error}") from None
    if not scores:
        raise EvalkitError(f"{path} holds no hits; a TREC run has lines 'query_id Q0 doc_id rank score tag'")
    rankings = {
        query_id: ranking.order((Hit(doc_id, score) for doc_id, score in hits.items()), ranks[query_id])
        for query_id, hits in scores.items()
    }
    conflicts = sum(_contradicts(rankings[query_id], ranks[query_id]) for query_id in rankings)
    return RunFile(Run(tag, rankings), conflicts)


def _parse(path: Path, number: int, line: str) -> tuple[str, str, int, float, str]:
    columns = line.split()
    if len(columns) != 6:
        raise EvalkitError(
            f"{path}, line {number}: {len(columns)} columns where a TREC run has six "
            f"(query_id Q0 doc_id rank score tag): {line.strip()[:80]!r}"
        )
    query_id, _, doc_id, rank, score, tag = columns
    try:
        value = float(score)
        position = int(rank)
    except ValueError:
        raise EvalkitError(
            f"{path}, line {number}: rank {rank!r} and score {score!r} must be an integer and a number"
        ) from None
    if not math.isfinite(value):
        raise EvalkitError(f"{path}, line {number}: the score is {score}, and a score must be a finite number")
    return query_id, doc_id, position, value, tag


def _contradicts(hits: tuple[Hit, ...], ranks: Mapping[str, int]) -> bool:
    positions = [ranks[hit.doc_id] for hit in hits]
    return positions != sorted(positions)


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Write judgments as trec_eval reads them: ``query_id 0 doc_id grade``."""
    with path.open("w", encoding="utf-8") as out:
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                out.write(f"{query_id} 0 {doc_id} {grade}\n")


def write_run(run: Run, path: Path) -> None:
    """Write `run` with ranks from 1. Tied scores are written as they are: the rank column holds our order."""
    tag = "-".join(run.name.split()) or "run"
    with path.open("w", encoding="utf-8") as out:
        for query_id, hits in run.rankings.items():
            for rank, (doc_id, score) in enumerate(hits, 1):
                out.write(f"{query_id} Q0 {doc_id} {rank} {score!r} {tag}\n")
