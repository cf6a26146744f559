import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.evaluated import evaluate
from evalkit.results.result import finished
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan, run
from evalkit.types import Hit, Pair, Run, Scores

DOCS = {f"d{i}": f"text of passage {i}" for i in range(8)}


class FixedOrder:
    """A first stage with given hits for each query."""

    def __init__(self, orders: Any) -> None:
        self.orders = orders
        self.asked_depth = None

    def check(self) -> None:
        pass

    def search(self, data: Any, depth: Any) -> Any:
        self.asked_depth = depth
        return Run("fixed", {
            query_id: tuple(Hit(doc_id, 10.0 - rank) for rank, doc_id in enumerate(self.orders[query_id][:depth]))
            for query_id in data.queries
        })  # fmt: skip

    def describe(self) -> Any:
        return {"name": "fixed"}


class Opinion:
    """A reranker that scores each pair by a function; None is no opinion."""

    def __init__(self, logit: Any, computes: Any = True, truncated: Any = 0) -> None:
        self.logit, self.computes, self.truncated = logit, computes, truncated
        self.calls: list[Any] = []

    def check(self) -> None:
        pass

    def load(self) -> None:
        self.calls.append("load")

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        self.calls.append(list(pairs))
        return Scores(tuple(self.logit(*pair) for pair in pairs), truncated_pairs=self.truncated)

    def describe(self) -> Any:
        return {"name": "opinion", "max_length": 512}


def collection(queries: Any = 4, grades: Any = None, docs: Any = DOCS, level: Any = 1, **facts: Any) -> Any:
    """A slice of `queries` queries, each of which has passage d0 as its answer and all others judged 0."""
    grades = grades or {doc_id: int(doc_id == "d0") for doc_id in docs}
    texts = {f"q{i}": f"query {i}" for i in range(queries)}
    return assemble("tiny", "en", "HERE", texts, docs, dict.fromkeys(texts, grades), level, {"corpus": "full", **facts})


def plan(depth: Any = 8, measures: Any = ("nDCG@10",), warmup: Any = 0, latency: Any = 0, seed: Any = 0) -> Any:
    return Plan("test", depth, list(measures), CostProtocol(warmup, latency, seed))


def everywhere(data: Any, *order: Any) -> Any:
    return FixedOrder({query_id: list(order) for query_id in data.queries})


def trial(data: Any, first: Any, reranker: Any, **settings: Any) -> Any:
    return run(plan(**settings), data, first, reranker, {"asked": "this"}, {"by": "test"})


def order_of(found: Any, query_id: Any = "q0") -> Any:
    return [hit.doc_id for hit in found.rankings[query_id]]


def worse_later(query_id: Any, doc_id: Any) -> Any:
    """Like a rank: d0 best."""
    return -float(doc_id[1:])


def worse_earlier(query_id: Any, doc_id: Any) -> Any:
    return float(doc_id[1:])


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_reranker_that_knows_the_answer_brings_it_to_the_top() -> None:
    data = collection()
    done = trial(data, everywhere(data, "d2", "d1", "d0"), Opinion(worse_later), measures=["RR@10", "nDCG@10"])
    assert order_of(done.first_stage) == ["d2", "d1", "d0"]
    assert order_of(done.reranked) == ["d0", "d1", "d2"]
    assert done.effectiveness["first_stage"].mean()["RR@10"] == pytest.approx(1 / 3)
    assert done.effectiveness["first_stage"].mean()["nDCG@10"] == pytest.approx(1 / math.log2(4))
    assert done.effectiveness["reranked"].mean() == {"RR@10": 1.0, "nDCG@10": 1.0}


def test_only_the_candidates_down_to_the_depth_are_scored_and_the_rest_stays() -> None:
    data = collection(1)
    reranker = Opinion(worse_later, computes=False)
    done = trial(data, everywhere(data, "d3", "d2", "d1", "d0", "d7"), reranker, depth=3)
    assert reranker.calls == ["load", [Pair("q0", "d3"), Pair("q0", "d2"), Pair("q0", "d1")]]
    assert order_of(done.reranked) == ["d1", "d2", "d3", "d0", "d7"]


def test_the_search_goes_as_deep_as_the_deepest_measure() -> None:
    data = collection()
    first = everywhere(data, *DOCS)
    trial(data, first, Opinion(worse_later), depth=3, measures=["nDCG@10", "R@50", "P@5"])
    assert first.asked_depth == 50
    trial(data, first, Opinion(worse_later), depth=70, measures=["nDCG@10"])
    assert first.asked_depth == 70


