import json
import shutil

import pytest
from conftest import run_evalkit, sentence
from gate_pipeline import Broken, FirstStage, Pipeline, cut, packaged

from evalkit.compare import side_by_side
from evalkit.errors import EvalkitError
from evalkit.report import html, markdown, reading, terminal
from evalkit.rerankers.none import NoReranker
from evalkit.slices import packaged as dev


@pytest.fixture(scope="module")
def results(bert_folder, tmp_path_factory):
    """BM25 alone, a tiny reranker with random weights, the same with logits rounded, and with all of them reversed."""
    where = tmp_path_factory.mktemp("compare")
    data = cut(dev.load("en"), 8)
    tiny = packaged(model=str(bert_folder), name="tiny")
    tiny.load()
    rerankers = {
        "bm25": NoReranker(),
        "tiny": Broken(tiny),
        "rounded": Broken(tiny, logits=lambda pairs, x: [round(value, 1) for value in x]),
        "reversed": Broken(tiny, logits=lambda pairs, x: [-value for value in x]),
    }
    return {
        name: reading.read(Pipeline(data, reranker, FirstStage(), 6).run(where / name))
        for name, reranker in rerankers.items()
    }


def compared(results, *names, **settings):
    return side_by_side([results[name] for name in names], resamples=999, **settings)


def test_every_system_is_held_against_the_baseline_in_every_measure(results):
    found = compared(results, "bm25", "tiny", "reversed")
    assert found["baseline"] == "bm25"
    assert found["systems"][0]["label"] == "bm25"
    assert found["measures"] == ["nDCG@10", "RR@10", "AP@100", "R@6"]
    assert len(found["against_baseline"]) == 2
    for label, tests in found["against_baseline"].items():
        for measure, test in tests.items():
            means = {system["label"]: system["mean"][measure] for system in found["systems"]}
            assert test["mean"] == pytest.approx(means[label] - means["bm25"])
            assert 0 <= test["randomization_p"] <= test["holm_p"] <= 1
            assert test["bh_p"] <= test["holm_p"]


def test_systems_of_one_name_are_told_apart(results):
    found = compared(results, "tiny", "reversed", "rounded")
    labels = [system["label"] for system in found["systems"]]
    assert len(set(labels)) == 3
    assert all(label.startswith("bm25 + tiny at fp32, ") for label in labels)


def test_the_baseline_may_be_any_of_them_and_comes_first(results):
    found = compared(results, "tiny", "bm25", baseline=1)
    assert found["baseline"] == found["systems"][0]["label"] == "bm25"


