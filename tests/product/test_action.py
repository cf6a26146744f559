"""What other repositories take from this one works: the GitHub Action, the GitLab component, the pre-commit hook."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.conftest import REPOSITORY, compose, make_beir_folder, slow
from tests.helpers.command_line import run_here

ACTION: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text("utf-8"))
STEPS: dict[str, Any] = {step.get("name") or step["uses"].split("@")[0]: step for step in ACTION["runs"]["steps"]}
SPEC, JOBS = yaml.safe_load_all((REPOSITORY / "templates" / "evalkit-gate" / "template.yml").read_text("utf-8"))
CI = (REPOSITORY / "docs" / "ci.md").read_text("utf-8")
GITHUB = {
    "github.action_path": "/action",
    "github.token": "ghs_short",
    "github.repository": "acme/search",
    "github.server_url": "https://github.example",
    "github.run_id": "77",
    "github.event.pull_request.number": "5",
}

RECORDER = """#!{python}
import json, os, pathlib, sys
place = pathlib.Path({place!r})
with (place / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
answer = json.loads((place / "answers.json").read_text())
for argument in sys.argv:
    if argument.startswith("gate.markdown=") and answer["markdown"]:
        pathlib.Path(argument.partition("=")[2]).write_text(answer["markdown"])
    if argument.startswith("body=@"):
        (place / "body.md").write_bytes(pathlib.Path(argument[6:]).read_bytes())
if "graphql" in sys.argv:
    print(answer["comment"])
sys.exit(answer["code"])
"""


class Runner:
    """Runs the scripts of the action as GitHub would, with programs that record how they are called."""

    def __init__(self, place: Path) -> None:
        self.place, self.outputs = place, dict[str, str]()
        self.answers: dict[str, Any] = {"code": 0, "markdown": "", "comment": ""}
        (place / "bin").mkdir()
        (place / "temp").mkdir()
        for name in ("python", "gh", "pip"):
            program = place / "bin" / name
            program.write_text(RECORDER.format(python=sys.executable, place=str(place)), "utf-8")
            program.chmod(0o755)

    def run(self, name: str, github: Mapping[str, str] = GITHUB, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run the step `name`; an input's dash is an underscore here."""
        given = {key: one.get("default", "") for key, one in ACTION["inputs"].items()}
        given |= {key.replace("_", "-"): value for key, value in inputs.items()}
        known = {f"inputs.{key}": value for key, value in given.items()} | dict(github)
        known |= {f"steps.gate.outputs.{key}": value for key, value in self.outputs.items()}

        def filled(text: str) -> str:
            return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: filled(known[found[1]]), text)

        (self.place / "answers.json").write_text(json.dumps(self.answers), "utf-8")
        files = {key: str(self.place / key) for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
        step = STEPS[name]
        done = subprocess.run(
            [*shlex.split(SHELLS[step["shell"]]), self._script(step["run"])],
            capture_output=True, text=True, check=False, cwd=self.place,
            env=os.environ
            | {"PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "RUNNER_TEMP": str(self.place / "temp")}
            | {"PYTHONPATH": str(REPOSITORY), "GITHUB_ACTIONS": "true", **files}
            | {key: filled(str(value)) for key, value in step["env"].items()},
        )  # fmt: skip
        output = self.place / "GITHUB_OUTPUT"
        lines = output.read_text("utf-8").splitlines() if output.exists() else []
        self.outputs |= dict(line.split("=", 1) for line in lines)
        return done

    def calls(self) -> list[list[str]]:
        file = self.place / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return calls

    def _script(self, text: str) -> str:
        (self.place / "script").write_text(text, "utf-8")
        return str(self.place / "script")


SHELLS = {"bash": "bash --noprofile --norc -eo pipefail"}
"""As GitHub's runner starts them."""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_every_input_is_used_and_described_and_none_is_written_into_a_script() -> None:
    text = (REPOSITORY / "action.yml").read_text("utf-8")
    for name, one in ACTION["inputs"].items():
        assert f"inputs.{name}" in text, name
        assert one["description"].endswith("."), name
        assert isinstance(one["default"], str), name
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == ACTION["inputs"].keys()
    assert not [name for name, step in STEPS.items() if "${{" in step.get("run", "")]
    table = set(re.findall(r"^\| `([\w-]+)` \|", CI.split("## GitHub Actions")[1].split("\n## ")[0], re.MULTILINE))
    assert table == ACTION["inputs"].keys()


def test_actions_of_others_are_those_of_the_repositorys_own_workflow() -> None:
    workflow = (REPOSITORY / ".github" / "workflows" / "test.yml").read_text("utf-8")
    used = re.findall(r"uses: (\S+)", (REPOSITORY / "action.yml").read_text("utf-8"))
    assert {one for one in used if one not in workflow} == {"actions/cache@v4"}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used)


def test_the_action_installs_itself_and_on_request_a_release_with_extras(runner: Runner) -> None:
    pip = ["python", "-m", "pip", "install", "--disable-pip-version-check"]
    assert runner.run("Install evalkit", torch_index_url="https://index.example/cpu").returncode == 0
    assert runner.calls() == [[*pip, "--index-url", "https://index.example/cpu", "torch"], [*pip, "/action"]]
    runner.run("Install evalkit", extras="gpu,openvino")
    assert runner.calls() == [[*pip, "/action[gpu,openvino]"]]
    runner.run("Install evalkit", extras="gpu", version="0.1.0")
    assert runner.calls() == [[*pip, "evalkit-rerank[gpu]==0.1.0"]]
    done = runner.run("Install evalkit", python_version="")
    assert "installed already" in done.stdout
    assert runner.calls() == [["python", "-c", "import evalkit"]]


def test_settings_reach_evalkit_as_they_were_written_whatever_is_in_them(runner: Runner) -> None:
    runner.answers["markdown"] = "## The gate holds"
    done = runner.run(
        "Run the gate",
        settings="slice=beir\n\n  slice.path=my data/$(touch oops)`id`\n'gate.skip=[unjudged,truncated]'\n",
        config_dir="my conf", baseline="base lines/ci.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ((*begin, out_dir, junit, markdown),) = runner.calls()
    assert begin == ["python", "-m", "evalkit", "--config-dir", "my conf", "experiment=ci", "slice=beir",
                     "slice.path=my data/$(touch oops)`id`", "'gate.skip=[unjudged,truncated]'",
                     "gate.baseline=base lines/ci.json"]  # fmt: skip
    folder = runner.outputs["folder"]
    assert (out_dir, junit) == (f"out_dir={folder}/result", f"gate.junit={folder}/junit.xml")
    assert runner.outputs["outcome"] == "passed"
    assert not (runner.place / "oops").exists()
    assert compose("experiment=ci", out_dir, junit, markdown).gate.markdown == f"{folder}/comment.md"


@pytest.mark.parametrize(
    ("code", "markdown", "outcome"), [(0, "x", "passed"), (1, "x", "regressed"), (2, "", "refused"), (1, "", "refused")]
)
def test_the_job_ends_with_the_exit_code_of_the_gate(runner: Runner, code: int, markdown: str, outcome: str) -> None:
    runner.answers |= {"code": code, "markdown": markdown}
    assert runner.run("Run the gate").returncode == code
    assert runner.outputs["outcome"] == outcome


def commented(runner: Runner, **github: str) -> subprocess.CompletedProcess[str]:
    (runner.place / "comment.md").write_text("## The gate holds\n", "utf-8")
    runner.outputs = {"folder": str(runner.place)}
    return runner.run("Comment on the pull request", GITHUB | github, comment="true", artifact="evalkit $(x) bge")


def test_a_pull_request_gets_one_comment_that_later_runs_renew(runner: Runner) -> None:
    assert commented(runner).returncode == 0
    search, post = runner.calls()
    assert search[:3] == ["gh", "api", "graphql"]
    assert {"owner=acme", "name=search", "number=5"} <= set(search)
    assert post[:6] == ["gh", "api", "--silent", "--method", "POST", "repos/acme/search/issues/5/comments"]
    body = (runner.place / "body.md").read_text("utf-8")
    marker, *rest = body.splitlines()
    assert marker == "<!-- evalkit gate evalkit---x--bge -->"
    assert rest == [
        "## The gate holds",
        "",
        "[The run and its artifact](https://github.example/acme/search/actions/runs/77)",
    ]
    runner.answers["comment"] = "901\n902"
    assert commented(runner).returncode == 0
    assert runner.calls()[1][:6] == [
        "gh",
        "api",
        "--silent",
        "--method",
        "PATCH",
        "repos/acme/search/issues/comments/901",
    ]


def test_a_token_that_may_only_read_is_a_warning_and_no_failure(runner: Runner) -> None:
    runner.answers["code"] = 1
    done = commented(runner)
    assert done.returncode == 0
    assert done.stdout.startswith(
        "::warning title=evalkit::no comment could be written: the token needs the permission"
    )
    assert [call[2] for call in runner.calls()] == ["graphql"]


def test_a_run_of_no_pull_request_comments_nowhere(runner: Runner) -> None:
    done = commented(runner, **{"github.event.pull_request.number": ""})
    assert (done.returncode, runner.calls()) == (0, [])
    assert "not of a pull request" in done.stdout


def test_comments_are_off_by_default_and_reports_are_uploaded_when_the_gate_fails() -> None:
    assert ACTION["inputs"]["comment"]["default"] == "false"
    assert "inputs.comment == 'true'" in STEPS["Comment on the pull request"]["if"]
    assert all(
        STEPS[name]["if"].startswith("always()") for name in ("actions/upload-artifact", "Comment on the pull request")
    )


@slow
def test_a_regression_fails_the_job_with_summary_annotations_test_cases_and_a_comment(runner: Runner) -> None:
    (runner.place / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    data = make_beir_folder(runner.place)
    settings = [f"slice.path={data}", "slice=beir", "first_stage=trec_run", f"first_stage.path={data}/first.trec",
                "reranker=trec_run", "gate.max_latency_ratio=null", "gate.max_scoring_ratio=null",
                "gate.max_memory_ratio=null", "depth=3"]  # fmt: skip
    trusted = [*settings, f"reranker.path={data}/reranked.trec", "experiment=ci", "task=trial", "out_dir=trusted"]
    assert run_here(*trusted, cwd=runner.place).returncode == 0
    assert run_here("baseline", "trusted", "--output", "ci.json", "--accept-limits", cwd=runner.place).returncode == 0
    off = [*settings, f"reranker.path={data}/first.trec"]
    done = runner.run("Run the gate", settings="\n".join(off), baseline="ci.json")
    assert done.returncode == 1, done.stderr
    assert runner.outputs["outcome"] == "regressed"
    assert "::error title=evalkit gate%3A order_changed::the reranker changed no order" in done.stdout
    summary = (runner.place / "GITHUB_STEP_SUMMARY").read_text("utf-8")
    assert "The gate fails: " in summary
    folder = Path(runner.outputs["folder"])
    assert {"result.json", "report.html"} <= {file.name for file in (folder / "result").iterdir()}
    assert ElementTree.parse(folder / "junit.xml").getroot().get("failures") == "1"
    done = runner.run("Comment on the pull request", comment="true")
    assert done.returncode == 0, done.stderr
    assert summary.strip() in (runner.place / "body.md").read_text("utf-8").replace("<!-- -->", "")


# --- GitLab


def test_the_component_has_the_checks_as_test_cases_and_keeps_the_result() -> None:
    (job,) = JOBS.values()
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "evalkit-gate.xml"
    assert "out_dir=evalkit-gate " in job["script"][-1]
    assert "gate.junit=evalkit-gate.xml" in job["script"][-1]
    cached = {name for name, value in job["variables"].items() if value.startswith("$CI_PROJECT_DIR/.cache/")}
    assert cached == {"PIP_CACHE_DIR", "HF_HOME", "IR_DATASETS_HOME", "EVALKIT_HOME"}
    assert job["cache"]["paths"] == [".cache/"]


def test_every_input_of_the_component_is_used_and_none_is_written_into_a_script() -> None:
    inputs, text = SPEC["spec"]["inputs"], json.dumps(JOBS)
    assert set(re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", text)) == inputs.keys()
    assert all(one["description"].endswith(".") and isinstance(one["default"], str) for one in inputs.values())
    (job,) = JOBS.values()
    assert "$[[" not in json.dumps(job["script"])


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_scripts_of_the_component_call_evalkit_with_the_settings_as_written(runner: Runner, shell: str) -> None:
    (job,) = JOBS.values()
    (runner.place / "answers.json").write_text(json.dumps(runner.answers), "utf-8")
    variables = {
        "TORCH_INDEX_URL": "https://index.example", "EVALKIT_REQUIREMENT": "evalkit-rerank[gpu]",
        "EVALKIT_EXPERIMENT": "ci", "EVALKIT_BASELINE": "base lines/ci.json",
        "EVALKIT_SETTINGS": "slice=beir\nslice.path=my data/$(touch oops)",
    }  # fmt: skip
    done = subprocess.run(
        [shell, "-e", "-c", "\n".join(job["script"])], capture_output=True, text=True, check=False, cwd=runner.place,
        env={"PATH": f"{runner.place / 'bin'}:{os.environ['PATH']}", **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    torch, install, gate = runner.calls()
    assert torch == ["pip", "install", "--index-url", "https://index.example", "torch"]
    assert install == ["pip", "install", "evalkit-rerank[gpu]"]
    assert gate == ["python", "-m", "evalkit", "experiment=ci", "slice=beir", "slice.path=my data/$(touch oops)",
                    "gate.baseline=base lines/ci.json", "out_dir=evalkit-gate", "overwrite=true",
                    "gate.junit=evalkit-gate.xml"]  # fmt: skip


# --- pre-commit


def test_the_hook_checks_baselines_with_the_evalkit_of_the_environment() -> None:
    (hook,) = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert hook["entry"] == "python -m evalkit baseline --check"
    assert hook["language"] == "system"
    for name in ("reports/baselines/ci.json", "tests/baselines/test_ranking/test_bge.json", "baselines/mine.json"):
        assert re.search(hook["files"], name)
    assert not re.search(hook["files"], "reports/runs/dev/result.json")
