import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.power import Spread, needed, power_of, spread_of
from evalkit.evaluation.significance import paired_delta, randomization_p
from evalkit.evaluation.students_t import smallest_detectable
from tests.conftest import REPOSITORY


def exactly(value: float) -> Spread:
    return Spread(value, value, value)


def real_differences(measure: str) -> list[float]:
    """After - before of the example of the packaged collection, 74 queries."""
    result = json.loads((REPOSITORY / "reports/examples/dev/result.json").read_text("utf-8"))
    values = result["effectiveness"]["per_query"]
    return [values["reranked"][measure][q] - before for q, before in values["first_stage"][measure].items()]


# --- the number of queries


@pytest.mark.parametrize(
    ("effect", "power", "alpha", "queries"),
    [(0.5, 0.8, 0.05, 34), (0.2, 0.8, 0.05, 199), (0.8, 0.8, 0.05, 15), (0.5, 0.95, 0.05, 54), (0.5, 0.8, 0.01, 51)],
)
def test_the_number_is_that_of_g_power(effect: float, power: float, alpha: float, queries: int) -> None:
    # G*Power 3.1, t tests, difference between two dependent means, two tails.
    assert needed(effect, exactly(1.0), power, alpha).queries == queries


def test_by_the_normal_approximation_it_is_the_squared_ratio_of_quantiles_and_effect() -> None:
    # ((1.959964 + 0.841621) / 0.01)**2 = 78,488.8; Student's t adds z**2 / 2 = 1.92.
    assert needed(0.01, exactly(1.0)).queries == pytest.approx(78_488.8 + 1.92, abs=1.5)
    # Beyond 100,000 queries the t distribution is taken as normal: ((1.959964 + 0.841621) / 0.001)**2.
    assert needed(0.001, exactly(1.0)).queries == pytest.approx(7_848_880, abs=20)


@settings(deadline=None, max_examples=40)
@given(
    effect=st.floats(0.05, 3), power=st.floats(0.5, 0.99), alpha=st.sampled_from([0.05, 0.01, 0.1]),
    comparisons=st.integers(1, 20),
)  # fmt: skip
def test_it_is_the_smallest_with_that_power(effect: float, power: float, alpha: float, comparisons: int) -> None:
    found = needed(effect, exactly(1.0), power, alpha, comparisons)
    assert found.alpha == alpha / comparisons
    assert power_of(found.queries, effect, found.alpha) >= power
    assert found.queries == 2 or power_of(found.queries - 1, effect, found.alpha) < power
    detectable = smallest_detectable(1.0, found.queries, 1 - found.alpha, power)
    assert detectable is not None
    assert detectable <= effect + 1e-6


def test_more_comparisons_more_power_and_a_smaller_gain_take_more_queries() -> None:
    base = needed(0.02, exactly(0.2))
    for other in (
        needed(0.02, exactly(0.2), comparisons=2),
        needed(0.02, exactly(0.2), power=0.9),
        needed(0.01, exactly(0.2)),
        needed(0.02, exactly(0.3)),
    ):
        assert other.queries > base.queries


def test_the_interval_of_the_number_is_that_of_the_spread() -> None:
    found = needed(0.05, Spread(0.2, 0.1, 0.4))
    alone = [needed(0.05, exactly(value)).queries for value in (0.2, 0.1, 0.4)]
    assert [found.queries, found.low, found.high] == alone


# --- the spread


