"""A result says from which commit, with which versions and by which command it came."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.results import provenance
from evalkit.results.provenance import collect, command_line, git_state
from tests.conftest import REPOSITORY


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", "-C", str(folder), *author, *arguments], capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n", "utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_gives_its_commit(repository: Any) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_state(repository) == git_state(repository / "package") == {"commit": commit, "dirty": False}


def test_a_changed_file_makes_it_dirty_and_taking_the_change_back_makes_it_clean(repository: Any) -> None:
    code = repository / "package" / "code.py"
    code.write_text("x = 2\n", "utf-8")
    assert git_state(repository)["dirty"] is True
    git(repository, "add", ".")
    assert git_state(repository)["dirty"] is True  # staged is not committed
    git(repository, "checkout", "-q", "HEAD", "--", ".")
    assert git_state(repository)["dirty"] is False
    code.unlink()
    assert git_state(repository)["dirty"] is True


def test_a_new_commit_is_another_state(repository: Any) -> None:
    before = git_state(repository)
    git(repository, "commit", "-qm", "second", "--allow-empty")
    after = git_state(repository)
    assert after["commit"] != before["commit"]
    assert after["dirty"] is False


def test_files_that_git_does_not_track_do_not_make_it_dirty(repository: Any) -> None:
    """Results are written into checkouts; they change nothing of the code."""
    (repository / "reports").mkdir()
    (repository / "reports" / "result.json").write_text("{}", "utf-8")
    assert git_state(repository)["dirty"] is False


def test_an_environment_inside_of_a_repository_is_not_of_that_commit(repository: Any) -> None:
    """As where evalkit is installed into PROJECT/.venv: the project's commit is not that of evalkit."""
    installed = repository / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("", "utf-8")
    assert git_state(installed) == {"commit": None, "dirty": None}


def test_outside_of_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == git_state(tmp_path / "nowhere") == {"commit": None, "dirty": None}


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("", "utf-8")
    git(tmp_path, "add", ".")
    assert git_state(tmp_path)["commit"] is None


def test_without_git_there_is_no_commit_and_nothing_fails(monkeypatch: pytest.MonkeyPatch, repository: Any) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == {"commit": None, "dirty": None}
    assert collect(["evalkit"])["evalkit"]["commit"] is None


@pytest.mark.parametrize(
    ("program", "name"),
    [("/usr/local/bin/evalkit", "evalkit"), ("/site-packages/evalkit/__main__.py", "python -m evalkit")],
)
def test_the_command_is_the_one_a_user_would_type_again(
    monkeypatch: pytest.MonkeyPatch, program: Any, name: Any
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "experiment=quickcheck", "out_dir=/a b"])
    assert command_line() == [name, "experiment=quickcheck", "out_dir=/a b"]


def test_the_facts_name_versions_machine_and_both_checkouts(monkeypatch: pytest.MonkeyPatch, repository: Any) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.delenv("IR_DATASETS_HOME", raising=False)
    before = datetime.now(UTC).replace(microsecond=0)
    facts = collect(["evalkit", "depth=5"])
    assert json.loads(json.dumps(facts)) == facts
    assert facts["command"] == ["evalkit", "depth=5"]
    assert facts["evalkit"] == {"version": evalkit.__version__, **git_state(REPOSITORY / "evalkit")}
    assert facts["working_dir"] == git_state(repository)
    assert before <= datetime.fromisoformat(facts["started"]) <= datetime.now(UTC)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["versions"]["ranx"] == version("ranx")
    assert facts["env"]["HF_HOME"] == "/models"
    assert "IR_DATASETS_HOME" not in facts["env"]
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    assert list(collect([])["versions"]) == ["numpy"]


def test_secrets_of_the_environment_are_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in json.dumps(collect([]))
