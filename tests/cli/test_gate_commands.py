"""The gate as a user and a CI server meet it: commands, exit codes, one sentence for each mistake."""

import json
import re
import shutil
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.helpers.command_line import run_evalkit, run_here, sentence

GATE = ("experiment=ci", "device=cpu", "slice.queries=4", "depth=4", "protocol.latency_queries=2",
        "gate.skip=[above_first_stage]", "gate.max_latency_ratio=null", "gate.max_scoring_ratio=null",
        "gate.max_memory_ratio=null")  # fmt: skip
"""The experiment, cut to seconds; the tiny model has random weights and another speed than the packaged one."""


@pytest.fixture(scope="module")
def place(bert_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a finished result in `out` and its baseline in `base.json`."""
    where = tmp_path_factory.mktemp("gate_app")
    done = run_here(*GATE, f"reranker.model={bert_folder}", "task=trial", "out_dir=out", cwd=where)
    assert done.returncode == 0, done.stderr
    written = run_here("baseline", "out", "--output", "base.json", cwd=where)
    assert written.returncode == 0, written.stderr
    assert "wrote base.json: dev/en, 4 queries, nDCG@10 0." in written.stderr
    assert "judged by the gate settings of its own run: 'gate.skip=[above_first_stage]'" in written.stderr
    return where


def test_a_finished_result_holds_against_its_own_baseline(place: Any) -> None:
    done = run_here("gate", "out", "--baseline", "base.json", "gate.skip=[above_first_stage]", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("The gate holds: nDCG@10 ")
    assert "Where the systems are equal, any of the 4 measures fails in at most 5 % of the cases." in done.stdout


def test_the_experiment_runs_a_trial_and_judges_it_whatever_the_hash_seed(place: Any, bert_folder: Any) -> None:
    done = run_evalkit(*GATE, f"reranker.model={bert_folder}", "gate.baseline=base.json", "out_dir=again", cwd=place,
                       PYTHONHASHSEED="7")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The gate holds" in done.stdout
    assert "passed: first_stage, logits_finite, scores_vary, order_changed" in done.stdout
    assert "no limit: latency_ratio " in done.stdout
    assert run_here("baseline", "again", "--output", "seeded.json", cwd=place).returncode == 0
    assert (place / "seeded.json").read_bytes() == (place / "base.json").read_bytes()


def test_a_regression_fails_with_exit_code_1_and_all_reports_are_written(place: Any, bert_folder: Any) -> None:
    summary = place / "summary.md"
    summary.write_text("before\n", "utf-8")
    done = run_here(
        *GATE, "protocol=quick", f"reranker.model={bert_folder}", "reranker.max_length=16",
        "gate.baseline=base.json", "out_dir=cut",
        "gate.junit=junit.xml", cwd=place, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert re.search(r"^FAILED truncated: \d+\.\d% of the pairs were cut to 16 tokens", done.stdout, re.MULTILINE)
    assert "differs from the baseline: reranker max_length: 256 -> 16" in done.stdout
    assert "::error title=evalkit gate%3A truncated::" in done.stdout
    assert summary.read_text("utf-8").startswith("before\n\n## ")
    assert int(ElementTree.parse(place / "junit.xml").getroot().attrib["failures"]) >= 1


def test_a_budget_that_is_exceeded_fails_and_one_that_is_not_passes(place: Any) -> None:
    skip = "gate.skip=[above_first_stage]"
    within = run_here("gate", "out", "--baseline", "base.json", skip, "gate.max_latency_ratio=1000", cwd=place)
    assert within.returncode == 0, within.stderr
    low = run_here("gate", "out", "--baseline", "base.json", skip, "gate.max_rss_mb=1", cwd=place)
    assert low.returncode == 1
    assert re.search(r"FAILED rss_mb: peak memory of the process in MiB: \d+, above max_rss_mb 1", low.stdout)


def test_a_check_that_fails_on_request_only_is_reported(place: Any) -> None:
    done = run_here("gate", "out", "--baseline", "base.json", "gate.max_rss_mb=1",
                       "gate.skip=[above_first_stage,rss_mb]", cwd=place)  # fmt: skip
    assert done.returncode == 0
    assert "SKIPPED rss_mb" in done.stdout


def test_a_baseline_is_updated_and_the_changes_are_printed(place: Any) -> None:
    shutil.copy(place / "base.json", place / "same.json")
    before = (place / "same.json").read_bytes()
    done = run_here("baseline", "out/result.json", "--output", "same.json", cwd=place)
    assert "updated same.json: nDCG@10" in done.stderr
    assert "0 of 4 queries changed" in done.stderr
    assert (place / "same.json").read_bytes() == before


def test_a_model_with_broken_weights_is_a_regression_and_not_a_mistake_of_the_user(
    place: Any, bert_folder: Any
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = place / "broken_model"
    shutil.copytree(bert_folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    done = run_here(
        *GATE, "protocol=quick", f"reranker.model={broken}", "gate.baseline=base.json", "out_dir=nan", cwd=place
    )
    assert done.returncode == 1, done.stderr
    assert re.search("FAILED logits_finite: .*the model gave nan as logit", done.stdout)
    again = run_here("gate", "nan", "--baseline", "base.json", cwd=place)
    assert again.returncode == 1
    assert "FAILED logits_finite" in again.stdout


@pytest.fixture(scope="module")
def failed(place: Any) -> Any:
    """The result of a trial that failed for a reason of its own."""
    folder = place / "failed"
    folder.mkdir()
    result = {"schema_version": 1, "status": "failed", "error": "out of memory on cpu", "error_kind": "EvalkitError"}
    (folder / "result.json").write_text(json.dumps(result), "utf-8")
    return folder


MISTAKES = {
    "no baseline": (["gate", "out", "--baseline", "gone.json"], r"there is no baseline at gone\.json; make one"),
    "no result": (["gate", "gone", "--baseline", "base.json"], r"there is no gone; it should be a result of evalkit"),
    "a failed trial": (["gate", "failed", "--baseline", "base.json"], r"of a trial that failed: out of memory on cpu"),
    "a negative tolerance": (
        ["gate", "out", "--baseline", "base.json", "gate.tolerance.nDCG=-0.1"],
        r"gate\.tolerance\.nDCG=-0\.1: a limit is a number from 0 up",
    ),
    "a tolerance that is no number": (
        ["gate", "out", "--baseline", "base.json", "gate.tolerance.nDCG=much"],
        r"gate\.tolerance\.nDCG=much: .*'much'",
    ),
    "a setting that there is not": (
        ["gate", "out", "--baseline", "base.json", "gate.max_drp.nDCG=1"], r"there is no setting .*max_drp",
    ),
    "a setting of something else": (
        ["gate", "out", "--baseline", "base.json", "depth=3"], r"'depth=3' is not one of them",
    ),
    "a check that there is not": (
        ["gate", "out", "--baseline", "base.json", "gate.skip=[truncation]"],
        r"there is no check 'truncation'; did you mean truncated",
    ),
    "no result named": (["gate"], r"the following arguments are required: RESULT"),
    "two results": (["baseline", "out", "again"], r"unrecognized arguments: again"),
    "a budget without a figure": (
        ["gate", "out", "--baseline", "base.json", "gate.max_cuda_mb=10"],
        r"gate\.max_cuda_mb=10 is set, but the result has no peak GPU memory in MiB",
    ),
    "a baseline that cannot be written": (["baseline", "out", "--output", "/proc/x/base.json"], r"cannot write /proc"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_sentence_and_exit_code_2(place: Any, failed: Any, arguments: Any, words: Any) -> None:
    done = run_here(*arguments, cwd=place)
    assert done.returncode == 2, done.stdout
    assert re.search(words, sentence(done.stderr))
    assert "Traceback" not in done.stdout


def test_a_gate_without_a_baseline_stops_before_the_work(place: Any, bert_folder: Any) -> None:
    done = run_here(*GATE, f"reranker.model={bert_folder}", "gate.baseline=gone.json", "out_dir=never", cwd=place)
    assert done.returncode == 2
    assert "make one of a result that you trust: python -m evalkit baseline RESULT --output gone.json" in done.stderr
    assert "scoring" not in done.stderr
    assert not (place / "never" / "result.json").exists()
