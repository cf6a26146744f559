import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.budgets import figures
from evalkit.results.gate.judge import judge, refuse_unlike
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.verdict import figure
from evalkit.results.passages import Passage
from evalkit.results.reading import Finished
from evalkit.types import Hit, Run
from tests.helpers.results import edited, merged, plain_cost, plain_result, result_of

N = 4


def per_query(*values: Any) -> Any:
    return {f"q{i}": value for i, value in enumerate(values)}


def result(
    reranked: Any = (0.5,) * N,
    first: Any = None,
    recall: Any = None,
    *,
    cost: Any = None,
    top: Any = None,
    scoring: Any = None,
    **facts: Any,
) -> Any:
    """A result of one measure and one recall, with four queries by default."""
    n = len(reranked)
    first, recall = first or (0.0,) * n, recall or (0.9,) * n
    counts = {"pairs": 10 * n, "pairs_unscored": 0, "truncated_pairs": 0, "tied_pairs": 0,
              "queries_with_constant_score": 0, "queries_reordered": n, "queries_without_hits": 0}  # fmt: skip
    top = top or {q: (Hit("a", 3.0), Hit("b", 2.0), Hit("c", 1.0)) for q in per_query(*reranked)}
    top = {q: hits + tuple(Hit(f"z{i}", -float(i)) for i in range(10 - len(hits))) for q, hits in top.items()}
    both = {
        "first_stage": {"nDCG@10": per_query(*first[:n]), "R@100": per_query(*recall[:n])},
        "reranked": {"nDCG@10": per_query(*reranked), "R@100": per_query(*recall[:n])},
    }
    plain = plain_result(
        effective={"scoring": counts | (scoring or {})},
        effectiveness={"unjudged_at_10": {"reranked": facts.get("unjudged", 0.0)}},
        cost=cost,
    )
    plain["effectiveness"]["per_query"] = both
    passages = {q: {h.doc_id: Passage(h.doc_id, {"a": 3}.get(h.doc_id, 0), f"text {h.doc_id}") for h in hits}
                for q, hits in top.items()}  # fmt: skip
    return Finished("here", result_of(plain), Run("r", top), {q: f"what is {q}" for q in top}, passages)


def verdict(now: Any, before: Any = None, **limits: Any) -> Any:
    from evalkit.results.gate import baseline

    return judge(baseline.of(before or result()), now, Limits(**limits))


def state(judged: Any, name: Any) -> Any:
    return {check.name: check.state for check in judged.checks}[name]


def message(judged: Any, name: Any) -> Any:
    return {check.name: check.message for check in judged.checks}[name]


# --- quality


def of_ten(*after: Any, before: Any = 0.5) -> Any:
    """The verdict on ten queries, of which the first have the given values and the rest did not change."""
    values = (*after, *(before,) * (10 - len(after)))
    return verdict(result(reranked=values), result(reranked=(before,) * 10))


def outcome(judged: Any, measure: Any = "nDCG@10") -> Any:
    return {quality.measure: quality.outcome for quality in judged.qualities}[measure]


def test_a_drop_that_is_shown_is_worse_and_fails() -> None:
    # All ten fell: of the 1,024 flips of signs one is as bad, and the recall did not change, so p is 1 / 1024.
    judged = verdict(result(reranked=(0.4,) * 10), result(reranked=(0.5,) * 10))
    assert (outcome(judged), judged.qualities[0].p) == ("worse", 1 / 1024)
    assert [check.name for check in judged.failed] == ["nDCG@10"]
    assert message(judged, "nDCG@10") == (
        "fell 0.5000 -> 0.4000 (-0.1000, with 95 % confidence at least -0.1000; 0 queries better, 10 worse, 0 equal): "
        "a drop is shown (p 0.00098 corrected for 2 measures)"
    )


def test_a_drop_on_five_queries_is_evidence_and_one_on_four_is_not() -> None:
    assert (outcome(of_ten(*[0.4] * 5)), of_ten(*[0.4] * 5).qualities[0].p) == ("worse", 1 / 32)
    four = of_ten(*[0.4] * 4)
    assert (outcome(four), four.qualities[0].p, four.holds) == ("undecided", 1 / 16, True)


