"""Fusion: the published formulas to the last digit, whatever the order of members, queries and passages."""

import math
from fractions import Fraction
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import fusion, ranking
from evalkit.types import Hit, Run
from tests.conftest import slow


def run(name: str, **rankings: Any) -> Run:
    """A run of query_id -> {doc_id: score}, in evalkit's order."""
    return Run(name, {q: ranking.order(Hit(*hit) for hit in scores.items()) for q, scores in rankings.items()})


def fused(*runs: Run, method: str = "rrf", k: int = 60, weights: Any = None, depth: Any = None) -> Run:
    terms = {one.name: fusion.terms(one, method, k) for one in runs}
    of_query = weights or {one.name: 1.0 for one in runs}
    return fusion.fuse(terms, dict.fromkeys(runs[0].rankings, of_query), "fused", depth)


def scores(found: Run, query_id: str = "q") -> dict[str, float]:
    return dict(found.rankings[query_id])


A = run("a", q={"x": 9.0, "y": 5.0, "z": 1.0})
B = run("b", q={"y": 0.8, "w": 0.4})


def test_reciprocal_ranks_are_summed_and_a_missing_passage_adds_nothing() -> None:
    # Cormack et al. 2009: the sum of 1 / (60 + rank). y is second and first, x first, w second, z third.
    found = fused(A, B)
    assert scores(found) == {"y": 1 / 62 + 1 / 61, "x": 1 / 61, "w": 1 / 62, "z": 1 / 63}
    assert list(scores(found)) == ["y", "x", "w", "z"]
    assert scores(fused(A, B, k=0))["y"] == 1 / 2 + 1


def test_scores_between_the_lowest_and_the_highest_are_weighted() -> None:
    # a: x 1, y (5 - 1) / 8, z 0; b: y 1, w 0.
    found = fused(A, B, method="min_max", weights={"a": 0.75, "b": 0.25})
    assert scores(found) == {"x": 0.75, "y": 0.75 * 0.5 + 0.25, "z": 0.0, "w": 0.0}


def test_a_standard_score_is_the_distance_from_the_mean_and_a_missing_passage_has_the_last_ones() -> None:
    # a has mean 5 and deviation sqrt(32 / 3); b has mean 0.6 and deviation 0.2: y +1, w -1.
    spread = math.sqrt(32 / 3)
    found = scores(fused(A, B, method="z_score"))
    assert found == pytest.approx({"y": 0 + 1, "x": 4 / spread - 1, "w": -4 / spread - 1, "z": -4 / spread - 1})


def test_ranks_become_shares_of_the_list() -> None:
    # a: x 1, y 2/3, z 1/3; b: y 1, w 1/2.
    assert scores(fused(A, B, method="rank")) == pytest.approx({"y": 5 / 3, "x": 1.0, "w": 0.5, "z": 1 / 3})


def test_equal_sums_follow_the_member_first_in_the_alphabet_and_then_the_id() -> None:
    one, other = run("one", q={"y": 2.0, "x": 1.0}), run("other", q={"x": 2.0, "y": 1.0, "v": 0.5, "w": 0.5})
    assert [hit.doc_id for hit in fused(one, other).rankings["q"]] == ["y", "x", "v", "w"]
    assert [hit.doc_id for hit in fused(other, one).rankings["q"]] == ["y", "x", "v", "w"]
    apart = run("one", q={"b": 1.0}), run("other", q={"a": 1.0})  # both first in one list, and in no other
    assert [hit.doc_id for hit in fused(*apart).rankings["q"]] == ["b", "a"]


def test_a_query_that_a_member_finds_nothing_for_is_ranked_by_the_others() -> None:
    for method in fusion.METHODS:
        found = fused(run("a", q={"x": 2.0, "y": 1.0}), Run("b", {"q": ()}), method=method)
        assert [hit.doc_id for hit in found.rankings["q"]] == ["x", "y"]


def test_only_the_best_hits_are_returned_where_a_depth_is_given() -> None:
    assert [hit.doc_id for hit in fused(A, B, depth=2).rankings["q"]] == ["y", "x"]


@pytest.mark.parametrize("method", ["min_max", "z_score"])
def test_a_list_of_one_score_cannot_be_normalised(method: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        fusion.terms(run("flat", q1={"x": 2.0, "y": 1.0}, q2={"x": 3.0, "y": 3.0}), method)
    assert str(refused.value) == (
        f"flat gives all 2 passages of query 'q2' the score 3, which {method} cannot normalise; fuse by rank instead "
        "(method rrf or rank)"
    )
    assert fusion.terms(run("flat", q={"x": 3.0, "y": 3.0}), "rank")["q"].of == {"x": 1.0, "y": 0.5}


def test_a_single_hit_is_the_best_of_its_list() -> None:
    assert fusion.terms(run("a", q={"x": 7.0}), "min_max")["q"].of == {"x": 1.0}
    assert fusion.terms(run("a", q={"x": 7.0}), "z_score")["q"].of == {"x": 0.0}


@pytest.mark.parametrize(
    ("method", "k", "message"),
    [
        ("rff", 60, "first_stage.method=rff: there is no such method of fusion; did you mean rrf?"),
        ("rrf", -1, "first_stage.k=-1: the constant of reciprocal rank fusion is 0 or more, and 60 by default"),
    ],
)
def test_a_method_that_there_is_not_is_refused(method: str, k: int, message: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        fusion.check_method("first_stage", method, k)
    assert str(refused.value) == message


# --- properties -------------------------------------------------------------------------------------------------------

LISTS = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(-50, 50).map(float), max_size=8)
MEMBERS = st.lists(st.tuples(LISTS, LISTS), min_size=2, max_size=4)
METHODS = st.sampled_from(fusion.METHODS)
WEIGHTS = st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), min_size=4, max_size=4)


