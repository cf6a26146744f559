import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.significance import Delta, paired_delta


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
