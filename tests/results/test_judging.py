"""Simulated judges whose bias is known are found out, and those without one change no verdict."""

from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.judged_by import Judge
from evalkit.report import markdown, plots
from evalkit.report.content import judges as content
from evalkit.results import judging, reading
from evalkit.results.judges_schema import JudgeReport
from tests.helpers.judged import HUMAN, MEASURE, ranked, write_result
from tools import simulate_judges

PEOPLE = Judge("dev.tsv", "human", HUMAN.qrels)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker that helps."""
    return write_result(tmp_path_factory.mktemp("judging") / "good", good=0.3, name="good")


@pytest.fixture(scope="module")
def lots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker that draws lots, and so makes the ranking worse."""
    return write_result(tmp_path_factory.mktemp("judging") / "lots", good=0.0, name="lots")


@pytest.fixture(scope="module")
def found(good: Path, lots: Path) -> JudgeReport:
    """The three judges of tools/simulate_judges.py, the third of which favours the reranker that draws lots."""
    judges = {
        "careless": simulate_judges.careless(HUMAN.qrels), "lenient": simulate_judges.lenient(HUMAN.qrels),
        "partial": simulate_judges.partial(HUMAN.qrels, ranked(lots)),
    }  # fmt: skip
    return judging.report(
        PEOPLE, [Judge(name, "llm", grades) for name, grades in judges.items()], [str(good), str(lots)]
    )


def of(found: JudgeReport, judge: str, reranker: str):  # type: ignore[no-untyped-def]
    return next(one for one in found.results if one.judge == judge and reranker in one.label)


def test_by_the_human_the_gain_is_that_of_the_result(found: JudgeReport, good: Path, lots: Path) -> None:
    for where in (good, lots):
        effect = reading.read_result(where).effectiveness
        one = of(found, "careless", where.name)
        assert one.human.mean == pytest.approx(effect.delta[MEASURE])
        assert one.human.verdict == effect.verdict[MEASURE]
    assert (of(found, "careless", "good").human.verdict, of(found, "careless", "lots").human.verdict) == (
        "helped", "hurt",
    )  # fmt: skip
    assert (found.relevance_level, found.measure, found.notes) == (2, MEASURE, [])


def test_errors_that_favour_no_ranking_change_no_verdict_and_no_order(found: JudgeReport) -> None:
    for reranker in ("good", "lots"):
        one = of(found, "careless", reranker)
        assert one.same_verdict
        low, high = one.favour.ci95
        assert low is not None
        assert high is not None
        assert low < 0 < high
        assert one.shared is None  # both have judged every pair
    assert found.orders[0].tau == 1


def test_a_lenient_judge_agrees_little_and_changes_neither_verdict_nor_order(found: JudgeReport) -> None:
    lenient = found.judges[1].agreement
    # All but the passages of the highest grade, 148 of 3,024, get another one.
    assert lenient.same_grade.value == pytest.approx(148 / 3024)
    assert lenient.leniency.value == pytest.approx(1 - 148 / 3024)
    assert (lenient.alpha.value or 0) < 0.3
    assert of(found, "lenient", "good").same_verdict
    assert of(found, "lenient", "lots").same_verdict
    assert of(found, "lenient", "lots").favour.value == pytest.approx(0)
    assert found.orders[1].tau == 1


def test_a_judge_that_favours_a_reranker_is_found_out_although_it_agrees_well(found: JudgeReport) -> None:
    one = of(found, "partial", "lots")
    assert (found.judges[2].agreement.same_grade.value or 0) > 0.7
    assert (one.human.verdict, one.by_judge.verdict, one.same_verdict) == ("hurt", "helped", False)
    assert one.inflation == pytest.approx(one.by_judge.mean - one.human.mean)
    assert (one.inflation_ci95[0] or 0) > 0.1
    assert (one.favour.ci95[0] or 0) > 0.5
    assert (found.orders[2].tau or 0) < 1
    text = " ".join(content.findings(found))
    assert f"By partial the gain of {one.label} is {one.inflation:.4f} nDCG@10 larger than by the human" in text
    assert "it favours this reranker, or sees what the human missed" in text
    assert "by the human reranking hurt, by partial it helped" in content.headline(found)


