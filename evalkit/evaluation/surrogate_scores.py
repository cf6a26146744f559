"""Scores that fall strictly in 32 bits, as close as can be to scores that do not: the order is in the scores alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Steps = NDArray[np.int64]

_SUBNORMAL = (1 << 23) - 1
"""Numbers between 0 and the least normal one; some tools read them as 0, so none of them makes a difference here."""
_LARGEST = 0x7F7F_FFFF - _SUBNORMAL
"""The largest finite number, counted in steps from 0."""


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """Return `scores`, of a ranking and best first, with each that does not fall below the one before it moved.

    One that is moved becomes the largest 32-bit number below the one before it, and infinite ones the largest finite
    number; those that fall by themselves stay as they are, bit by bit. Where there is no room left below, as after the
    lowest number of all, those before move up by the least that makes room.
    """
    import numpy as np

    if not scores:
        return []
    wanted = np.asarray(scores, dtype=np.float64)
    with np.errstate(over="ignore"):
        single = wanted.astype(np.float32)
    steps = np.clip(_steps(single), -_LARGEST, _LARGEST)
    places = np.arange(len(steps))
    # A step below the one before is what is left of a running minimum, once every place is given back its number.
    moved = np.minimum.accumulate(steps + places) - places
    moved = np.maximum(moved, len(steps) - 1 - places - _LARGEST)
    stays = (moved == steps) & np.isfinite(single)
    return [score if stay else value for score, stay, value in zip(wanted.tolist(), stays.tolist(), _values(moved))]


def to_float32(score: float) -> float:
    """Return `score` as 32 bits hold it, infinite where it is beyond them."""
    import ctypes

    return ctypes.c_float(score).value


def _steps(values: "NDArray[np.float32]") -> "Steps":
    """Return how many 32-bit numbers away from 0 each of `values` is; subnormal ones are 0."""
    import numpy as np

    bits = values.view(np.int32).astype(np.int64)
    size = np.maximum((bits & 0x7FFF_FFFF) - _SUBNORMAL, 0)
    steps: Steps = np.where(bits < 0, -size, size)
    return steps


def _values(steps: "Steps") -> list[float]:
    """Return the numbers so many steps away from 0."""
    import numpy as np

    size = np.abs(steps)
    bits = np.where(size > 0, size + _SUBNORMAL, 0).astype(np.int32)
    values = np.where(steps < 0, -1.0, 1.0) * bits.view(np.float32).astype(np.float64)
    found: list[float] = values.tolist()
    return found
