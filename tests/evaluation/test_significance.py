import math
import tracemalloc
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.significance import (
    Comparison,
    Delta,
    Equivalence,
    adjust,
    adjust_differing,
    compare,
    equivalence,
    paired_delta,
    randomization_p,
)
from evalkit.evaluation.students_t import smallest_detectable


def values(*numbers: Any) -> Any:
    return {f"q{i:05}": number for i, number in enumerate(numbers)}


def compared(*differences: Any, **asked: Any) -> Any:
    return compare(values(*[0.0] * len(differences)), values(*differences), **asked)


PAIRS = st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=2, max_size=40)
"""Values of two systems in 64ths: many ties, and zeros."""


def systems(pairs: Any) -> Any:
    return values(*[first / 64 for first, _ in pairs]), values(*[second / 64 for _, second in pairs])


def test_the_interval_is_student_s_around_the_mean_difference() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard deviation 0.1; t(0.975, 2) = 4.302653 (any table of Student's t).
    margin = 4.302653 * 0.1 / math.sqrt(3)
    delta = paired_delta(values(0.2, 0.4, 0.6), values(0.3, 0.6, 0.9))
    assert delta.mean == pytest.approx(0.2)
    assert (delta.low, delta.high) == pytest.approx((0.2 - margin, 0.2 + margin), abs=1e-6)
    assert delta.low is not None
    assert delta.low < 0
    assert delta.verdict == "made no clear difference"


def test_differences_are_taken_query_by_query_whatever_their_order() -> None:
    before, after = {"a": 0.1, "b": 0.9}, {"b": 1.0, "a": 0.2}
    delta = paired_delta(before, after)
    assert delta.mean == pytest.approx(0.1)
    assert (delta.wins, delta.ties, delta.losses) == (2, 0, 0)


def test_wins_ties_and_losses_add_up_and_rounding_is_a_tie() -> None:
    delta = paired_delta(values(0.5, 0.5, 0.5, 0.5), values(0.6, 0.5, 0.5 + 1e-12, 0.1))
    assert (delta.wins, delta.ties, delta.losses) == (1, 2, 1)


def test_identical_runs_differ_by_nothing() -> None:
    same = values(0.1, 0.7, 1.0, 0.0)
    assert paired_delta(same, same) == Delta(0.0, 0.0, 0.0, 0, 4, 0)
    assert paired_delta(same, same).verdict == "made no clear difference"


def test_one_query_has_a_difference_but_no_interval() -> None:
    delta = paired_delta(values(0.25), values(0.75))
    assert delta == Delta(0.5, None, None, 1, 0, 0)
    assert delta.verdict == "made no clear difference"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "helped"), (-0.2, -0.01, "hurt"), (-0.1, 0.1, "made no clear difference"),
     (0.0, 0.2, "made no clear difference"), (-0.2, 0.0, "made no clear difference")],
)  # fmt: skip
def test_the_verdict_needs_an_interval_that_leaves_out_zero(low: Any, high: Any, verdict: Any) -> None:
    assert Delta((low + high) / 2, low, high, 1, 1, 1).verdict == verdict


def test_exchanging_the_systems_negates_the_difference() -> None:
    before, after = values(0.2, 0.5, 0.9, 0.3), values(0.4, 0.4, 1.0, 0.8)
    there, back = paired_delta(before, after), paired_delta(after, before)
    assert there.low is not None
    assert there.high is not None
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=2, max_size=60))
def test_the_interval_equals_scipy_s(pairs: Any) -> None:
    from scipy.stats import ttest_rel

    before = np.array([first / 64 for first, _ in pairs])
    after = np.array([second / 64 for _, second in pairs])
    assume(len(set(after - before)) > 1)  # scipy warns of differences that are all the same
    interval = ttest_rel(after, before).confidence_interval(0.95)
    delta = paired_delta(values(*before), values(*after))
    assert delta.mean == pytest.approx(float(np.mean(after - before)), abs=1e-12)
    cut = max(interval.low, -1), min(interval.high, 1)  # no measure changes by more than 1
    assert (delta.low, delta.high) == pytest.approx(cut, abs=1e-9)