def test_p_is_the_share_of_flips_in_which_the_fall_is_as_large() -> None:
    # -0.3, -0.2, +0.1: the sums of the eight flips are 0.6, 0.4, 0.2, 0, 0, -0.2, -0.4, -0.6; two are at most -0.4.
    judged = of_ten(0.2, 0.3, 0.6)
    assert judged.qualities[0].p == 2 / 8


def test_p_counts_every_measure_that_could_have_fallen_instead() -> None:
    # nDCG fell on q0 and q1, the recall on q2: T is sqrt(2) and 1. Of the eight flips two have both nDCG queries down,
    # and four have the recall down; the largest T is sqrt(2) in two, and at least 1 in five.
    before = result(reranked=(0.5,) * 3, recall=(0.9,) * 3)
    after = result(reranked=(0.4, 0.4, 0.5), recall=(0.9, 0.9, 0.8))
    assert [quality.p for quality in verdict(after, before).qualities] == [2 / 8, 4 / 8]
    # The recall has the least evidence, so that only its own flips count, but p does not fall below one before it.


def test_a_rise_is_never_called_a_fall() -> None:
    """RR@10 rose on two queries by much and fell on seven by little: no interval makes that a fall."""
    judged = verdict(result(reranked=(0.95, 0.9) + (0.48,) * 7 + (0.5,)), result(reranked=(0.5,) * 10),
                     require="non_inferior")  # fmt: skip
    (check,) = judged.failed
    assert outcome(judged) == "undecided"
    assert "fall" not in check.message
    assert "fell" not in check.message
    assert check.message.endswith("; gate.require=non_inferior fails what is undecided")


def test_a_drop_that_is_shown_fails_even_within_the_tolerance_and_the_message_says_so() -> None:
    judged = verdict(result(reranked=(0.49,) * 10), result(reranked=(0.5,) * 10))
    assert outcome(judged) == "worse"
    assert message(judged, "nDCG@10").endswith(", if one within the tolerance 0.02; to accept it, write a new baseline")


def test_identical_runs_are_not_worse_on_any_number_of_queries() -> None:
    for n in (1, 2, 5, 40):
        judged = verdict(result(reranked=(0.5,) * n), result(reranked=(0.5,) * n), require="non_inferior")
        assert judged.holds
        assert {quality.outcome for quality in judged.qualities} == {"not worse"}
        assert message(judged, "nDCG@10").endswith(": no query changed")


def test_not_worse_is_what_a_lower_bound_above_the_tolerance_says() -> None:
    # Differences -0.1, +0.1, +0.1, -0.1: mean 0, deviation 0.11547, t(0.95, 3) = 2.353363: lower bound -0.13587. With a
    # fifth query that fell by 0.1: mean -0.02, deviation 0.10954, t(0.95, 4) = 2.131847: -0.12444, which is above it.
    uneven = result(reranked=(0.4, 0.6, 0.6, 0.4))
    assert verdict(uneven).qualities[0].low == pytest.approx(-0.13587, abs=1e-5)
    assert outcome(verdict(uneven, tolerance={"nDCG": 0.1359, "R": 0})) == "not worse"
    assert outcome(verdict(uneven, tolerance={"nDCG": 0.1358, "R": 0})) == "undecided"


def test_the_lower_bound_includes_one_more_query_that_fell_as_far_as_any_changed() -> None:
    # Nine of ten did not change and one rose by 0.5: with an eleventh that fell by 0.5 the mean is 0, the deviation
    # 0.5 * sqrt(2 / 10) = 0.22361, and t(0.95, 10) = 1.812461: lower bound -0.12220; Student's alone is -0.04165.
    assert of_ten(1.0).qualities[0].low == pytest.approx(-1.812461 * 0.223607 / 11**0.5, abs=1e-5)


def test_a_lower_confidence_asks_less() -> None:
    # t(0.8, 3) = 0.978472: lower bound -0.05649; with the fifth query, t(0.8, 4) = 0.940965: -0.06610.
    uneven = result(reranked=(0.4, 0.6, 0.6, 0.4))
    assert verdict(uneven, confidence=0.8).qualities[0].low == pytest.approx(-0.06610, abs=1e-5)


