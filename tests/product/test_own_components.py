"""The recipe of docs/adding-a-component.md runs as it is, by the command line, from trial to gate and sweep."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.helpers.command_line import Finished, run_evalkit, run_here, sentence

PAGE = (REPOSITORY / "docs" / "adding-a-component.md").read_text("utf-8")
FAQ = """\
how do I reset my password\tOpen settings and press reset password\t2
how do I reset my password\tPasswords have twelve characters\t1
how do I reset my password\tOur office is in Bern\t0
where is the office\tOur office is in Bern\t1
where is the office\tOpen settings and press reset password\t0
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with the files of the recipe, and two results: with its reranker, and with the packaged one."""
    folder = tmp_path_factory.mktemp("own")
    for path, text in re.findall(r"^```\w+\n# DIR/(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    (folder / "faq.tsv").write_text(FAQ, "utf-8")
    for name, protocol, run in (("mine", "quick", run_evalkit), ("packaged", "none", run_here)):
        trial = (f"reranker={name}", "slice.queries=12", "depth=10", f"protocol={protocol}", f"out_dir={name}")
        done = evalkit(folder, *trial, run=run)
        assert done.returncode == 0, done.stderr
    return folder


def evalkit(where: Path, *arguments: str, command: str = "", run: Callable[..., Finished] = run_here) -> Finished:
    return run(
        *([command] if command else ["--config-dir", where]), *arguments,
        cwd=where, EVALKIT_ALLOW_TARGETS="mine", PYTHONPATH=f"{where}:{REPOSITORY}",
    )  # fmt: skip


def result(folder: Any) -> Any:
    return json.loads((folder / "result.json").read_text("utf-8"))


def test_the_recipe_has_a_reranker_of_no_more_than_twelve_lines(where: Any) -> None:
    source = (where / "mine.py").read_text("utf-8")
    (reranker,) = re.findall(r"^class Overlap:.*?(?=^\S)", source, re.MULTILINE | re.DOTALL)
    assert len([line for line in reranker.splitlines() if line.strip()]) <= 12
    assert sorted(path.parent.name for path in where.glob("*/mine.yaml")) == ["first_stage", "reranker", "slice"]


def test_its_commands_are_those_that_the_recipe_gives() -> None:
    block = PAGE.split("```sh\nexport")[1].split("```")[0]
    lines = [shlex.split(line, comments=True) for line in f"export{block}".splitlines()]
    assert lines[:2] == [["export", "EVALKIT_ALLOW_TARGETS=mine"], ["export", "PYTHONPATH=DIR"]]
    assert [line[:5] for line in lines[2:]] == [["python", "-m", "evalkit", "--config-dir", "DIR"]] * 2


def test_a_reranker_without_a_description_has_a_result_and_all_its_reports(where: Any) -> None:
    found = result(where / "mine")
    assert found["status"] == "finished"
    assert found["effective"]["reranker"] == {"name": "Overlap"}
    assert found["asked"]["reranker"] == {"_target_": "mine.Overlap", "weight": 2.0}
    assert found["effective"]["scoring"]["queries_reordered"] > 0
    assert found["cost"]["computed_pairs"] == found["effective"]["scoring"]["pairs"] > 0
    assert found["cost"]["memory"]["weights_mb"] is None
    assert found["effective"]["environment"]["device_name"] is None
    report = (where / "mine" / "report.md").read_text("utf-8")
    assert "+ Overlap" in report
    for name in ("report.md", "report.html", "report.tex"):
        text = (where / "mine" / name).read_text("utf-8")
        assert "Overlap" in text
        assert not re.search(r"\bat None\b|\bon None\b|>None<", text), name
    # It counts no tokens and has no times of a model, which is not the same as zero.
    assert "| useful tokens/s, end to end | not measured |" in report
    assert "| of which the model | not measured |" in report
    assert " 0 tokens" not in report


def test_ones_own_reranker_is_compared_with_the_packaged_one(where: Any) -> None:
    done = evalkit(where, "mine", "packaged", "--output", "both", command="compare")
    assert done.returncode == 0, done.stderr
    compared = json.loads((where / "both" / "comparison.json").read_text("utf-8"))
    assert [system["label"] for system in compared["systems"]] == ["bm25 + Overlap", "bm25", "bm25 + packaged at fp32"]
    assert compared["systems"][0]["precision"] is None
    report = (where / "both" / "report.md").read_text("utf-8")
    assert "bm25 + Overlap on an unnamed device" in report
    assert "None" not in done.stdout + report


def test_it_can_be_a_baseline_and_be_judged(where: Any) -> None:
    """It is worse than BM25 and has ties, which `--accept-limits` lets a baseline accept."""
    assert evalkit(where, "mine", "--output", "baseline.json", command="baseline").returncode == 2
    accepted = evalkit(where, "mine", "--output", "baseline.json", "--accept-limits", command="baseline")
    assert accepted.returncode == 0, accepted.stderr
    for limits, code in (([], 0), (["gate.max_tied_share=0.01"], 1)):
        done = evalkit(where, "mine", "--baseline", "baseline.json", *limits, command="gate")
        assert done.returncode == code, done.stdout + done.stderr
        assert "None" not in done.stdout
    assert "FAILED scores_vary" in done.stdout


def test_a_sweep_runs_over_it(where: Any) -> None:
    done = evalkit(
        where, "--multirun", "reranker=mine,none", "slice.queries=3", "depth=4", "protocol=none", "out_dir=sweep"
    )
    assert done.returncode == 0, done.stderr
    swept = json.loads((where / "sweep" / "sweep.json").read_text("utf-8"))
    assert "Overlap" in json.dumps(swept)
    assert "bm25 + Overlap" in (where / "sweep" / "report.md").read_text("utf-8")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the recipe leaves it to Python to close its file
def test_a_first_stage_and_a_slice_of_ones_own_run_with_it(where: Any) -> None:
    done = evalkit(
        where, "reranker=mine", "first_stage=mine", "slice=mine", "slice.path=faq.tsv", "depth=3", "protocol=none",
        "measures.names=[RR@10,nDCG@10]", "out_dir=faq",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = result(where / "faq")
    assert found["effective"]["first_stage"] == {"name": "Shortest"}
    assert (found["effective"]["slice"]["name"], found["effective"]["slice"]["docs"]) == ("faq", 3)
    # By length: Bern (21), twelve (32), reset (38): the password's answers are second and third, the office's first.
    assert found["effectiveness"]["first_stage"]["mean"]["RR@10"] == pytest.approx((1 / 2 + 1) / 2)
    # Words in common: "reset" and "password" of 5; "is" and "office" of 5, and none of these in the other passages.
    assert found["effectiveness"]["reranked"]["mean"]["RR@10"] == 1.0
    lines = (where / "faq" / "reranked.trec").read_text("utf-8").splitlines()
    assert next(line.split()[2] for line in lines if line.startswith("q0 ")) == "d0"


def test_without_the_variable_ones_own_reranker_is_refused_and_the_variable_is_named(where: Any) -> None:
    done = run_here("--config-dir", where, "reranker=mine", "out_dir=x", cwd=where, EVALKIT_ALLOW_TARGETS="")
    assert done.returncode == 2
    assert sentence(done.stderr) == (
        "_target_=mine.Overlap: a configuration can name only evalkit's own components (evalkit.slices, "
        "evalkit.first_stage, evalkit.rerankers), and what EVALKIT_ALLOW_TARGETS in the environment names, such as "
        "EVALKIT_ALLOW_TARGETS=my_module"
    )


def test_a_module_that_is_not_found_is_reported_with_the_remedy(where: Any, tmp_path: Path) -> None:
    done = run_here(
        "--config-dir", where, "reranker=mine", "out_dir=x", cwd=tmp_path, EVALKIT_ALLOW_TARGETS="mine",
        PYTHONPATH=str(REPOSITORY),
    )  # fmt: skip
    assert done.returncode == 2
    assert sentence(done.stderr) == (
        "_target_=mine.Overlap: there is no such component (No module named 'mine'); a module of your own has to be "
        "installed, or in a folder of PYTHONPATH"
    )


def test_the_quick_check_takes_it_too(where: Any) -> None:
    done = evalkit(where, "task=quickcheck", "reranker=mine", "out_dir=alive")
    assert done.returncode == 0, done.stderr
    assert "reranker Overlap\n" in done.stdout