def named(members: Any, method: str) -> list[Run]:
    """A run for each member, without lists that the method cannot normalise."""
    rankings = [
        [{} if method in ("min_max", "z_score") and len({*one.values()}) == 1 < len(one) else one for one in lists]
        for lists in members
    ]
    return [run(f"member {number}", q1=one, q2=two) for number, (one, two) in enumerate(rankings)]


def exact(runs: list[Run], method: str, weights: dict[str, float], query_id: str) -> dict[str, float]:
    """The same sums by brute force in fractions, each term of which is one double."""
    found: dict[str, Fraction] = {}
    docs = {hit.doc_id for one in runs for hit in one.rankings[query_id]}
    for doc_id in docs:
        for one in runs:
            hits = one.rankings[query_id]
            values = [hit.score for hit in hits]
            place = next((number for number, hit in enumerate(hits) if hit.doc_id == doc_id), None)
            if not hits:
                term = 0.0
            elif method == "rrf":
                term = 0.0 if place is None else 1 / (60 + place + 1)
            elif method == "rank":
                term = 0.0 if place is None else 1 - place / len(hits)
            elif method == "min_max":
                low, high = min(values), max(values)
                term = 0.0 if place is None else (values[place] - low) / (high - low) if len(hits) > 1 else 1.0
            else:
                mean, spread = fmean(values), pstdev(values)
                term = (values[-1 if place is None else place] - mean) / spread if spread else 0.0
            found[doc_id] = found.get(doc_id, Fraction(0)) + Fraction(weights[one.name] * term)
    return {doc_id: float(total) for doc_id, total in found.items()}


@settings(deadline=None, max_examples=30)
@given(members=MEMBERS, method=METHODS, weights=WEIGHTS)
def test_fused_scores_are_those_of_a_brute_force_sum(members: Any, method: str, weights: Any) -> None:
    runs = named(members, method)
    of = {one.name: weight for one, weight in zip(runs, weights)}
    found = fused(*runs, method=method, weights=of)
    for query_id in ("q1", "q2"):
        wanted = exact(runs, method, of, query_id)
        if method == "z_score":  # the mean and the deviation of statistics are rounded once more
            assert scores(found, query_id) == pytest.approx(wanted, abs=1e-12)
        else:
            assert scores(found, query_id) == wanted  # to the last digit
        assert list(scores(found, query_id).values()) == sorted(scores(found, query_id).values(), reverse=True)


@settings(deadline=None, max_examples=30)
@given(members=MEMBERS, method=METHODS, weights=WEIGHTS, data=st.data())
def test_the_order_of_members_queries_and_passages_changes_nothing(
    members: Any, method: str, weights: Any, data: Any
) -> None:
    runs = named(members, method)
    of = {one.name: weight for one, weight in zip(runs, weights)}
    before = fused(*runs, method=method, weights=of)
    turned = [
        Run(one.name, {
            query_id: ranking.order(data.draw(st.permutations(one.rankings[query_id]))) for query_id in ("q2", "q1")
        })
        for one in data.draw(st.permutations(runs))
    ]  # fmt: skip
    assert fused(*turned, method=method, weights=dict(reversed(of.items()))).rankings == before.rankings


@settings(deadline=None, max_examples=30)
@given(members=MEMBERS, method=st.sampled_from(["min_max", "z_score"]), data=st.data())
def test_another_scale_of_a_member_changes_no_order_beyond_rounding(members: Any, method: str, data: Any) -> None:
    runs = named(members, method)
    factor, shift = data.draw(st.sampled_from([0.5, 2.0, 4.0])), data.draw(st.integers(-8, 8))
    scaled = [
        Run(one.name, {q: tuple(Hit(d, s * factor + shift) for d, s in hits) for q, hits in one.rankings.items()})
        for one in runs
    ]
    for query_id in ("q1", "q2"):
        before, after = (scores(fused(*of, method=method), query_id) for of in (runs, scaled))
        assert after == pytest.approx(before, abs=1e-9)


@slow
@pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")  # numba's, of ranx's own loops
def test_ranx_gives_the_same_scores() -> None:
    """ranx compiles its fusion in each process."""
    from ranx import Run as RanxRun
    from ranx import fuse as ranx_fuse

    lists = ({"a": 4.0, "b": 2.5, "c": 1.0}, {"c": 0.9, "d": 0.7, "a": 0.1}, {"b": 30.0, "d": 20.0, "e": 11.0})
    runs = [run(f"m{number}", q=one) for number, one in enumerate(lists)]
    weights = [0.5, 0.3, 0.2]
    of = {one.name: weight for one, weight in zip(runs, weights)}

    def theirs(**how: Any) -> dict[str, float]:
        return dict(ranx_fuse([RanxRun({"q": one}) for one in lists], **how).run["q"])

    assert scores(fused(*runs)) == pytest.approx(theirs(norm=None, method="rrf"), rel=1e-15)
    for method, norm in (("min_max", "min-max"), ("rank", "rank")):
        summed = theirs(norm=norm, method="wsum", params={"weights": weights})
        assert scores(fused(*runs, method=method, weights=of)) == pytest.approx(summed, rel=1e-15)
    two = {one.name: 1.0 for one in runs[:2]}
    pair = dict(ranx_fuse([RanxRun({"q": one}) for one in lists[:2]], norm=None, method="rrf").run["q"])
    assert scores(fused(*runs[:2], weights=two)) == pair  # of two terms, both sums are the same to the last digit
