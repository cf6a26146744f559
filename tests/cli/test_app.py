"""The commands of the documents, run as a user runs them: exit code, standard output, and what lies in the folder."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

import evalkit
from evalkit.cli.config import conf_dir
from evalkit.evaluation.trec import read_run
from tests.conftest import REPOSITORY, key_tree, slow
from tests.helpers.command_line import run_evalkit, run_here, sentence

GOLDEN = REPOSITORY / "tests" / "golden" / "result_keys.json"
LIGHT = """
import runpy, sys
sys.argv = ["evalkit", *{arguments!r}]
try:
    runpy.run_module("evalkit", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = sorted({{"torch", "transformers", "ranx", "numba", "pandas", "matplotlib", "ir_datasets"}} & set(sys.modules))
print("heavy:", heavy, file=sys.stderr)
"""


def anybody_in(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def result_in(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text("utf-8"))


# --- one trial, with a tiny model in place of the packaged one


@pytest.fixture(scope="module")
def trial(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    where = tmp_path_factory.mktemp("trial")
    done = run_evalkit(
        f"reranker.model={bert_folder}", "device=cpu", "slice.queries=5", "depth=5", "out_dir=out", cwd=where
    )
    assert done.returncode == 0, done.stderr
    return done, where / "out"


def test_a_trial_leaves_everything_in_its_folder(trial: Any) -> None:
    _, folder = trial
    assert sorted(path.name for path in folder.iterdir()) == [
        "before_after.png", "before_after.svg", "blend.png", "blend.svg", "changes.png", "changes.svg", "config.yaml",
        "evalkit.log", "first_stage.trec", "latency.png", "latency.svg", "passages.jsonl", "per_query.csv",
        "qrels.trec", "reliability.png", "reliability.svg", "report.html", "report.md", "report.tex", "reranked.trec",
        "result.json", "scores.png", "scores.svg",
    ]  # fmt: skip


def test_a_result_has_the_promised_keys_and_types(trial: Any) -> None:
    """tests/golden/result_keys.json is a promise to whoever reads results: a change of it is a change of schema.

    EVALKIT_WRITE_GOLDEN=1 renews it.
    """
    tree = key_tree(result_in(trial[1]))
    if os.environ.get("EVALKIT_WRITE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(tree, indent=1) + "\n", "utf-8")
    assert tree == json.loads(GOLDEN.read_text("utf-8"))


def test_what_was_asked_and_what_was_done_are_both_written_down(trial: Any, bert_folder: Any) -> None:
    result = result_in(trial[1])
    assert (result["schema_version"], result["status"], result["name"]) == (1, "finished", "dev")
    asked, effective = result["asked"], result["effective"]
    assert (asked["depth"], asked["slice"]["queries"], asked["device"]) == (5, 5, "cpu")
    assert asked["reranker"]["model"] == str(bert_folder)
    assert (effective["depth"], effective["slice"]["queries"], effective["reranker"]["device"]) == (5, 5, "cpu")
    assert effective["measures"] == ["nDCG@10", "RR@10", "AP@100", "R@5"]
    assert effective["slice"]["relevance_level"] == 2
    assert effective["scoring"]["pairs"] == result["cost"]["pairs"] <= 25
    assert len(result["cost"]["latency"]["samples_ms"]) == 5
    command = result["provenance"]["command"]
    assert command == ["python -m evalkit", f"reranker.model={bert_folder}", "device=cpu", "slice.queries=5",
                       "depth=5", "out_dir=out"]  # fmt: skip


def test_the_numbers_on_screen_and_in_the_report_are_those_of_the_result(trial: Any) -> None:
    done, folder = trial
    effect = result_in(folder)["effectiveness"]
    report = (folder / "report.md").read_text("utf-8")
    for name, delta in effect["delta"].items():
        before, after = effect["first_stage"]["mean"][name], effect["reranked"]["mean"][name]
        assert after - before == pytest.approx(delta)
        for shown in (f"{before:.4f}", f"{after:.4f}", f"{delta:+.4f}"):
            assert shown in done.stdout
            assert shown in report
    assert f"Reranking {effect['verdict']['nDCG@10']}: nDCG@10 " in done.stdout
    assert done.stdout.rstrip().endswith(f"results in {folder}")


def test_only_what_was_retrieved_is_reranked(trial: Any) -> None:
    _, folder = trial
    first, reranked = (read_run(folder / f"{name}.trec").run.rankings for name in ("first_stage", "reranked"))
    assert first.keys() == reranked.keys()
    moved = 0
    for query_id, hits in first.items():
        before, after = [hit.doc_id for hit in hits], [hit.doc_id for hit in reranked[query_id]]
        assert sorted(after[:5]) == sorted(before[:5])
        assert after[5:] == before[5:]  # what lies below the depth follows as it stood
        moved += after != before
    assert moved  # five random rankings are not all as they were
    effect = result_in(folder)["effectiveness"]
    assert effect["first_stage"]["mean"]["R@5"] == effect["reranked"]["mean"]["R@5"]
    for name, value in effect["ceiling"]["mean"].items():
        assert value >= max(effect["first_stage"]["mean"][name], effect["reranked"]["mean"][name]) - 1e-12


def test_progress_goes_to_standard_error_and_results_to_standard_output(trial: Any) -> None:
    done, _ = trial
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert "searching: 5 queries" in done.stderr
    assert "searching" not in done.stdout


def test_the_log_shows_where_the_time_went(trial: Any) -> None:
    _, folder = trial
    first, *entries = [json.loads(line) for line in (folder / "evalkit.log").read_text("utf-8").splitlines()]
    assert first["event"] == "run"
    assert entries[0]["command"] == result_in(folder)["provenance"]["command"]
    ended = {entry["stage"]: entry for entry in entries if entry["event"] == "end"}
    assert list(ended)[-7:] == ["scoring", "measuring", "blending", "testing", "timing single queries", "drawing",
                                "writing the reports"]  # fmt: skip
    assert ended["scoring"]["items"] == result_in(folder)["cost"]["pairs"]
    assert ended["scoring"]["per_s"] > 0
    assert ended["scoring"]["rss_mb"] > entries[0]["rss_mb"]
    assert entries[-1]["event"] == "finished"
    assert sum(entry["seconds"] for entry in ended.values()) < entries[-1]["at_s"]


def test_the_saved_configuration_runs_the_same_trial_again(trial: Any) -> None:
    _, folder = trial
    assert OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")) == result_in(folder)["asked"]


# --- finished runs: nothing is computed, and the figures can be checked by hand


def judge(folder: Path, *more: str) -> list[str]:
    return [
        "slice=beir", f"slice.path={folder}", "first_stage=trec_run", f"first_stage.path={folder}/first.trec",
        "reranker=trec_run", f"reranker.path={folder}/reranked.trec", "depth=3", *more,
    ]  # fmt: skip


def test_a_finished_reranking_is_judged_without_any_model(beir_folder: Any, tmp_path: Path) -> None:
    done = run_here(*judge(beir_folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "reports" / "runs").iterdir()  # where results go when no out_dir is given
    assert folder.name.endswith("-beir")
    result = result_in(folder)
    effect = result["effectiveness"]
    q1_before, q2_after = 1 / math.log2(3), (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert effect["first_stage"]["mean"] == pytest.approx(
        {"nDCG@10": (q1_before + 1) / 3, "RR@10": 1.5 / 3, "AP@100": 1.5 / 3, "R@3": 2 / 3}
    )
    assert effect["reranked"]["mean"] == pytest.approx(
        {"nDCG@10": (1 + q2_after) / 3, "RR@10": 2 / 3, "AP@100": 2 / 3, "R@3": 2 / 3}
    )
    assert [effect[what]["nDCG@10"] for what in ("wins", "ties", "losses")] == [1, 1, 1]
    assert result["cost"] is None
    assert result["effective"]["reranker"]["name"] == "reranked"
    assert "the first stage found nothing for 1 queries; they count 0" in result["warnings"]

    again = run_here(*judge(beir_folder, f"out_dir={folder}"), cwd=tmp_path)
    assert again.returncode == 2
    assert sentence(again.stderr).startswith(f"{folder} holds a result already; ")


def test_a_sweep_writes_one_combined_report(beir_folder: Any, tmp_path: Path) -> None:
    done = run_evalkit("--multirun", *judge(beir_folder)[:-1], "depth=1,3", "out_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sweep"
    parts = [result_in(folder / name) for name in ("0-depth_1", "1-depth_3")]
    assert [part["asked"]["depth"] for part in parts] == [1, 3]
    assert json.loads((folder / "sweep.json").read_text("utf-8")) == parts
    report = (folder / "report.md").read_text("utf-8")
    assert report.startswith("# Sweep: the trials side by side")
    for part in parts:
        # At depth 1 nothing can move: each list keeps its order, and the gain is 0.
        effect = part["effectiveness"]
        assert f"{effect['reranked']['mean']['nDCG@10']:.4f} ({effect['delta']['nDCG@10']:+.4f})" in report
    assert parts[0]["effectiveness"]["delta"]["nDCG@10"] == 0
    assert parts[1]["effectiveness"]["delta"]["nDCG@10"] > 0
    assert "combined report in sweep\n" in done.stdout
    assert done.stdout.rstrip().endswith("comparison in sweep/comparison")
    compared = json.loads((folder / "comparison" / "comparison.json").read_text("utf-8"))
    assert [system["depth"] for system in compared["systems"]] == [1, None, 3]  # the first stage stands there once


def test_a_sweep_goes_on_without_a_trial_that_failed(bert_folder: Any, tmp_path: Path) -> None:
    """TF32 does not exist on a CPU; the trial after it runs all the same, and the exit code shows that one failed."""
    done = run_here(
        "--multirun", "precision=tf32,fp32", f"reranker.model={bert_folder}", "device=cpu", "slice.lang=zh",
        "slice.queries=5", "depth=5", "protocol.latency_queries=0", "out_dir=sweep", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    message = sentence(done.stderr)
    assert message.startswith("precision=tf32 is a mode of CUDA matrix units")
    failed, finished = (result_in(tmp_path / "sweep" / name) for name in ("0-tf32", "1-fp32"))
    assert (failed["status"], failed["error"]) == ("failed", message)
    assert failed["asked"]["precision"]["name"] == "tf32"
    assert finished["status"] == "finished"
    assert finished["effective"]["slice"]["lang"] == "zh"
    assert finished["effective"]["first_stage"]["analysis"]["kind"] == "bigrams"
    assert finished["cost"]["latency"] is None
    report = (tmp_path / "sweep" / "report.md").read_text("utf-8")
    assert f"failed. {message}" in report
    assert "Reranking " in report
    assert f": {message}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["experiment=msmarco_precisions"], ["hydra.mode=MULTIRUN"], ["--config-dir", "theirs", "slice=theirs"]],
)
def test_an_experiment_a_setting_or_a_user_s_own_file_makes_a_command_a_sweep(
    tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "theirs" / "slice").mkdir(parents=True)
    (tmp_path / "theirs" / "slice" / "theirs.yaml").write_text(
        "# @package _global_\ndefaults: [dev@slice]\nhydra: {mode: MULTIRUN}\n", "utf-8"
    )
    done = run_here(*arguments, "depth=0", "out_dir=out", cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # each trial failed, and the sweep went on
    failed = json.loads((tmp_path / "out" / "sweep.json").read_text("utf-8"))
    assert {one["error"].split(":")[0] for one in failed} == {"depth=0"}


def test_a_command_for_one_trial_is_composed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    whole = ConfigLoaderImpl._load_configuration_impl

    def counted(*of: Any, **given: Any) -> Any:
        composed.append(given)
        return whole(*of, **given)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    assert run_here("depth=0", "out_dir=out", cwd=tmp_path).returncode == 2
    assert len(composed) == 1


@slow  # test_dl19 judges the same rerankings in this process
@pytest.mark.shared
def test_published_rerankings_are_judged_as_published(shared: Path, tmp_path: Path) -> None:
    """TREC DL 2019: Anserini's BM25 has nDCG@10 0.5058, RankVicuna lifts it to 0.6682, a bare Vicuna ruins it."""
    data = shared / "data" / "msmarco-dl19"
    done = run_evalkit(
        "--multirun", "slice=beir", f"slice.path={data}", "slice.relevance_level=2", "first_stage=trec_run",
        f"first_stage.path={data}/runs/bm25.trec", "reranker=trec_run", "depth=100", "out_dir=sweep",
        f"reranker.path={data}/runs/bm25+rankvicuna-7b.trec,{data}/runs/bm25+vicuna-13b-zero-shot.trec",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folders = ("0-path_bm25+rankvicuna-7b.trec", "1-path_bm25+vicuna-13b-zero-shot.trec")
    lifted, ruined = (result_in(tmp_path / "sweep" / name)["effectiveness"] for name in folders)
    for effect, after, verdict in ((lifted, 0.6682, "helped"), (ruined, 0.4517, "hurt")):
        assert effect["queries"] == 43
        assert effect["first_stage"]["mean"]["nDCG@10"] == pytest.approx(0.5058, abs=5e-5)
        assert effect["reranked"]["mean"]["nDCG@10"] == pytest.approx(after, abs=5e-5)
        assert effect["verdict"]["nDCG@10"] == verdict


# --- stopped on the way


@pytest.mark.skipif(os.name != "posix", reason="signals are a matter of POSIX")
def test_an_interrupted_sweep_saves_what_is_done_and_lists_what_is_missing(bert_folder: Any, tmp_path: Path) -> None:
    """Control-C reaches the whole process group, as from a terminal."""
    command = [sys.executable, "-m", "evalkit", "--multirun", f"reranker.model={bert_folder}", "device=cpu",
               "depth=0,5,6", "out_dir=out"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True) as running:
        assert running.stderr is not None
        printed = iter(running.stderr)
        assert any("scoring ..." in line for line in printed)  # the second trial's own process is at work
        os.killpg(running.pid, signal.SIGINT)
        last = list(printed)[-1]
        assert running.wait(60) == 130
    assert last.startswith("evalkit: stopped by SIGINT (scoring, ")
    assert last.endswith("out/1-depth_5/result.json\n")
    failed, partial, missing = json.loads((tmp_path / "out" / "sweep.json").read_text("utf-8"))
    assert (failed["status"], failed["error"].split(":")[0]) == ("failed", "depth=0")
    assert (partial["status"], partial["error_kind"]) == ("partial", "Stopped")
    assert partial["error"].startswith("stopped by SIGINT (scoring, ")
    assert partial["missing"] == ["effective", "effectiveness", "analysis", "cost"]
    assert partial == result_in(tmp_path / "out" / "1-depth_5")
    assert (missing["status"], missing["error"], missing["name"]) == ("partial", "not begun", "depth=6")
    assert not (tmp_path / "out" / "2-depth_6").exists()
    assert "## Without a result\n- `depth=6`: not begun\n" in (tmp_path / "out" / "report.md").read_text("utf-8")
    until = time.monotonic() + 30
    while anybody_in(running.pid):  # nobody is left behind
        assert time.monotonic() < until
        time.sleep(0.02)


# --- is the model alive?


def test_quickcheck_scores_both_languages_and_compares_batch_with_single(xlmr_folder: Any, tmp_path: Path) -> None:
    done = run_here(
        "experiment=quickcheck", "reranker=cross_encoder", f"reranker.model={xlmr_folder}", "device=cpu",
        "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "quickcheck.json").read_text("utf-8"))
    assert [check["lang"] for check in found["checks"]] == ["en", "zh"]
    assert found["batch_and_single_agree"] is True
    assert found["batch_and_single_differ_by"] < 1e-4
    assert found["reranker"]["architecture"] == "XLMRobertaForSequenceClassification"
    for check in found["checks"]:
        assert f"{check['lang']}: {check['query']}" in done.stdout
        assert f"top passage: {check['top']}" in done.stdout
    assert "the logits agree" in done.stdout


def test_quickcheck_ranks_the_passages_of_a_user_for_a_query(tmp_path: Path) -> None:
    (tmp_path / "passages.jsonl").write_text(
        '"Berlin is the capital of Germany."\n{"_id": "d2", "title": "Paris", "text": "is the capital of France."}\n',
        "utf-8",
    )
    query = "What's the capital, of [France]: ${x}?"
    done = run_evalkit("experiment=quickcheck", f"query={query}", "passages=passages.jsonl", "device=cpu",
                       "out_dir=out", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (check,) = json.loads((tmp_path / "out" / "quickcheck.json").read_text("utf-8"))["checks"]
    assert (check["lang"], check["query"], check["top_is_the_answer"]) == (None, query, None)
    first, second = check["passages"]
    assert (first["rank"], first["number"], first["id"]) == (1, 2, "d2")
    assert first["text"] == check["top"] == "Paris is the capital of France."
    assert (second["rank"], second["number"], second["id"]) == (2, 1, None)
    assert first["logit"] > second["logit"]
    assert first["truncated"] is False
    assert f"query: {query}" in done.stdout
    assert f"{first['logit']:.4f}" in done.stdout
    assert "2: d2" in done.stdout
    assert "the logits agree" in done.stdout
    saved: Any = OmegaConf.to_container(OmegaConf.load(tmp_path / "out" / "config.yaml"), resolve=True)
    assert (saved["query"], saved["passages"]) == (query, "passages.jsonl")


def test_passages_on_the_command_line_need_no_quotes_of_their_own(tmp_path: Path) -> None:
    done = run_here(
        "experiment=quickcheck", "query=法国的首都是哪里？", "passages=[柏林是德国的首都。, it's = {x}, ${a}]",
        "device=cpu", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (check,) = json.loads((tmp_path / "out" / "quickcheck.json").read_text("utf-8"))["checks"]
    by_number = sorted(check["passages"], key=lambda row: int(row["number"]))
    assert [row["text"] for row in by_number] == ["柏林是德国的首都。", "it's = {x}", "${a}"]


def test_a_trial_has_no_settings_of_the_quick_check(trial: Any) -> None:
    assert {"query", "passages"}.isdisjoint(result_in(trial[1])["asked"])


# --- asking for help costs nothing


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--help"],
            ("Usage: python -m evalkit", "experiment: ", "miracl_fp16", "--multirun", "info [GROUP [CHOICE]]"),
        ),
        (["--version"], (f"evalkit {evalkit.__version__}\n",)),
        (["info", "first_stage", "bm25"], ("first_stage.k1=0.9", "Term frequency saturation")),
        (["--hydra-help"], ("--shell-completion", "hydra/launcher: ")),
        (["--cfg", "job"], ("_target_: evalkit.first_stage.bm25.BM25", "out_dir: reports/runs/", "depth: 20")),
        (["--cfg", "job", "experiment=msmarco_fp16"], ("model: BAAI/bge-reranker-v2-m3", "name: fp16", "depth: 100")),
    ],
)
def test_help_and_configuration_are_shown_without_loading_anything_heavy(
    tmp_path: Path, arguments: Any, expected: Any
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments=arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout
    assert done.stderr == "heavy: []\n"
    assert list(tmp_path.iterdir()) == []  # asking leaves nothing behind


def test_help_names_every_choice(tmp_path: Path) -> None:
    shown = run_here("--help", cwd=tmp_path).stdout
    for path in conf_dir().glob("*/*.yaml"):  # beir_scifact is there as "beir_... 14: arguana, ..., scifact, ..."
        assert path.stem.removeprefix("nano_").removeprefix("beir_").removeprefix("bright_") in shown