def test_what_is_judged_is_separated_from_how(good: Path) -> None:
    """A judge of the same grades who saw only the first of the first stage makes the reranker look bad."""
    first = reading.ranking(str(good), "first_stage")
    assert first is not None
    seen = {q: {hit.doc_id for hit in hits[:1]} for q, hits in first.rankings.items()}
    judge = {q: {d: g for d, g in grades.items() if d in seen[q]} for q, grades in HUMAN.qrels.items()}
    found = judging.report(PEOPLE, [Judge("pool", "llm", judge)], [str(good)])
    (one,) = found.results
    assert (found.judges[0].agreement.same_grade.value, one.same_verdict) == (1.0, False)
    assert one.by_judge.unjudged_at_10 > one.human.unjudged_at_10
    assert one.shared is not None
    assert one.shared.same_verdict
    assert one.shared.human == one.shared.judge == one.by_judge
    assert "what is judged differs, rather than how" in " ".join(content.findings(found))


def test_only_common_queries_count_and_grades_are_compared_as_given(good: Path) -> None:
    some = dict(list(HUMAN.qrels.items())[:30])
    binary = {q: {d: int(grade >= 2) for d, grade in grades.items()} for q, grades in some.items()}
    found = judging.report(PEOPLE, [Judge("models/good-v2", "llm", binary)], [str(good)], relevance_level=1)
    assert (found.results[0].queries, found.judges[0].agreement.queries) == (30, 30)
    scale, model = found.notes
    assert "models/good-v2 gives grades up to 1 and dev.tsv up to 3" in scale
    assert "judge models/good-v2 has the name of the reranker of" in model


def test_results_by_other_judgments_are_measured_anew_and_that_is_noted(good: Path) -> None:
    other = Judge("strict", "human", {q: {d: max(g - 2, 0) for d, g in of.items()} for q, of in HUMAN.qrels.items()})
    found = judging.report(other, [Judge("people", "human", HUMAN.qrels)], [str(good)], relevance_level=1)
    assert "it was measured by other judgments than the human's here" in found.notes[-1]
    effect = reading.read_result(good).effectiveness
    assert found.results[0].by_judge.mean == pytest.approx(effect.delta[MEASURE])


def test_without_results_agreement_is_all_there_is() -> None:
    judges = [Judge(name, "llm", HUMAN.qrels) for name in ("a", "b")]
    found = judging.report(PEOPLE, judges)
    assert (found.measure, found.relevance_level, found.results, found.alpha_between_judges) == (None, 1, [], 1.0)
    assert content.headline(found).startswith("Agreement with dev.tsv on what is relevant, Cohen's kappa: a 1.00")
    assert plots.gains(found) is None
    with pytest.raises(EvalkitError, match=r"judge a has labels in two files; give them different names"):
        judging.report(PEOPLE, [judges[0], judges[0]])
    with pytest.raises(EvalkitError, match=r"dev.tsv and judge c: no pair of a query and a passage is judged by both"):
        judging.report(PEOPLE, [Judge("c", "llm", {"x": {"y": 1}})])


def test_the_report_and_the_pictures_show_each_judge(found: JudgeReport) -> None:
    text = markdown.judges(found, ["gains.png", "confusion.png"])
    for part in ("careless", "lenient", "partial", "| Kendall's tau with the human |", "](gains.png)", "## Favour"):
        assert part in text
    gains, confusion = plots.gains(found), plots.confusion(found)
    assert gains is not None
    assert [axes.get_title(loc="left") for axes in gains.axes] == list(content.labels(found))
    assert [axes.get_title() for axes in confusion.axes[:3]] == ["careless", "lenient", "partial"]
