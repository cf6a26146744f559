import math
import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate, unjudged_share
from evalkit.types import Hit, Run

NAMES = ["nDCG@10", "RR@10", "RR(rel=2)@10", "AP@100", "AP(rel=2)@100", "R@100", "P@5", "Success@5",
         "bpref@1000", "bpref(rel=2)@1000", "RBP(p=0.8)@100", "Judged@10", "nDCG(judged_only=True)@10"]  # fmt: skip


def measure(run: Any, qrels: Any, *names: Any, level: Any = 1) -> Any:
    return evaluate(run, qrels, [parse(name, 100) for name in names or NAMES], level).per_query


def ranked(*doc_ids: Any) -> Any:
    return tuple(Hit(doc_id, -float(rank)) for rank, doc_id in enumerate(doc_ids))


# One query with four judged passages, ranked: x unjudged, a grade 1, b grade 3, c grade 0; d, of grade 2, is not found.
QRELS = {"q": {"a": 1, "b": 3, "c": 0, "d": 2}}
RUN = Run("hand", {"q": ranked("x", "a", "b", "c")})


def test_ndcg_is_gain_over_ideal_gain() -> None:
    # DCG  = 1/log2(3) + 3/log2(4) = 0.6309 + 1.5            (a at rank 2, b at rank 3)
    # IDCG = 3/log2(2) + 2/log2(3) + 1/log2(4) = 3 + 1.2619 + 0.5   (b, d, a, and d counts though it was not found)
    gained = 1 / math.log2(3) + 3 / math.log2(4)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert measure(RUN, QRELS, "nDCG@10")["nDCG@10"]["q"] == pytest.approx(gained / ideal, abs=1e-12)
    assert gained / ideal == pytest.approx(0.4475, abs=5e-5)


def test_reciprocal_rank_is_that_of_the_first_relevant_passage() -> None:
    assert measure(RUN, QRELS, "RR@10")["RR@10"]["q"] == pytest.approx(1 / 2)


def test_average_precision_counts_relevant_passages_that_were_not_found() -> None:
    # a at rank 2 (precision 1/2), b at rank 3 (precision 2/3), d never: (1/2 + 2/3 + 0) / 3 relevant.
    assert measure(RUN, QRELS, "AP@100")["AP@100"]["q"] == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_recall_precision_and_success() -> None:
    values = measure(RUN, QRELS, "R@2", "R@100", "P@5", "P@2", "Success@1", "Success@2")
    assert {name: value["q"] for name, value in values.items()} == pytest.approx(
        {"R@2": 1 / 3, "R@100": 2 / 3, "P@5": 2 / 5, "P@2": 1 / 2, "Success@1": 0.0, "Success@2": 1.0}
    )


def test_nothing_below_the_cutoff_counts() -> None:
    values = measure(RUN, QRELS, "nDCG@1", "RR@1", "AP@1", "R@1", "P@1")
    assert [value["q"] for value in values.values()] == [0.0] * 5


def test_the_relevance_level_of_the_slice_applies_to_binary_measures_that_state_none() -> None:
    # At level 2 only b (rank 3) and d (not found) are relevant.
    values = measure(RUN, QRELS, "RR@10", "R@10", "AP@10", "P@2", level=2)
    assert [value["q"] for value in values.values()] == pytest.approx([1 / 3, 1 / 2, (1 / 3) / 2, 0.0])


def test_a_level_in_the_name_outweighs_that_of_the_slice() -> None:
    values = measure(RUN, QRELS, "RR(rel=1)@10", "RR(rel=3)@10", level=2)
    assert [value["q"] for value in values.values()] == pytest.approx([1 / 2, 1 / 3])


def test_the_relevance_level_leaves_ndcg_alone() -> None:
    at_1, at_2 = (measure(RUN, QRELS, "nDCG@10", level=level)["nDCG@10"]["q"] for level in (1, 2))
    assert at_1 == at_2


def test_position_is_the_truth_not_the_score() -> None:
    scores_say_otherwise = Run("odd", {"q": (Hit("x", 0.0), Hit("a", 5.0), Hit("b", 5.0), Hit("c", 9.0))})
    assert measure(scores_say_otherwise, QRELS) == measure(RUN, QRELS)


def test_a_query_without_hits_and_one_that_the_run_lacks_count_zero() -> None:
    qrels = {**QRELS, "no hits": {"a": 1}, "not in the run": {"a": 1}}
    run = Run("r", {**RUN.rankings, "no hits": ()})
    for values in measure(run, qrels).values():
        assert values["no hits"] == 0.0
        assert values["not in the run"] == 0.0
        assert set(values) == set(qrels)


