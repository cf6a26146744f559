import math
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.evaluation.surrogate_scores import strictly_decreasing, to_float32

LARGEST = float(np.finfo(np.float32).max)
LEAST_NORMAL = float(np.finfo(np.float32).tiny)


def below(value: Any) -> Any:
    """The next 32-bit number below, by numpy."""
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


@pytest.mark.parametrize(
    ("scores", "written"),
    [
        ([], []),
        ([3.5], [3.5]),
        ([0.3, 0.2, -0.1], [0.3, 0.2, -0.1]),  # they fall: not even the digits beyond 32 bits change
        ([1.0, 1.0, 0.5], [1.0, below(1.0), 0.5]),
        ([1.0, 1.0, 1.0], [1.0, below(1.0), below(below(1.0))]),
        ([-1.0, -1.0], [-1.0, below(-1.0)]),
        ([1.0 + 2**-40, 1.0], [1.0 + 2**-40, below(1.0)]),  # apart in 64 bits, one in 32
        ([1.0, 1.0, below(1.0)], [1.0, below(1.0), below(below(1.0))]),  # what is moved pushes on
        ([0.0, 0.0, 0.0], [0.0, -LEAST_NORMAL, below(-LEAST_NORMAL)]),  # no subnormal: some tools read it as 0
        ([0.0, -0.0], [0.0, -LEAST_NORMAL]),
        ([1e-44, 0.0], [1e-44, -LEAST_NORMAL]),
        ([1e-300, 1e-301], [1e-300, -LEAST_NORMAL]),
        ([1e300, 1e299, 1.0], [LARGEST, below(LARGEST), 1.0]),
        ([math.inf, 1.0], [LARGEST, 1.0]),
        ([1.0, -1e300, -math.inf], [1.0, -below(LARGEST), -LARGEST]),  # no room below: those before make some
        ([1.0, 2.0], [1.0, below(1.0)]),  # position is the truth, whatever the scores say
    ],
)
def test_scores_fall_by_the_least_that_32_bits_hold(scores: Any, written: Any) -> None:
    assert strictly_decreasing(scores) == written


any_score = st.one_of(
    st.floats(allow_nan=False),
    st.floats(-3, 3, width=16),
    st.sampled_from([0.0, -0.0, 1e-45, 1e-300, 1e300, -1e300, 7.0, 7.0 + 2**-45, LARGEST, -LARGEST]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(any_score, max_size=40).map(lambda scores: sorted(scores, reverse=True)))
def test_what_is_written_falls_in_32_bits_and_what_fell_before_still_does(scores: Any) -> None:
    written = strictly_decreasing(scores)
    held = [to_float32(score) for score in written]
    assert all(one > next_one for one, next_one in pairwise(held))
    assert all(math.isfinite(score) for score in held)
    assert strictly_decreasing(written) == written
    held = [to_float32(score) for score in scores]
    normal = [score if abs(score) >= LEAST_NORMAL else 0.0 for score in held]
    if all(map(math.isfinite, held)) and all(one > other for one, other in pairwise(normal)):
        assert written == scores


def test_single_is_what_a_32_bit_float_holds() -> None:
    assert to_float32(0.1) == float(np.float32(0.1)) != 0.1
    assert to_float32(sys.float_info.max) == math.inf
