"""The error rates that the gate states, simulated: how often it fails without a drop, and which drops it finds."""

from typing import Any

import numpy as np
import pytest

from evalkit.results.gate import evidence
from tests.conftest import slow
from tests.results.gate.test_judge import per_query, result, verdict

ALPHA, PAIRS, DRAWS = 0.05, 2000, 499
"""With 499 draws alpha is a whole number of flips, so that the test is as exact as with all of them."""
SIMULATION_ERROR = 2.6 * (ALPHA * (1 - ALPHA) / PAIRS) ** 0.5
"""One-sided, in 1 of 200 simulations."""


def even(rng: Any, n: Any) -> Any:
    """Changes of nDCG, RR and AP that have much in common, and of a recall that stays."""
    common = rng.normal(0, 1, (n, 1))
    return np.hstack([0.1 * common + rng.normal(0, 0.05, (n, 3)), np.zeros((n, 1))])


def uneven(rng: Any, n: Any) -> Any:
    """Four in five queries do not change; of the others, a few change much: RR by whole ranks, nDCG by heavy tails."""
    changed = rng.random((n, 1)) < 0.2
    ndcg = np.clip(0.15 * rng.standard_t(2, (n, 1)), -1, 1)
    rr = rng.choice([-2 / 3, -0.5, 0.0, 0.5, 2 / 3], (n, 1))
    ap = np.clip(0.6 * ndcg + rng.normal(0, 0.03, (n, 1)), -1, 1)
    return np.hstack([ndcg, rr, ap, np.zeros((n, 1))]) * changed


SHAPES = pytest.mark.parametrize("shape", [even, uneven])
SIZES = pytest.mark.parametrize("n", [20, 54, 200])


def worse(found: Any, seed: Any) -> Any:
    return min(evidence.drop_p(found.round(6), seed, DRAWS)) <= ALPHA


@SHAPES
@SIZES
def test_equal_systems_fail_no_more_often_than_stated_over_all_measures_together(shape: Any, n: Any) -> None:
    rng = np.random.default_rng(14)
    failed = sum(worse(shape(rng, n), seed) for seed in range(PAIRS))
    assert failed / PAIRS <= ALPHA + SIMULATION_ERROR


@SHAPES
@SIZES
@pytest.mark.parametrize("measure", [0, 1])
def test_a_drop_of_the_size_that_is_printed_is_seen_as_often_as_is_printed(shape: Any, n: Any, measure: Any) -> None:
    """The drop comes on top of changes as uneven as those that the figure was made of, in one measure alone."""
    rng = np.random.default_rng(measure)
    found, seen, pairs = shape(rng, n), 0, 700
    drop = evidence.detectable(found, measure, ALPHA, 0.8)
    for seed in range(pairs):
        change = found[rng.integers(0, n, n)] * rng.choice([-1.0, 1.0], (n, 1))
        change[:, measure] -= drop
        seen += evidence.drop_p(change, seed, DRAWS)[measure] <= ALPHA
    assert abs(seen / pairs - 0.8) <= 0.05


RARE = [
    pytest.param(lambda rng, n: rng.normal(-0.02, 0.1, n), id="even"),
    pytest.param(lambda rng, n: -rng.exponential(0.02, n), id="skewed"),
    pytest.param(lambda rng, n: rng.choice([-0.2, 0], n, p=[0.1, 0.9]), id="one in ten loses 0.2"),
    pytest.param(lambda rng, n: rng.choice([-0.4, 0], n, p=[0.05, 0.95]), id="one in twenty loses 0.4"),
    pytest.param(lambda rng, n: rng.choice([-0.3, 0.1, 0], n, p=[0.15, 0.25, 0.6]), id="some lose, more gain"),
]


@SIZES
@pytest.mark.parametrize("shape", RARE)
def test_a_drop_as_large_as_the_tolerance_is_seldom_called_not_worse(shape: Any, n: Any) -> None:
    """In 7.5 % at most, of the slices in which any query fell: what no query shows, no bound can rule out."""
    rng = np.random.default_rng(n)
    slices = [shape(rng, n) for _ in range(1000)]
    bounds = [evidence.at_least(change, 0.95) for change in slices if (change < 0).any()]
    assert sum(low is not None and low >= -0.02 for low in bounds) / len(slices) <= 0.075