def test_a_query_without_any_relevant_passage_counts_zero() -> None:
    for name, values in measure(Run("r", {"q": ranked("a", "b")}), {"q": {"a": 0, "b": -1}}).items():
        assert values["q"] == (1.0 if name == "Judged@10" else 0.0)


def test_a_query_without_judgments_is_not_measured() -> None:
    run = Run("r", {**RUN.rankings, "unjudged": ranked("a")})
    assert set(measure(run, QRELS)["nDCG@10"]) == {"q"}


def test_the_mean_is_over_all_judged_queries() -> None:
    # Half of the queries at 1, half of them missing from the run.
    run = Run("r", {"q1": ranked("a")})
    found = evaluate(run, {"q1": {"a": 1}, "q2": {"a": 1}}, [parse("RR@10", 10)], 1)
    assert found.mean() == {"RR@10": 0.5}


def test_without_judgments_there_is_nothing_to_measure() -> None:
    with pytest.raises(EvalkitError, match="no judgments"):
        evaluate(RUN, {}, [parse("RR@10", 10)], 1)


def test_measuring_changes_neither_run_nor_judgments() -> None:
    qrels = {"q2": {"b": 1, "a": 2}, "q1": {"a": 1}}
    run = Run("r", {"q1": ranked("b", "a"), "q3": ranked("a")})
    measure(run, qrels)
    assert [(q, list(grades.items())) for q, grades in qrels.items()] == [
        ("q2", [("b", 1), ("a", 2)]), ("q1", [("a", 1)]),
    ]  # fmt: skip
    assert run == Run("r", {"q1": ranked("b", "a"), "q3": ranked("a")})


# --- where judgments are missing --------------------------------------------------------------------------------------


def test_judged_is_the_share_of_judged_passages_among_those_that_there_are() -> None:
    # x unjudged, then a, b, c judged; the cutoff of 10 is beyond the four passages.
    assert measure(RUN, QRELS, "Judged@1", "Judged@2", "Judged@10") == {
        "Judged@1": {"q": 0.0}, "Judged@2": {"q": 1 / 2}, "Judged@10": {"q": 3 / 4},
    }  # fmt: skip


def test_rank_biased_precision_weighs_ranks_by_the_persistence() -> None:
    # Relevant at ranks 2 and 3: (1 - 0.8) (0.8 + 0.64); at level 2 only b, at rank 3: (1 - 0.8) 0.64.
    values = measure(RUN, QRELS, "RBP(p=0.8)@10", "RBP(p=0.8)@2", "RBP(p=0.8,rel=2)@10")
    assert [value["q"] for value in values.values()] == pytest.approx([0.288, 0.16, 0.128])


def test_bpref_counts_passages_judged_not_relevant_above_each_relevant_one() -> None:
    # R = 3 (a, b, d), N = 2 (c, e). Ranked c a x b e: one of N above a and above b, d is not found.
    # (1 - 1/2) + (1 - 1/2) over R = 3; the unjudged x changes nothing.
    qrels = {"q": {"a": 1, "b": 3, "c": 0, "d": 2, "e": 0}}
    run = Run("r", {"q": ranked("c", "a", "x", "b", "e")})
    assert measure(run, qrels, "bpref")["bpref@1000"]["q"] == pytest.approx(1 / 3)
    assert measure(run, qrels, "bpref@2")["bpref@2"]["q"] == pytest.approx(1 / 6)


def test_a_condensed_list_is_measured_as_if_unjudged_passages_had_not_been_retrieved() -> None:
    # Without x: a at rank 1, b at rank 2, c at rank 3.
    gained, ideal = 1 + 3 / math.log2(3), 3 + 2 / math.log2(3) + 1 / math.log2(4)
    values = measure(
        RUN, QRELS, "nDCG(judged_only=True)@10", "RR(judged_only=True)@10", "nDCG@10", "R(judged_only=True)@2"
    )
    assert [value["q"] for value in values.values()] == pytest.approx(
        [gained / ideal, 1.0, (1 / math.log2(3) + 3 / math.log2(4)) / ideal, 2 / 3]
    )


# --- against trec_eval itself -----------------------------------------------------------------------------------------

