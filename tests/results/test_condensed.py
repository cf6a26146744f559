"""Comparisons without unjudged passages: by hand, on rankings of four queries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit import trial
from evalkit.cost.protocol import CostProtocol
from evalkit.first_stage.trec_run import TrecRun as FirstStageRun
from evalkit.report import markdown
from evalkit.report.content import pooling
from evalkit.report.html import pages
from evalkit.rerankers.trec_run import TrecRun as RerankedRun
from evalkit.results import reading
from evalkit.results.compare import side_by_side
from evalkit.results.reading import parse_finished
from evalkit.results.result import finished, to_json, to_plain
from evalkit.slices import beir
from evalkit.trial import Plan
from tests.helpers.results import edited

QUERIES = [f"q{n}" for n in range(8)]
DOCS = ["good", "bad", "new"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight queries over three passages: `good` is relevant, `bad` is not, and nobody has judged `new`.

    The first stage ranks bad, good, new. One reranking puts new in front, the other one good.
    """
    path = tmp_path_factory.mktemp("pooled")
    (path / "qrels").mkdir()
    docs = "".join(f'{{"_id": "{doc}", "title": "", "text": "text of {doc}"}}\n' for doc in DOCS)
    (path / "corpus.jsonl").write_text(docs, "utf-8")
    (path / "queries.jsonl").write_text(
        "".join(f'{{"_id": "{q}", "text": "question {q}"}}\n' for q in QUERIES), "utf-8"
    )
    grades = "".join(f"{q}\tgood\t1\n{q}\tbad\t0\n" for q in QUERIES)
    (path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{grades}", "utf-8")
    for name, ids in (("first", "bad good new"), ("novel", "new good bad"), ("safe", "good bad new")):
        lines = [f"{q} Q0 {d} {rank} {9 - rank} {name}\n" for q in QUERIES for rank, d in enumerate(ids.split(), 1)]
        (path / f"{name}.trec").write_text("".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def results(where: Path) -> dict[str, reading.Finished]:
    return {name: result_of(where, name) for name in ("novel", "safe")}


def result_of(where: Path, name: str, measure: str = "RR@10") -> reading.Finished:
    plan = Plan("pooled", 3, [measure], CostProtocol(0, 0, 0))
    runs = FirstStageRun(f"{where}/first.trec"), RerankedRun(f"{where}/{name}.trec")
    done = trial.run(plan, beir.load(str(where)), *runs, {}, {"command": ["x"]})
    result = parse_finished(to_json(to_plain(finished(done))))
    return reading.Finished(name, result, done.reranked, done.slice.queries, {})


def test_a_result_has_its_first_measure_without_unjudged_passages(results: Any) -> None:
    # First stage: good is second either way. Reranked: new, good -> 1/2; without the unjudged new, good is first.
    found = results["novel"].result.effectiveness
    assert (found.reranked.mean["RR@10"], found.verdict["RR@10"]) == (0.5, "made no clear difference")
    assert found.judged_only.measure == "RR(judged_only=True)@10"
    assert (found.judged_only.mean.first_stage, found.judged_only.mean.reranked) == (0.5, 1.0)
    assert (found.judged_only.delta, found.judged_only.verdict) == (0.5, "helped")
    assert set(found.judged_only.per_query.reranked.values()) == {1.0}


def test_a_verdict_that_depends_on_unjudged_passages_is_named(results: Any) -> None:
    sentence = pooling.of_trial(results["novel"].result)
    assert sentence == (
        "Without unjudged passages, RR(judged_only=True)@10 is 0.5000 before and 1.0000 after (+0.5000, 95 % interval "
        '+0.5000 to +0.5000): the verdict would be "reranking helped".'
    )


def test_nothing_is_added_where_unjudged_passages_change_nothing(results: Any) -> None:
    assert pooling.of_trial(results["safe"].result) is None  # new is last in both rankings


def test_a_measure_without_a_condensed_form_has_none(where: Path) -> None:
    assert result_of(where, "novel", "bpref").result.effectiveness.judged_only is None


def test_a_comparison_is_tested_again_over_condensed_lists(results: Any) -> None:
    # Baseline: the novel reranking, 1/2 and 1 without new; its own first stage 1/2 in both; safe 1 in both.
    compared = side_by_side([results["novel"], results["safe"]], resamples=999)
    found = compared.judged_only
    assert found is not None
    novel, first, safe = (system.label for system in compared.systems)
    assert [compared.systems[n].mean["RR@10"] for n in range(3)] == [0.5, 0.5, 1.0]
    assert found.mean == {novel: 1.0, first: 0.5, safe: 1.0}
    # All eight queries differ in one direction: p = 2 / 2^8, of one test that differs, so Holm leaves it.
    assert found.against_own_first_stage[novel].randomization_p == 2 / 2**8
    assert compared.against_own_first_stage[novel]["RR@10"].holm_p == 1.0
    assert found.against_own_first_stage[novel].holm_p == pytest.approx(2 * 2 / 2**8)  # with safe's own
    assert compared.against_baseline[safe]["RR@10"].mean == 0.5
    assert found.against_baseline[safe].mean == 0.0
    assert found.unjudged_at_10 == {label: pytest.approx(1 / 3) for label in (novel, first, safe)}


def test_each_verdict_that_is_another_is_listed(results: Any) -> None:
    compared = side_by_side([results["novel"], results["safe"]], resamples=999)
    novel, first, safe = (system.label for system in compared.systems)
    head, *other = pooling.lines(compared)
    assert head == "Without unjudged passages (RR(judged_only=True)@10), 3 verdicts of 4 are another."
    assert [line.split(":")[0] for line in other] == [f"{novel} against {first}", f"{first} against {novel}",
                                                      f"{safe} against {novel}"]  # fmt: skip
    assert "no clear difference with unjudged passages as not relevant, better without them (+0.5000" in other[0]
    assert [row[-1] for row in pooling.rows(compared)] == [
        "the same", "no clear difference -> better", "no clear difference -> worse", "better -> no clear difference",
    ]  # fmt: skip


def test_a_comparison_in_which_unjudged_passages_change_nothing_has_no_such_part(results: Any) -> None:
    compared = side_by_side([results["safe"], replace(results["safe"], where="twin")], resamples=99)
    assert compared.judged_only is None
    assert (pooling.lines(compared), pooling.rows(compared)) == ([], [])


def test_a_result_of_an_older_version_is_compared_and_the_missing_part_is_named(results: Any) -> None:
    def older(plain: Any) -> None:
        del plain["effectiveness"]["judged_only"]

    compared = side_by_side([results["novel"], edited(results["safe"], older)], resamples=99)
    assert compared.judged_only is None
    [note] = [warning for warning in compared.warnings if "RR(judged_only=True)@10" in warning]
    assert "cannot show whether its verdict depends on unjudged passages" in note


def test_condensed_values_of_other_queries_are_refused(results: Any) -> None:
    def damage(plain: Any) -> None:
        del plain["effectiveness"]["judged_only"]["per_query"]["reranked"]["q0"]

    with pytest.raises(ValueError, match=r"judged_only.per_query.reranked has to have the queries"):
        edited(results["novel"], damage)


def test_the_reports_show_the_part(results: Any) -> None:
    compared = side_by_side([results["novel"], results["safe"]], resamples=99)
    for report in (markdown.comparison(compared), pages.comparison(compared, {})):
        assert pooling.TITLE in report
        assert "no clear difference with unjudged passages as not relevant, better without them" in report
    assert "the verdict would be" in markdown.trial(results["novel"].result)
