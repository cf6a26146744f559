"""How sure a difference is: paired over queries, with an interval for its mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Delta:
    """The difference after - before of one measure, query by query."""

    mean: float
    low: float | None
    """Lower end of the 95 % confidence interval of the mean; None with fewer than two queries."""
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


def paired_delta(before: Mapping[str, float], after: Mapping[str, float]) -> Delta:
    """Compare two systems on the same queries: mean difference, Student's t interval, wins, ties, losses.

    Source of the interval: mean +- t(0.975, n - 1) * s / sqrt(n) over the per-query differences.
    """
    from scipy.stats import t

    differences = [after[query_id] - before[query_id] for query_id in before]
    n = len(differences)
    mean = math.fsum(differences) / n
    low = high = None
    if n > 1:
        deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
        margin = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
        low, high = mean - margin, mean + margin
    wins = sum(d > _TIE for d in differences)
    losses = sum(d < -_TIE for d in differences)
    return Delta(mean, low, high, wins, n - wins - losses, losses)


_TIE = 1e-9
"""Differences below this are rounding, not ranking."""
