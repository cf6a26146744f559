"""Cross-validation over queries: each in one fold, and never ranked by what it helped to choose."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.cross_validation import check_folds, choose, lattice, split

QUERIES = [f"q{number}" for number in range(12)]


@settings(deadline=None, max_examples=25)
@given(
    queries=st.sets(st.integers(0, 99).map(str), min_size=2, max_size=20), seed=st.integers(0, 2**32), data=st.data()
)
def test_each_query_is_in_one_fold_and_the_order_of_queries_does_not_matter(queries: Any, seed: int, data: Any) -> None:
    count = data.draw(st.integers(2, len(queries)))
    folds = split(queries, count, seed)
    assert sorted(query_id for fold in folds for query_id in fold) == sorted(queries)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert split(data.draw(st.permutations(sorted(queries))), count, seed) == folds


def test_the_seed_draws_the_folds() -> None:
    assert split(QUERIES, 3, 0) == split(QUERIES, 3, 0)
    assert split(QUERIES, 3, 0) != split(QUERIES, 3, 1)


def test_the_best_setting_of_the_other_folds_is_chosen() -> None:
    # "low" is best on the first fold alone, "high" on the second alone: each fold gets the other's best.
    values = {"low": {"q1": 1.0, "q2": 0.0}, "high": {"q1": 0.0, "q2": 1.0}}
    assert choose(values, [["q1"], ["q2"]]) == ["high", "low"]


def test_of_settings_that_are_equal_the_first_is_chosen() -> None:
    same = dict.fromkeys(("q1", "q2"), 0.5)
    assert choose({"b": same, "a": same}, [["q1"], ["q2"]]) == ["b", "b"]


@settings(deadline=None, max_examples=25)
@given(
    values=st.fixed_dictionaries(
        {setting: st.fixed_dictionaries({q: st.floats(0, 1) for q in QUERIES}) for setting in "abc"}
    ),
    mine=st.fixed_dictionaries({setting: st.floats(0, 1) for setting in "abc"}),
    seed=st.integers(0, 99),
    number=st.integers(0, 3),
)
def test_what_a_fold_gets_does_not_depend_on_its_own_queries(values: Any, mine: Any, seed: int, number: int) -> None:
    folds = split(QUERIES, 4, seed)
    changed = {setting: {**of, **dict.fromkeys(folds[number], mine[setting])} for setting, of in values.items()}
    assert choose(changed, folds)[number] == choose(values, folds)[number]


def test_weights_are_all_steps_that_sum_to_one_with_equal_ones_first() -> None:
    assert lattice(2, 4) == [(0.5, 0.5), (0.25, 0.75), (0.75, 0.25), (0.0, 1.0), (1.0, 0.0)]
    assert len(lattice(3, 10)) == 66
    assert all(sum(round(10 * weight) for weight in point) == 10 for point in lattice(4, 10))


@pytest.mark.parametrize(
    ("folds", "queries", "message"),
    [
        (1, None, "x.folds=1: cross-validation needs 2 folds or more"),
        (5, 2, "x.folds=5: the slice has 2 queries, and each fold needs one of its own; give 2 folds or fewer, or more "
               "queries"),
        (2, 1, "x.folds=2: the slice has 1 query, and each fold needs one of its own"),
    ],
)  # fmt: skip
def test_more_folds_than_queries_are_refused(folds: int, queries: int | None, message: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        check_folds("x.folds", folds, queries)
    assert str(refused.value) == message