def test_what_is_undecided_passes_with_a_warning_on_how_many_queries_would_decide() -> None:
    # Mean 0, deviation 0.1026, largest change 0.1: 0.02 = 0.1 / N + (1.6449 + 0.8416) * 0.1026 / sqrt(N) at N = 172.4.
    judged = verdict(result(reranked=(0.4, 0.6) * 10), result(reranked=(0.5,) * 20))
    assert judged.holds
    assert [check.name for check in judged.undecided] == ["nDCG@10"]
    assert message(judged, "nDCG@10").endswith(
        "; 10 queries better, 10 worse, 0 equal): no drop is shown (p 1 corrected for 2 measures), and one of more "
        "than the tolerance 0.02 is not ruled out; about 180 queries would decide it, if these 20 are typical of them"
    )


def test_the_stated_number_of_queries_is_enough_to_decide() -> None:
    """With 180 queries like these 20 the outcome is not worse."""
    judged = verdict(result(reranked=(0.4, 0.6) * 90), result(reranked=(0.5,) * 180))
    assert outcome(judged) == "not worse"


def test_a_drop_that_is_not_shown_yet_is_decided_by_fewer_queries_the_larger_it_is() -> None:
    def needed(fall: Any) -> Any:
        found = verdict(result(reranked=(0.4 - fall, 0.6 - fall) * 5), result(reranked=(0.5,) * 10)).qualities[0]
        return found.needed if found.outcome == "undecided" else 0

    assert needed(0.02) > needed(0.03) > needed(0.04) > 10


def test_without_a_tolerance_and_without_a_fall_no_number_of_queries_decides() -> None:
    judged = verdict(result(reranked=(0.4, 0.6) * 5), result(reranked=(0.5,) * 10), tolerance={"nDCG": 0, "R": 0})
    assert "no number of queries would decide it with the tolerance 0; gate.tolerance sets one" in message(
        judged, "nDCG@10"
    )


def test_too_few_queries_to_show_any_drop_are_reported() -> None:
    judged = verdict(result(reranked=(0.1,) * N))
    assert judged.holds
    assert (
        "a slice of 4 queries shows no drop at 5 % false alarms, however large: 5 queries are the fewest that do"
        in (message(judged, "nDCG@10"))
    )
    assert not verdict(result(reranked=(0.1,) * N), false_alarms=0.1).holds  # 1 of 16


def test_a_hard_limit_fails_the_mean_whatever_the_evidence_and_the_message_names_it() -> None:
    down = result(reranked=(0.49,) * N)
    assert state(verdict(down), "nDCG@10") == "passed"
    assert state(verdict(down, max_drop={"nDCG": 0.01, "R": None}), "nDCG@10") == "passed"
    judged = verdict(down, max_drop={"nDCG": 0.009, "R": None})
    assert message(judged, "nDCG@10").endswith(
        ": more than the hard limit gate.max_drop 0.009, which applies without a test (by the test: not worse, p 0.062 "
        "corrected for 2 measures)"
    )
    assert not judged.holds


def test_a_limit_of_one_measure_goes_before_that_of_its_kind() -> None:
    down = result(reranked=(0.4,) * N)
    assert verdict(down, max_drop={"nDCG@10": 0.2, "nDCG": 0.05, "R": None}).holds
    assert not verdict(down, max_drop={"nDCG@10": 0.05, "nDCG": 0.2, "R": None}).holds
    assert outcome(verdict(down, tolerance={"nDCG@10": 0.2, "nDCG": 0.0, "R": 0})) == "not worse"


def test_one_query_is_not_enough_but_a_hard_limit_applies() -> None:
    one = result(reranked=(0.5,))
    judged = verdict(result(reranked=(0.495,)), one)
    assert (judged.holds, outcome(judged), judged.qualities[0].detectable) == (True, "undecided", None)
    assert not verdict(result(reranked=(0.48,)), one, max_drop={"nDCG": 0.01, "R": None}).holds
    assert not verdict(result(reranked=(0.48,)), one, require="non_inferior").holds


def test_a_requirement_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        EvalkitError, match=r"gate\.require=non-inferior: there is no such requirement; did you mean non_i"
    ):
        verdict(result(), require="non-inferior")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_result_always_holds_against_itself(values: Any) -> None:
    same = result(reranked=tuple(values), first=(0.0,) * len(values), recall=(0.5,) * len(values))
    judged = verdict(same, same)
    assert {check.name for check in judged.failed} <= {"above_first_stage"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.4, 0.4), min_size=5, max_size=12))
