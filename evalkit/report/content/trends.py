"""How sure a change looks: the one rule for what tables and pictures may colour, and how far an interval is drawn."""

from collections.abc import Sequence
from typing import Literal

Trend = Literal["rise", "fall", "none"]

FEW = 10
"""Groups of fewer queries are marked as few: Student's t leans on means that are nearly normal."""


def trend(low: float | None, high: float | None) -> Trend:
    """Return "rise" or "fall" where an interval leaves out 0; "none" where it holds 0, or there is none."""
    if low is None or high is None:
        return "none"
    return "rise" if low > 0 else "fall" if high < 0 else "none"


def within(ends: Sequence[float | None], delta: float, first: float, ceiling: float) -> tuple[float, float] | None:
    """Return the interval of a change, cut where the measure itself would pass 0 or its ceiling; None without one.

    Student's t knows no bounds. `first` is the first stage's mean, from which the change counts; `delta` is never cut
    off.
    """
    low, high = ends
    if low is None or high is None:
        return None
    return max(low, min(-first, delta)), min(high, max(ceiling - first, delta))
