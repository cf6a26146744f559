import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from evalkit.boundary.errors import EvalkitError
from evalkit.report import markdown, terminal
from evalkit.report.content import alternatives
from evalkit.report.html import pages
from evalkit.rerankers.none import NoReranker
from evalkit.results import reading
from evalkit.results.compare import side_by_side
from evalkit.results.comparison_schema import Comparison, QueryTime
from evalkit.results.result import to_plain
from evalkit.slices import packaged as dev
from tests.conftest import REPOSITORY
from tests.helpers.command_line import run_here, sentence
from tests.helpers.gate_pipeline import Broken, FirstStage, Pipeline, cut, packaged
from tests.helpers.results import edited, plain_cost, result_of


@pytest.fixture(scope="module")
def results(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """BM25 alone, a tiny reranker with random weights, the same with logits rounded, and with all of them reversed."""
    where = tmp_path_factory.mktemp("compare")
    data = cut(dev.load("en"), 8)
    tiny = packaged(model=str(bert_folder), name="tiny")
    tiny.load()
    rerankers = {
        "bm25": NoReranker(),
        "tiny": Broken(tiny),
        "rounded": Broken(tiny, logits=lambda pairs, x: [round(value or 0, 1) for value in x]),
        "reversed": Broken(tiny, logits=lambda pairs, x: [-(value or 0) for value in x]),
    }
    return {
        name: reading.read(Pipeline(data, reranker, FirstStage(), 6).run(where / name))
        for name, reranker in rerankers.items()
    }


def compared(results: Any, *names: Any, **settings: Any) -> Any:
    return side_by_side([results[name] for name in names], resamples=999, **settings)


def test_every_system_is_compared_with_the_baseline_in_every_measure(results: Any) -> None:
    found = compared(results, "bm25", "tiny", "reversed")
    assert found.baseline == "bm25"
    assert found.systems[0].label == "bm25"
    assert found.measures == ["nDCG@10", "RR@10", "AP@100", "R@6"]
    assert len(found.against_baseline) == 2
    for label, tests in found.against_baseline.items():
        for measure, test in tests.items():
            means = {system.label: system.mean[measure] for system in found.systems}
            assert test.mean == pytest.approx(means[label] - means["bm25"])
            assert 0 <= test.randomization_p <= test.holm_p <= 1
            assert test.bh_p <= test.holm_p


def test_systems_of_one_name_are_distinguished(results: Any) -> None:
    found = compared(results, "tiny", "reversed", "rounded")
    labels = [system.label for system in found.systems]
    assert labels == ["bm25 + tiny at fp32, tiny", "bm25", "bm25 + tiny at fp32, reversed",
                      "bm25 + tiny at fp32, rounded"]  # fmt: skip


def test_the_baseline_may_be_any_of_them_and_comes_first(results: Any) -> None:
    found = compared(results, "tiny", "bm25", baseline=1)
    assert found.baseline == found.systems[0].label == "bm25"


def test_a_result_against_itself_differs_by_nothing(results: Any, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(results["tiny"].where, twin)
    found = side_by_side([results["tiny"], reading.read(twin)], resamples=999)
    tests = found.against_baseline["bm25 + tiny at fp32, twin"]
    assert {(test.mean, test.randomization_p, test.t_p, test.holm_p) for test in tests.values()} == {
        (0.0, 1.0, 1.0, 1.0)
    }
    parity = found.parity["bm25 + tiny at fp32, twin"]
    assert parity is not None
    assert (parity.max_abs, parity.kendall_tau, parity.rbo) == (0.0, 1.0, 1.0)
    assert parity.equivalence.equivalent
    json.dumps(asdict(found), allow_nan=False)


def test_parity_distinguishes_a_rounded_scoring_from_the_exact_one(results: Any) -> None:
    parity = compared(results, "tiny", "rounded").parity["bm25 + tiny at fp32, rounded"]
    assert 0 < parity.max_abs <= 0.05 + 1e-9
    assert parity.tied_pairs_before <= parity.tied_pairs_after


def test_without_scores_there_is_no_parity(results: Any) -> None:
    assert set(compared(results, "bm25", "tiny").parity.values()) == {None}


def test_the_matrix_is_symmetric_and_its_p_values_are_corrected_over_all_pairs(results: Any) -> None:
    found = compared(results, "bm25", "tiny", "reversed")
    rows = found.matrix["nDCG@10"].holm_p
    assert [rows[i][i] for i in range(3)] == [None] * 3
    assert all(rows[i][j] == rows[j][i] for i in range(3) for j in range(3))
    alone = compared(results, "bm25", "tiny").matrix["nDCG@10"].holm_p[0][1]
    assert rows[0][1] >= alone


# --- systems without a reranker


def with_facts(finished: Any, where: Any, time: Any = None, means: Any = None, **facts: Any) -> Any:
    """The same result with other facts of its reranker, and a first stage of another time or other values."""
    result = json.loads(json.dumps(to_plain(finished.result)))
    result["effective"]["reranker"] |= facts.get("reranker", {})
    result["effective"]["first_stage"] |= facts.get("first_stage", {})
    result["effective"]["first_stage_time"] = {"total_s": 1.0, "index_s": 0.5, "per_query_ms": time}
    result["cost"] = facts.get("cost")
    for side, mean in (means or {}).items():
        queries = result["effectiveness"]["per_query"][side]["nDCG@10"]
        spread = (len(queries) - 1) / 200
        result["effectiveness"]["per_query"][side]["nDCG@10"] = {
            query_id: mean + number / 100 - spread for number, query_id in enumerate(queries)
        }
        result["effectiveness"][side]["mean"]["nDCG@10"] = mean
    return replace(finished, where=str(where), result=result_of(result))


def cost_of(p50_ms: Any) -> Any:
    return plain_cost(
        latency={"samples_ms": [p50_ms], "p50_ms": p50_ms, "p99_ms": p50_ms}, memory={"rss_peak_mb": 900.0}
    )


def test_each_first_stage_is_a_system_of_its_own_and_is_listed_once(results: Any) -> None:
    found = compared(results, "tiny", "rounded")
    sides = {system.label: (system.side, system.own_first_stage) for system in found.systems}
    assert sides == {
        "bm25 + tiny at fp32, tiny": ("reranked", "bm25"),
        "bm25": ("first_stage", None),
        "bm25 + tiny at fp32, rounded": ("reranked", "bm25"),
    }
    assert found.systems[1].mean == pytest.approx(results["tiny"].result.effectiveness.first_stage.mean)


def test_a_result_without_a_reranker_is_the_first_stage_of_the_others(results: Any) -> None:
    labels = [system.label for system in compared(results, "tiny", "bm25").systems]
    assert labels == ["bm25 + tiny at fp32", "bm25"]


def test_first_stages_of_one_name_with_different_settings_are_two_and_labelled_by_them(results: Any) -> None:
    one = with_facts(results["tiny"], "one", first_stage={"k1": 0.9}, means={"first_stage": 0.4})
    other = with_facts(results["rounded"], "other", first_stage={"k1": 1.2}, means={"first_stage": 0.5})
    labels = [system.label for system in side_by_side([one, other], resamples=99).systems]
    assert labels == ["bm25 + tiny at fp32, first_stage.k1 0.9", "bm25, k1 0.9", "bm25, k1 1.2",
                      "bm25 + tiny at fp32, first_stage.k1 1.2"]  # fmt: skip


def test_what_differs_between_systems_is_their_label(results: Any) -> None:
    both = [with_facts(results[name], name, reranker={"max_length": length, "attention": kind, "batch_tokens": length})
            for name, length, kind in (("tiny", 256, "a"), ("rounded", 128, "b"))]  # fmt: skip
    labels = [system.label for system in side_by_side(both, resamples=99).systems if system.reranker]
    assert labels == [
        "bm25 + tiny at fp32, max_length 256, attention a",
        "bm25 + tiny at fp32, max_length 128, attention b",
    ]


def test_what_follows_from_precision_and_device_is_no_label(results: Any) -> None:
    facts = (("tiny", "fp32", "float32", "oneDNN"), ("rounded", "bf16", "bfloat16", "torch"))
    both = [with_facts(results[name], name, first_stage={"precision": precision, "dtype": dtype, "linear": product},
                       means={"first_stage": 0.4 if name == "tiny" else 0.5})
            for name, precision, dtype, product in facts]  # fmt: skip
    labels = [system.label for system in side_by_side(both, resamples=99).systems if not system.reranker]
    assert sorted(labels) == ["bm25, precision bf16", "bm25, precision fp32"]


def test_labels_have_the_length_with_another_first_stage_and_precision_too(results: Any) -> None:
    """Where the labels differ anyway, a setting that makes other scores is no less of a difference."""
    changes = {"tiny": ({"max_length": 256, "precision": "fp32"}, {}),
               "rounded": ({"max_length": 128, "precision": "fp16"}, {"name": "minilm"})}  # fmt: skip
    both = [with_facts(results[name], name, reranker=reranker, first_stage=first)
            for name, (reranker, first) in changes.items()]  # fmt: skip
    labels = [system.label for system in side_by_side(both, resamples=99).systems if system.reranker]
    assert labels == ["bm25 + tiny at fp32, max_length 256", "minilm + tiny at fp16, max_length 128"]


def test_all_settings_that_differ_are_in_the_label_and_long_values_are_distinguished(results: Any) -> None:
    prompts = [f"{'a long prompt that begins alike in both, ' * 2}{n}" for n in range(2)]
    both = [with_facts(results[name], name, reranker={"max_length": n, "truncation": f"t{n}", "prompt": prompts[n],
                                                      "model": f"m{n}", "revision": f"r{n}"})
            for n, name in enumerate(("tiny", "rounded"))]  # fmt: skip
    labels = [system.label for system in side_by_side(both, resamples=99).systems if system.reranker]
    assert labels[1] == (
        f"bm25 + tiny at fp32, max_length 1, truncation t1, prompt {prompts[1]}, model m1, revision r1"
    )


def test_other_measures_make_no_other_first_stage(results: Any) -> None:
    """A depth brings a recall of its own, and is none of the first stage."""
    other = with_facts(results["rounded"], "other")

    def edit(plain: Any) -> None:
        plain["effective"]["depth"] = 4
        for side in ("first_stage", "reranked"):
            for values in (plain["effectiveness"]["per_query"][side], plain["effectiveness"][side]["mean"]):
                values["R@4"] = values.pop("R@6")

    other = edited(other, edit)
    labels = [system.label for system in side_by_side([results["tiny"], other], resamples=99).systems]
    assert labels == ["bm25 + tiny at fp32, depth 6", "bm25", "bm25 + tiny at fp32, depth 4"]


def test_a_first_stage_that_a_sweep_measured_twice_is_listed_once_with_a_note(results: Any) -> None:
    again = with_facts(results["bm25"], "again")
    again = edited(again, lambda plain: plain["effective"].update(depth=4))
    found = side_by_side([results["bm25"], again, results["tiny"]], resamples=99)
    assert [system.label for system in found.systems] == ["bm25", "bm25 + tiny at fp32"]
    assert "again: the same first stage as bm25, which is listed once" in found.warnings


def test_a_first_stage_and_nothing_but_itself_can_still_be_compared(results: Any) -> None:
    found = side_by_side([results["bm25"], with_facts(results["bm25"], "again")], resamples=99)
    assert [system.label for system in found.systems] == ["bm25, bm25", "bm25, again"]
    assert {test.mean for test in found.against_baseline["bm25, again"].values()} == {0.0}


def reranked_run(results: Any, folder: Any, lines: Any) -> Any:
    """A result whose first stage is a finished run of these lines, with the figures of bm25."""
    shutil.copytree(results["rounded"].where, folder)
    (folder / "first_stage.trec").write_text("".join(lines), "utf-8")
    first_stage = {"name": "a run", "path": "bm25.trec"}
    run = with_facts(results["rounded"], folder)
    return edited(run, lambda plain: plain["effective"].update(first_stage=first_stage))


def lines_of(results: Any) -> Any:
    return (Path(results["bm25"].where) / "reranked.trec").read_text("utf-8").splitlines(keepends=True)


def test_a_run_with_the_ranking_of_another_first_stage_is_identified_with_it(results: Any, tmp_path: Path) -> None:
    found = side_by_side([results["bm25"], reranked_run(results, tmp_path / "run", lines_of(results))], resamples=99)
    assert [system.label for system in found.systems] == ["bm25", "a run + tiny at fp32"]
    assert found.systems[1].own_first_stage == "bm25"
    assert "bm25 is also named a run: the rankings are equal" in found.warnings


def test_a_run_that_ranks_otherwise_is_a_first_stage_of_its_own(results: Any, tmp_path: Path) -> None:
    """The figures may be the same, as of two passages of one grade that change places."""
    first, second, *rest = lines_of(results)
    a, b = first.split(), second.split()
    assert a[0] == b[0]
    a[2], b[2] = b[2], a[2]
    run = reranked_run(results, tmp_path / "run", [" ".join(a) + "\n", " ".join(b) + "\n", *rest])
    labels = [system.label for system in side_by_side([results["bm25"], run], resamples=99).systems]
    assert labels == ["bm25", "a run", "a run + tiny at fp32"]


def test_the_matrix_too_counts_pairs_that_differ_only(results: Any) -> None:
    """All 8 queries gain 0.5, so p is 2 / 2^8; of three pairs the twins' own can reject nothing, and two count."""
    lifted = {"first_stage": 0.3, "reranked": 0.8}
    bm25 = with_facts(results["bm25"], "bm25", means={"first_stage": 0.3, "reranked": 0.3})
    twins = [with_facts(results["tiny"], where, means=lifted) for where in ("one", "other")]
    found = side_by_side([bm25, *twins], resamples=999)
    gain, recall = (found.matrix[measure].holm_p for measure in ("nDCG@10", "R@6"))
    assert [gain[0][1], gain[0][2], gain[1][2]] == pytest.approx([2 * 2 / 2**8, 2 * 2 / 2**8, 1.0])
    assert [recall[0][1], recall[0][2], recall[1][2]] == [1.0, 1.0, 1.0]


def test_results_without_a_time_of_the_first_stage_still_have_their_picture(results: Any) -> None:
    """Results of older versions know the time of reranking alone; the picture says that it is that."""
    from evalkit.report import plots

    older = [with_facts(results[name], name, reranker={"precision": name}, cost=cost_of(ms))
             for name, ms in (("tiny", 80.0), ("rounded", 40.0))]  # fmt: skip
    older = [edited(one, lambda plain: plain["effective"].pop("first_stage_time")) for one in older]
    figure = plots.tradeoff(side_by_side(older, resamples=99).systems, "nDCG@10")
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "time of reranking a query, ms"


def test_a_reranker_that_is_worse_than_its_own_first_stage_is_reported_as_worse(
    results: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three reranked systems may be better than BM25, and an embedding model alone better than all of them."""
    bm25 = with_facts(results["bm25"], "bm25", means={"first_stage": 0.3, "reranked": 0.3})
    lifted = with_facts(results["tiny"], "lifted", means={"first_stage": 0.3, "reranked": 0.6})
    spoiled = with_facts(
        results["rounded"], "spoiled", first_stage={"name": "minilm"}, means={"first_stage": 0.9, "reranked": 0.7}
    )
    found = side_by_side([bm25, lifted, spoiled], resamples=9999)
    assert found.best is not None
    assert found.best.without_reranker == "minilm"
    assert found.best.with_reranker == "minilm + tiny at fp32"
    claim = (
        "In nDCG@10, against minilm, the best without a reranker: bm25 + tiny at fp32 and minilm + tiny at fp32 are "
        "not worth it."
    )
    terminal.show_comparison(found, "there")
    for text in (capsys.readouterr().out, markdown.comparison(found), pages.comparison(found, {})):
        assert claim in " ".join(text.split())
    gains = {row["with a reranker"]: list(row.values())[2:5] for row in alternatives.rows(found)}
    over_first, over_best, over_baseline = gains["bm25 + tiny at fp32"]
    assert over_first.startswith("+0.3000 ± ")
    assert over_best.startswith("-0.3000 ± ")
    assert over_baseline.startswith("+0.3000 ± ")
    assert [gain[:7] for gain in gains["minilm + tiny at fp32"]] == ["-0.2000", "-0.2000", "+0.4000"]
    assert [row["worth it?"] for row in alternatives.rows(found)] == ["no", "no"]


def test_the_whole_path_is_timed_in_its_parts(results: Any) -> None:
    found = side_by_side(
        [
            with_facts(results["bm25"], "bm25", time=2.0),
            with_facts(results["tiny"], "tiny", time=4.0, cost=cost_of(80.0)),
        ],
        resamples=99,
    )
    times = {system.label: system.time for system in found.systems}
    assert times["bm25"] == QueryTime(first_stage_ms=3.0, reranking_p50_ms=0.0, total_ms=3.0)  # the median of both
    assert times["bm25 + tiny at fp32"] == QueryTime(first_stage_ms=3.0, reranking_p50_ms=80.0, total_ms=83.0)


def test_a_first_stage_that_was_not_timed_is_reported_without_a_time(results: Any) -> None:
    found = side_by_side([with_facts(results["tiny"], "a", cost=cost_of(80.0)), results["bm25"]], resamples=99)
    assert {system.time.total_ms for system in found.systems} == {None}
    assert any(warning.startswith("the time of a query is not known for bm25") for warning in found.warnings)


def test_tests_that_can_reject_nothing_are_no_part_of_the_correction(results: Any) -> None:
    """R@6 of two rerankings of the same six candidates cannot differ; three tests are left to correct for."""
    found = compared(results, "tiny", "reversed")
    label = "bm25 + tiny at fp32, reversed"
    tests = found.against_baseline[label]
    assert (tests["R@6"].wins, tests["R@6"].losses, tests["R@6"].holm_p) == (0, 0, 1.0)
    every = [test for of in found.against_baseline.values() for test in of.values()]
    counted = [test for test in every if test.wins + test.losses]
    assert found.untested.against_baseline == len(every) - len(counted) == 2  # and bm25's own R@6
    smallest = min(counted, key=lambda test: test.randomization_p)
    assert smallest.holm_p == pytest.approx(min(1.0, smallest.randomization_p * len(counted)))
    assert "2 tests left out in which no query differs" in markdown.comparison(found)


def test_one_result_is_not_enough(results: Any) -> None:
    with pytest.raises(EvalkitError, match="compare needs two results or more"):
        side_by_side([results["tiny"]])


def test_the_same_result_twice_is_refused(results: Any) -> None:
    with pytest.raises(EvalkitError, match="is given twice; name each result once"):
        side_by_side([results["tiny"], results["tiny"]])


def test_another_slice_is_refused_with_the_reason(results: Any, tmp_path: Path) -> None:
    other = reading.read(Pipeline(dev.load("zh", queries=3), NoReranker(), FirstStage(), 6).run(tmp_path / "zh"))
    with pytest.raises(EvalkitError, match=r"is of slice dev/en, .* of dev/zh; only results of one slice"):
        side_by_side([results["tiny"], other])


def test_other_measures_are_left_out_with_a_note(results: Any, tmp_path: Path) -> None:
    data = cut(dev.load("en"), 8)
    pipeline = Pipeline(data, NoReranker(), FirstStage(), 6, ("P@5", "nDCG@10"))
    found = side_by_side([results["tiny"], reading.read(pipeline.run(tmp_path / "p"))], resamples=99)
    assert found.measures == ["nDCG@10"]
    assert any("P@5 of bm25" in warning and "is left out" in warning for warning in found.warnings)


@pytest.mark.parametrize("queries", [1, 2])
def test_very_few_queries_give_figures_without_nonsense(queries: Any, bert_folder: Any, tmp_path: Path) -> None:
    data, tiny = cut(dev.load("en"), queries), packaged(model=str(bert_folder), name="tiny")
    both = [Pipeline(data, one, FirstStage(), 6).run(tmp_path / name)
            for name, one in (("bm25", NoReranker()), ("tiny", Broken(tiny)))]  # fmt: skip
    found = side_by_side([reading.read(where) for where in both], resamples=99)
    [test] = [tests["nDCG@10"] for tests in found.against_baseline.values()]
    assert (test.holm_p is None) == (queries == 1)
    json.dumps(asdict(found), allow_nan=False)
    assert "nan" not in markdown.comparison(found)


def test_the_comparison_in_the_repository_fits_the_definition_and_is_written_as_it_is() -> None:
    text = (REPOSITORY / "reports" / "examples" / "compare" / "comparison.json").read_text("utf-8")
    read = TypeAdapter(Comparison).validate_python(json.loads(text))
    assert json.dumps(asdict(read), indent=1, ensure_ascii=False) + "\n" == text


# --- what it costs


@pytest.fixture
def precisions(results: Any, tmp_path: Path) -> Any:
    """A real trial's folder twice, once at fp32 and once at fp16 in name, with figures of cost that are made up."""
    for precision, times in (("fp32", 1), ("fp16", 2)):
        shutil.copytree(results["tiny"].where, tmp_path / precision)
        path = tmp_path / precision / "result.json"
        result = json.loads(path.read_text("utf-8"))
        result["effective"]["reranker"]["precision"] = precision
        result["cost"] = plain_cost(
            pairs_per_s=50.0 * times,
            latency={"samples_ms": [80 / times], "p50_ms": 80 / times, "p99_ms": 80 / times},
            memory={"rss_peak_mb": 900 / times, "weights_mb": 300 / times},
        )
        path.write_text(json.dumps(result), "utf-8")
    return side_by_side([reading.read(tmp_path / precision) for precision in ("fp32", "fp16")], resamples=99)


def test_precisions_side_by_side_have_one_table_and_the_claim_about_memory_an_answer(
    precisions: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_comparison(precisions, "there")
    shown, report = capsys.readouterr().out, markdown.comparison(precisions)
    for text in (shown, report, pages.comparison(precisions, {})):
        assert "What it costs" in text
        assert "100 (\u00d72.00)" in text
        assert "40.0 (\u00d70.50)" in text
        assert "450 (\u00d70.50)" in text
        assert "Does fp16 save 40% of memory? Here it does: bm25 + tiny at fp16 against bm25 + tiny at fp32" in text
    assert "logits differ by 0 at most" in shown
    assert "weights 300 -> 150 MiB (-50.0%), peak of the process's memory 900 -> 450 MiB (-50.0%)" in shown


# --- the command


def test_the_command_writes_a_folder_and_prints_the_table(results: Any, tmp_path: Path) -> None:
    done = run_here("compare", results["bm25"].where, results["tiny"].where, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 systems against bm25" in done.stdout
    assert {"comparison.json", "report.md", "report.html", "report.tex"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    again = run_here("compare", results["bm25"].where, results["tiny"].where, "--output", "out", cwd=tmp_path)
    assert again.returncode == 2
    assert "holds a comparison already" in sentence(again.stderr)


MISTAKES = {
    "one result": (["tiny"], "compare needs two results or more"),
    "a result that is not there": (["tiny", "gone"], "there is no gone; it should be a result of evalkit"),
    "a baseline that is not compared": (
        ["tiny", "bm25", "--baseline", "rounded"],
        "is not one of the compared results",
    ),
    "a run's folder to write to": (
        ["tiny", "bm25", "--output", "tiny"],
        "tiny holds the result of a run, whose report",
    ),
    "a margin of nothing": (["tiny", "bm25", "--margin", "0"], "--margin 0: give a difference above 0"),
    "a margin that is no number": (["tiny", "bm25", "--margin", "x"], "invalid float value"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_sentence(results: Any, arguments: Any, words: Any) -> None:
    done = run_here("compare", *arguments, cwd=Path(results["tiny"].where).parent)
    assert done.returncode == 2
    assert words in sentence(done.stderr)
