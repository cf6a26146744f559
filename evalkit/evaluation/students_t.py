"""Student's t distribution of a mean: intervals, tails, and the smallest difference that a test detects."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROUNDING = 1e-9
"""Values of measures that differ by no more are equal."""


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation, with n - 1 in the denominator.

    Args:
        values: two or more.
    """
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def mean_and_spread(values: "npt.NDArray[np.float64]") -> tuple[float, float]:
    """Return mean and standard deviation; the latter is 0.0 for one value, or if all are equal up to rounding.

    Args:
        values: shape (n,), n >= 1.
    """
    if float(values.max() - values.min()) <= ROUNDING:
        return float(values[0]), 0.0
    return fmean(values), deviation(values.tolist())


def interval(
    mean: float, spread: float, n: int, confidence: float, least: float, most: float = 1.0
) -> tuple[float | None, float | None]:
    """Return Student's two-sided interval of a mean: mean +- t((1 + confidence) / 2, n - 1) * spread / sqrt(n).

    It is cut at the limits of the values, which no mean can pass. Source: Student 1908, The probable error of a mean.

    Args:
        mean: of the values.
        spread: their standard deviation.
        n: number of values.
        confidence: of the interval, in (0, 1).
        least: the smallest value there can be: 0 for a measure, -1 for a difference of two measures.
        most: the largest value there can be.

    Returns:
        Its ends in the unit of the values; (None, None) with fewer than two values.
    """
    from scipy.stats import t

    if n < 2:
        return None, None
    margin = float(t.ppf((1 + confidence) / 2, n - 1)) * spread / math.sqrt(n)
    return max(mean - margin, least), min(mean + margin, most)


def p_above(distance: float, spread: float, n: int) -> float:
    """Return the probability that a mean exceeds its true value by `distance` or more, by Student's t.

    Args:
        distance: in the unit of the values.
        spread: standard deviation of the values; with 0.0 the probability is 0.0 above a distance of 0, else 1.0.
        n: number of values, 2 or more.
    """
    from scipy.stats import t

    if not spread:
        return 0.0 if distance > 0 else 1.0
    return float(t.sf(distance / spread * math.sqrt(n), n - 1))


def lower_bound(values: Sequence[float], confidence: float = 0.95) -> float:
    """Return Student's one-sided lower bound of a mean: mean - t(confidence, n - 1) * s / sqrt(n).

    Args:
        values: two or more.
        confidence: of the bound, in (0, 1).
    """
    from scipy.stats import t

    n = len(values)
    return fmean(values) - float(t.ppf(confidence, n - 1)) * deviation(values) / math.sqrt(n)


def smallest_detectable(spread: float, n: int, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """Return the smallest true mean difference whose interval excludes 0 with probability `power`.

    Source: power of the paired t test by the noncentral t distribution, one tail of it, as in G*Power (Faul et al.
    2007) and statsmodels' TTestPower.

    Args:
        spread: standard deviation of the per-query differences.
        n: number of queries.
        confidence: of the interval, in (0, 1).
        power: probability in (0, 1).

    Returns:
        A difference in the unit of `spread`; None with fewer than two queries or without spread.
    """
    from scipy.stats import t

    if n < 2 or spread <= 0:
        return None
    return detectable_above(float(t.ppf((1 + confidence) / 2, n - 1)), spread, n, power)


def detectable_above(critical: float, spread: float, n: int, power: float = 0.8) -> float:
    """Return the true mean for which Student's t of `n` values is above `critical` with probability `power`.

    Source: the noncentral t distribution, as in `smallest_detectable`.

    Args:
        critical: critical value of t.
        spread: standard deviation of the values, above 0.
        n: number of values, 2 or more.
        power: probability in (0, 1).
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    def short_of_power(effect: float) -> float:
        return float(nct.sf(critical, n - 1, effect * math.sqrt(n))) - power

    if short_of_power(0.0) >= 0:
        return 0.0  # chance alone has more power than requested
    most = 1.0
    while short_of_power(most) < 0:
        most *= 2
    return float(brentq(short_of_power, 0.0, most, xtol=1e-9)) * spread
