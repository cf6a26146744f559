"""How sure a difference is: paired over queries, with an interval for its mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Delta:
    """The difference after - before of one measure, query by query."""

    mean: float
    low: float | None
    """Lower end of the confidence interval of the mean; None with fewer than two queries."""
    high: float | None
    wins: int
    ties: int
    losses: int

    @property
    def verdict(self) -> str:
        """One of "helped" and "hurt" where the interval leaves out 0, else "made no clear difference"."""
        if self.low is not None and self.high is not None:
            if self.low > 0:
                return "helped"
            if self.high < 0:
                return "hurt"
        return "made no clear difference"


def paired_delta(before: Mapping[str, float], after: Mapping[str, float], confidence: float = 0.95) -> Delta:
    """Compare two systems on the same queries: mean difference, Student's t interval, wins, ties, losses.

    Source of the interval: mean +- t((1 + confidence) / 2, n - 1) * s / sqrt(n) over the per-query differences.
    """
    from scipy.stats import t

    differences = [after[query_id] - before[query_id] for query_id in before]
    n = len(differences)
    mean = math.fsum(differences) / n
    low = high = None
    if n > 1:
        margin = float(t.ppf((1 + confidence) / 2, n - 1)) * deviation(differences) / math.sqrt(n)
        low, high = mean - margin, mean + margin
    wins = sum(d > _TIE for d in differences)
    losses = sum(d < -_TIE for d in differences)
    return Delta(mean, low, high, wins, n - wins - losses, losses)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, with n - 1 in the denominator."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def smallest_detectable(spread: float, n: int, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """Return the smallest true mean difference whose interval leaves out 0 with probability `power`.

    `spread` is the standard deviation of the per-query differences, `n` the number of queries; None where there is
    no telling (fewer than two queries, or no spread). Source: power of the paired t test by the noncentral t
    distribution, one side of it, as in G*Power (Faul et al. 2007) and statsmodels' TTestPower.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2 or spread <= 0:
        return None
    critical = t.ppf((1 + confidence) / 2, n - 1)

    def short_of_power(effect: float) -> float:
        return float(nct.sf(critical, n - 1, effect * math.sqrt(n))) - power

    if short_of_power(0.0) >= 0:
        return 0.0  # less power is asked for than chance has
    most = 1.0
    while short_of_power(most) < 0:
        most *= 2
    return float(brentq(short_of_power, 0.0, most, xtol=1e-9)) * spread


_TIE = 1e-9
"""Differences below this are rounding, not ranking."""
