"""What one could do without a reranker: each reranked or blended system against the best first stage alone."""

from collections.abc import Callable, Mapping, Sequence

from evalkit.evaluation import significance
from evalkit.results.comparison_schema import Best, BestTest, Matrix
from evalkit.results.systems import System

Test = Callable[[str, str, str], significance.Comparison]
"""Compares two systems, by their labels, in a measure."""


def best_without(
    systems: Sequence[System], measure: str, test: Test, matrix: Matrix
) -> tuple[Best | None, Mapping[str, BestTest]]:
    """Return the best systems with a reranker and without one, and each system with one against the best without.

    The best without a reranker, a fusion included, was picked for its mean on these queries; so p is that of the
    matrix, corrected over all pairs.

    Args:
        systems: the systems of a comparison.
        measure: the one that decides.
        test: the paired test.
        matrix: the corrected p values of all pairs in the measure.

    Returns:
        The two systems, and label -> test; None and nothing where all systems have a reranker, or none has one.
    """

    def best(of: Sequence[System]) -> System | None:
        return max(of, key=lambda one: one.mean[measure], default=None)

    reranking = [one for one in systems if one.side != "first_stage"]
    without, reranked = best([one for one in systems if one.side == "first_stage"]), best(reranking)
    if without is None or reranked is None:
        return None, {}
    row = matrix.holm_p[matrix.labels.index(without.label)]

    def against(label: str) -> BestTest:
        found = test(without.label, label, measure)
        p = row[matrix.labels.index(label)]
        return BestTest(found.mean, found.low, found.high, found.wins, found.ties, found.losses, holm_p=p)

    tests = {one.label: against(one.label) for one in reranking}
    return Best(measure, without.label, reranked.label, tests[reranked.label]), tests
