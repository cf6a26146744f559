import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.types import Hit

few_scores = st.sampled_from([-1.5, 0.0, 0.25, 0.25 + 2**-20, 3.0])  # few values, so that ties are common
doc_ids = st.text("abcxyz09", min_size=1, max_size=4)
rankings = st.lists(st.tuples(doc_ids, few_scores), unique_by=lambda item: item[0], max_size=15).map(
    lambda items: [Hit(*item) for item in items]
)


def ids(hits: Any) -> Any:
    return [hit.doc_id for hit in hits]


def test_the_higher_score_comes_first() -> None:
    assert ids(ranking.order([Hit("a", 0.1), Hit("b", 0.9), Hit("c", -3.0)])) == ["b", "a", "c"]


def test_ties_keep_the_first_stage_order() -> None:
    hits = [Hit("a", 1.0), Hit("b", 1.0), Hit("c", 1.0)]
    assert ids(ranking.order(hits, prior={"c": 0, "a": 1, "b": 2})) == ["c", "a", "b"]


def test_ties_without_a_first_stage_fall_to_the_doc_id() -> None:
    assert ids(ranking.order([Hit("d10", 1.0), Hit("d9", 1.0), Hit("D1", 1.0)])) == ["D1", "d10", "d9"]


def test_a_tied_passage_that_the_first_stage_lacks_comes_after_those_it_has() -> None:
    hits = [Hit("a", 1.0), Hit("b", 1.0), Hit("z", 1.0)]
    assert ids(ranking.order(hits, prior={"z": 0})) == ["z", "a", "b"]


def test_the_score_outweighs_the_first_stage() -> None:
    assert ids(ranking.order([Hit("a", 1.0), Hit("b", 2.0)], prior={"a": 0, "b": 1})) == ["b", "a"]


def test_minus_zero_ties_with_zero() -> None:
    assert ids(ranking.order([Hit("b", 0.0), Hit("a", -0.0)])) == ["a", "b"]


def test_infinite_scores_have_a_place() -> None:
    assert ids(ranking.order([Hit("a", -math.inf), Hit("b", 0.0), Hit("c", math.inf)])) == ["c", "b", "a"]


def test_a_score_that_is_not_a_number_is_refused_with_its_passage() -> None:
    with pytest.raises(EvalkitError, match="passage 'd7' is not a number"):
        ranking.order([Hit("d1", 1.0), Hit("d7", math.nan)])


def test_a_passage_that_occurs_twice_is_refused() -> None:
    with pytest.raises(EvalkitError, match="passage 'd1' occurs twice"):
        ranking.order([Hit("d1", 1.0), Hit("d2", 1.0), Hit("d1", 0.5)])


@settings(deadline=None)
@given(hits=rankings, data=st.data())
def test_the_order_does_not_depend_on_the_order_of_the_input(hits: Any, data: Any) -> None:
    prior = data.draw(st.dictionaries(doc_ids, st.integers(0, 5)))
    shuffled = data.draw(st.permutations(hits))
    assert ranking.order(shuffled, prior) == ranking.order(hits, prior)


@settings(deadline=None)
@given(hits=rankings)
def test_an_ordered_list_stays_as_it_is(hits: Any) -> None:
    ordered = ranking.order(hits)
    assert ranking.order(ordered, {hit.doc_id: rank for rank, hit in enumerate(ordered)}) == ordered
    assert sorted(ordered) == sorted(hits)


FIRST = (Hit("a", 9.0), Hit("b", 8.0), Hit("c", 7.0), Hit("d", 6.0), Hit("e", 5.0))


def test_passages_below_the_depth_follow_in_first_stage_order() -> None:
    # a, b, c are reranked; d and e stay where they were, below the worst of the three.
    found = ranking.rerank(FIRST, {"a": -2.0, "b": -1.0, "c": 3.5}, depth=3)
    assert found == (Hit("c", 3.5), Hit("b", -1.0), Hit("a", -2.0), Hit("d", -3.0), Hit("e", -4.0))


def test_passages_without_a_logit_follow_the_scored_ones() -> None:
    # b has no logit: after the scored a and c (last logit 0.5), before d and e, in steps of 1 below it.
    found = ranking.rerank(FIRST, {"a": 0.5, "c": 0.75}, depth=3)
    assert found == (Hit("c", 0.75), Hit("a", 0.5), Hit("b", -0.5), Hit("d", -1.5), Hit("e", -2.5))


def test_without_any_logit_the_list_stays_in_first_stage_order() -> None:
    assert ids(ranking.rerank(FIRST, {}, depth=5)) == ["a", "b", "c", "d", "e"]


