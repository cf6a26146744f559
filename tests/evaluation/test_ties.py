import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import measures, ties
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.evaluation.ties import Tied
from evalkit.types import Hit, Run

KINDS = ["nDCG", "RR", "AP", "R", "P", "Success"]
OF_INCOMPLETE = ["RBP(p=0.7)", "RBP(p=0.7,rel=2,judged_only=True)", "bpref", "Judged", "nDCG(judged_only=True)"]


def scored(**scores: Any) -> Any:
    return tuple(Hit(doc_id, score) for doc_id, score in scores.items())


def tied(run: Any, qrels: Any, *names: Any, level: Any = 1) -> Any:
    """Of the one query q: measure name -> (expected, low, high)."""
    of_each = ties.evaluate(run, qrels, [parse(name, 100) for name in names], level)
    return {name: (of["q"].expected, of["q"].low, of["q"].high) for name, of in of_each.items()}


def orders(hits: Any) -> Any:
    """Every order of `hits` that keeps equal neighbours together, each as often as chance has it."""
    groups = [list(group) for _, group in itertools.groupby(hits, key=lambda hit: hit.score)]
    for order in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield tuple(itertools.chain(*order))


def everything_tied(n: Any) -> Any:
    return Run("constant", {"q": tuple(Hit(f"d{i}", 0.5) for i in range(n))})


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_two_tied_passages_of_which_one_is_relevant_count_half_each_way() -> None:
    # a (grade 3) and x (unjudged) are tied on top, b (grade 1) follows: a x b or x a b.
    run = Run("hand", {"q": scored(x=2.0, a=2.0, b=1.0)})
    ideal = 3 + 1 / math.log2(3)
    best, worst = (3 + 1 / 2) / ideal, (3 / math.log2(3) + 1 / 2) / ideal
    # AP of a x b: (1 + 2/3) / 2 = 5/6; of x a b: (1/2 + 2/3) / 2 = 7/12.
    found = tied(run, {"q": {"a": 3, "b": 1}}, "nDCG@10", "RR@10", "AP@10", "R@1", "P@1", "Success@1")
    assert found == {
        "nDCG@10": pytest.approx(((best + worst) / 2, worst, best)),
        "RR@10": pytest.approx((3 / 4, 1 / 2, 1.0)),
        "AP@10": pytest.approx((17 / 24, 7 / 12, 5 / 6)),
        "R@1": pytest.approx((1 / 4, 0.0, 1 / 2)),
        "P@1": pytest.approx((1 / 2, 0.0, 1.0)),
        "Success@1": pytest.approx((1 / 2, 0.0, 1.0)),
    }


def test_a_cutoff_in_the_middle_of_a_tied_group_takes_its_share_of_it() -> None:
    # Four tied, a and b relevant. The top two: both (1 in 6), one then none (1/3), none then one (1/3), none (1/6).
    run, qrels = Run("hand", {"q": scored(x=1.0, a=1.0, y=1.0, b=1.0)}), {"q": {"a": 1, "b": 1}}
    found = tied(run, qrels, "nDCG@2", "RR@2", "AP@2", "R@2", "P@2", "Success@2")
    assert found == {
        "nDCG@2": pytest.approx((1 / 2, 0.0, 1.0)),
        "RR@2": pytest.approx((1 / 2 + 1 / 2 * 1 / 3, 0.0, 1.0)),
        "AP@2": pytest.approx((1 / 6 + 1 / 2 * 1 / 3 + 1 / 4 * 1 / 3, 0.0, 1.0)),
        "R@2": pytest.approx((1 / 2, 0.0, 1.0)),
        "P@2": pytest.approx((1 / 2, 0.0, 1.0)),
        "Success@2": pytest.approx((5 / 6, 0.0, 1.0)),
    }


def test_a_tied_group_beyond_the_cutoff_changes_nothing() -> None:
    run = Run("hand", {"q": scored(x=3.0, y=2.0, a=1.0, z=1.0)})
    names = ["RR@2", "AP@2", "nDCG@2"]
    assert tied(run, {"q": {"a": 1}}, *names) == dict.fromkeys(names, (0.0, 0.0, 0.0))


def test_equal_scores_of_different_queries_are_no_tie() -> None:
    run = Run("hand", {"q": scored(x=2.0, a=1.0), "r": scored(a=2.0, x=1.0)})
    found = ties.evaluate(run, {"q": {"a": 1}, "r": {"a": 1}}, [parse("RR@10", 10)], 1)
    assert found == {"RR@10": {"q": Tied(0.5, 0.5, 0.5), "r": Tied(1.0, 1.0, 1.0)}}


