import dataclasses
import math
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.evaluation.parity import Parity, PerQuery, kendall_tau, parity, rank_biased_overlap
from evalkit.types import Hit, Run


def run(name: Any = "run", **rankings: Any) -> Any:
    """A run from query_id -> doc_id -> score, ordered by score."""
    return Run(name, {q: ranking.order(Hit(d, float(s)) for d, s in scores.items()) for q, scores in rankings.items()})


def same(pairs: Any, per_query: Any, **tied: Any) -> Any:
    """What two equal scorings give."""
    counts = dict.fromkeys(("tied_pairs", "queries_tied_at_top"), 0) | tied
    both = {f"{name}_{when}": count for name, count in counts.items() for when in ("before", "after")}
    return Parity(pairs=pairs, max_abs=0.0, mean_abs=0.0, rms=0.0, **both, same_top_1=1.0, top10_overlap=1.0,
                  kendall_tau=1.0, rbo=1.0, per_query=per_query)  # fmt: skip


EQUAL = PerQuery(0.0, 1.0, 1.0, 1.0)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_the_parity_of_two_small_scorings_by_hand() -> None:
    before = run("fp32", q={"a": 3.0, "b": 2.0, "c": 1.0}, r={"x": 5.0, "y": 4.0})
    after = run("fp16", q={"a": 2.5, "b": 2.5, "c": 4.0}, r={"x": 5.0, "y": 4.0})
    # q turns from a b c to c a b, a and b tied. Logits differ by 0.5, 0.5, 3 and, in r, not at all.
    # tau-b of q: a > b is tied now, a > c and b > c are turned round: -2 / sqrt(3 * 2).
    # rbo of q: in common 0 of 1, 1 of 2, 3 of 3: 0.9^3 + 0.1 / 0.9 * (1/2 * 0.81 + 1 * 0.729) = 0.729 + 0.126.
    found = parity(before, after, 100)
    assert found.pairs == 5
    assert found.max_abs == 3.0
    assert found.mean_abs == pytest.approx(4 / 5)
    assert found.rms == pytest.approx(math.sqrt(9.5 / 5))
    assert (found.tied_pairs_before, found.tied_pairs_after) == (0, 2)
    assert (found.queries_tied_at_top_before, found.queries_tied_at_top_after) == (0, 0)
    assert found.same_top_1 == 1 / 2
    assert found.top10_overlap == 1.0
    assert found.kendall_tau == pytest.approx((1 - 2 / math.sqrt(6)) / 2)
    assert found.rbo == pytest.approx((1 + 0.855) / 2)
    assert list(found.per_query) == ["q", "r"]
    of_q = found.per_query["q"]
    assert (of_q.max_abs, of_q.top10_overlap) == (3.0, 1.0)
    assert (of_q.kendall_tau, of_q.rbo) == pytest.approx((-2 / math.sqrt(6), 0.855))
    assert found.per_query["r"] == EQUAL


def test_a_tie_at_the_top_is_one_of_the_two_best_scores() -> None:
    tied_at_top = {"a": 2, "b": 2, "c": 1}
    tied_below = {"a": 3, "b": 2, "c": 2}
    found = parity(run(q=tied_below, r=tied_below, s=tied_at_top), run(q=tied_at_top, r=tied_at_top, s=tied_at_top), 10)
    assert (found.queries_tied_at_top_before, found.queries_tied_at_top_after) == (1, 3)
    assert (found.tied_pairs_before, found.tied_pairs_after) == (6, 6)


def test_the_top_10_overlap_is_a_share_of_ten() -> None:
    # Of 12 passages the last two move up to the top: 8 of the first 10 stay.
    before = {f"d{i:02}": -i for i in range(12)}
    after = before | {"d10": 1, "d11": 2}
    assert parity(run(q=before), run(q=after), 12).top10_overlap == pytest.approx(0.8)