def test_recall_below_the_depth_does_not_change() -> None:
    data = collection(grades={"d0": 1, "d5": 1, "d7": 1})
    done = trial(data, everywhere(data, *DOCS), Opinion(worse_earlier), depth=3, measures=["R@depth", "R@6", "R@100"])
    # Of d0, d5 and d7 the first three hits hold d0, the first six d0 and d5.
    for label in ("first_stage", "reranked"):
        assert done.effectiveness[label].mean() == pytest.approx({"R@3": 1 / 3, "R@6": 2 / 3, "R@100": 1.0})


def test_the_relevance_level_is_that_of_the_slice() -> None:
    # d1, of grade 1, comes before d0, of grade 2: at level 2 only d0 counts, which is at rank 2 and then at rank 1.
    data = collection(grades={"d0": 2, "d1": 1}, level=2)
    done = trial(data, everywhere(data, "d1", "d0"), Opinion(worse_later), measures=["RR@10"])
    means = {label: values.mean()["RR@10"] for label, values in done.effectiveness.items()}
    assert means == {"first_stage": 0.5, "reranked": 1.0, "ceiling": 1.0}


def test_passages_without_an_opinion_follow_in_first_stage_order() -> None:
    data = collection()
    opinions = {"d0": None, "d1": 1.0, "d2": None, "d3": 2.0}
    done = trial(data, everywhere(data, "d0", "d1", "d2", "d3", "d4"), Opinion(lambda q, d: opinions[d]), depth=4)
    assert order_of(done.reranked) == ["d3", "d1", "d0", "d2", "d4"]
    assert done.effective["scoring"]["pairs_unscored"] == 2 * 4
    assert any("the reranker gave no score to 8 of 16 candidates" in warning for warning in done.warnings)


def test_ties_keep_the_first_stage_order_and_are_counted() -> None:
    data = collection()
    done = trial(data, everywhere(data, "d3", "d1", "d2"), Opinion(lambda q, d: float(d == "d2")))
    assert order_of(done.reranked) == ["d2", "d3", "d1"]
    assert done.effective["scoring"]["tied_pairs"] == 2 * 4
    assert any("8 pairs share their score" in warning for warning in done.warnings)


def test_equal_scores_of_different_queries_are_no_ties() -> None:
    data = collection()
    done = trial(data, everywhere(data, "d0", "d1"), Opinion(worse_later))
    assert done.effective["scoring"]["tied_pairs"] == 0


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    data = collection()
    with pytest.raises(EvalkitError, match="gave nan as logit for query 'q0' and passage 'd1'"):
        trial(data, everywhere(data, "d0", "d1"), Opinion(lambda q, d: math.nan if d == "d1" else 0.0))


# --- the verdict ------------------------------------------------------------------------------------------------------


def rated(reranker_logit: Any, order: Any = ("d4", "d0", "d1", "d2", "d3"), queries: Any = 30) -> Any:
    data = collection(queries)
    first = FixedOrder({q: [*order[i % 3 :], *order[: i % 3]] for i, q in enumerate(data.queries)})
    return finished(trial(data, first, Opinion(reranker_logit))).effectiveness


def test_reversing_the_list_hurts() -> None:
    # d0, the answer, goes from rank 1, 2 or 5 to the bottom of five.
    found = rated(worse_earlier)
    assert found.verdict["nDCG@10"] == "hurt"
    assert found.delta["nDCG@10"] < 0
    assert found.delta_ci95["nDCG@10"][1] < 0


def test_knowing_the_answer_helps() -> None:
    found = rated(worse_later)
    assert found.verdict["nDCG@10"] == "helped"
    assert found.losses["nDCG@10"] == 0
    assert found.wins["nDCG@10"] == 20  # in every third query the answer was at the top before


def test_the_same_order_makes_no_difference() -> None:
    found = rated(lambda q, d: 0.0)
    assert found.verdict["nDCG@10"] == "made no clear difference"
    assert found.delta["nDCG@10"] == 0.0
    assert (found.wins["nDCG@10"], found.ties["nDCG@10"], found.losses["nDCG@10"]) == (0, 30, 0)


@settings(deadline=None, max_examples=25)
@given(
    grades=st.fixed_dictionaries({doc_id: st.integers(0, 3) for doc_id in DOCS}),
    order=st.permutations(sorted(DOCS)),
    logits=st.fixed_dictionaries({doc_id: st.sampled_from([0.0, 1.0, 2.0]) for doc_id in DOCS}),
    depth=st.integers(1, 9),
)
def test_no_reranker_goes_through_the_ceiling(grades: Any, order: Any, logits: Any, depth: Any) -> None:
    data = collection(2, grades=grades)
    opinion = Opinion(lambda q, d: logits[d], computes=False)
    done = trial(data, everywhere(data, *order), opinion, depth=depth, measures=["nDCG@10", "AP@100", "RR@10"])
    ceiling = done.effectiveness["ceiling"].mean()
    for label in ("first_stage", "reranked"):
        for name, value in done.effectiveness[label].mean().items():
            assert value <= ceiling[name] + 1e-12, (label, name)