def test_the_closest_floats_that_differ_are_no_tie() -> None:
    run = Run("hand", {"q": scored(x=math.nextafter(0.1, 1), a=0.1)})
    assert tied(run, {"q": {"a": 1}}, "RR@10") == {"RR@10": (0.5, 0.5, 0.5)}


def test_the_relevance_level_decides_who_is_relevant_and_one_in_the_name_outweighs_it() -> None:
    run, qrels = Run("hand", {"q": scored(a=1.0, b=1.0)}), {"q": {"a": 1, "b": 2}}
    assert tied(run, qrels, "RR@10", level=1)["RR@10"] == (1.0, 1.0, 1.0)
    assert tied(run, qrels, "RR@10", level=2)["RR@10"] == (0.75, 0.5, 1.0)
    assert tied(run, qrels, "RR(rel=2)@10", level=1)["RR(rel=2)@10"] == (0.75, 0.5, 1.0)
    assert tied(run, qrels, "RR(rel=1)@10", level=2)["RR(rel=1)@10"] == (1.0, 1.0, 1.0)


def test_a_grade_below_zero_gains_nothing() -> None:
    # a at rank 1 or 2 and s, spam of grade -2, at the other: ideal gain 1.
    run = Run("hand", {"q": scored(s=1.0, a=1.0)})
    at_2 = 1 / math.log2(3)
    assert tied(run, {"q": {"s": -2, "a": 1}}, "nDCG@10")["nDCG@10"] == pytest.approx(((1 + at_2) / 2, at_2, 1.0))


def test_queries_without_hits_and_without_relevant_passages_count_zero() -> None:
    run = Run("r", {"none": (), "irrelevant": scored(a=1.0, b=1.0)})
    qrels = {"none": {"a": 1}, "missing": {"a": 1}, "irrelevant": {"a": 0}}
    for values in ties.evaluate(run, qrels, [Measure(kind, 10) for kind in KINDS], 1).values():
        assert values == {query_id: Tied(0.0, 0.0, 0.0) for query_id in qrels}


def test_without_judgments_there_is_nothing_to_measure() -> None:
    with pytest.raises(EvalkitError, match="no judgments"):
        ties.evaluate(everything_tied(2), {}, [parse("RR@10", 10)], 1)


def test_means_are_over_queries_end_by_end() -> None:
    values = {"P@1": {"q": Tied(0.5, 0.0, 1.0), "r": Tied(1.0, 1.0, 1.0)}, "R@1": {"q": Tied(0.25, 0.125, 0.5)}}
    assert ties.means(values) == {"P@1": Tied(0.75, 0.5, 1.0), "R@1": Tied(0.25, 0.125, 0.5)}