def test_a_result_against_itself_differs_by_nothing(results, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(results["tiny"].where, twin)
    found = side_by_side([results["tiny"], reading.read(twin)], resamples=999)
    [tests] = found["against_baseline"].values()
    assert {(test["mean"], test["randomization_p"], test["t_p"], test["holm_p"]) for test in tests.values()} == {
        (0.0, 1.0, 1.0, 1.0)
    }
    [parity] = found["parity"].values()
    assert (parity["max_abs"], parity["kendall_tau"], parity["rbo"]) == (0.0, 1.0, 1.0)
    assert parity["equivalence"]["equivalent"]
    json.dumps(found, allow_nan=False)


def test_parity_tells_a_rounded_scoring_from_the_true_one(results):
    [parity] = compared(results, "tiny", "rounded")["parity"].values()
    assert 0 < parity["max_abs"] <= 0.05 + 1e-9
    assert parity["tied_pairs_before"] <= parity["tied_pairs_after"]


def test_without_scores_there_is_no_parity(results):
    assert set(compared(results, "bm25", "tiny")["parity"].values()) == {None}


def test_the_matrix_is_symmetric_and_its_p_values_are_corrected_over_all_pairs(results):
    found = compared(results, "bm25", "tiny", "reversed")
    rows = found["matrix"]["nDCG@10"]["holm_p"]
    assert [rows[i][i] for i in range(3)] == [None] * 3
    assert all(rows[i][j] == rows[j][i] for i in range(3) for j in range(3))
    alone = compared(results, "bm25", "tiny")["matrix"]["nDCG@10"]["holm_p"][0][1]
    assert rows[0][1] >= alone


def test_one_result_is_not_enough(results):
    with pytest.raises(EvalkitError, match="compare needs two results or more"):
        side_by_side([results["tiny"]])


def test_the_same_result_twice_is_refused(results):
    with pytest.raises(EvalkitError, match="is given twice; name each result once"):
        side_by_side([results["tiny"], results["tiny"]])


def test_another_slice_is_refused_and_said(results, tmp_path):
    other = reading.read(Pipeline(dev.load("zh", queries=3), NoReranker(), FirstStage(), 6).run(tmp_path / "zh"))
    with pytest.raises(EvalkitError, match=r"is of slice dev/en, .* of dev/zh; only results of one slice"):
        side_by_side([results["tiny"], other])


def test_other_measures_are_left_out_and_said(results, tmp_path):
    data = cut(dev.load("en"), 8)
    pipeline = Pipeline(data, NoReranker(), FirstStage(), 6, ("P@5", "nDCG@10"))
    found = side_by_side([results["tiny"], reading.read(pipeline.run(tmp_path / "p"))], resamples=99)
    assert found["measures"] == ["nDCG@10"]
    assert any("P@5 of bm25 is left out" in warning for warning in found["warnings"])


@pytest.mark.parametrize("queries", [1, 2])
def test_very_few_queries_give_figures_without_nonsense(queries, bert_folder, tmp_path):
    data, tiny = cut(dev.load("en"), queries), packaged(model=str(bert_folder), name="tiny")
    both = [Pipeline(data, one, FirstStage(), 6).run(tmp_path / name)
            for name, one in (("bm25", NoReranker()), ("tiny", Broken(tiny)))]  # fmt: skip
    found = side_by_side([reading.read(where) for where in both], resamples=99)
    [test] = [tests["nDCG@10"] for tests in found["against_baseline"].values()]
    assert (test["holm_p"] is None) == (queries == 1)
    json.dumps(found, allow_nan=False)
    assert "nan" not in markdown.comparison(found)


# --- what it costs


@pytest.fixture
def precisions(results, tmp_path):
    """A real trial's folder twice, once at fp32 and once at fp16 in name, with figures of cost that are made up."""
    for precision, times in (("fp32", 1), ("fp16", 2)):
        shutil.copytree(results["tiny"].where, tmp_path / precision)
        path = tmp_path / precision / "result.json"
        result = json.loads(path.read_text("utf-8"))
        result["effective"]["reranker"]["precision"] = precision
        result["cost"] = {
            "pairs_per_s": 50.0 * times,
            "latency": {"samples_ms": [80 / times], "p50_ms": 80 / times, "p99_ms": 80 / times},
            "memory": {"rss_peak_mb": 900 / times, "cuda_allocated_peak_mb": None, "weights_mb": 300 / times},
        }
        path.write_text(json.dumps(result), "utf-8")
    return side_by_side([reading.read(tmp_path / precision) for precision in ("fp32", "fp16")], resamples=99)


def test_precisions_side_by_side_have_one_table_and_the_claim_about_memory_an_answer(precisions, capsys):
    terminal.show_comparison(precisions, "there")
    shown, report = capsys.readouterr().out, markdown.comparison(precisions)
    for text in (shown, report, html.comparison(precisions, {})):
        assert "What it costs" in text
        assert "100 (\u00d72.00)" in text
        assert "40.0 (\u00d70.50)" in text
        assert "450 (\u00d70.50)" in text
        assert "Does fp16 save 40% of memory? Here it does: bm25 + tiny at fp16 against bm25 + tiny at fp32" in text
    assert "logits differ by 0 at most" in shown
    assert "weights 300 -> 150 MiB (-50.0%), peak of the process's memory 900 -> 450 MiB (-50.0%)" in shown


# --- the command


def test_the_command_writes_a_folder_and_prints_the_table(results, tmp_path):
    done = run_evalkit("compare", results["bm25"].where, results["tiny"].where, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 systems against bm25" in done.stdout
    assert {"comparison.json", "report.md", "report.html", "report.tex"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    again = run_evalkit("compare", results["bm25"].where, results["tiny"].where, "--output", "out", cwd=tmp_path)
    assert again.returncode == 2
    assert "holds a comparison already" in sentence(again.stderr)


MISTAKES = {
    "one result": (["tiny"], "compare needs two results or more"),
    "a result that is not there": (["tiny", "gone"], "there is no gone; it should be a result of evalkit"),
    "a baseline that is not compared": (["tiny", "bm25", "--baseline", "rounded"], "none of the results that are comp"),
    "a run's folder to write to": (
        ["tiny", "bm25", "--output", "tiny"],
        "tiny holds the result of a run, whose report",
    ),
    "a margin of nothing": (["tiny", "bm25", "--margin", "0"], "--margin 0: give a difference above 0"),
    "a margin that is no number": (["tiny", "bm25", "--margin", "x"], "invalid float value"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_sentence(results, arguments, words):
    from pathlib import Path

    done = run_evalkit("compare", *arguments, cwd=Path(results["tiny"].where).parent)
    assert done.returncode == 2
    assert words in sentence(done.stderr)
