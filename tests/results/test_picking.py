"""The best setting within a budget, from finished results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit import trial
from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.blending import BlendSettings
from evalkit.first_stage.bm25 import BM25
from evalkit.report import markdown, plots
from evalkit.report.content import pick as content
from evalkit.report.folder import write_trial
from evalkit.results import picking, reading
from evalkit.results.choices import Choice, choices
from evalkit.results.pick_schema import Budget
from evalkit.slices import packaged as dev
from evalkit.trial import Plan
from evalkit.types import Trial
from tests.helpers.command_line import run_here, sentence
from tests.helpers.gate_pipeline import cut, packaged
from tests.helpers.results import plain_cost, plain_result

MEASURE = "nDCG@10"


def run(bert_folder: Path, depth: int, where: Path) -> Trial:
    """A tiny reranker with random weights over eight queries."""
    tiny = packaged(model=str(bert_folder), name="tiny")
    plan = Plan("tiny", depth, (MEASURE,), CostProtocol(0, 2, 0), BlendSettings(folds=2, steps=4))
    where.mkdir()
    done = trial.run(plan, cut(dev.load("en"), 8), BM25(), tiny, {}, {"command": ["python -m evalkit"]})
    write_trial(done, where)
    return done


@pytest.fixture(scope="module")
def where(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("picking") / "ten"


@pytest.fixture(scope="module")
def ten(bert_folder: Path, where: Path) -> Trial:
    return run(bert_folder, 10, where)


def held(*places: str) -> tuple[str, list[Choice]]:
    return choices({where: reading.read_result(where) for where in places}, None)


def test_one_scoring_pass_holds_the_first_stage_every_smaller_depth_and_every_blend(ten: Trial, where: Path) -> None:
    name, found = held(str(where))
    assert name == MEASURE
    assert [(one.label, one.depth, one.weight) for one in found] == [
        ("bm25", None, None),
        ("bm25 + tiny at fp32, depth 10", 10, None),
        ("bm25 + tiny at fp32, depth 5", 5, None),
        *((f"bm25 + tiny at fp32, depth 10 (blend {weight:g})", 10, weight) for weight in (0.25, 0.5, 0.75)),
    ]
    assert ten.blend is not None
    means = {point.weight: point.mean[MEASURE] for point in ten.blend.points}
    for one in found:
        if one.weight is not None:
            assert sum(one.values.values()) / 8 == pytest.approx(means[one.weight], abs=1e-9)


def test_a_smaller_depth_has_the_values_of_a_trial_at_that_depth(
    ten: Trial, where: Path, bert_folder: Path, tmp_path: Path
) -> None:
    five = run(bert_folder, 5, tmp_path / "five")
    _, found = held(str(where))
    (at_five,) = [one for one in found if one.depth == 5]
    assert at_five.values == pytest.approx(dict(five.effectiveness["reranked"].per_query[MEASURE]), abs=1e-9)
    assert at_five.overrides == ("depth=5",)
    assert (at_five.p50_ms, at_five.interpolated) == (None, False)  # no grid was measured
    _, both = held(str(where), str(tmp_path / "five"))
    (measured,) = [one for one in both if one.depth == 5 and one.weight is None]  # once, where its time is known
    assert measured.where == str(tmp_path / "five")
    assert measured.p50_ms is not None


def test_the_pick_has_the_highest_mean_within_the_budget(ten: Trial, where: Path) -> None:
    _, found = held(str(where))
    means = {one.label: sum(one.values.values()) / 8 for one in found}
    got = picking.pick([str(where)], Budget(), folds=4)
    assert means[got.picked] == max(means.values())
    assert got.mean == pytest.approx(max(means.values()))
    fastest = picking.pick([str(where)], Budget(prefer="time"), folds=4)
    assert fastest.picked == "bm25"
    within = [one.label for one in picking.pick([str(where)], Budget(max_memory_mb=1.0), folds=4).choices
              if one.within_budget]  # fmt: skip
    assert within == ["bm25"]  # without a reranker there is no process that reranks


def test_the_command_of_a_pick_runs_the_configuration_of_its_result(ten: Trial, where: Path) -> None:
    got = picking.pick([str(where)], Budget(prefer="time"), folds=4)
    assert got.command == (f"python -m evalkit --config-dir {where} --config-name config reranker=none out_dir=DIR")


def test_a_budget_that_nothing_meets_names_the_nearest_setting(ten: Trial, where: Path) -> None:
    with pytest.raises(EvalkitError, match="none of 6 settings is within the budget; the nearest is bm25, with p50 ms"):
        picking.pick([str(where)], Budget(max_p50_ms=1e-9), folds=4)
    with pytest.raises(EvalkitError, match=r"none of 6 settings .* with mean 0\.\d+ \(nDCG@10 0\.\d+\)"):
        picking.pick([str(where)], Budget(min_quality=1.0), folds=4)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(max_p50_ms=0.0), "--max-p50-ms 0: give a limit above 0"),
        (Budget(max_memory_mb=-1.0), "--max-memory-mb -1: give a limit above 0"),
        (Budget(min_quality=1.5), "--min-quality 1.5: give a mean above 0 and up to 1"),
        (Budget(within=0.0), "--within 0: give a difference above 0 and below 1"),
        (Budget(prefer="beauty"), "--prefer beauty: give quality, time, memory"),
    ],
)
def test_a_number_out_of_range_is_refused(budget: Budget, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        budget.check()


def test_files_of_another_trial_are_refused(ten: Trial, where: Path, tmp_path: Path) -> None:
    shutil.copytree(where, tmp_path / "mixed")
    qrels = tmp_path / "mixed" / "qrels.trec"
    qrels.write_text("\n".join(line[:-1] + "0" for line in qrels.read_text().splitlines()) + "\n")
    with pytest.raises(EvalkitError, match=r"its runs and judgments do not give the nDCG@10 of its result\.json"):
        held(str(tmp_path / "mixed"))


def alone(where: Path) -> str:
    """A result.json without its folder: BM25 takes 2 ms and has 0.5, a reranker 300 ms more and 0.6 to 0.63."""
    plain: Any = plain_result(cost=plain_cost(), effective={"first_stage_time": {"per_query_ms": 2.0}})
    values = {f"q{n}": 0.6 + n / 100 for n in range(4)}
    plain["effectiveness"]["per_query"] = {"first_stage": {MEASURE: dict.fromkeys(values, 0.5)},
                                           "reranked": {MEASURE: values}}  # fmt: skip
    (where / "result.json").write_text(json.dumps(plain))
    return str(where)


def test_a_result_json_alone_offers_its_first_stage_and_its_reranking(tmp_path: Path) -> None:
    found = picking.pick([alone(tmp_path)], Budget(), folds=2)
    assert [one.label for one in found.choices] == ["bm25", "bm25 + small, depth 10"]
    assert found.picked == "bm25 + small, depth 10"
    assert [one.p50_ms for one in found.choices] == [2.0, 302.0]


def test_a_faster_setting_that_is_nearly_as_good_is_listed_with_what_it_saves(tmp_path: Path) -> None:
    (one,) = picking.pick([alone(tmp_path)], Budget(within=0.12), folds=2).near_equal
    assert one.label == "bm25"
    assert one.difference == pytest.approx(-0.115)
    assert one.time_ratio == pytest.approx(2 / 302)
    # 0.12 - 0.115 = 0.005, over a standard error of 0.01291 / 2: t(3) above 0.775 has p 0.248
    assert one.equivalence_p == pytest.approx(0.248, abs=2e-3)
    assert picking.pick([alone(tmp_path)], Budget(within=0.1), folds=2).near_equal == []


def test_results_of_other_data_are_refused(ten: Trial, where: Path, tmp_path: Path) -> None:
    shutil.copytree(where, tmp_path / "other")
    plain = json.loads((tmp_path / "other" / "result.json").read_text())
    plain["effective"]["slice"]["fingerprints"]["judgments"] = "others"
    (tmp_path / "other" / "result.json").write_text(json.dumps(plain))
    with pytest.raises(EvalkitError, match="judgments"):
        picking.pick([str(where), str(tmp_path / "other")], Budget(), folds=4)


def test_the_report_has_the_estimate_the_optimism_and_every_setting(ten: Trial, where: Path) -> None:
    got = replace(picking.pick([str(where)], Budget(max_p50_ms=1e9), folds=4), estimate=0.25, optimism=0.125)
    text = markdown.pick(got, ["settings.png"])
    assert None not in got.interval
    assert f"nDCG@10 0.2500 (95 % interval {got.interval[0]:.4f} to {got.interval[1]:.4f})" in text
    assert "+0.1250 from the estimate" in text
    assert text.count("\n| bm25 + tiny at fp32") == 5
    assert len(content.rows(got)) == 6
    assert plots.settings(got) is not None


def test_the_command_prints_the_pick_and_writes_its_folder(ten: Trial, where: Path, tmp_path: Path) -> None:
    done = run_here("pick", str(where), "--folds", "4", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "on queries that did not help to pick it" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"pick.json", "report.md", "settings.png"}
    again = run_here("pick", str(where), "--folds", "4", "--output", "out", cwd=tmp_path)
    assert "holds a pick already" in sentence(again.stderr)
    plain = run_here("pick", str(where), "--folds", "4", "--json", cwd=tmp_path)
    assert json.loads(plain.stdout) == json.loads((tmp_path / "out" / "pick.json").read_text())


def test_more_folds_than_queries_are_named(ten: Trial, where: Path, tmp_path: Path) -> None:
    assert "--folds=10: the slice has 8 queries" in sentence(run_here("pick", str(where), cwd=tmp_path).stderr)
