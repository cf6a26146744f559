"""Which of several settings no other beats in both time and quality."""

Point = tuple[float, float]
"""Time, lower is better, and quality, higher is better; any unit."""


def dominates(one: Point, other: Point) -> bool:
    """Return whether `one` is at least as fast and as good as `other`, and not equal to it.

    Args:
        one: time and quality.
        other: time and quality, in the same units.
    """
    return one != other and one[0] <= other[0] and one[1] >= other[1]
