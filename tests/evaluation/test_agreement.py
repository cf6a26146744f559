"""Kappa, alpha, favour and tau: by hand, against published figures and other packages, and as properties."""

import random
from collections.abc import Mapping
from typing import Any

import krippendorff
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.agreement import agreement, alpha_of, favour, tau

Grades = Mapping[str, Mapping[str, int]]


def by_table(table: list[list[int]]) -> tuple[Grades, Grades]:
    """One query with `table[i][j]` pairs of which the human's grade is i and the judge's j."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return {"q": {f"d{n}": i for n, (i, _) in enumerate(pairs)}}, {"q": {f"d{n}": j for n, (_, j) in enumerate(pairs)}}


GRADED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_kappa_of_ten_pairs_by_hand() -> None:
    found = agreement(*by_table([[4, 1], [2, 3]]), relevance_level=1)
    # 7 of 10 are equal; by chance (5 * 6 + 5 * 4) / 100 = 0.5 would be: (0.7 - 0.5) / (1 - 0.5).
    assert found.kappa.value == pytest.approx(0.4)
    assert found.same_grade.value == pytest.approx(0.7)
    assert found.leniency.value == pytest.approx(-0.1)
    assert (found.relevant_share_human, found.relevant_share_judge) == (0.5, 0.4)
    assert (found.pairs, found.queries, found.confusion) == (10, 1, [[4, 1], [2, 3]])


def test_weighted_kappa_counts_two_steps_four_times_by_hand() -> None:
    found = agreement(*by_table([[2, 0, 1], [0, 2, 0], [0, 1, 2]]), relevance_level=2)
    # Squared differences: one of 4 and one of 1, in all 5. By chance, with rows 3, 2, 3 and columns 2, 3, 3 over 8
    # pairs: (3 * 3 * 1 + 3 * 3 * 4 + 2 * 2 * 1 + 2 * 3 * 1 + 3 * 2 * 4 + 3 * 3 * 1) / 8 = 88 / 8 = 11.
    assert found.weighted_kappa.value == pytest.approx(1 - 5 / 11)
    # Relevant from grade 2 on: 2 and 1 and 1 and 4 pairs; 6 of 8 equal, by chance (5 * 5 + 3 * 3) / 64.
    assert found.kappa.value == pytest.approx((6 / 8 - 34 / 64) / (1 - 34 / 64))


def test_alpha_is_that_of_krippendorff_s_own_example() -> None:
    """Krippendorff 2011, Computing Krippendorff's alpha-reliability, section C: 0.815 for ordinal data."""
    observers = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    units = [[int(value) for value in unit if value != "."] for unit in zip(*(row.split() for row in observers))]
    assert alpha_of(units) == pytest.approx(0.815, abs=5e-4)


def test_favour_compares_passages_of_the_same_human_grade_by_hand() -> None:
    human = {"q": {"a": 0, "b": 0, "c": 0, "d": 2, "e": 2, "f": 2}}
    judge = {"q": {"a": 1, "b": 2, "c": 0, "d": 2, "e": 1, "f": 1}}
    # Grade 0: a and b promoted, mean 1.5, c demoted, 0: 1.5, weight 2 * 1 / 3. Grade 2: d promoted, 2, e and f
    # demoted, 1: 1, weight 2 / 3.
    found = favour(human, judge, {"q": ["a", "b", "d"]}, {"q": ["c", "e", "f"]})
    assert found.value == pytest.approx(1.25)
    assert favour(human, judge, {"q": ["a"]}, {"q": ["d"]}).value is None  # no grade is on both sides


def test_tau_is_1_in_the_same_order_and_counts_pairs_that_are_turned_round() -> None:
    assert tau([0.1, 0.2, 0.3], [0.5, 0.6, 0.9]) == pytest.approx(1)
    assert tau([0.1, 0.2, 0.3], [0.6, 0.5, 0.9]) == pytest.approx(1 / 3)  # 2 pairs in the same order, 1 exchanged
    assert tau([0.1, 0.1], [0.5, 0.6]) is None