TREC_EVAL = {
    "nDCG@10": ("ndcg_cut.10", "ndcg_cut_10", 1),
    "RR@10": ("recip_rank", "recip_rank", 1),
    "RR(rel=2)@10": ("recip_rank", "recip_rank", 2),
    "AP@100": ("map_cut.100", "map_cut_100", 1),
    "AP(rel=2)@100": ("map_cut.100", "map_cut_100", 2),
    "R@100": ("recall.100", "recall_100", 1),
    "P@5": ("P.5", "P_5", 1),
    "Success@5": ("success.5", "success_5", 1),
    "bpref@1000": ("bpref", "bpref", 1),
    "bpref(rel=2)@1000": ("bpref", "bpref", 2),
}
"""Our name -> trec_eval's name in the query, in the answer, and its relevance level."""


def trec_eval(run: Any, qrels: Any) -> Any:
    """The figures of trec_eval for our order, given to it as strictly falling scores; what the run lacks counts 0."""
    import pytrec_eval

    found = {}
    for name, (asked, key, level) in TREC_EVAL.items():
        cutoff = 10 if key == "recip_rank" else None  # trec_eval's recip_rank has no cutoff
        scores = {
            query_id: {hit.doc_id: -float(rank) for rank, hit in enumerate(hits[:cutoff])}
            for query_id, hits in run.rankings.items()
            if hits and query_id in qrels
        }
        answer = pytrec_eval.RelevanceEvaluator(qrels, {asked}, relevance_level=level).evaluate(scores)
        found[name] = {query_id: answer.get(query_id, {}).get(key, 0.0) for query_id in qrels}
    return found


def assert_equals_trec_eval(run: Any, qrels: Any) -> None:
    ours, theirs = measure(run, qrels), trec_eval(run, qrels)
    for name in TREC_EVAL:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name


pool = [f"d{i}" for i in range(25)]
queries = ["q1", "q2", "q10"]
graded = st.dictionaries(st.sampled_from(pool), st.integers(0, 3), min_size=1, max_size=20)
hits = st.dictionaries(st.sampled_from(pool), st.sampled_from([0.0, 0.5, 0.5 + 1e-9, 2.0]), max_size=25).map(
    lambda scores: ranking.order([Hit(*item) for item in scores.items()])
)


@settings(deadline=None, max_examples=80)
@given(
    qrels=st.dictionaries(st.sampled_from(queries), graded, min_size=1),
    rankings=st.dictionaries(st.sampled_from([*queries, "q of another slice"]), hits),
)
def test_every_measure_equals_trec_eval(qrels: Any, rankings: Any) -> None:
    assert_equals_trec_eval(Run("r", rankings), qrels)


def test_every_measure_equals_trec_eval_on_long_lists() -> None:
    # 130 hits a query, so that the cutoff at 100 cuts something relevant off.
    lots = random.Random(5)
    docs = [f"doc-{i}" for i in range(300)]
    qrels = {f"q{i}": {d: lots.choice([0, 0, 1, 2, 3]) for d in lots.sample(docs, 80)} for i in range(40)}
    run = Run("r", {q: ranked(*lots.sample(docs, 130)) for q in list(qrels)[5:]})
    assert_equals_trec_eval(run, qrels)
    recall = measure(run, qrels, "R@100", "R@130")
    assert sum(recall["R@130"].values()) > sum(recall["R@100"].values())


@settings(deadline=None, max_examples=25)
@given(qrels=st.dictionaries(st.sampled_from(queries), graded, min_size=1), data=st.data())
def test_a_condensed_list_does_not_depend_on_unjudged_passages(qrels: Any, data: Any) -> None:
    """Unjudged passages, put in anywhere, change neither the condensed list nor bpref."""
    names = ["nDCG(judged_only=True)@5", "AP(judged_only=True)@10", "RBP(p=0.8,judged_only=True)@10", "bpref"]
    rankings = {q: data.draw(st.permutations(sorted(grades))) for q, grades in qrels.items()}
    plain = Run("r", {q: ranked(*ids) for q, ids in rankings.items()})
    more = {}
    for q, ids in rankings.items():
        places = data.draw(st.lists(st.integers(0, len(ids)), max_size=4))
        mixed = list(ids)
        for number, place in enumerate(places):
            mixed.insert(place, f"unjudged {number}")
        more[q] = ranked(*mixed)
    assert measure(Run("r", more), qrels, *names) == measure(plain, qrels, *names)
    usual = measure(plain, qrels, "nDCG@5")["nDCG@5"]
    assert measure(plain, qrels, *names)["nDCG(judged_only=True)@5"] == usual