# --- everything tied: closed forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "relevant"), [(2, 1), (10, 3), (100, 1), (1000, 500)])
def test_everything_tied_equals_the_known_values_of_a_random_order(n: Any, relevant: Any) -> None:
    harmonic = math.fsum(1 / rank for rank in range(1, n + 1))
    discounts = [1 / math.log2(rank + 1) for rank in range(1, n + 1)]
    names = [f"{kind}@{n}" for kind in KINDS] + ["P@1", "R@1", "Success@1"]
    found = tied(everything_tied(n), {"q": {f"d{i}": 1 for i in range(0, relevant * (n // relevant), n // relevant)}},
                 *names)  # fmt: skip
    expected = {name: value[0] for name, value in found.items()}
    # E[AP] of a random order: Bestgen, Exact expected average precision of the random baseline, 2015.
    assert expected[f"AP@{n}"] == pytest.approx(((relevant - 1) / (n - 1) * (n - harmonic) + harmonic) / n)
    assert expected[f"nDCG@{n}"] == pytest.approx(relevant / n * sum(discounts) / sum(discounts[:relevant]))
    if relevant == 1:
        assert expected[f"RR@{n}"] == pytest.approx(harmonic / n)
    assert expected[f"R@{n}"] == expected[f"Success@{n}"] == 1.0
    assert expected["P@1"] == pytest.approx(relevant / n)
    assert expected["Success@1"] == pytest.approx(relevant / n)
    assert expected["R@1"] == pytest.approx(1 / n)
    assert found[f"AP@{n}"][2] == found[f"nDCG@{n}"][2] == found[f"RR@{n}"][2] == 1.0
    assert found[f"RR@{n}"][1] == pytest.approx(1 / (n - relevant + 1))


# --- brute force ------------------------------------------------------------------------------------------------------

docs = [f"d{i}" for i in range(7)]
grades = st.dictionaries(st.sampled_from([*docs, "lost"]), st.integers(-2, 3), min_size=1)


@st.composite
def hits(draw: Any, most: Any = 6) -> Any:
    """A ranking of up to `most` passages over few scores, so that most of them are tied."""
    found = draw(st.lists(st.sampled_from(docs), unique=True, max_size=most))
    scores = sorted(draw(st.lists(st.integers(-1, 1), min_size=len(found), max_size=len(found))), reverse=True)
    return tuple(Hit(doc_id, float(score)) for doc_id, score in zip(found, scores, strict=True))


def brute_force(found: Any, judged: Any, wanted: Any, level: Any) -> Any:
    """Measure every order of the ties, each as a query of its own."""
    all_orders = dict(enumerate(orders(found)))
    run = Run("orders", {str(i): order for i, order in all_orders.items()})
    values = measures.evaluate(run, {str(i): judged for i in all_orders}, wanted, level).per_query
    return {name: list(of.values()) for name, of in values.items()}


@settings(deadline=None, max_examples=60)
@given(found=hits(), judged=grades, level=st.integers(0, 3))
def test_expected_worst_and_best_equal_those_of_all_orders(found: Any, judged: Any, level: Any) -> None:
    wanted = [Measure(kind, cutoff) for kind in KINDS for cutoff in (1, 2, 3, 4, 10)]
    wanted += [Measure(kind, cutoff, 2) for kind in KINDS if kind != "nDCG" for cutoff in (2, 10)]
    wanted += [parse(f"{name}@{cutoff}", 10) for name in OF_INCOMPLETE for cutoff in (1, 2, 3, 4, 10)]
    found_by_formula = ties.evaluate(Run("r", {"q": found}), {"q": judged}, wanted, level)
    for name, values in brute_force(found, judged, wanted, level).items():
        one = found_by_formula[name]["q"]
        assert one.expected == pytest.approx(math.fsum(values) / len(values), abs=1e-12), name
        assert one.low == min(values), name
        assert one.high == max(values), name


@settings(deadline=None, max_examples=30)
@given(found=hits(most=7), judged=grades, level=st.integers(1, 3), data=st.data())
def test_the_order_in_which_ties_are_given_does_not_matter(found: Any, judged: Any, level: Any, data: Any) -> None:
    turned = tuple(sorted(data.draw(st.permutations(found)), key=lambda hit: -hit.score))
    wanted = [Measure(kind, cutoff) for kind in KINDS for cutoff in (1, 3, 10)]
    assert ties.evaluate(Run("r", {"q": turned}), {"q": judged}, wanted, level) == ties.evaluate(
        Run("r", {"q": found}), {"q": judged}, wanted, level
    )


def test_without_ties_all_three_equal_the_measure_itself() -> None:
    lots = random.Random(3)
    wanted = [Measure(kind, cutoff) for kind in KINDS for cutoff in (1, 3, 10)]
    qrels = {f"q{i}": {d: lots.randint(-1, 3) for d in lots.sample(docs, 4)} for i in range(30)}
    run = Run("r", {q: tuple(Hit(d, -float(rank)) for rank, d in enumerate(lots.sample(docs, 5))) for q in qrels})
    plain = measures.evaluate(run, qrels, wanted, 1)
    found = ties.evaluate(run, qrels, wanted, 1)
    assert found == {name: {q: Tied(v, v, v) for q, v in of.items()} for name, of in plain.per_query.items()}
    assert ties.means(found) == {name: Tied(mean, mean, mean) for name, mean in plain.mean().items()}


def test_the_ranking_as_it_stands_lies_between_the_worst_and_the_best() -> None:
    lots = random.Random(4)
    wanted = [Measure(kind, 10) for kind in KINDS]
    ids = [f"d{i}" for i in range(30)]
    qrels = {f"q{i}": {d: lots.randint(0, 2) for d in lots.sample(ids, 12)} for i in range(20)}
    run = Run("r", {q: tuple(Hit(d, -float(rank // 4)) for rank, d in enumerate(lots.sample(ids, 25))) for q in qrels})
    plain = measures.evaluate(run, qrels, wanted, 1).per_query
    for name, of in ties.evaluate(run, qrels, wanted, 1).items():
        assert all(of[q].low <= plain[name][q] <= of[q].high for q in qrels)
        assert all(of[q].low <= of[q].expected <= of[q].high for q in qrels)
        assert any(of[q].low < of[q].expected < of[q].high for q in qrels), name