# --- what is written down ---------------------------------------------------------------------------------------------


def test_what_was_asked_and_what_was_done_are_both_written_down() -> None:
    data = collection()
    done = trial(data, everywhere(data, "d0"), Opinion(worse_later), depth=5, measures=["ndcg@10", "R@depth"])
    assert done.asked == {"asked": "this"}
    assert done.provenance == {"by": "test"}
    assert done.effective["depth"] == 5
    assert done.effective["measures"] == ["nDCG@10", "R@5"]
    assert done.effective["slice"]["fingerprint"] == data.fingerprint
    assert done.effective["reranker"]["name"] == done.reranked.name == "opinion"
    assert done.effective["first_stage"]["name"] == "fixed"


def test_a_reranker_that_computes_nothing_has_no_cost() -> None:
    data = collection()
    reranker = Opinion(worse_later, computes=False)
    done = trial(data, everywhere(data, "d0", "d1"), reranker, warmup=2, latency=2)
    assert done.cost is None
    assert len(reranker.calls) == 2  # load, and all pairs once


def test_progress_is_shown_for_the_whole_job_and_never_while_a_single_query_is_timed() -> None:
    shown = []

    class Watched(Opinion):
        def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
            shown.append((len(pairs), on_progress is not None))
            return super().score(pairs, queries, docs)

    data = collection(3)
    trial(data, everywhere(data, "d0", "d1"), Watched(worse_later), warmup=1, latency=2)
    assert shown == [(2, False), (6, True), (2, False), (2, False)]  # warm-up, all pairs, two timed queries


def test_warm_up_comes_before_the_scoring_and_single_queries_after_it() -> None:
    data = collection(4)
    reranker = Opinion(worse_later)
    done = trial(data, everywhere(data, "d0", "d1"), reranker, warmup=1, latency=3)
    load, warmup, scoring, *timed = reranker.calls
    assert load == "load"
    assert warmup == [Pair("q0", "d0"), Pair("q0", "d1")]
    assert scoring == [Pair(q, d) for q in data.queries for d in ("d0", "d1")]
    assert len(timed) == 3
    assert all(len({pair.query_id for pair in pairs}) == 1 for pairs in timed)
    assert len({pairs[0].query_id for pairs in timed}) == 3
    assert done.cost.pairs == 8
    assert done.cost.pairs_per_s == pytest.approx(8 / done.cost.scoring_s)
    assert len(done.cost.latency.samples_ms) == 3
    assert done.cost.latency.pairs_per_query == 2


def test_rankings_that_another_process_evaluates_are_evaluated_before_single_queries_are_timed() -> None:
    data, seen = collection(), list[Any]()
    reranker: Any = Opinion(worse_later)

    def elsewhere(unevaluated: Any, logits: Any, blend: Any) -> Any:
        seen.append((unevaluated, list(reranker.calls)))
        return evaluate(unevaluated, logits, blend)

    found = run(plan(latency=4), data, everywhere(data, *DOCS), reranker, {}, {}, elsewhere)
    ((unevaluated, calls),) = seen
    assert [call if call == "load" else len(call) for call in calls] == ["load", 4 * 8]
    assert (unevaluated.cost, unevaluated.effectiveness) == (None, {})
    assert found.cost is not None
    assert found.cost.latency is not None
    assert len(found.cost.latency.samples_ms) == 4
    here = run(plan(latency=4), data, everywhere(data, *DOCS), reranker, {}, {})
    assert (found.effectiveness, found.unjudged_at_10) == (here.effectiveness, here.unjudged_at_10)


def test_statistics_of_a_result_without_costs_are_those_of_the_whole_one() -> None:
    found = trial(collection(), everywhere(collection(), *DOCS), Opinion(worse_later), latency=4)
    early = finished(replace(found, cost=None))
    assert finished(found) == finished(found, ranked=early)


def test_the_passages_are_not_needed_to_evaluate() -> None:
    data = collection()
    reranker: Any = Opinion(worse_later)
    done = run(
        plan(), data, everywhere(data, *DOCS), reranker, {}, {},
        lambda one, *of: evaluate(replace(one, slice=replace(one.slice, docs={})), *of),
    )  # fmt: skip
    assert done.slice.docs == DOCS
    assert finished(done) == finished(replace(done, slice=replace(data, docs={})))


def test_the_seed_decides_which_queries_are_timed() -> None:
    def timed(seed: Any) -> Any:
        data = collection(30)
        reranker = Opinion(worse_later)
        trial(data, everywhere(data, "d0"), reranker, latency=5, seed=seed)
        return [pairs[0].query_id for pairs in reranker.calls[2:]]

    assert timed(1) == timed(1)
    assert timed(1) != timed(2)


