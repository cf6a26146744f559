"""Writes labels of three simulated judges, whose errors are known, to try ``python -m evalkit judges`` with.

    python tools/simulate_judges.py QRELS RUN labels.tsv

QRELS are a human's judgments, and RUN is the reranked ranking that the third judge favours. No model judges here.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
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


def _highest(human: Grades) -> int:
    return max(grade for grades in human.values() for grade in grades.values())


def main() -> None:
    """Write the labels of all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("qrels", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parsed = parser.parse_args()
    human = judgments.read(parsed.qrels)
    rankings = {q: [hit.doc_id for hit in hits] for q, hits in read_run(parsed.run).run.rankings.items()}
    judges = {"careless": careless(human), "lenient": lenient(human), "partial": partial(human, rankings)}
    labels.write(parsed.output, [Judge(name, "llm", grades) for name, grades in judges.items()])


if __name__ == "__main__":
    main()
