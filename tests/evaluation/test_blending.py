"""Blends: a curve from the first stage to the reranker, and weights that never saw the query that they rank."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import measures, ranking
from evalkit.evaluation.blending import BlendSettings, Lists, blend
from evalkit.evaluation.measure_names import parse
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan, run
from evalkit.types import Blend, Hit, Run, Scores

RR = [parse("RR@10", 10)]
FIRST = {"a": 3.0, "b": 2.0, "c": 1.0}
LOGITS = {"a": 0.0, "b": 10.0, "c": 5.0}


def blended(first: Any, logits: Any, relevant: Any, depth: int = 10, wanted: Any = RR, **given: Any) -> Blend:
    """The blend of two lists of each query; `first` and `logits` are query_id -> doc_id -> score."""
    docs = dict.fromkeys(sorted({doc_id for of in first.values() for doc_id in of}), "text")
    qrels = {query_id: {relevant[query_id]: 1} for query_id in first}
    data = assemble("tiny", "en", "HERE", dict.fromkeys(first, "query"), docs, qrels, 1, {"corpus": "full"})
    before = Run("first", {q: ranking.order(Hit(*one) for one in of.items()) for q, of in first.items()})
    after = ranking.reorder(before, logits, depth, "reranked")
    known = {
        "first_stage": measures.evaluate(before, data.qrels, wanted, 1),
        "reranked": measures.evaluate(after, data.qrels, wanted, 1),
    }
    return blend(BlendSettings(**{"folds": 2, **given}), Lists(before, after, logits, depth), data, wanted, known)


def curve(found: Blend, measure: str = "RR@10") -> dict[float, float]:
    return {one.weight: one.mean[measure] for one in found.points}


def test_the_curve_is_that_of_a_pocket_calculator() -> None:
    # min_max: a has 1 and 0, b 1/2 and 1, c 0 and 1/2. At w = 1/4 a has 3/4 and b 5/8; at 1/2 a has 1/2 and b 3/4.
    found = blended({"q": FIRST}, {"q": LOGITS}, {"q": "b"}, steps=4)
    assert curve(found) == {0.0: 0.5, 0.25: 0.5, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}


def test_by_rank_only_the_order_counts() -> None:
    # Ranks 1, 2, 3 and 3, 1, 2: by rank a has 1 and 1/3, b 2/3 and 1. At w = 1/4 a has 5/6 and b 3/4; at 1/2 b leads.
    found = blended({"q": FIRST}, {"q": LOGITS | {"b": 1e9}}, {"q": "b"}, steps=4, method="rank")
    assert curve(found) == {0.0: 0.5, 0.25: 0.5, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}


def test_of_equal_scores_the_first_stage_decides() -> None:
    # At w = 1/2 a has 1/2 * 1, b 1/2 * 1, each from one of the lists.
    found = blended({"q": {"a": 1.0, "b": 0.0}}, {"q": {"a": 0.0, "b": 1.0}}, {"q": "a"}, steps=2)
    assert curve(found) == {0.0: 1.0, 0.5: 1.0, 1.0: 0.5}


def test_at_both_ends_are_the_trial_s_own_rankings_also_where_normalised_scores_are_equal() -> None:
    # b is better than a by the last bit of a float, which scaling by the range of 2e9 loses.
    logits = {"a": 1.0, "b": math.nextafter(1.0, 2.0), "c": -1e9, "d": 1e9}
    found = blended({"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}, {"q": logits}, {"q": "b"}, steps=2)
    assert (curve(found)[0.0], curve(found)[1.0]) == (1 / 2, 1 / 2)
    assert curve(blended({"q": FIRST}, {"q": LOGITS}, {"q": "c"}, steps=2))[1.0] == 1 / 2


def test_passages_below_the_depth_stay_where_they_are() -> None:
    found = blended({"q": FIRST}, {"q": {"a": 0.0, "b": 1.0}}, {"q": "c"}, depth=2)
    assert set(curve(found).values()) == {1 / 3}


def test_a_list_with_one_score_for_all_candidates_orders_nothing() -> None:
    for method in ("min_max", "z_score"):
        same = blended({"q": FIRST}, {"q": dict.fromkeys(FIRST, 7.0)}, {"q": "b"}, method=method)
        assert set(curve(same).values()) == {0.5}
        flat = blended({"q": dict.fromkeys(FIRST, 7.0)}, {"q": LOGITS}, {"q": "b"}, method=method)
        assert curve(flat) == {0.0: 0.5} | dict.fromkeys([step / 10 for step in range(1, 11)], 1.0)


def test_a_candidate_without_a_logit_counts_as_the_last_of_the_reranker() -> None:
    # c has no logit: its score is (1 - w) * 0, and that of a is (1 - w) * 1 with a logit that is the lowest too.
    found = blended({"q": FIRST}, {"q": {"a": 0.0, "b": 10.0}}, {"q": "c"}, steps=2)
    assert curve(found)[0.5] == 1 / 3


DOC_IDS = "abcdefgh"


@settings(deadline=None, max_examples=20)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=0, max_size=6), relevant=st.integers(0, 7)
)
def test_the_curve_equals_exact_arithmetic(pairs: Any, relevant: int) -> None:
    # Both lists range from 0 to 8, so that floats are exact here, and what ties, ties in both ways.
    both = dict(zip(DOC_IDS, [(0, 8), (8, 0), *pairs]))
    answer = sorted(both)[relevant % len(both)]
    first = {doc_id: float(f) for doc_id, (f, _) in both.items()}
    logits = {doc_id: float(r) for doc_id, (_, r) in both.items()}
    found = curve(blended({"q": first}, {"q": logits}, {"q": answer}, steps=4))
    before = sorted(both, key=lambda doc_id: (-both[doc_id][0], doc_id))
    for step in range(5):
        w = Fraction(step, 4)
        score = {doc_id: w * Fraction(r, 8) + (1 - w) * Fraction(f, 8) for doc_id, (f, r) in both.items()}
        order = sorted(before, key=lambda doc_id: -score[doc_id])
        assert found[float(w)] == 1 / (1 + order.index(answer))


SEVERAL = {f"q{number}": FIRST for number in range(6)}
SCORES = st.fixed_dictionaries({doc_id: st.integers(-4, 4).map(float) for doc_id in FIRST})
ALL_SCORES = st.fixed_dictionaries(dict.fromkeys(SEVERAL, SCORES))
ANSWERS = st.fixed_dictionaries({query_id: st.sampled_from("abc") for query_id in SEVERAL})


@settings(deadline=None, max_examples=12)
@given(
    logits=ALL_SCORES, answers=ANSWERS, method=st.sampled_from(["min_max", "z_score", "rank", "rrf"]), data=st.data()
)
def test_the_order_of_queries_and_passages_changes_nothing(logits: Any, answers: Any, method: str, data: Any) -> None:
    def shuffled(of: Any) -> Any:
        return {key: of[key] for key in data.draw(st.permutations(sorted(of)))}

    one = blended(SEVERAL, logits, answers, method=method, folds=3, steps=3)
    first = shuffled({query_id: shuffled(of) for query_id, of in SEVERAL.items()})
    assert (
        blended(
            first, shuffled({q: shuffled(of) for q, of in logits.items()}), answers, method=method, folds=3, steps=3
        )
        == one
    )


@settings(deadline=None, max_examples=12)
@given(logits=ALL_SCORES, answers=ANSWERS)
def test_a_reranker_s_scale_does_not_matter(logits: Any, answers: Any) -> None:
    def changed(to: Any) -> Any:
        return {query_id: {doc_id: to(score) for doc_id, score in of.items()} for query_id, of in logits.items()}

    for method, to in (("min_max", lambda s: 4 * s - 64), ("rank", lambda s: s**3), ("rrf", lambda s: s**3)):
        one = blended(SEVERAL, logits, answers, method=method, steps=3)
        assert blended(SEVERAL, changed(to), answers, method=method, steps=3) == one


# --- the weight -------------------------------------------------------------------------------------------------------

HELPS = {"a": 0.0, "b": 10.0, "c": 5.0}
HURTS = {"a": 0.0, "b": 5.0, "c": 10.0}


def weight_of(found: Blend, query_id: str) -> float:
    return next(fold.weight for fold in found.folds if query_id in fold.queries)


@settings(deadline=None, max_examples=12)
@given(logits=ALL_SCORES, answers=ANSWERS, other=st.sampled_from("abc"), seed=st.integers(0, 9))
def test_a_query_s_own_judgments_do_not_change_the_weight_that_ranks_it(
    logits: Any, answers: Any, other: str, seed: int
) -> None:
    for query_id in ("q0", "q3"):
        one = blended(SEVERAL, logits, answers, folds=6, steps=3, seed=seed)
        two = blended(SEVERAL, logits, {**answers, query_id: other}, folds=6, steps=3, seed=seed)
        assert weight_of(one, query_id) == weight_of(two, query_id)


def test_each_query_is_measured_at_the_weight_of_its_fold() -> None:
    # The reranker alone is right for q0, the first stage alone for q1: each is ranked by what was right for the other.
    first, logits = {"q0": FIRST, "q1": FIRST}, {"q0": HELPS, "q1": HURTS}
    found = blended(first, logits, {"q0": "b", "q1": "a"}, steps=2)
    assert (weight_of(found, "q0"), weight_of(found, "q1")) == (0.5, 1.0)
    assert found.effectiveness is not None
    assert found.effectiveness.per_query["RR@10"] == {"q0": 1.0, "q1": 1 / 3}


def test_of_weights_that_are_equally_good_the_largest_is_chosen() -> None:
    found = blended(SEVERAL, dict.fromkeys(SEVERAL, FIRST), dict.fromkeys(SEVERAL, "a"))
    assert found.weight == 1.0
    assert {fold.weight for fold in found.folds} == {1.0}


def test_the_seed_draws_the_folds() -> None:
    by_seed = [
        blended(SEVERAL, dict.fromkeys(SEVERAL, LOGITS), dict.fromkeys(SEVERAL, "b"), seed=seed) for seed in (0, 0, 1)
    ]
    assert by_seed[0] == by_seed[1]
    assert [fold.queries for fold in by_seed[0].folds] != [fold.queries for fold in by_seed[2].folds]


def test_a_weight_that_is_given_is_measured_and_none_is_chosen() -> None:
    found = blended({"q": FIRST}, {"q": LOGITS}, {"q": "b"}, weight=0.3)
    assert (found.weight, found.given, found.folds) == (0.3, True, ())
    assert found.effectiveness is not None
    assert found.effectiveness.per_query == {"RR@10": {"q": 0.5}}


def test_fewer_queries_than_folds_give_the_curve_and_the_reason() -> None:
    first, logits = {"q0": FIRST, "q1": FIRST}, {"q0": HELPS, "q1": HURTS}
    found = blended(first, logits, {"q0": "b", "q1": "a"}, folds=5)
    assert (found.effectiveness, found.folds, len(found.points)) == (None, (), 11)
    assert found.why is not None
    assert found.why.startswith("blend.folds=5: the slice has 2 queries")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "minmax"}, "blend.method=minmax: there is no such method"),
        ({"weight": 1.5}, "blend.weight=1.5: give the reranker's weight, from 0"),
        ({"weight": math.nan}, "blend.weight=nan: give the reranker's weight, from 0"),
        ({"steps": 1}, "blend.steps=1: give the number of steps from weight 0 to 1, 2 to 100"),
        ({"folds": 1}, "blend.folds=1: cross-validation needs 2 folds or more"),
        ({"method": "rrf", "k": -1}, "blend.k=-1"),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_sentence(given: Any, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        BlendSettings(**given).check()
    Plan("t", 5, ["RR@10"], CostProtocol(0, 0, 0), BlendSettings()).check()


class Parts:
    """A first stage and a reranker that put the passages into orders of their own."""

    computes = False

    def __init__(self, reranks: bool = True) -> None:
        self.reranks = reranks

    def search(self, data: Any, depth: Any) -> Any:
        return Run("first", {query_id: tuple(Hit(*one) for one in FIRST.items()) for query_id in data.queries})

    def score(self, pairs: Any, queries: Any, docs: Any) -> Any:
        return Scores(tuple(LOGITS[pair.doc_id] for pair in pairs))

    def describe(self) -> Any:
        return {"name": "parts", "reranks": self.reranks}


def test_a_trial_has_a_blend_where_something_was_reranked_and_a_blend_was_requested() -> None:
    data = assemble(
        "tiny", "en", "HERE", {"q": "query"}, dict.fromkeys(FIRST, "text"), {"q": {"b": 1}}, 1, {"corpus": "full"}
    )

    def made(settings_of_blend: Any, reranks: bool = True) -> Any:
        parts: Any = Parts(reranks)
        return run(Plan("t", 5, ["RR@10"], CostProtocol(0, 0, 0), settings_of_blend), data, parts, parts, {}, {}).blend

    assert curve(made(BlendSettings(steps=4))) == {0.0: 0.5, 0.25: 0.5, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}
    assert (made(None), made(BlendSettings(method="none")), made(BlendSettings(), reranks=False)) == (None, None, None)