@settings(deadline=None, max_examples=25)
@given(judged=graded, found=hits)
def test_condensed_lists_equal_trec_eval_with_judged_passages_only(judged: Any, found: Any) -> None:
    import pytrec_eval

    asked = pytrec_eval.RelevanceEvaluator({"q": judged}, {"ndcg_cut.10", "map_cut.100"}, judged_docs_only_flag=True)
    theirs = asked.evaluate({"q": {hit.doc_id: -float(rank) for rank, hit in enumerate(found)}}).get("q", {})
    ours = measure(Run("r", {"q": found}), {"q": judged}, "nDCG(judged_only=True)@10", "AP(judged_only=True)@100")
    assert [values["q"] for values in ours.values()] == pytest.approx(
        [theirs.get("ndcg_cut_10", 0.0), theirs.get("map_cut_100", 0.0)], abs=1e-9
    )


@settings(deadline=None, max_examples=25)
@given(grades=st.dictionaries(st.sampled_from(pool), st.integers(-2, 3), min_size=1), found=hits)
def test_a_grade_below_zero_counts_as_zero(grades: Any, found: Any) -> None:
    # TREC's web tracks grade spam -2. Only trec_eval's Python wrapper cannot take it: it crashes.
    at_least_0 = {doc_id: max(grade, 0) for doc_id, grade in grades.items()}
    run = Run("r", {"q": found})
    assert measure(run, {"q": grades}) == measure(run, {"q": at_least_0})


@settings(deadline=None, max_examples=25)
@given(qrels=st.dictionaries(st.sampled_from(queries), graded, min_size=1), data=st.data())
def test_the_order_of_the_queries_and_of_the_judgments_does_not_matter(qrels: Any, data: Any) -> None:
    rankings = data.draw(st.dictionaries(st.sampled_from(queries), hits))
    shuffled = {
        q: dict(data.draw(st.permutations(list(qrels[q].items())))) for q in data.draw(st.permutations(list(qrels)))
    }
    shuffled_run = {q: rankings[q] for q in data.draw(st.permutations(list(rankings)))}
    assert measure(Run("r", shuffled_run), shuffled) == measure(Run("r", rankings), qrels)


@settings(deadline=None, max_examples=25)
@given(qrels=st.dictionaries(st.sampled_from(queries), graded, min_size=1), data=st.data())
def test_the_width_of_the_ids_does_not_matter(qrels: Any, data: Any) -> None:
    rankings = data.draw(st.dictionaries(st.sampled_from(queries), hits))

    def long(name: Any) -> Any:
        return "文档/" + "x" * 60 + name

    wide_qrels = {long(q): {long(d): grade for d, grade in grades.items()} for q, grades in qrels.items()}
    wide_run = {long(q): tuple(Hit(long(d), s) for d, s in found) for q, found in rankings.items()}
    narrow, wide = measure(Run("r", rankings), qrels), measure(Run("r", wide_run), wide_qrels)
    assert {name: list(values.values()) for name, values in wide.items()} == {
        name: list(values.values()) for name, values in narrow.items()
    }


def test_every_measure_can_be_asked_for_alone_and_twice() -> None:
    assert measure(RUN, QRELS, "RR@10", "rr@10") == measure(RUN, QRELS, "RR@10")
    together = measure(RUN, QRELS)
    for name in NAMES:
        assert measure(RUN, QRELS, name) == {name: together[name]}


def test_measuring_imports_no_more_of_ranx_than_its_kernels() -> None:
    program = """
import sys
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate
from evalkit.types import Hit, Run
found = evaluate(Run("r", {"q": (Hit("a", 1.0),)}), {"q": {"a": 1}}, [parse("RR@10", 10)], 1)
assert found.per_query == {"RR@10": {"q": 1.0}}, found
print(*sorted({"ranx", "ir_datasets", "pandas", "matplotlib", "seaborn"} & set(sys.modules)), "/", end=" ")
import ranx
print(ranx.evaluate.__name__)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["/", "evaluate"]


# --- what was not judged ----------------------------------------------------------------------------------------------


def test_the_unjudged_share_is_that_of_the_passages_at_the_top() -> None:
    # q: x of x, a, b, c is unjudged; q2 has no hits and adds nothing: 1 of 4.
    assert unjudged_share(Run("r", {**RUN.rankings, "q2": ()}), {**QRELS, "q2": {"a": 1}}) == pytest.approx(1 / 4)


def test_the_unjudged_share_looks_no_deeper_than_its_cutoff() -> None:
    run = Run("r", {"q": ranked("a", "b", "x", "y")})
    assert unjudged_share(run, QRELS, cutoff=2) == 0.0
    assert unjudged_share(run, QRELS, cutoff=3) == pytest.approx(1 / 3)


def test_a_run_without_hits_has_no_unjudged_passages() -> None:
    assert unjudged_share(Run("r", {"q": ()}), QRELS) == 0.0