def test_a_fall_of_the_mean_is_what_fails_and_nothing_else(differences: Any) -> None:
    n = len(differences)
    judged = verdict(result(reranked=tuple(0.5 + d for d in differences)), result(reranked=(0.5,) * n))
    assert outcome(judged) in ("worse", "not worse", "undecided")
    assert (outcome(judged) == "worse") == (state(judged, "nDCG@10") == "failed")
    if sum(differences) >= 0:
        assert judged.holds


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=5, max_size=12), st.integers(0, 20))
def test_the_larger_the_fall_of_every_query_the_smaller_p(hundredths: Any, more: Any) -> None:
    n = len(hundredths)

    def p(fall: Any) -> Any:
        after = tuple(0.3 + (d - fall) / 400 for d in hundredths)
        return verdict(result(reranked=after), result(reranked=(0.3,) * n)).qualities[0].p

    assert p(40 + more) <= p(40) == 2**-n or any(d == 40 for d in hundredths)


# --- whose fault it is


def test_a_first_stage_that_finds_less_is_named_and_not_the_reranker() -> None:
    judged = verdict(result(recall=(0.9, 0.9, 0.9, 0.7)))  # mean 0.9 -> 0.85
    assert message(judged, "first_stage").startswith(
        "the retriever is at fault, not the reranker: R@100 of the first stage 0.9000 -> 0.8500"
    )
    assert state(verdict(result(recall=(0.9, 0.9, 0.9, 0.87))), "first_stage") == "passed"  # -0.0075


def test_without_a_recall_the_ceiling_is_used_for_the_first_stage() -> None:
    def lacking(ceiling: Any) -> Any:
        def edit(plain: Any) -> None:
            for label in ("first_stage", "reranked"):
                del plain["effectiveness"]["per_query"][label]["R@100"]
            plain["effectiveness"]["ceiling"]["mean"] = {"nDCG@10": ceiling}

        return edited(result(), edit)

    judged = verdict(lacking(0.8), lacking(0.9))
    assert "ceiling of nDCG@10 of the first stage 0.9000 -> 0.8000" in message(judged, "first_stage")
    assert not judged.holds


# --- sanity


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        ("order_changed", {"queries_reordered": 0}, "the reranker changed no order"),
        ("scores_vary", {"queries_with_constant_score": 1}, "1 more queries than in the baseline have the same score"),
        ("scores_vary", {"tied_pairs": 3}, r"7.5% of the pairs share their score"),
        ("truncated", {"truncated_pairs": 5}, "12.5% of the pairs were cut to 128 tokens; more than max_truncated"),
        ("unscored", {"pairs_unscored": 1}, "share of candidates without a score 0.0% -> 2.5%"),
        ("first_stage", {"queries_without_hits": 1}, "and 1 more queries find nothing"),
    ],
)
def test_each_sanity_check_has_a_message_of_its_own(name: Any, broken: Any, words: Any) -> None:
    judged = verdict(result(scoring=broken))
    assert [check.name for check in judged.failed] == [name]
    assert words in message(judged, name)
    assert verdict(result(scoring=broken), skip=[name]).holds


def test_counts_at_their_limit_pass() -> None:
    assert verdict(result(scoring={"tied_pairs": 2, "truncated_pairs": 4})).holds  # 5 % and 10 % of 40


def test_a_mean_below_that_of_the_first_stage_fails() -> None:
    judged = verdict(result(first=(0.6,) * N), result(first=(0.6,) * N))
    assert message(judged, "above_first_stage").startswith(
        "after is below before: nDCG@10 0.6000 before reranking, 0.5"
    )


def test_a_jump_of_the_unjudged_share_fails() -> None:
    assert state(verdict(result(unjudged=0.1)), "unjudged") == "passed"
    judged = verdict(result(unjudged=0.11))
    assert "0.0% -> 11.0%; a rise of more than max_unjudged_rise 0.1" in message(judged, "unjudged")


def with_scores(*scores: Any) -> Any:
    return result(top={f"q{i}": tuple(Hit(d, s) for d, s in zip("abc", scores)) for i in range(N)})


def test_scores_that_drift_under_the_same_ranking_fail_with_the_place() -> None:
    assert verdict(with_scores(3.02, 2.0, 1.0)).holds
    judged = verdict(with_scores(3.03, 2.0, 1.0))
    assert "at most 0.0300 (query q0, passage a: 3 -> 3.03)" in message(judged, "score_drift")
    assert [check.name for check in judged.failed] == ["score_drift"]
    assert state(verdict(with_scores(9.0, 2.0, 1.0), max_score_drift=None), "score_drift") == "no limit"


