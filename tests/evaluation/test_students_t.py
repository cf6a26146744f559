import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.evaluation.students_t import deviation, interval, smallest_detectable


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60))
def test_the_deviation_is_that_of_a_sample(numbers: Any) -> None:
    assert deviation(numbers) == pytest.approx(float(np.std(numbers, ddof=1)), abs=1e-12)
    # Mean 5; squares 9 1 1 1 0 0 4 16 add up to 32, over 8 - 1.
    assert deviation([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7))


def test_the_smallest_detectable_drop_is_that_of_g_power() -> None:
    # G*Power, paired t test, two-sided, alpha 0.05: 34 pairs see an effect of half a deviation with power 0.8078.
    assert smallest_detectable(1.0, 34, 0.95, 0.8078) == pytest.approx(0.5, abs=5e-4)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 1), st.integers(3, 2000), st.sampled_from([0.8, 0.9, 0.95, 0.99]), st.floats(0.3, 0.95))
def test_a_drop_that_is_just_detectable_is_seen_with_the_power_asked_for(
    spread: Any, n: Any, confidence: Any, power: Any
) -> None:
    from scipy.stats import nct, t

    effect = smallest_detectable(spread, n, confidence, power) / spread
    assert nct.sf(t.ppf((1 + confidence) / 2, n - 1), n - 1, effect * math.sqrt(n)) == pytest.approx(power, abs=1e-5)
    assert smallest_detectable(3 * spread, n, confidence, power) == pytest.approx(3 * effect * spread)
    assert smallest_detectable(spread, n + 1, confidence, power) < effect * spread
    assert smallest_detectable(spread, n, confidence, power + 0.01) > effect * spread


@pytest.mark.parametrize(("spread", "n"), [(0.1, 0), (0.1, 1), (0.0, 50)])
def test_one_query_or_no_spread_gives_no_detectable_difference(spread: Any, n: Any) -> None:
    assert smallest_detectable(spread, n) is None


def test_an_interval_ends_at_the_limits_of_the_values() -> None:
    # t(0.975, 3) = 3.182446; RR of 1, 1, 1, 0.5: mean 0.875, deviation 0.25, so 0.875 +- 3.182446 * 0.25 / sqrt(4).
    assert interval(0.875, 0.25, 4, 0.95, least=0.0) == pytest.approx((0.875 - 0.397806, 1.0), abs=1e-6)
    assert interval(0.125, 0.25, 4, 0.95, least=0.0) == pytest.approx((0.0, 0.125 + 0.397806), abs=1e-6)
    assert interval(-0.875, 0.25, 4, 0.95, least=-1.0) == pytest.approx((-1.0, -0.875 + 0.397806), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0, 1 / 3, 1 / 2, 1]), min_size=2, max_size=9), st.sampled_from([0.8, 0.95, 0.99]))
def test_an_interval_of_a_measure_s_mean_holds_the_mean_and_lies_within_0_and_1(numbers: Any, confidence: Any) -> None:
    mean = sum(numbers) / len(numbers)
    low, high = interval(mean, deviation(numbers), len(numbers), confidence, least=0.0)
    assert low is not None
    assert high is not None
    assert 0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1