@pytest.mark.parametrize(("confidence", "t"), [(0.8, 1.885618), (0.9, 2.919986), (0.99, 9.924843)])
def test_the_confidence_asked_for_sets_the_width(confidence: Any, t: Any) -> None:
    # The differences of the first test; t((1 + confidence) / 2, 2) from any table of Student's t.
    delta = paired_delta(values(0.2, 0.4, 0.6), values(0.3, 0.6, 0.9), confidence)
    margin = t * 0.1 / math.sqrt(3)
    assert (delta.low, delta.high) == pytest.approx((0.2 - margin, 0.2 + margin), abs=1e-6)
    assert delta.verdict == ("helped" if margin < 0.2 else "made no clear difference")


def test_a_comparison_agrees_with_the_paired_delta() -> None:
    draw = np.random.default_rng(3)
    before, after = values(*draw.random(30)), values(*draw.random(30))
    delta, comparison = paired_delta(before, after, 0.9), compare(before, after, 0.9, resamples=99)
    assert (comparison.mean, comparison.low, comparison.high) == pytest.approx((delta.mean, delta.low, delta.high))
    assert (comparison.wins, comparison.ties, comparison.losses) == (delta.wins, delta.ties, delta.losses)
    assert comparison.n == 30


def test_the_statistics_of_three_queries_are_those_computed_by_hand() -> None:
    # Differences 0.3, 0.2, -0.1: mean 0.4 / 3, squares of the distances 0.02778 + 0.00444 + 0.05444 = 0.08667.
    spread = math.sqrt(0.26 / 3 / 2)
    comparison = compare(values(0.1, 0.5, 0.6), values(0.4, 0.7, 0.5), resamples=99)
    assert comparison.mean == pytest.approx(0.4 / 3)
    assert comparison.effect_size == pytest.approx(0.4 / 3 / spread)
    assert comparison.detectable == pytest.approx(smallest_detectable(spread, 3))
    assert (comparison.wins, comparison.ties, comparison.losses, comparison.n) == (2, 0, 1, 3)
    # t = 1.1094 with 2 degrees of freedom, where P(|T| > t) = 1 - t / sqrt(2 + t^2).
    assert comparison.effect_size is not None
    t = comparison.effect_size * math.sqrt(3)
    assert comparison.t_p == pytest.approx(1 - t / math.sqrt(2 + t**2))
    # The eight flips sum to +-0.6, +-0.4, +-0.2, 0 and 0: four are as far from 0 as 0.4.
    assert comparison.randomization_p == 4 / 8
    # Ranks 3, 2, -1 sum to 4, and their flips to +-6, +-4, +-2, 0 and 0.
    assert comparison.wilcoxon_p == 4 / 8


def test_flips_that_differ_by_rounding_are_as_far() -> None:
    # With 0.6 positive, 0.1, 0.2 and 0.3 add 0.6, 0.4, 0.2, 0, 0, -0.2, -0.4, -0.6: five of the eight reach 0.6.
    assert compared(0.1, 0.2, -0.3, 0.6).randomization_p == 10 / 16
    assert compared(1 / 6, 1 / 3, -1 / 2, 1.0).randomization_p == 10 / 16


@pytest.mark.parametrize(("n", "exact"), [(2, 2 / 4), (12, 2 / 4096), (13, 2 / 8192)])
def test_the_randomization_test_of_few_changed_queries_is_exact(n: Any, exact: Any) -> None:
    # All differences point one way: only the flip of none and of all are as far. Unchanged queries change nothing.
    differences = [0.5 + 0.01 * i for i in range(n)]
    assert compared(*differences, resamples=99).randomization_p == exact
    assert compared(*differences, *[0.0] * 30, resamples=99).randomization_p == exact


@pytest.mark.parametrize("resamples", [99, 999, 9999])
def test_the_randomization_test_of_many_queries_counts_the_one_found(resamples: Any) -> None:
    # Sixty differences point one way; no flip that can ever be drawn is as far.
    assert compared(*[0.5] * 59, 0.6, resamples=resamples).randomization_p == 1 / (resamples + 1)


