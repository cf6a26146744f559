"""Picking one of several settings: what is picked, and a figure for it that picking has not made better."""

import random
from statistics import fmean
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.selection import best, select


def test_each_fold_is_measured_at_the_setting_that_the_others_pick() -> None:
    values = {
        "a": {"q0": 1.0, "q1": 0.0, "q2": 0.6, "q3": 0.1},
        "b": {"q0": 0.1, "q1": 0.7, "q2": 0.0, "q3": 0.8},
    }
    found = select(values, best, folds=4, seed=0)
    # Sums without q0: a 0.7, b 1.5, so b; without q1: a 1.7, b 0.9, so a; without q2: a 1.1, b 1.6, so b; without q3:
    # a 1.6, b 0.8, so a.
    assert found.estimate == pytest.approx((0.1 + 0.0 + 0.0 + 0.1) / 4)
    assert found.picked == "a"
    assert found.mean == pytest.approx(0.425)
    assert found.optimism == pytest.approx(0.375)
    assert sorted(found.folds) == ["a", "a", "b", "b"]


def test_one_setting_is_picked_by_every_fold_and_its_mean_is_no_better_than_it_is() -> None:
    found = select({"only": {"q0": 0.25, "q1": 0.75}}, best, folds=2, seed=0)
    assert (found.mean, found.estimate, found.optimism) == (0.5, 0.5, 0.0)
    # t(0.975, 1) = 12.706, s / sqrt(2) = 0.25: 0.5 +- 3.18, cut at 0 and 1.
    assert found.interval == (0.0, 1.0)


def test_of_settings_with_equal_means_the_first_is_picked() -> None:
    assert best({"cheap": 0.5, "dear": 0.5}) == "cheap"


def test_more_folds_than_queries_are_refused() -> None:
    with pytest.raises(EvalkitError, match="--folds=10: the slice has 2 queries"):
        select({"a": {"q0": 0.0, "q1": 1.0}}, best, folds=10, seed=0)


def simulated(rng: random.Random, settings: int, queries: int) -> tuple[dict[Any, float], dict[Any, dict[str, float]]]:
    """Settings with known true means up to 0.04 apart, on queries of unequal difficulty that all share.

    The part of a query's value that is a setting's own has a standard deviation of 0.06, as have depths and blends of
    one reranker.
    """
    true = {number: 0.6 - rng.uniform(0, 0.04) for number in range(settings)}
    difficulty = {f"q{number}": rng.gauss(0, 0.25) for number in range(queries)}
    centre = fmean(difficulty.values())
    return true, {
        number: {q: mean + easy - centre + rng.gauss(0, 0.06) for q, easy in difficulty.items()}
        for number, mean in true.items()
    }


def test_the_pick_is_near_the_true_best_and_its_estimate_is_unbiased_where_the_naive_one_is_not() -> None:
    rng, near, errors, naive = random.Random(0), 0, [], []
    for seed in range(500):
        true, values = simulated(rng, settings=12, queries=200)
        found = select(values, best, folds=10, seed=seed)
        near += true[found.picked] >= max(true.values()) - 0.005
        errors.append(found.estimate - true[found.picked])
        naive.append(found.mean - true[found.picked])
    assert near >= 450
    assert abs(fmean(errors)) < 0.002
    assert fmean(naive) > 0.002