def test_where_the_ranking_changed_the_measures_judge_and_not_the_drift() -> None:
    other = result(top={f"q{i}": (Hit("c", 9.0), Hit("b", 5.0), Hit("a", 1.0)) for i in range(N)})
    assert state(verdict(other), "score_drift") == "passed"


# --- the model's vocabulary


def unknown(query: Any, passage: Any) -> Any:
    return result(scoring={"unknown_query_share": query, "unknown_passage_share": passage})


def test_a_model_that_cannot_read_the_language_fails_with_side_and_share_in_the_message() -> None:
    judged = verdict(unknown(0.02, 0.314), unknown(0.02, 0.0))
    assert [check.name for check in judged.failed] == ["unknown_tokens"]
    assert message(judged, "unknown_tokens") == (
        "the model's vocabulary lacks 2.0% of the query tokens (2.0% in the baseline) and 31.4% of the passage tokens "
        "(0.0% in the baseline): more than max_unknown_share 0.1 in the passages, which it cannot read; "
        "use a model whose tokenizer covers the language"
    )
    assert "in the queries and passages, which" in message(verdict(unknown(0.2, 0.3)), "unknown_tokens")
    assert verdict(unknown(0.9, 0.9), unknown(0.0, 0.0), skip=["unknown_tokens"]).holds


def test_unknown_tokens_at_the_limit_or_as_in_the_baseline_pass() -> None:
    assert state(verdict(unknown(0.1, 0.1)), "unknown_tokens") == "passed"
    assert state(verdict(unknown(0.4, 0.3), unknown(0.4, 0.3)), "unknown_tokens") == "passed"
    assert state(verdict(unknown(0.41, 0.3), unknown(0.4, 0.3)), "unknown_tokens") == "failed"
    assert state(verdict(unknown(0.2, 0.2), max_unknown_share=0.2), "unknown_tokens") == "passed"
    assert state(verdict(unknown(0.9, 0.9), max_unknown_share=None), "unknown_tokens") == "no limit"


def test_a_result_without_a_count_of_unknown_tokens_has_no_such_check() -> None:
    """Older results, and finished runs, of which nobody knows the tokenizer."""
    for silent in (result(), unknown(None, None)):
        assert "unknown_tokens" not in {check.name for check in verdict(silent, unknown(0.1, 0.1)).checks}


# --- no reranker


def test_a_baseline_of_the_first_stage_alone_passes_its_own_gate_and_a_reranker_that_is_off_does_not() -> None:
    alone = edited(
        result(scoring={"queries_reordered": 0}), lambda plain: plain["effective"].update(reranker={"name": "none"})
    )
    assert verdict(alone, alone).holds
    judged = verdict(alone)
    assert [check.name for check in judged.failed] == ["order_changed"]


# --- budgets

COST = plain_cost(
    pairs_per_s=50.0,  # 100 pairs in 2,000 ms
    latency={"p50_ms": 300.0, "p99_ms": 400.0},
    memory={"rss_peak_mb": 700.0, "cuda_allocated_peak_mb": None},
    calibration={"samples_ms": [200.0], "p50_ms": 200.0, "rss_before_mb": 300.0, "rss_peak_mb": 400.0,
                 "cuda_allocated_peak_mb": None},
)  # fmt: skip


def figures_of(cost: Any) -> dict[str, float]:
    return figures(result_of(plain_result(cost=cost)).cost)


def test_ratios_are_to_the_calibration_of_the_same_run() -> None:
    assert figures_of(COST) == {
        "p50_ms": 300.0, "p99_ms": 400.0, "pairs_per_s": 50.0, "rss_mb": 700.0,
        "latency_ratio": 1.5, "scoring_ratio": 10.0, "memory_ratio": 4.0,
    }  # fmt: skip


def test_on_a_gpu_the_memory_ratio_is_that_of_the_gpu() -> None:
    gpu = merged(COST, {"memory": {"cuda_allocated_peak_mb": 1500.0}, "calibration": {"cuda_allocated_peak_mb": 50.0}})
    assert figures_of(gpu)["memory_ratio"] == 30.0


def test_a_machine_of_half_the_speed_changes_no_ratio() -> None:
    slow = merged(
        COST, {"pairs_per_s": 25.0, "latency": {"p50_ms": 600.0, "p99_ms": 800.0}, "calibration": {"p50_ms": 400.0}}
    )
    ratios = ("latency_ratio", "scoring_ratio", "memory_ratio")
    assert [figures_of(slow)[name] for name in ratios] == [figures_of(COST)[name] for name in ratios]


