"""Intervals of a change: whether they exclude 0, which alone is coloured or marked, and how far they are drawn."""

from collections.abc import Sequence
from typing import Literal

Trend = Literal["rise", "fall", "none"]

FEW = 10
"""Groups of fewer queries are marked as few: Student's t assumes means that are nearly normal."""


def trend(low: float | None, high: float | None) -> Trend:
    """Return "rise" or "fall" where an interval excludes 0, and "none" where it contains 0 or is not known.

    Args:
        low: lower end of the interval; None if it is not known.
        high: upper end of the interval; None if it is not known.
    """
    if low is None or high is None:
        return "none"
    return "rise" if low > 0 else "fall" if high < 0 else "none"


def clip(ends: Sequence[float | None], delta: float, first: float, ceiling: float) -> tuple[float, float] | None:
    """Return the interval of a change, clipped to the changes that the measure can make.

    Student's t interval may go beyond them: a mean of 0.9 cannot rise by 0.2.

    Args:
        ends: lower and upper end; None where they are not known.
        delta: the change of the mean, which is always within the result.
        first: the first stage's mean, to which the change is added.
        ceiling: the largest mean that is possible.

    Returns:
        Both ends, or None without an interval.
    """
    low, high = ends
    if low is None or high is None:
        return None
    return max(low, min(-first, delta)), min(high, max(ceiling - first, delta))
