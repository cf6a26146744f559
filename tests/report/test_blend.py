"""The blend in reports: a sentence where it changes the verdict, a table, and a curve."""

from dataclasses import replace
from typing import Any

import pytest

from evalkit.report import markdown
from evalkit.report.content import blend as content
from evalkit.report.content import trial as tables
from evalkit.report.html import pages
from evalkit.report.plots import blend as draw
from evalkit.results.result import finished
from evalkit.results.schema import Blend, Change, Result
from evalkit.types import BlendFold, BlendPoint
from tests.report.test_folder import make_trial

CLEAR, NONE, WORSE = (0.02, (0.01, 0.03), "helped"), (0.0, (-0.01, 0.01), ""), (-0.02, (-0.03, -0.01), "hurt")


def change(mean: float, ci95: Any, verdict: str) -> Change:
    return Change(mean, ci95, 2, 1, 0, verdict or "made no clear difference")


def result(before: Any = CLEAR, replaced: Any = CLEAR, reranking: str = "helped", **given: Any) -> Result:
    """A result of three queries whose blend changes nDCG@10 like this against the first stage and the reranking."""
    done = finished(make_trial())
    blend = Blend(
        method="min_max",
        measure="nDCG@10",
        points=[BlendPoint(weight, {"nDCG@10": value}) for weight, value in ((0.0, 0.5), (0.5, 0.75), (1.0, 0.6))],
        folds=[BlendFold(0.5, ("q1", "q3")), BlendFold(1.0, ("q2",))],
        mean={"nDCG@10": 0.7},
        against_first_stage={"nDCG@10": change(*before)},
        against_reranked={"nDCG@10": change(*replaced)},
        **{"weight": 0.5, "given": False, **given},
    )
    effect = replace(done.effectiveness, verdict={**done.effectiveness.verdict, "nDCG@10": reranking})
    return replace(done, effectiveness=effect, blend=blend)


def test_a_blend_that_is_clearly_better_than_both_is_part_of_the_verdict() -> None:
    found = result()
    assert content.claim(found) == (
        "Blended with the first stage's score it is better than both: nDCG@10 0.7000 (+0.0200 over fixed, 95 % "
        "interval +0.0100 to +0.0300; +0.0200 over the reranking, 95 % interval +0.0100 to +0.0300; weights chosen on "
        "other queries)."
    )
    assert tables.verdict(found) == f"{tables.reranking(found)} {content.claim(found)}"


@pytest.mark.parametrize("before", [NONE, WORSE])
def test_a_blend_that_is_not_clearly_better_than_the_first_stage_is_no_reason_to_blend(before: Any) -> None:
    assert content.claim(result(before, CLEAR, "helped")) is None
    assert tables.verdict(result(before, CLEAR)) == tables.reranking(result(before, CLEAR))


def test_a_blend_that_is_not_clearly_better_than_the_reranking_is_not_recommended() -> None:
    assert content.claim(result(CLEAR, NONE, "helped")) is None


def test_where_reranking_hurts_and_a_blend_does_not_the_verdict_has_both() -> None:
    before = finished(make_trial()).effectiveness.first_stage.mean["nDCG@10"]
    assert content.claim(result(NONE, CLEAR, "hurt")) == (
        "Blended with the first stage's score instead, it made no clear difference: nDCG@10 "
        f"{before:.4f} -> 0.7000 (+0.0000, 95 % interval -0.0100 to +0.0100; weights chosen on other queries)."
    )
    claim = content.claim(result(CLEAR, NONE, "made no clear difference"))
    assert claim is not None
    assert claim.startswith("Blended with the first stage's score instead, it helped: nDCG@10")
    assert content.claim(result(WORSE, CLEAR, "hurt")) is None


def test_a_weight_that_was_given_is_named() -> None:
    found = result(given=True, weight=0.3)
    claim = content.claim(found)
    assert claim is not None
    assert claim.endswith("; weight 0.3).")
    assert content.intro(found).endswith("The weight 0.3 was given.")


def test_the_report_has_the_curve_and_the_figure_at_weights_that_were_chosen_on_other_queries() -> None:
    report = markdown.trial(result(), ["blend.png"])
    assert "## Blended with the first stage\n" in report
    assert "Over all queries, w = 0.5 is best in nDCG@10." in report
    assert "on the other 1 of 2 parts of the queries (seed 0); these weights are 0.5 (1x), 1 (1x)." in report
    assert "| 0.7000 | +0.0200 ± 0.0100 | +0.0200 ± 0.0100 |" in report
    assert "| 0.5 | 0.7500 |" in report
    assert "![nDCG@10 by the weight of the reranker in a blend](blend.png)" in report


def test_the_page_has_them_too_and_the_sentence_of_the_verdict() -> None:
    page = pages.trial(result(), [], {})
    assert "score it is better than both: nDCG@10 0.7000" in page
    assert "Quality by weight" in page


def test_the_reason_is_given_where_no_weight_could_be_chosen() -> None:
    found = result()
    assert found.blend is not None
    without = replace(
        found,
        blend=replace(found.blend, mean={}, against_first_stage={}, against_reranked={}, folds=(), why="two queries"),
    )
    assert content.claim(without) is None
    assert content.rows(without) == []
    assert content.intro(without).endswith("there is no other figure: two queries.")


def test_the_picture_is_the_curve_with_the_cross_validated_figure() -> None:
    figure: Any = draw(result())
    curve, before, chosen = figure.axes[0].lines
    assert [*curve.get_xdata()] == [0.0, 0.5, 1.0]
    assert [*curve.get_ydata()] == [0.5, 0.75, 0.6]
    assert {*before.get_ydata()} == {0.5}
    assert {*chosen.get_ydata()} == {0.7}
    assert draw(replace(result(), blend=None)) is None


def test_a_result_without_a_blend_has_no_section_on_it() -> None:
    report = markdown.trial(finished(make_trial()))
    assert "Blended" not in report
    assert "Blended" not in pages.trial(finished(make_trial()), [], {})
