"""Batches hold every row once, within the budget, longest first."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scoring.batching import length_sorted_windows, plan_batches


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(1, 50), max_size=60), size=st.integers(50, 300))
def test_packed_batches_hold_every_row_once_within_the_budget_and_longest_first(lengths: Any, size: Any) -> None:
    made = list(plan_batches(lengths, size, padded=False))
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert all(0 < sum(lengths[row] for row in rows) <= size for rows in made)
    flat = [lengths[row] for rows in made for row in rows]
    assert flat == sorted(flat, reverse=True)


def test_windows_are_longest_first_and_the_first_one_is_small() -> None:
    sizes = [3, 9, 1, 7, 5]
    assert list(length_sorted_windows([("", "x" * size) for size in sizes], 1, 2)) == [[1], [3, 4], [0, 2]]


def test_packed_batches_are_of_about_equal_size() -> None:
    # 19 x 60 = 1,140 tokens need two batches of 1,024 or less: not 17 pairs and 2.
    assert [len(rows) for rows in plan_batches([60] * 19, 1024, padded=False)] == [10, 9]
    # 100 x 90: a 12th pair would exceed 1,024; 23 are left after seven, and three batches share them.
    assert [len(rows) for rows in plan_batches([90] * 100, 1024, padded=False)] == [11] * 7 + [8, 8, 7]
    # No two of these rows fit into one batch, but for the last two.
    assert list(plan_batches([40, 30, 30], 50, padded=False)) == [[0], [1], [2]]


def test_packed_batches_are_as_many_as_are_computed_at_once_or_a_multiple() -> None:
    assert [len(rows) for rows in plan_batches([60] * 9, 1024, padded=False, at_a_time=2)] == [5, 4]
    # 9,500 tokens are ten batches of 1,024; for sixteen cores they are sixteen.
    sizes = [len(rows) for rows in plan_batches([95] * 100, 1024, padded=False, at_a_time=16)]
    assert (len(sizes), set(sizes)) == (16, {6, 7})
    assert list(plan_batches([60], 1024, padded=False, at_a_time=4)) == [[0]]


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(1, 50), max_size=60), size=st.integers(50, 300), at_a_time=st.integers(1, 9))
def test_batches_for_several_cores_hold_every_row_once_within_the_budget(
    lengths: Any, size: Any, at_a_time: Any
) -> None:
    made = list(plan_batches(lengths, size, False, at_a_time))
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert all(0 < sum(lengths[row] for row in rows) <= size for rows in made)


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=200))
def test_packed_batches_differ_little_in_size(lengths: Any) -> None:
    made = [sum(lengths[row] for row in rows) for rows in plan_batches(lengths, 200, padded=False)]
    assert len(made) <= -(-sum(lengths) // (200 - max(lengths))) + 1
    assert len(made) == 1 or min(made) >= 80


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 50), max_size=60), budget=st.integers(50, 300))
def test_padded_batches_hold_every_row_once_within_the_budget_and_longest_first(lengths: Any, budget: Any) -> None:
    made = list(plan_batches(lengths, budget))
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert all(len(rows) * max(lengths[row] for row in rows) <= budget for rows in made)
    flat = [lengths[row] for rows in made for row in rows]
    assert flat == sorted(flat, reverse=True)


def test_padded_batches_of_five_rows() -> None:
    # 10 alone (two would be 20 > 16); then 5, 5, 4 as 3 x 5 = 15; then 1.
    assert list(plan_batches([5, 1, 10, 4, 5], 16)) == [[2], [0, 4, 3], [1]]
