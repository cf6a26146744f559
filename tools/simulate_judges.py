"""Writes labels of three simulated judges and a simulated log of clicks, whose errors and biases are known.

    python tools/simulate_judges.py QRELS RERANKED labels.tsv SHOWN log.csv

QRELS are a human's judgments, RERANKED is the run that the third judge favours, and SHOWN the run that users see the
first ten of. They are for trying ``python -m evalkit judges`` and ``clicks`` with: no model judges here, and nobody
clicks.
"""

import argparse
import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.evaluation.judged_by import Judge
from evalkit.evaluation.trec import read_run
from evalkit.slices import judgments, labels

Grades = Mapping[str, Mapping[str, int]]


def careless(human: Grades, seed: int = 0) -> dict[str, dict[str, int]]:
    """Return the human's grades, of which two in ten are one step off, up or down: errors that favour no ranking."""
    draw, top = random.Random(seed), _highest(human)
    return {
        q: {d: min(max(grade + draw.choices((-1, 0, 1), (1, 8, 1))[0], 0), top) for d, grade in grades.items()}
        for q, grades in human.items()
    }


def lenient(human: Grades) -> dict[str, dict[str, int]]:
    """Return the human's grades, each one step higher up to the highest."""
    top = _highest(human)
    return {q: {d: min(grade + 1, top) for d, grade in grades.items()} for q, grades in human.items()}


def partial(
    human: Grades, rankings: Mapping[str, Sequence[str]], first: int = 5, seed: int = 0
) -> dict[str, dict[str, int]]:
    """Return the grades of `careless`, with the highest one for each judged passage among the `first` of a ranking."""
    top = _highest(human)
    return {
        q: {d: top if d in rankings.get(q, ())[:first] else grade for d, grade in grades.items()}
        for q, grades in careless(human, seed).items()
    }


CLICKS_BY_GRADE = (0.05, 0.2, 0.5, 0.8)
"""Chance that an examined passage is clicked, by its grade; the log's users examine rank r with chance 1 / r."""


def click_log(
    human: Grades, rankings: Mapping[str, Sequence[str]], sessions: int = 300, seed: int = 0
) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield query_id, doc_id, rank, impressions and clicks of users who see the first ten passages of each query.

    They click by the position-based model with eta 1; an unjudged passage attracts as grade 0 does.
    """
    draw = random.Random(seed)
    for query_id, grades in human.items():
        for rank, doc_id in enumerate(rankings.get(query_id, ())[:10], 1):
            chance = CLICKS_BY_GRADE[max(grades.get(doc_id, 0), 0)] / rank
            yield query_id, doc_id, rank, sessions, sum(draw.random() < chance for _ in range(sessions))


def _highest(human: Grades) -> int:
    return max(grade for grades in human.values() for grade in grades.values())


def write(qrels: Path, reranked: Path, to_labels: Path, shown: Path, to_log: Path) -> None:
    """Write the labels of all three judges, and the log.

    Args:
        qrels: a human's judgments.
        reranked: the run that `partial` favours.
        to_labels: the file of labels.
        shown: the run that users see.
        to_log: the file of clicks.
    """
    human = judgments.read(qrels).grades
    judges = {"careless": careless(human), "lenient": lenient(human), "partial": partial(human, _ids(reranked))}
    labels.write(to_labels, [Judge(name, "llm", grades) for name, grades in judges.items()])
    with to_log.open("w", encoding="utf-8", newline="") as out:
        rows = click_log(human, _ids(shown))
        csv.writer(out).writerows([("query_id", "doc_id", "rank", "impressions", "clicks"), *rows])


def _ids(path: Path) -> dict[str, list[str]]:
    return {query_id: [hit.doc_id for hit in hits] for query_id, hits in read_run(path).run.rankings.items()}


def main() -> None:
    """Read the paths from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("qrels", "reranked", "labels", "shown", "log")
    for name in names:
        parser.add_argument(name, type=Path)
    parsed = parser.parse_args()
    write(*(getattr(parsed, name) for name in names))


if __name__ == "__main__":
    main()
