"""The first sentence and the table of a comparison: which rerankings are worth it, against what one can do without."""

from typing import Any

import pytest

from evalkit.report.content import alternatives
from evalkit.report.content.comparison import outcome
from evalkit.results.comparison_schema import Best, BestTest, Comparison, QueryTime
from tests.helpers.comparisons import comparison, cost, paired, system

MEASURE = "nDCG@10"


def found(gains: dict[str, tuple[float, float, float]], without_ms: float | None = 20.0) -> Comparison:
    """ "embeddings" alone at 0.7, and bm25 reranked: label -> gain over the embeddings, corrected p, ms a query."""

    def against(mean: float, p: float) -> BestTest:
        return BestTest(mean, mean - 0.01, mean + 0.01, 2, 0, 0, p)

    systems = [
        system("embeddings", side="first_stage", mean={MEASURE: 0.7}, reranker=None, depth=None, precision=None,
               time=QueryTime(without_ms, 0.0, without_ms)),
        system("bm25", side="first_stage", mean={MEASURE: 0.5}, reranker=None, time=QueryTime(1.0, 0.0, 1.0)),
        *(
            system(label, mean={MEASURE: 0.7 + mean}, own_first_stage="bm25", cost=cost(peak_mb=812.0),
                   time=QueryTime(1.0, ms - 1, ms))
            for label, (mean, _, ms) in gains.items()
        ),
    ]  # fmt: skip
    best = max(gains, key=lambda label: gains[label][0])
    tests = {label: against(mean, p) for label, (mean, p, _) in gains.items()}
    return comparison(
        systems,
        {one.label: {MEASURE: paired(one.mean[MEASURE] - 0.7, holm_p=0.5)} for one in systems[1:]},
        against_own_first_stage={label: {MEASURE: paired(0.2, holm_p=0.001)} for label in gains},
        best=Best(MEASURE, "embeddings", best, tests[best]),
        against_best_without=tests,
    )


@pytest.mark.parametrize(
    ("gain", "verdict", "words", "trend"),
    [
        ((0.1, 0.01, 300.0), "yes", "A is worth it", "rise"),
        ((0.1, 0.2, 300.0), "not shown", "A is not shown to be worth it", ""),
        ((-0.1, 0.01, 300.0), "no", "A is not worth it", "fall"),
        ((0.1, 0.2, 10.0), "not shown, but faster", "A is not clearly better or worse, but faster", ""),
        ((-0.1, 0.01, 10.0), "no, but faster", "A is worse, but faster", "fall"),
    ],
)
def test_the_first_sentence_says_whether_a_reranking_is_worth_it(
    gain: Any, verdict: str, words: str, trend: str
) -> None:
    compared = found({"A": gain})
    lead = "In nDCG@10, against embeddings, the best without a reranker: "
    assert (outcome(compared).claim, outcome(compared).trend) == (lead + words, trend)
    (row,) = alternatives.rows(compared)
    assert row["worth it?"] == verdict


def test_nothing_is_faster_than_a_first_stage_that_was_not_timed() -> None:
    assert alternatives.verdicts(found({"A": (-0.1, 0.01, 10.0)}, without_ms=None)) == {"A": "no"}


def test_rerankings_with_the_same_verdict_are_named_together_and_many_are_counted() -> None:
    worse = dict.fromkeys(("B", "C", "D", "E"), (-0.1, 0.01, 300.0))
    compared = found({"A": (0.1, 0.01, 300.0), "F": (0.2, 0.01, 300.0), **worse})
    claim = outcome(compared).claim
    assert claim.endswith(": A and F are worth it; 4 of 6 are not worth it")


def test_each_reranking_has_its_gain_over_three_alternatives_and_its_cost() -> None:
    (row,) = alternatives.rows(found({"A": (0.1, 0.01, 300.0)}))
    assert row == {
        "with a reranker": "A",
        "nDCG@10": "0.8000",
        "over its first stage": "+0.2000, p = 0.001",
        "over the best without": "+0.1000 \u00b1 0.0100, p = 0.010",
        "over the baseline": "+0.1000, p = 0.500",
        "ms more than its first stage": "+299",
        "ms more than the best without": "+280",
        "peak MiB": "812",
        "worth it?": "yes",
    }


def test_a_blend_has_the_memory_of_its_reranking() -> None:
    compared = found({"A": (0.1, 0.01, 300.0), "A (blended)": (0.2, 0.01, 300.0)})
    *others, reranked, blended = compared.systems
    blended = system("A (blended)", side="blended", where=reranked.where, own_first_stage="bm25", time=reranked.time)
    rows = alternatives.rows(comparison([*others, reranked, blended], compared.against_baseline, best=compared.best,
                                        against_own_first_stage=compared.against_own_first_stage,
                                        against_best_without=compared.against_best_without))  # fmt: skip
    assert [row["peak MiB"] for row in rows] == ["812", "812"]


def test_without_a_reranker_or_without_a_first_stage_there_is_nothing_to_say() -> None:
    compared = comparison([system("A"), system("B")], {"B": {MEASURE: paired(0.1, holm_p=0.5)}})
    assert alternatives.claim(compared) is None
    assert alternatives.rows(compared) == []
    assert outcome(compared).claim == "No clear difference from A in nDCG@10"