def test_only_the_first_hits_up_to_the_depth_are_compared() -> None:
    # Below depth 2 the scores are no logits: another order and other passages there are not looked at.
    before = run(q={"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0})
    after = run(q={"a": 3.5, "b": 2.0, "d": 0.5, "e": 0.0})
    found = parity(before, after, 2)
    assert (found.pairs, found.max_abs, found.rbo) == (2, 0.5, 1.0)


@pytest.mark.parametrize(
    ("before", "after", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # five pairs agree, one does not
        ([1, 2, 3], [1, 1, 2], 2 / math.sqrt(3 * 2)),  # one pair is tied in one of the scorings
        ([5, 5, 5], [0, 0, 0], 1.0),  # neither orders anything
        ([1, 2, 3], [0, 0, 0], 0.0),  # one orders, the other does not
        ([0, 0, 0], [1, 2, 3], 0.0),
    ],
)
def test_kendall_tau_b_by_hand(before: Any, after: Any, tau: Any) -> None:
    assert kendall_tau(before, after) == pytest.approx(tau)


@pytest.mark.parametrize(
    ("before", "after", "p", "overlap"),
    [
        # In common 0, 1, 2, 4, 5: 0.59049 + 1/9 * (0 + 1/2 * 0.81 + 2/3 * 0.729 + 0.6561 + 0.59049).
        ("abcde", "bcdae", 0.9, 0.59049 + 2.13759 / 9),
        # In common 0, 2, 2, 2 of four: 1/2 * 1/16 + 1 * (0 + 1 * 1/4 + 2/3 * 1/8 + 1/2 * 1/16).
        ("abcd", "baef", 0.5, 1 / 32 + 1 / 4 + 1 / 12 + 1 / 32),
        ("ab", "ba", 0.9, 0.81 + 0.09),
        ("abc", "xyz", 0.9, 0.0),
        ("abc", "abc", 0.9, 1.0),
        ("a", "a", 0.9, 1.0),
        ("", "", 0.9, 1.0),
    ],
)
def test_rank_biased_overlap_by_hand(before: Any, after: Any, p: Any, overlap: Any) -> None:
    assert rank_biased_overlap(before, after, p) == pytest.approx(overlap, abs=1e-12)


# --- what there is nothing to say of ----------------------------------------------------------------------------------


def test_two_equal_scorings_differ_by_nothing_and_warn_of_nothing() -> None:
    rankings = {"q": {f"d{i}": i / 7 for i in range(40)}, "one": {"a": 1}, "constant": {"a": 1, "b": 1}, "none": {}}
    scores = run(**rankings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = parity(scores, scores, 100)
    alone = PerQuery(0.0, 1.0, None, 1.0)
    assert found == same(43, {"q": EQUAL, "one": alone, "constant": EQUAL}, tied_pairs=2, queries_tied_at_top=1)


def test_queries_without_hits_have_no_part_in_the_means() -> None:
    with_empty = parity(run(q={"a": 1, "b": 0}, none={}), run(q={"a": 0, "b": 1}, none={}), 10)
    assert with_empty == parity(run(q={"a": 1, "b": 0}), run(q={"a": 0, "b": 1}), 10)
    assert with_empty.same_top_1 == 0.0


@pytest.mark.parametrize("empty", [{}, {"q": {}}], ids=["no queries", "no hits"])
def test_with_nothing_to_compare_nothing_differs(empty: Any) -> None:
    assert parity(run(**empty), run(**empty), 10) == same(0, {})


def test_a_query_with_one_passage_has_no_part_in_the_mean_of_tau() -> None:
    before, after = run(q={"a": 1, "b": 0}, one={"a": 1}), run(q={"a": 0, "b": 1}, one={"a": 1})
    found = parity(before, after, 10)
    assert found.kendall_tau == -1.0
    assert found.per_query["one"].kendall_tau is None


# --- what cannot be compared ------------------------------------------------------------------------------------------


def test_runs_of_different_queries_are_refused() -> None:
    for before, after in ((run("A", q={"a": 1}), run("B", r={"a": 1})), (run("A", q={}, r={}), run("B", q={}))):
        with pytest.raises(EvalkitError, match=r"query '[qr]' is in only one of the runs 'A' and 'B'"):
            parity(before, after, 10)


@pytest.mark.parametrize("after", [{"a": 1, "c": 0}, {"a": 1}, {"b": 1, "a": 0, "c": 3}])
def test_different_candidates_are_refused_with_query_and_passage(after: Any) -> None:
    before = run("A", fine={"a": 1}, odd={"a": 1, "b": 0})
    with pytest.raises(
        EvalkitError, match=r"query 'odd' has passage '[bc]' among the first 10 in only one of the runs"
    ):
        parity(before, run("B", fine={"a": 1}, odd=after), 10)


# --- invariants -------------------------------------------------------------------------------------------------------

scores = st.integers(-40, 40).map(lambda n: n / 8)
of_query = st.lists(st.tuples(scores, scores), max_size=14)
two_scorings = st.dictionaries(st.sampled_from("qrstu"), of_query, max_size=4)


def both(scorings: Any, query: Any = "{}", doc: Any = "d{:02}", change: Any = lambda score: score) -> Any:
    """Two runs over the same candidates, given as query -> (score before, score after) of each passage."""
    before = {query.format(q): {doc.format(i): b for i, (b, _) in enumerate(of)} for q, of in scorings.items()}
    after = {query.format(q): {doc.format(i): change(a) for i, (_, a) in enumerate(of)} for q, of in scorings.items()}
    return run("before", **before), run("after", **after)


def summary(found: Any) -> Any:
    return dataclasses.replace(found, per_query={})


@settings(deadline=None, max_examples=60)
@given(scorings=two_scorings)
def test_every_value_is_a_number_in_its_range(scorings: Any) -> None:
    before, after = both(scorings)
    found = parity(before, after, 20)
    assert found.mean_abs is not None
    assert found.max_abs is not None
    assert found.rms is not None
    assert 0 <= found.mean_abs <= found.max_abs
    assert found.mean_abs <= found.rms * (1 + 1e-12)
    assert found.rms <= found.max_abs * (1 + 1e-12)
    assert found.pairs == sum(len(of) for of in scorings.values())
    for of in (found, *found.per_query.values()):
        assert isinstance(of, Parity | PerQuery)
        assert 0 <= of.top10_overlap <= 1
        assert 0 <= of.rbo <= 1
        assert of.kendall_tau is None or -1 <= of.kendall_tau <= 1


@settings(deadline=None, max_examples=60)
@given(scorings=two_scorings, data=st.data())
def test_renamed_ids_and_another_order_of_queries_change_nothing(scorings: Any, data: Any) -> None:
    before, after = both(scorings)
    found = parity(before, after, 20)
    turned = {q: scorings[q] for q in data.draw(st.permutations(list(scorings)))}
    before, after = both(turned, query="question {}", doc="passage/{:03}")
    renamed = parity(before, after, 20)
    assert summary(renamed) == summary(found)
    assert dict(renamed.per_query) == {f"question {q}": value for q, value in found.per_query.items()}


@settings(deadline=None, max_examples=60)
@given(scorings=two_scorings)
def test_a_strictly_increasing_map_of_the_scores_changes_logit_differences_only(scorings: Any) -> None:
    logits = {"max_abs": 0.0, "mean_abs": 0.0, "rms": 0.0}
    (before, after), (larger, largest) = both(scorings), both(scorings, change=lambda s: 3 * s**3 + 1000)
    plain, mapped = parity(before, after, 20), parity(larger, largest, 20)
    assert dataclasses.replace(summary(mapped), **logits) == dataclasses.replace(summary(plain), **logits)
    for q, value in plain.per_query.items():
        assert dataclasses.replace(mapped.per_query[q], max_abs=0) == dataclasses.replace(value, max_abs=0)
        assert (mapped.per_query[q].max_abs or 0) > (value.max_abs or 0)


@settings(deadline=None, max_examples=60)
@given(scorings=two_scorings)
def test_exchanging_before_and_after_changes_only_what_belongs_to_one_of_them(scorings: Any) -> None:
    before, after = both(scorings)
    there, back = parity(before, after, 20), parity(after, before, 20)
    for name in ("tied_pairs", "queries_tied_at_top"):
        old, new = f"{name}_before", f"{name}_after"
        assert (getattr(there, old), getattr(there, new)) == (getattr(back, new), getattr(back, old))
    names = ["pairs", "max_abs", "mean_abs", "rms", "same_top_1", "top10_overlap", "kendall_tau", "rbo"]
    assert [getattr(back, name) for name in names] == pytest.approx([getattr(there, name) for name in names])


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8))
def test_kendall_tau_b_equals_its_definition(pairs: Any) -> None:
    # (concordant - discordant) / sqrt(pairs not tied before * pairs not tied after)
    signs = [((a > b) - (a < b), (x > y) - (x < y)) for i, (a, x) in enumerate(pairs) for b, y in pairs[:i]]
    apart_before, apart_after = (sum(sign[i] ** 2 for sign in signs) for i in (0, 1))
    found = kendall_tau([a for a, _ in pairs], [x for _, x in pairs])
    if apart_before and apart_after:
        agreement = sum(one * other for one, other in signs)
        assert found == pytest.approx(agreement / math.sqrt(apart_before * apart_after))
    else:
        assert found == (0.0 if apart_before or apart_after else 1.0)


@settings(deadline=None, max_examples=60)
@given(turned=st.integers(0, 12).flatmap(lambda n: st.permutations(range(n))), p=st.sampled_from([0.5, 0.9, 0.98]))
def test_rank_biased_overlap_equals_its_definition(turned: Any, p: Any) -> None:
    before, after = [str(i) for i in range(len(turned))], [str(i) for i in turned]
    k = len(turned)
    agreement = [len(set(before[:d]) & set(after[:d])) / d for d in range(1, k + 1)]
    defined = p**k + (1 - p) / p * sum(a * p**d for d, a in enumerate(agreement, 1))
    assert rank_biased_overlap(before, after, p) == pytest.approx(defined)
