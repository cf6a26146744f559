import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.significance import Delta, deviation, paired_delta, smallest_detectable


def values(*numbers):
    return {f"q{i}": number for i, number in enumerate(numbers)}


def test_the_interval_is_student_s_around_the_mean_difference():
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard deviation 0.1; t(0.975, 2) = 4.302653 (any table of Student's t).
    margin = 4.302653 * 0.1 / math.sqrt(3)
    delta = paired_delta(values(0.2, 0.4, 0.6), values(0.3, 0.6, 0.9))
    assert delta.mean == pytest.approx(0.2)
    assert (delta.low, delta.high) == pytest.approx((0.2 - margin, 0.2 + margin), abs=1e-6)
    assert delta.low < 0
    assert delta.verdict == "made no clear difference"


def test_differences_are_taken_query_by_query_whatever_their_order():
    before, after = {"a": 0.1, "b": 0.9}, {"b": 1.0, "a": 0.2}
    delta = paired_delta(before, after)
    assert delta.mean == pytest.approx(0.1)
    assert (delta.wins, delta.ties, delta.losses) == (2, 0, 0)


def test_wins_ties_and_losses_add_up_and_rounding_is_a_tie():
    delta = paired_delta(values(0.5, 0.5, 0.5, 0.5), values(0.6, 0.5, 0.5 + 1e-12, 0.1))
    assert (delta.wins, delta.ties, delta.losses) == (1, 2, 1)


def test_identical_runs_differ_by_nothing():
    same = values(0.1, 0.7, 1.0, 0.0)
    assert paired_delta(same, same) == Delta(0.0, 0.0, 0.0, 0, 4, 0)
    assert paired_delta(same, same).verdict == "made no clear difference"


def test_one_query_has_a_difference_but_no_interval():
    delta = paired_delta(values(0.25), values(0.75))
    assert delta == Delta(0.5, None, None, 1, 0, 0)
    assert delta.verdict == "made no clear difference"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "helped"), (-0.2, -0.01, "hurt"), (-0.1, 0.1, "made no clear difference"),
     (0.0, 0.2, "made no clear difference"), (-0.2, 0.0, "made no clear difference")],
)  # fmt: skip
def test_the_verdict_needs_an_interval_that_leaves_out_zero(low, high, verdict):
    assert Delta((low + high) / 2, low, high, 1, 1, 1).verdict == verdict


def test_turning_the_systems_round_turns_the_difference_round():
    before, after = values(0.2, 0.5, 0.9, 0.3), values(0.4, 0.4, 1.0, 0.8)
    there, back = paired_delta(before, after), paired_delta(after, before)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=2, max_size=60))
def test_the_interval_equals_scipy_s(pairs):
    from scipy.stats import ttest_rel

    before = np.array([first / 64 for first, _ in pairs])
    after = np.array([second / 64 for _, second in pairs])
    assume(len(set(after - before)) > 1)  # scipy warns of differences that are all the same
    interval = ttest_rel(after, before).confidence_interval(0.95)
    delta = paired_delta(values(*before), values(*after))
    assert delta.mean == pytest.approx(float(np.mean(after - before)), abs=1e-12)
    assert (delta.low, delta.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize(("confidence", "t"), [(0.8, 1.885618), (0.9, 2.919986), (0.99, 9.924843)])
def test_the_confidence_asked_for_sets_the_width(confidence, t):
    # The differences of the first test; t((1 + confidence) / 2, 2) from any table of Student's t.
    delta = paired_delta(values(0.2, 0.4, 0.6), values(0.3, 0.6, 0.9), confidence)
    margin = t * 0.1 / math.sqrt(3)
    assert (delta.low, delta.high) == pytest.approx((0.2 - margin, 0.2 + margin), abs=1e-6)
    assert delta.verdict == ("helped" if margin < 0.2 else "made no clear difference")


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60))
def test_the_deviation_is_that_of_a_sample(numbers):
    assert deviation(numbers) == pytest.approx(float(np.std(numbers, ddof=1)), abs=1e-12)
    # Mean 5; squares 9 1 1 1 0 0 4 16 add up to 32, over 8 - 1.
    assert deviation([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7))


def test_the_smallest_detectable_drop_is_that_of_g_power():
    # G*Power, paired t test, two-sided, alpha 0.05: 34 pairs see an effect of half a deviation with power 0.8078.
    assert smallest_detectable(1.0, 34, 0.95, 0.8078) == pytest.approx(0.5, abs=5e-4)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 1), st.integers(3, 2000), st.sampled_from([0.8, 0.9, 0.95, 0.99]), st.floats(0.3, 0.95))
def test_a_drop_that_is_just_detectable_is_seen_with_the_power_asked_for(spread, n, confidence, power):
    from scipy.stats import nct, t

    effect = smallest_detectable(spread, n, confidence, power) / spread
    assert nct.sf(t.ppf((1 + confidence) / 2, n - 1), n - 1, effect * math.sqrt(n)) == pytest.approx(power, abs=1e-5)
    assert smallest_detectable(3 * spread, n, confidence, power) == pytest.approx(3 * effect * spread)
    assert smallest_detectable(spread, n + 1, confidence, power) < effect * spread
    assert smallest_detectable(spread, n, confidence, power + 0.01) > effect * spread


@pytest.mark.parametrize(("spread", "n"), [(0.1, 0), (0.1, 1), (0.0, 50)])
def test_one_query_or_no_spread_tells_nothing_of_what_can_be_seen(spread, n):
    assert smallest_detectable(spread, n) is None
