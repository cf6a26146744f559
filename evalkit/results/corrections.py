"""The p values of a comparison, corrected for the number of its tests."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from evalkit.evaluation import significance
from evalkit.evaluation.significance import adjust_differing, any_differs, randomization_p
from evalkit.results.comparison_schema import CorrectedTest, Matrix, Tests

PairedTests = Mapping[str, Mapping[str, significance.Comparison]]
"""label of a system -> measure -> test before correction."""


def corrected(tests: PairedTests) -> Tests:
    """Return tests with p values corrected by Holm and by Benjamini and Hochberg over all of them.

    A test in which no query differs has p 1 in any case, and is not counted.

    Args:
        tests: before correction.
    """
    flat = [test for of_label in tests.values() for test in of_label.values()]
    ps, differ = [test.randomization_p for test in flat], [bool(test.wins + test.losses) for test in flat]
    with_p = (
        CorrectedTest(**vars(test), holm_p=holm, bh_p=bh)
        for test, holm, bh in zip(flat, adjust_differing(ps, differ, "holm"), adjust_differing(ps, differ, "bh"))
    )
    return {label: {measure: next(with_p) for measure in of_label} for label, of_label in tests.items()}


def without_difference(tests: Tests) -> int:
    """Return in how many tests no query differs.

    Args:
        tests: corrected ones.
    """
    return sum(not (test.wins + test.losses) for of_label in tests.values() for test in of_label.values())


def matrix_of(
    of: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    known: Sequence[float | None],
    seed: int,
    resamples: int,
) -> Matrix:
    """Return the p values of all pairs of systems, corrected by Holm over those pairs in which a query differs.

    Args:
        of: label -> query_id -> value of one measure.
        labels: the systems in the order of rows and columns.
        known: p values of the first system against each other one.
        seed: of the randomisation test.
        resamples: draws of the randomisation test.
    """
    pairs = list(combinations(range(len(labels)), 2))
    ps = [
        known[j - 1] if i == 0 else randomization_p(of[labels[i]], of[labels[j]], seed=seed, resamples=resamples)
        for i, j in pairs
    ]
    rows: list[list[float | None]] = [[None] * len(labels) for _ in labels]
    differ = [any_differs(of[labels[i]], of[labels[j]]) for i, j in pairs]
    for (i, j), p in zip(pairs, adjust_differing(ps, differ, "holm")):
        rows[i][j] = rows[j][i] = p
    return Matrix(list(labels), rows)
