"""What contributors and CI servers use is in order: hooks, workflow, templates."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

GITHUB = REPOSITORY / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_workflow_runs_what_anybody_can_run_and_nothing_else() -> None:
    job = read(GITHUB / "workflows" / "test.yml")["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111


def test_the_workflow_begins_with_the_oldest_python_that_is_supported() -> None:
    matrix = read(GITHUB / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    oldest = re.search(r'requires-python = ">=([\d.]+)"', project)
    assert oldest
    assert matrix[0] == oldest[1]


def test_the_hooks_are_the_checks_of_make_lint() -> None:
    repositories = read(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    local = next(one["hooks"] for one in repositories if one["repo"] == "local")
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    linted = re.findall(r"\$\(VENV\)/bin/(ruff check|ruff format|mypy)", makefile)
    assert [hook["name"] for hook in local] == linted
    assert all(hook["entry"].startswith(f".venv/bin/{hook['name']}") for hook in local)


def test_no_hook_changes_files_whose_bytes_matter() -> None:
    spared = re.compile(read(REPOSITORY / ".pre-commit-config.yaml")["exclude"])
    for name in ("tests/golden/gate.md", "evalkit/slices/dev/en/corpus.jsonl", "docs/architecture.svg"):
        assert (REPOSITORY / name).exists()
        assert spared.search(name)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_github_asks_for(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 2
    assert all(field["type"] == "markdown" or field["attributes"]["label"] for field in form["body"])


def test_there_are_two_forms_and_a_configuration() -> None:
    assert [path.stem for path in FORMS] == ["bug_report", "feature_request"]
    assert isinstance(read(GITHUB / "ISSUE_TEMPLATE" / "config.yml")["blank_issues_enabled"], bool)