def test_the_interval_of_the_spread_is_bonett_s() -> None:
    # Five times -1 and five times 1: s**2 = 10/9; the trimmed mean is 0, so the kurtosis is 10 * 10 / 10**2 = 1.
    # c = 10 / (10 - 1.959964) = 1.243776; error = c * sqrt((1 - 7/10) / 9) = 0.227081.
    # Variance: c * 10/9 * exp(-+ 1.959964 * 0.227081) = 1.381973 * 0.640787 and / 0.640787.
    found = spread_of([-1.0, 1.0] * 5)
    assert found.value == pytest.approx(math.sqrt(10 / 9))
    assert found.low == pytest.approx(math.sqrt(1.381973 * 0.640787), abs=1e-5)
    assert found.high == pytest.approx(math.sqrt(1.381973 / 0.640787), abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(differences=st.lists(st.integers(-64, 64), min_size=10, max_size=60), data=st.data())
def test_the_spread_scales_and_knows_no_order(differences: list[int], data: Any) -> None:
    values = [value / 64 for value in [-64, *differences]]
    shuffled = [value / 4 + 0.5 for value in data.draw(st.permutations(values))]
    if max(values) == min(values):
        return
    one, other = spread_of(values), spread_of(shuffled)
    assert one.low <= one.value <= one.high
    assert [4 * other.low, 4 * other.value, 4 * other.high] == pytest.approx([one.low, one.value, one.high])


def test_too_few_queries_or_none_that_differ_are_no_basis() -> None:
    with pytest.raises(EvalkitError, match=r"9 queries are too few.*10 or more"):
        spread_of([0.1, 0.2, 0.3] * 3)
    with pytest.raises(EvalkitError, match="no spread to plan from"):
        spread_of([0.1] * 20)


# --- against simulation, with the per-query differences of a real result


def samples(measure: str, queries: int, mean: float, times: int, seed: int) -> Any:
    """Draw `times` samples of queries, with replacement, from real differences moved to a true mean."""
    differences = np.array(real_differences(measure))
    moved = differences - differences.mean() + mean
    return np.random.default_rng(seed).choice(moved, (times, queries))


def as_systems(differences: Any) -> tuple[dict[str, float], dict[str, float]]:
    return {str(i): 0.0 for i in range(len(differences))}, {str(i): float(d) for i, d in enumerate(differences)}


@pytest.mark.parametrize(
    ("measure", "gain", "comparisons"),
    [("nDCG@10", 0.04, 1), ("nDCG@10", 0.025, 1), ("RR@10", 0.12, 1), ("AP@100", 0.05, 1), ("nDCG@10", 0.04, 5)],
)
def test_a_trial_of_the_planned_size_shows_the_gain_in_80_percent_of_cases(
    measure: str, gain: float, comparisons: int
) -> None:
    plan = needed(gain, spread_of(real_differences(measure)), comparisons=comparisons)
    drawn = samples(measure, plan.queries, gain, 1000, seed=1)
    helped = sum(paired_delta(*as_systems(one), confidence=1 - plan.alpha).verdict == "helped" for one in drawn)
    assert 0.75 <= helped / len(drawn) <= 0.85


def test_the_randomisation_test_of_a_comparison_has_the_same_power() -> None:
    plan = needed(0.05, spread_of(real_differences("nDCG@10")))
    drawn = samples("nDCG@10", plan.queries, 0.05, 500, seed=2)
    seen = sum((randomization_p(*as_systems(one), seed=i, resamples=499) or 0) < 0.05 for i, one in enumerate(drawn))
    assert 0.75 <= seen / len(drawn) <= 0.85


def test_the_interval_of_the_spread_holds_the_true_one_in_95_percent_of_plans() -> None:
    # The truth is that of all 74 differences; a plan sees a sample as large.
    truth = float(np.std(real_differences("nDCG@10")))
    spreads = [spread_of(one.tolist()) for one in samples("nDCG@10", 74, 0.0, 400, seed=3)]
    assert 0.92 <= np.mean([spread.low <= truth <= spread.high for spread in spreads]) <= 0.98


def test_the_interval_is_wide_where_most_queries_stay_as_they_were() -> None:
    # 60 % zeros: the interval by chi-squared, which assumes a normal distribution, would hold the truth in about 70 %.
    rng = np.random.default_rng(4)
    drawn = rng.normal(0, 0.2, (400, 74)) * (rng.random((400, 74)) < 0.4)
    truth = 0.2 * math.sqrt(0.4)
    spreads = [spread_of(one.tolist()) for one in drawn]
    assert np.mean([spread.low <= truth <= spread.high for spread in spreads]) >= 0.9