def test_more_timed_queries_than_there_are_is_all_of_them() -> None:
    data = collection(3)
    done = trial(data, everywhere(data, "d0"), Opinion(worse_later), latency=100)
    assert len(done.cost.latency.samples_ms) == 3


def test_no_latency_is_measured_where_none_is_asked_for() -> None:
    data = collection()
    assert trial(data, everywhere(data, "d0"), Opinion(worse_later)).cost.latency is None


def test_a_trial_changes_none_of_its_values() -> None:
    data = collection()
    first = everywhere(data, "d1", "d0")
    before = (dict(data.queries), dict(data.docs), {q: dict(g) for q, g in data.qrels.items()}, dict(data.facts))
    done = trial(data, first, Opinion(worse_later))
    assert (data.queries, data.docs, data.qrels, data.facts) == before
    assert done.first_stage == first.search(data, 10)


# --- warnings ---------------------------------------------------------------------------------------------------------


def warnings_of(data: Any, *orders: Any, reranker: Any = None, **settings: Any) -> Any:
    return trial(data, everywhere(data, *orders or ("d1", "d0")), reranker or Opinion(worse_later), **settings).warnings


def test_a_trial_without_limitations_has_no_warnings() -> None:
    assert warnings_of(collection(30)) == ()


def test_few_queries_are_warned_of() -> None:
    assert warnings_of(collection(29)) == (
        "29 queries are few: only large differences can be distinguished from chance",
    )


def test_unjudged_passages_at_the_top_are_warned_of_above_a_fifth() -> None:
    # Five hits a query: with one unjudged it is 20 %, with two it is 40 %.
    five = ("d1", "d0", "d2", "d3", "d4")
    assert warnings_of(collection(30, grades={"d0": 1, "d1": 0, "d2": 0, "d3": 0}), *five) == ()
    assert warnings_of(collection(30, grades={"d0": 1, "d1": 0, "d2": 0}), *five) == (
        "40% of the top 10 of the first stage are unjudged and count as not relevant",
        "40% of the top 10 of the reranked list are unjudged and count as not relevant",
    )


def test_judged_passages_that_are_not_there_are_warned_of() -> None:
    [warning] = warnings_of(collection(30, grades={"d0": 1, "d1": 0, "gone": 1}))
    assert warning.startswith("1 judged passages are not in this slice's corpus and cannot be found")


def test_a_cut_corpus_is_warned_of() -> None:
    [warning] = warnings_of(collection(30, corpus="judged"))
    assert warning.startswith("the corpus is cut (judged)")


def test_queries_without_a_relevant_passage_are_warned_of() -> None:
    [warning] = warnings_of(collection(30, grades={"d0": 1, "d1": 0}, level=2))
    assert warning == "30 queries have no relevant passage and count 0 in every list"


def test_queries_without_hits_are_warned_of_and_count_zero() -> None:
    data = collection(30)
    first = FixedOrder({query_id: ["d1", "d0"] if query_id != "q7" else [] for query_id in data.queries})
    done = trial(data, first, Opinion(worse_later))
    assert done.warnings == ("the first stage found nothing for 1 queries; they count 0",)
    assert done.reranked.rankings["q7"] == ()
    assert done.effectiveness["reranked"].mean()["nDCG@10"] == pytest.approx(29 / 30)


def test_a_reranker_that_changes_no_order_is_warned_of() -> None:
    assert warnings_of(collection(30), "d0", "d1") == (
        "the reranker changed no order: every list is the first stage's",
    )


def test_pairs_that_were_cut_are_warned_of_with_the_limit() -> None:
    [warning] = warnings_of(collection(30), reranker=Opinion(worse_later, truncated=7))
    assert warning == "7 of 60 pairs were cut to 512 tokens"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_first_stage_that_finds_nothing_at_all_is_refused() -> None:
    data = collection()
    reranker = Opinion(worse_later)
    with pytest.raises(EvalkitError, match="the first stage found no passage for any query"):
        trial(data, everywhere(data, *()), reranker)
    assert reranker.calls == []  # before a model is loaded


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"measures": ["nDGC@10"]}, "unknown measure 'nDGC@10'; did you mean nDCG@10"),
        ({"measures": ["nDCG@10", "nDCG"]}, "measure 'nDCG' needs a cutoff of at least 1, as in nDCG@10"),
        ({"measures": []}, "measures.names is empty; give at least one, such as nDCG@10"),
        ({"depth": 0}, "depth=0: give how many candidates of each query to rerank, 1 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_the_search(setting: Any, message: Any) -> None:
    data = collection()
    first = everywhere(data, "d0")
    with pytest.raises(EvalkitError) as caught:
        trial(data, first, Opinion(worse_later), **setting)
    assert message in str(caught.value)
    assert first.asked_depth is None