def test_the_drawn_randomization_test_comes_near_the_exact_one() -> None:
    draw = np.random.default_rng(5)
    differences = (draw.normal(0.1, 0.25, 14)).round(3)
    flips = (np.arange(2**14)[:, None] >> np.arange(14)) % 2 * 2 - 1
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-9)
    assert 0.05 < exact < 0.5
    # Standard error at most 0.005 with 9,999 draws.
    assert compared(*differences).randomization_p == pytest.approx(exact, abs=0.015)
    assert compared(*differences, seed=1).randomization_p != compared(*differences, seed=2).randomization_p


def test_the_randomization_test_can_be_used_without_the_others() -> None:
    draw = np.random.default_rng(6)
    before, after = values(*draw.random(40)), values(*draw.random(40))
    alone = randomization_p(before, after, seed=3, resamples=499)
    assert alone == compare(before, after, seed=3, resamples=499).randomization_p
    assert randomization_p(values(0.5), values(0.6)) is None


def test_unchanged_queries_are_ranked_and_then_left_out() -> None:
    # Ranks with the zeros 3, 4, 5, -6: 10 of 16 flips sum to 6 or more. Without them 1, 2, 3, -4: 14 of 16 reach 2.
    assert compared(0.0, 0.0, 0.1, 0.2, 0.3, -0.4).wilcoxon_p == 10 / 16
    assert compared(0.1, 0.2, 0.3, -0.4).wilcoxon_p == 14 / 16


def test_differences_equal_but_for_rounding_share_a_rank() -> None:
    # In floats 0.4 - 0.3 is above 0.2 - 0.1. Ranks 1.5, -1.5 and 3 sum to 3, which 6 of 8 flips reach; 2, -1 and 3
    # would sum to 4, which 4 of 8 reach.
    assert compare(values(0.3, 0.2, 0.0), values(0.4, 0.1, 0.5)).wilcoxon_p == 6 / 8


@pytest.mark.parametrize(("n", "digits"), [(5, 9), (9, 1), (14, 9), (40, 9), (40, 1), (51, 9), (200, 2)])
def test_wilcoxon_s_p_is_scipy_s(n: Any, digits: Any) -> None:
    from scipy.stats import wilcoxon

    # One digit leaves ties and zeros, nine leave none.
    differences = np.random.default_rng(n).normal(0.1, 0.3, n).round(digits)
    expected = wilcoxon(differences, zero_method="pratt").pvalue
    assert compared(*differences, resamples=99).wilcoxon_p == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_the_t_test_is_scipy_s(pairs: Any) -> None:
    from scipy.stats import ttest_rel

    before, after = systems(pairs)
    differences = np.array([second - first for first, second in pairs])
    assume(len(set(differences)) > 1)
    expected = ttest_rel([*after.values()], [*before.values()]).pvalue
    assert compare(before, after, resamples=9).t_p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("kind", ["skewed", "in 8ths"])