def test_a_logit_of_a_passage_below_the_depth_moves_nothing() -> None:
    assert ids(ranking.rerank(FIRST, {"a": 0.0, "b": 1.0, "e": 99.0}, depth=2)) == ["b", "a", "c", "d", "e"]


def test_a_depth_beyond_the_list_reranks_all_of_it() -> None:
    logits = {hit.doc_id: -hit.score for hit in FIRST}
    assert ids(ranking.rerank(FIRST, logits, depth=100)) == ["e", "d", "c", "b", "a"]


def test_a_query_without_hits_stays_without_hits() -> None:
    assert ranking.rerank((), {}, depth=10) == ()


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(EvalkitError, match="'b' is not a number"):
        ranking.rerank(FIRST, {"a": 1.0, "b": math.nan}, depth=2)


@settings(deadline=None)
@given(first=rankings, depth=st.integers(1, 20), data=st.data())
def test_reranking_loses_no_passage_and_invents_none(first: Any, depth: Any, data: Any) -> None:
    logits = data.draw(st.fixed_dictionaries({}, optional={hit.doc_id: few_scores for hit in first}))
    found = ranking.rerank(first, logits, depth)
    assert sorted(ids(found)) == sorted(ids(first))
    # What was not reranked keeps its place, so recall at the depth and below does not change.
    assert set(ids(found[:depth])) == set(ids(first[:depth]))
    assert ids(found[depth:]) == ids(first[depth:])


@settings(deadline=None)
@given(first=rankings, depth=st.integers(1, 20), data=st.data())
def test_scores_fall_along_a_reranked_list_and_strictly_so_after_the_scored_head(
    first: Any, depth: Any, data: Any
) -> None:
    logits = data.draw(st.fixed_dictionaries({}, optional={hit.doc_id: few_scores for hit in first}))
    scores = [hit.score for hit in ranking.rerank(first, logits, depth)]
    scored = sum(hit.doc_id in logits for hit in first[:depth])
    assert scores[:scored] == sorted(scores[:scored], reverse=True)
    tail = scores[max(scored - 1, 0) :]
    assert all(left > right for left, right in itertools.pairwise(tail))


def dcg_at_10(grades: Any) -> Any:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades[:10]))


@settings(deadline=None, max_examples=40)
@given(
    grades=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    unjudged=st.integers(0, 1),
    depth=st.integers(1, 7),
)
def test_the_perfect_order_gains_as_much_as_the_best_permutation(grades: Any, unjudged: Any, depth: Any) -> None:
    # nDCG@10 divides every order by the same ideal, so the largest DCG@10 is the largest nDCG@10.
    first = [Hit(f"d{i}", -float(i)) for i in range(len(grades) + unjudged)]
    qrels = {f"d{i}": grade for i, grade in enumerate(grades)}

    def gains(hits: Any) -> Any:
        return [qrels.get(hit.doc_id, 0) for hit in hits]

    head, tail = first[:depth], first[depth:]
    best = max(dcg_at_10(gains([*order, *tail])) for order in itertools.permutations(head))
    assert dcg_at_10(gains(ranking.oracle(first, qrels, depth))) == pytest.approx(best, abs=1e-12)


def test_the_perfect_order_takes_nothing_from_below_the_depth() -> None:
    first = [Hit("a", 3.0), Hit("b", 2.0), Hit("c", 1.0)]
    assert ids(ranking.oracle(first, {"b": 1, "c": 3}, depth=2)) == ["b", "a", "c"]


def test_the_perfect_order_keeps_equal_grades_as_they_stood() -> None:
    first = [Hit("z", 3.0), Hit("y", 2.0), Hit("x", 1.0)]
    assert ids(ranking.oracle(first, {"x": 1, "z": 1}, depth=3)) == ["z", "x", "y"]


@pytest.mark.parametrize(
    ("logits", "count"),
    [([], 0), ([1.0, 2.0], 0), ([1.0, 1.0, 2.0], 2), ([1.0, 1.0, 2.0, 2.0, 2.0], 5)],
)
def test_each_of_the_logits_that_share_a_value_is_counted(logits: Any, count: Any) -> None:
    assert ranking.count_tied(logits) == count


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=12), st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-8, 8)
)
def test_scaling_and_shifting_logits_changes_no_order(logits: Any, factor: Any, shift: Any) -> None:
    first = [Hit(f"d{i}", -float(i)) for i in range(len(logits))]
    before = ranking.rerank(first, {hit.doc_id: float(x) for hit, x in zip(first, logits)}, len(first))
    after = ranking.rerank(first, {hit.doc_id: factor * x + shift for hit, x in zip(first, logits)}, len(first))
    assert [hit.doc_id for hit in before] == [hit.doc_id for hit in after]
