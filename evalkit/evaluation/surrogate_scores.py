"""Strictly decreasing 32-bit scores that are closest to given scores, so that sorting by score gives the ranking."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Steps = NDArray[np.int64]

_SUBNORMAL = (1 << 23) - 1
"""Count of subnormal numbers on one side of 0; they count as 0 here, since some tools read them as 0."""
_LARGEST = 0x7F7F_FFFF - _SUBNORMAL
"""The largest finite number, in steps from 0."""


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """Return the scores of a ranking, adjusted so that they strictly decrease in 32 bits.

    Args:
        scores: best first; infinite ones are allowed.

    Returns:
        As many scores. One that is below its predecessor in 32 bits is unchanged, bit by bit. Any other becomes the
        largest 32-bit number below its predecessor, and infinity the largest finite number. Where there is no number
        left below, the predecessors are raised as little as possible.
    """
    import numpy as np

    if not scores:
        return []
    wanted = np.asarray(scores, dtype=np.float64)
    with np.errstate(over="ignore"):
        single = wanted.astype(np.float32)
    steps = np.clip(_steps(single), -_LARGEST, _LARGEST)
    places = np.arange(len(steps))
    # Strictly decreasing steps are a running minimum of steps + position, less the position.
    moved = np.minimum.accumulate(steps + places) - places
    moved = np.maximum(moved, len(steps) - 1 - places - _LARGEST)
    stays = (moved == steps) & np.isfinite(single)
    return [score if stay else value for score, stay, value in zip(wanted.tolist(), stays.tolist(), _values(moved))]


def to_float32(score: float) -> float:
    """Round `score` to 32 bits; infinite where it exceeds them."""
    import ctypes

    return ctypes.c_float(score).value


def _steps(values: "NDArray[np.float32]") -> "Steps":
    """Return how many 32-bit numbers each of `values` is away from 0; 0 for subnormal ones."""
    import numpy as np

    bits = values.view(np.int32).astype(np.int64)
    size = np.maximum((bits & 0x7FFF_FFFF) - _SUBNORMAL, 0)
    steps: Steps = np.where(bits < 0, -size, size)
    return steps


def _values(steps: "Steps") -> list[float]:
    """Return the 32-bit numbers that are `steps` away from 0."""
    import numpy as np

    size = np.abs(steps)
    bits = np.where(size > 0, size + _SUBNORMAL, 0).astype(np.int32)
    values = np.where(steps < 0, -1.0, 1.0) * bits.view(np.float32).astype(np.float64)
    found: list[float] = values.tolist()
    return found