def test_the_bca_interval_is_scipy_s(kind: Any, confidence: Any) -> None:
    from scipy.stats import bootstrap

    draw = np.random.default_rng(11)
    differences = draw.beta(1, 4, 40).round(9) if kind == "skewed" else draw.choice([0, 0, 1, 2, 8], 40) / 8
    expected = bootstrap(
        (differences,), np.mean, method="BCa", n_resamples=2000, confidence_level=confidence,
        rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    comparison = compared(*differences, confidence=confidence, seed=7, resamples=2000)
    assert (comparison.bca_low, comparison.bca_high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    # The interval leans to the long tail, as Student's cannot.
    assert comparison.bca_high - comparison.mean > comparison.mean - comparison.bca_low


def test_a_bootstrap_whose_means_are_all_on_one_side_gives_no_interval() -> None:
    comparison = compared(0.1, 0.25, 0.7, resamples=1)
    assert (comparison.bca_low, comparison.bca_high) == (None, None)
    assert comparison.low is not None


def test_ten_thousand_queries_need_little_memory() -> None:
    draw = np.random.default_rng(8)
    before, after = values(*draw.random(10_000)), values(*draw.random(10_000))
    compare(values(0.1, 0.2), values(0.2, 0.4), resamples=9)  # what is imported stays, and is not counted
    tracemalloc.start()
    try:
        compare(before, after, resamples=2999)  # 240 MB in one piece; the pieces are the same with more
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n", [2, 3, 14, 60])
def test_identical_runs_compare_as_the_same(n: Any) -> None:
    same = values(*[i / 61 for i in range(n)])
    nothing = Comparison(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0, n, 0, None, n)
    assert compare(same, same) == nothing
    assert compare(same, {key: value + 1e-12 for key, value in same.items()}) == nothing


@pytest.mark.parametrize("difference", [0.5, 0.0, -0.25])
def test_one_query_compares_without_intervals_and_tests(difference: Any) -> None:
    wins, losses = int(difference > 0), int(difference < 0)
    assert compared(difference) == Comparison(
        difference, None, None, None, None, None, None, None, None,
        wins=wins, ties=1 - wins - losses, losses=losses, detectable=None, n=1,
    )  # fmt: skip


@pytest.mark.parametrize("c", [0.1, -0.3])
@pytest.mark.parametrize(("n", "by_sign"), [(2, 2 / 4), (5, 2 / 32), (10, 2 / 1024)])
def test_a_constant_difference_has_an_interval_without_width(c: Any, n: Any, by_sign: Any) -> None:
    before = [0.3 + 0.07 * i for i in range(n)]  # in floats, the differences are not all the same
    comparison = compare(values(*before), values(*[value + c for value in before]))
    assert comparison == Comparison(
        c, c, c, c, c, 0.0, by_sign, by_sign, None, n * (c > 0), 0, n * (c < 0), None, n
    )  # fmt: skip


def test_a_larger_constant_difference_is_found_by_every_test() -> None:
    comparison = compared(*[0.1] * 49)
    assert (comparison.mean, comparison.low, comparison.bca_high, comparison.t_p) == (0.1, 0.1, 0.1, 0.0)
    assert comparison.randomization_p == 1 / 10_000
    assert comparison.wilcoxon_p < 1e-6


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_queries_changes_nothing(pairs: Any, order: Any) -> None:
    before, after = systems(pairs)
    shuffled = [*before]
    order.shuffle(shuffled)
    again = compare(
        {key: before[key] for key in shuffled}, {key: after[key] for key in reversed(shuffled)}, resamples=99
    )
    assert again == compare(before, after, resamples=99)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_exchanging_the_systems_negates_the_comparison(pairs: Any) -> None:
    before, after = systems(pairs)
    there, back = compare(before, after, resamples=99), compare(after, before, resamples=99)

    def negated(value: Any) -> Any:
        return None if value is None else -value

    turned = replace(
        there,
        mean=-there.mean,
        low=negated(there.high),
        high=negated(there.low),
        bca_low=negated(there.bca_high),
        bca_high=negated(there.bca_low),
        effect_size=negated(there.effect_size),
        wins=there.losses,
        losses=there.wins,
    )
    assert asdict(back) == pytest.approx(asdict(turned), abs=1e-9)
    assert back.randomization_p == there.randomization_p


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40), st.floats(0.5, 0.99))
def test_whatever_the_differences_the_figures_are_numbers_that_fit_together(differences: Any, confidence: Any) -> None:
    comparison = compared(*differences, confidence=confidence, resamples=199)
    assert all(value is None or math.isfinite(value) for value in asdict(comparison).values())
    assert comparison.low <= comparison.mean <= comparison.high
    assert comparison.wins + comparison.ties + comparison.losses == comparison.n == len(differences)
    for p in (comparison.t_p, comparison.wilcoxon_p, comparison.randomization_p):
        assert 0 <= p <= 1
    assert comparison.randomization_p > 0
    if comparison.bca_low is not None:
        assert min(differences) - 1e-9 <= comparison.bca_low <= comparison.bca_high <= max(differences) + 1e-9
    if comparison.effect_size:
        assert comparison.t_p < 1 - confidence + 1e-9 or comparison.low <= 0 <= comparison.high


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [({"a": 0.1, "b": 0.2}, {"a": 0.1}, "query 'b' has a value in one system only"),
     ({"a": 0.1}, {"a": 0.1, "c": 0.2}, "query 'c' has a value in one system only"),
     ({}, {}, "there is no query"),
     ({"a": 0.1, "b": 0.2}, {"a": 0.1, "b": math.nan}, "query 'b' has a value that is not a finite number"),
     ({"a": 0.1, "b": math.inf}, {"a": 0.1, "b": math.inf}, "query 'b' has a value that is not a finite number")],
)  # fmt: skip
@pytest.mark.parametrize("test", [compare, randomization_p, lambda before, after: equivalence(before, after, 0.1)])
def test_what_cannot_be_paired_is_refused(test: Any, before: Any, after: Any, message: Any) -> None:
    with pytest.raises(EvalkitError, match=message):
        test(before, after)