# --- against other packages -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(GRADED)
def test_kappa_and_alpha_are_those_of_scikit_learn_and_krippendorff(pairs: Any) -> None:
    human, judge = zip(*pairs)
    found = agreement(
        {"q": {f"d{n}": grade for n, grade in enumerate(human)}},
        {"q": {f"d{n}": grade for n, grade in enumerate(judge)}},
        relevance_level=2,
    )
    relevant = [[grade >= 2 for grade in side] for side in (human, judge)]
    if len({*relevant[0], *relevant[1]}) > 1:
        assert found.kappa.value == pytest.approx(cohen_kappa_score(*relevant))
    if len({*human, *judge}) > 1:
        theirs = cohen_kappa_score(human, judge, labels=[0, 1, 2, 3], weights="quadratic")
        assert found.weighted_kappa.value == pytest.approx(theirs)
        theirs = krippendorff.alpha([human, judge], level_of_measurement="ordinal")
        assert found.alpha.value == pytest.approx(theirs)
        assert alpha_of(pairs) == pytest.approx(theirs)
    else:
        assert (found.weighted_kappa.value, found.alpha.value, alpha_of(pairs)) == (None, None, None)


# --- properties -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(GRADED)
def test_who_is_called_the_human_changes_the_sign_of_the_leniency_alone(pairs: Any) -> None:
    one, other = ({"q": {f"d{n}": pair[side] for n, pair in enumerate(pairs)}} for side in (0, 1))
    there, back = agreement(one, other, 2), agreement(other, one, 2)
    assert there.alpha == back.alpha
    assert there.kappa.value == (back.kappa.value if back.kappa.value is None else pytest.approx(back.kappa.value))
    assert there.leniency.value == pytest.approx(-(back.leniency.value or 0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=40), st.tuples(*[st.integers(0, 3)] * 4), st.randoms())
def test_a_judge_whose_errors_follow_from_the_grade_alone_favours_nothing(grades: Any, maps: Any, draw: Any) -> None:
    human = {"q": {f"d{n}": grade for n, grade in enumerate(grades)}}
    judge = {"q": {d: maps[grade] for d, grade in human["q"].items()}}
    promoted = {"q": draw.sample(sorted(human["q"]), 2)}
    rest = {"q": [d for d in human["q"] if d not in promoted["q"]]}
    assert favour(human, judge, promoted, rest).value in (None, pytest.approx(0))


def test_an_interval_is_over_queries_and_not_over_their_pairs() -> None:
    """Ten queries of ten pairs, half of which the judge gets all wrong, are ten observations, and not a hundred."""
    human = {f"q{n}": {f"d{m}": m % 2 for m in range(10)} for n in range(10)}
    whole = {q: {d: grade ^ (n % 2) for d, grade in of.items()} for n, (q, of) in enumerate(human.items())}
    spread = {q: {d: grade ^ (m // 2 % 2) for m, (d, grade) in enumerate(of.items())} for q, of in human.items()}
    low, high = agreement(human, whole, 1).same_grade.ci95
    assert low is not None
    assert high is not None
    assert low == pytest.approx(0.2, abs=0.11)  # 0.5 - 1.96 * sqrt(0.25 / 10)
    assert high == pytest.approx(0.8, abs=0.11)
    assert agreement(human, spread, 1).same_grade.ci95 == (0.6, 0.6)  # the same in every query
    assert agreement({"q0": human["q0"]}, whole, 1).same_grade.ci95 == (None, None)


def test_the_same_seed_gives_the_same_figures() -> None:
    draw = random.Random(1)
    human = {f"q{n}": {f"d{m}": draw.randint(0, 3) for m in range(9)} for n in range(9)}
    judge = {q: {d: min(grade + draw.randint(0, 1), 3) for d, grade in of.items()} for q, of in human.items()}
    assert agreement(human, judge, 2, seed=3) == agreement(human, judge, 2, seed=3)
    low, high = agreement(human, judge, 2).alpha.ci95
    assert low is not None
    assert high is not None
    assert low < (agreement(human, judge, 2).alpha.value or 0) < high


def test_pairs_that_only_one_has_judged_do_not_count_and_none_in_common_is_refused() -> None:
    found = agreement({"q": {"a": 1, "b": 0}, "r": {"a": 1}}, {"q": {"a": 1, "c": 1}}, 1)
    assert (found.queries, found.pairs) == (1, 1)
    with pytest.raises(EvalkitError, match=r"no pair of a query and a passage is judged by both"):
        agreement({"q": {"a": 1}}, {"q": {"b": 1}}, 1)