@pytest.mark.parametrize(
    ("limit", "sufficient", "broken"),
    [
        ("max_latency_ratio", 1.5, 1.4), ("max_scoring_ratio", 10.0, 9.9), ("max_memory_ratio", 4.0, 3.9),
        ("max_p50_ms", 300.0, 299.0), ("max_p99_ms", 400.0, 399.0), ("min_pairs_per_s", 50.0, 51.0),
        ("max_rss_mb", 700.0, 699.0),
    ],
)  # fmt: skip
def test_a_budget_fails_only_when_it_is_exceeded(limit: Any, sufficient: Any, broken: Any) -> None:
    assert verdict(result(cost=COST), **{limit: sufficient}).holds
    judged = verdict(result(cost=COST), **{limit: broken})
    assert [check.name for check in judged.failed] == [limit[4:]]
    assert limit in judged.failed[0].message


def test_a_budget_that_cannot_be_judged_is_refused() -> None:
    with pytest.raises(EvalkitError, match=r"gate\.max_latency_ratio=2 is set, but the result has no median time"):
        verdict(result(), max_latency_ratio=2.0)
    uncalibrated = {**COST, "calibration": None}
    with pytest.raises(EvalkitError, match="run the trial with protocol=ci"):
        verdict(result(cost=uncalibrated), max_memory_ratio=2.0)


def test_figures_without_a_limit_are_reported() -> None:
    assert state(verdict(result(cost=COST)), "latency_ratio") == "no limit"


# --- what got worst


def test_the_queries_that_lost_most_come_first_with_the_passages_that_moved() -> None:
    moved = {f"q{i}": (Hit("a", 3.0), Hit("b", 2.0), Hit("c", 1.0)) for i in range(N)}
    moved["q2"] = (Hit("b", 3.0), Hit("x", 2.5), Hit("a", 2.0))
    judged = verdict(result(reranked=(0.5, 0.45, 0.2, 0.5), top=moved))
    assert [(loss.query_id, loss.query, loss.before, loss.after) for loss in judged.losses] == [
        ("q2", "what is q2", 0.5, 0.2),
        ("q1", "what is q1", 0.5, 0.45),
    ]
    moves = [(m.doc_id, m.grade, m.rank_before, m.rank_after, m.text) for m in judged.losses[0].moves]
    assert moves == [("a", 3, 1, 3, "text a"), ("b", 0, 2, 1, "text b"), ("x", 0, None, 2, "text x")]
    assert len(verdict(result(reranked=(0.1,) * N), worst=3).losses) == 3


# --- what cannot be compared


def base(**changes: Any) -> Baseline:
    from evalkit.results.gate import baseline

    return replace(baseline.of(result()), **changes)


def test_the_same_data_under_another_name_can_be_compared() -> None:
    refuse_unlike(base(), base(slice=replace(base().slice, name="elsewhere")))


def test_another_relevance_level_cannot_be_compared() -> None:
    with pytest.raises(EvalkitError, match="counts grade 1 and above as relevant, the result 2 and above"):
        refuse_unlike(base(), base(slice=replace(base().slice, relevance_level=2)))


def test_another_reranker_can_be_compared_and_is_named() -> None:
    large = {"name": "large", "layers": 24, "max_length": 128}
    other = edited(result(), lambda plain: plain["effective"].update(reranker=large))
    judged = verdict(other)
    assert judged.changed == ("reranker name: small -> large", "reranker layers: none -> 24")
    assert judged.holds


def test_negative_limits_are_refused_before_anything_is_compared() -> None:
    with pytest.raises(EvalkitError, match=r"gate\.max_drop\.nDCG=-1: a limit is a number from 0 up"):
        verdict(result(), max_drop={"nDCG": -1, "R": 0})
    with pytest.raises(EvalkitError, match=r"gate\.max_rss_mb=nan"):
        verdict(result(), max_rss_mb=math.nan)


def test_a_figure_of_thousands_has_no_exponent() -> None:
    assert [figure(value) for value in (1127.4, 999.6, 460.2, 6.471, 0.7612)] == [
        "1127",
        "1000",
        "460",
        "6.47",
        "0.761",
    ]