def test_the_intervals_cover_the_true_mean_with_the_stated_confidence() -> None:
    # 50 queries, differences by Beta(1, 3): in [0, 1], skewness 0.86, mean 1 / 4. Found: t 0.955, BCa 0.945;
    # standard error 0.008. With 2,000 repetitions and resamples: t 0.9445, BCa 0.9405.
    draw = np.random.default_rng(20)
    found = [compared(*draw.beta(1, 3, 50), seed=i, resamples=400) for i in range(800)]
    assert np.mean([one.low <= 0.25 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)
    assert np.mean([one.bca_low <= 0.25 <= one.bca_high for one in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [10, 50])
def test_equal_systems_differ_significantly_as_often_as_expected(n: Any) -> None:
    # Differences up or down alike. Found below 0.05: 0.046 with 10 queries, 0.049 with 50; standard error 0.007.
    draw = np.random.default_rng(22)
    zeros = values(*[0.0] * n)
    p = np.array(
        [
            randomization_p(zeros, values(*draw.choice([-1, 1], n) * draw.beta(1, 2, n)), seed=i, resamples=499)
            for i in range(1000)
        ]
    )
    assert 0.03 < np.mean(p < 0.05) < 0.07
    assert np.histogram(p, [0, 0.25, 0.5, 0.75, 1.01])[0] == pytest.approx([250] * 4, abs=50)


def test_a_detectable_drop_is_that_of_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower  # type: ignore[import-untyped]

    for n, confidence, power in [(5, 0.95, 0.8), (50, 0.95, 0.8), (50, 0.9, 0.5), (1000, 0.99, 0.9)]:
        effect = TTestPower().solve_power(nobs=n, alpha=(1 - confidence) / 2, power=power, alternative="larger")
        assert smallest_detectable(0.2, n, confidence, power) == pytest.approx(0.2 * effect, rel=1e-5)
    differences = np.random.default_rng(9).normal(0, 0.3, 50)
    spread = float(np.std(differences, ddof=1))
    comparison = compared(*differences, confidence=0.9, power=0.5, resamples=9)
    assert comparison.detectable == pytest.approx(smallest_detectable(spread, 50, 0.9, 0.5))


def test_p_values_are_corrected_as_by_hand() -> None:
    # Ascending 0.005, 0.01, 0.03, 0.04. Holm: times 4, 3, 2, 1, never falling. BH: times 4/1, 4/2, 4/3, 4/4, never
    # above the next one.
    ps = [0.01, 0.04, 0.03, 0.005]
    assert adjust(ps, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust(ps, "bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("method", ["holm", "bh"])
def test_p_values_that_are_not_there_stay_away_and_are_not_counted(method: Any) -> None:
    assert adjust([None, 0.01, None, 0.04], method)[0::2] == [None, None]
    assert adjust([None, 0.01, None, 0.04], method)[1::2] == adjust([0.01, 0.04], method)
    assert adjust([None, 0.3], method) == [None, 0.3]
    assert adjust([None, None], method) == [None, None]
    assert adjust([], method) == []
    assert adjust([0.0, 0.9, 1.0], method)[0] == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrected_p_values_follow_holm_and_benjamini_and_hochberg(ps: Any) -> None:
    ascending, m = sorted(ps), len(ps)
    holm = [min(1, max((m - j) * ascending[j] for j in range(i + 1))) for i in range(m)]
    bh = [min(m * ascending[j] / (j + 1) for j in range(i, m)) for i in range(m)]
    assert adjust(ps, "holm") == pytest.approx([holm[ascending.index(p)] for p in ps], abs=1e-12)
    assert adjust(ps, "bh") == pytest.approx([bh[ascending.index(p)] for p in ps], abs=1e-12)


@pytest.mark.parametrize(("method", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrected_p_values_are_statsmodels(method: Any, theirs: Any) -> None:
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

    ps = [*np.random.default_rng(10).beta(0.3, 2, 50).tolist(), 0.0, 0.02, 0.02, 1.0]
    assert adjust(ps, method) == pytest.approx(multipletests(ps, method=theirs)[1].tolist(), rel=1e-14)


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.floats(0.001, 1), st.floats(0.001, 0.4))
def test_equivalence_is_that_of_statsmodels(pairs: Any, margin: Any, alpha: Any) -> None:
    from scipy.stats import ttest_rel
    from statsmodels.stats.weightstats import ttost_paired  # type: ignore[import-untyped]

    before, after = systems(pairs)
    first, second = np.array([*before.values()]), np.array([*after.values()])
    assume(len(set(second - first)) > 1)
    found = equivalence(before, after, margin, alpha)
    assert found.p == pytest.approx(ttost_paired(second, first, -margin, margin)[0], abs=1e-12)
    interval = ttest_rel(second, first).confidence_interval(1 - 2 * alpha)
    assert (found.low, found.high) == pytest.approx((max(interval.low, -1), min(interval.high, 1)), abs=1e-9)
    assert found.mean == pytest.approx(np.mean(second - first), abs=1e-12)
    assert found.margin == margin
    assume(abs(found.p - alpha) > 1e-9)
    assert found.equivalent == (found.p < alpha) == (-margin < found.low and found.high < margin)
    back = equivalence(after, before, margin, alpha)
    assert found.low is not None
    assert found.high is not None
    assert (back.p, back.low, back.high) == pytest.approx((found.p, -found.high, -found.low), abs=1e-9)


@pytest.mark.parametrize("margin", [1e-12, 0.01, 1.0])
def test_identical_runs_are_equivalent_by_any_margin(margin: Any) -> None:
    same = values(0.1, 0.7, 1.0)
    assert equivalence(same, same, margin) == Equivalence(margin, 0.0, 0.0, 0.0, 0.0, True)


def test_constant_differences_are_equivalent_within_the_margin_only() -> None:
    def constant(margin: Any) -> Any:
        return equivalence(values(0.2, 0.5, 0.6), values(0.3, 0.6, 0.7), margin)

    assert constant(0.11) == Equivalence(0.11, 0.1, 0.1, 0.1, 0.0, True)
    assert constant(0.1) == Equivalence(0.1, 0.1, 0.1, 0.1, 1.0, False)
    assert constant(0.05) == Equivalence(0.05, 0.1, 0.1, 0.1, 1.0, False)


def test_one_query_shows_no_equivalence() -> None:
    assert equivalence(values(0.5), values(0.5), 0.1) == Equivalence(0.1, 0.0, None, None, None, False)


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan])
def test_a_margin_that_is_not_above_zero_is_refused(margin: Any) -> None:
    with pytest.raises(EvalkitError, match="margin"):
        equivalence(values(0.1, 0.2), values(0.1, 0.3), margin)


def test_tests_without_a_difference_are_not_counted_and_the_others_only_gain() -> None:
    """By hand: Holm of 0.01 and 0.03 is 0.02 and 0.03; among four it would be 0.04 and 0.09."""
    ps, differ = [0.01, 1.0, 0.03, 1.0, None], [True, False, True, False, True]
    assert adjust_differing(ps, differ, "holm")[:4] == pytest.approx([0.02, 1.0, 0.03, 1.0])
    assert adjust(ps[:4], "holm")[:3:2] == pytest.approx([0.04, 0.09])
    assert adjust_differing([1.0, None], [False, False], "bh") == [1.0, None]