def test_the_printed_drop_grows_with_the_spread_and_shrinks_with_the_queries_and_has_a_known_value() -> None:
    # One measure: the critical sum of signs is 1.6449, as Student's t with 99 degrees of freedom
    # 1.6449 * sqrt(99 / (100 - 1.6449 ** 2)) = 1.6590; the noncentral t exceeds it with 80 % at 2.502 / sqrt(100).
    found = np.array([[0.1], [-0.1]] * 50)
    spread = 0.1 * (100 / 99) ** 0.5
    assert evidence.detectable(found, 0, 0.05, 0.8) == pytest.approx(0.2502 * spread, rel=2e-3)
    assert evidence.detectable(3 * found, 0, 0.05, 0.8) == pytest.approx(3 * 0.2502 * spread, rel=2e-3)
    assert evidence.detectable(found[:50], 0, 0.05, 0.8) > 0.3 * spread


def test_the_correction_is_free_for_identical_measures_and_full_for_independent_ones() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 0.1, (100, 1))
    alone = evidence.detectable(one, 0, 0.05, 0.8)
    assert evidence.detectable(np.repeat(one, 4, axis=1), 0, 0.05, 0.8) == pytest.approx(alone, rel=0.01)
    assert evidence.detectable(np.hstack([one, np.zeros((100, 3))]), 0, 0.05, 0.8) == pytest.approx(alone)
    four = np.hstack([one, rng.normal(0, 0.1, (100, 3))])
    # As Bonferroni: 2.24 + 0.84 against 1.64 + 0.84.
    assert (evidence.detectable(four, 0, 0.05, 0.8) or 0) > 1.15 * (alone or 1)


def test_the_order_of_the_queries_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    values = {f"q{i}": float(value) for i, value in enumerate(rng.random(40).round(6))}
    before, after = {"nDCG@10": dict.fromkeys(values, 0.6)}, {"nDCG@10": values}
    other = ({m: dict(reversed(v.items())) for m, v in side.items()} for side in (before, after))
    assert evidence.drop_p(evidence.changes(before, after)) == evidence.drop_p(evidence.changes(*other))


def test_what_differs_in_the_last_decimal_only_is_no_change() -> None:
    before, after = {"nDCG@10": per_query(*[0.333333] * 20)}, {"nDCG@10": per_query(*[0.333332] * 20)}
    assert not evidence.changes(before, after).any()


def test_two_runs_of_one_system_hold_against_one_another_both_ways() -> None:
    """Seven of eight such pairs failed once, two with equal means both ways."""
    failures = []
    for pair in range(8):
        rng = np.random.default_rng(pair)
        base = rng.uniform(0.3, 0.8, 54)
        one, two = (result(reranked=tuple(np.clip(base + uneven(rng, 54)[:, 0], 0, 1))) for _ in range(2))
        failures += [judged for judged in (verdict(one, two), verdict(two, one)) if not judged.holds]
    assert len(failures) <= 1  # at 2 measures in 16 verdicts, of which two share their figures: 0.4 are expected


@slow
@SIZES
def test_the_whole_verdict_fails_equal_systems_no_more_often_than_stated(
    n: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "detectable", lambda *_: None)  # it takes time, and fails nothing
    rng = np.random.default_rng(22)
    failed = 0
    for _ in range(500):
        base = rng.uniform(0.3, 0.8, n)
        one, two = (tuple(np.clip(base + uneven(rng, n)[:, 0], 0, 1)) for _ in range(2))
        judged = verdict(result(reranked=one), result(reranked=two))
        failed += not judged.holds
        assert judged.false_alarms == ALPHA
    assert failed / 500 <= ALPHA + 2 * SIMULATION_ERROR  # a quarter of the pairs
