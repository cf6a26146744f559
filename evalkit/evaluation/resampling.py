"""Tests and intervals of paired differences by resampling: sign flips, signed ranks and the bootstrap."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from evalkit.evaluation.students_t import ROUNDING, mean_and_spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

ENUMERATED = 13
"""Up to so many differences all sign flips are enumerated: 8,192, fewer than are drawn otherwise."""

_CHUNK = 2**18
"""Values drawn at a time."""


def randomization_p(differences: "Values", seed: int, resamples: int) -> float | None:
    """Return the two-sided p of the randomisation test (see `evalkit.evaluation.significance.randomization_p`).

    Args:
        differences: shape (queries,).
        seed: of the drawn flips.
        resamples: how many flips are drawn where they are not enumerated.

    Returns:
        p in (0, 1]; None with fewer than two differences.
    """
    import numpy as np

    if len(differences) < 2:
        return None
    changed = differences[differences != 0]  # flipping a 0 changes nothing
    n = len(changed)
    if n <= ENUMERATED:
        return _exact_p(changed)
    rng = np.random.default_rng(seed)
    drawn = sum(_as_far(rng.integers(0, 2, (m, n), dtype=np.bool_), changed) for m in _chunks(resamples, n))
    return (drawn + 1) / (resamples + 1)


def wilcoxon_p(differences: "Values") -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test with Pratt's treatment of zeros.

    Source: Pratt 1959, Remarks on zeros and ties in the Wilcoxon signed rank procedures. Exact with at most 13
    differences other than 0, or at most 50 differences without ties or zeros; else by normal approximation.

    Args:
        differences: shape (queries,), where equal ones are equal to the last digit.

    Returns:
        p in [0, 1]; None with fewer than two differences.
    """
    import numpy as np
    from scipy.stats import rankdata, wilcoxon

    if len(differences) < 2:
        return None
    changed = differences != 0
    if changed.sum() <= ENUMERATED:  # with zeros or ties, scipy approximates or takes seconds
        ranks = np.sign(differences) * rankdata(np.abs(differences))
        return _exact_p(ranks[changed])
    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def bca_interval(
    differences: "Values", confidence: float, seed: int, resamples: int
) -> tuple[float, float] | tuple[None, None]:
    """Return the BCa bootstrap interval of the mean difference.

    Source: Efron 1987, Better bootstrap confidence intervals.

    Args:
        differences: shape (queries,).
        confidence: of the interval, in (0, 1).
        seed: of the samples.
        resamples: number of samples.

    Returns:
        Its ends; (None, None) with fewer than two differences, or where every resampled mean lies on one side of the
        mean. Differences that are all equal give an interval of width 0.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    n = len(differences)
    mean, spread = mean_and_spread(differences)
    if n < 2:
        return None, None
    if not spread:
        return mean, mean
    rng = np.random.default_rng(seed)
    means = np.concatenate([differences[rng.integers(0, n, (m, n))].mean(axis=1) for m in _chunks(resamples, n)])
    # Means equal to the observed one, up to the order of summation, count half, as measures take few values.
    below = float(np.mean(means < mean - ROUNDING) + np.mean(means <= mean + ROUNDING)) / 2
    if below in (0.0, 1.0):
        return None, None
    bias = ndtri(below)
    from_mean = differences - mean  # jackknife influence values of a mean, up to a factor that cancels
    acceleration = np.sum(from_mean**3) / np.sum(from_mean**2) ** 1.5 / 6
    z = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def _exact_p(values: "Values") -> float:
    """Return the share of all sign flips of `values` whose sum is at least as far from 0 as theirs."""
    import numpy as np

    n = len(values)
    flips = (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1
    return _as_far(flips, values) / len(flips)


def _as_far(flips: "npt.NDArray[np.bool_]", values: "Values") -> int:
    """Count the rows of `flips`, shape (m, n), whose sign changes leave the sum of `values` at least as far from 0."""
    import numpy as np

    total = math.fsum(values)
    sums = total - 2 * (flips @ values)
    return int(np.count_nonzero(np.abs(sums) >= abs(total) - ROUNDING))  # up to rounding


def _chunks(resamples: int, n: int) -> Iterator[int]:
    """Yield sizes of batches of samples of `n` values, each batch of a few megabytes, `resamples` in all."""
    size = max(1, _CHUNK // n)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
