"""The process that starts early: for which command lines, and with which imports."""

from typing import Any

import pytest

from evalkit.boundary import cache_dirs
from evalkit.cli import early, process
from tests.conftest import compose


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `early.start` starts, recorded instead of started."""
    calls: list[Any] = []
    monkeypatch.setattr(process, "start_early", calls.append)
    return calls


@pytest.mark.parametrize("arguments", [[], ["depth=5"], ["slice=beir", "slice.path=DIR"], ["experiment=ci"]])
def test_the_default_parts_are_imported_while_the_command_line_is_read(started: Any, arguments: Any) -> None:
    early.start(arguments)
    assert {"evalkit.trial", "bm25s", "evalkit.scoring.spec"} <= set(*started)


@pytest.mark.parametrize(
    "arguments",
    [["reranker=none"], ["reranker.model=DIR", "depth=5"], ["+experiment=mine"], ["first_stage=trec_run"],
     ["reranker@x=none"], ["experiment=ci", "~reranker=none"]],
)  # fmt: skip
def test_no_library_is_imported_that_the_trial_may_not_need(started: Any, arguments: Any) -> None:
    early.start(arguments)
    assert set(*started) == {"evalkit.cli.tasks", "evalkit.trial", "evalkit.report.folder"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--multirun", "depth=5,10"], ["compare", "A", "B"], ["gate", "A", "gate.x=1"], ["--x=1"]]
)
def test_nothing_is_started_for_what_is_not_one_trial(started: Any, arguments: Any) -> None:
    early.start(arguments)
    assert started == []


def test_libraries_wait_for_their_cache_folders(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_dirs, "are_writable", lambda: False)
    early.start([])
    assert started == [()]


def test_the_experiment_of_the_gate_has_the_default_parts() -> None:
    for key in ("first_stage", "reranker"):
        assert compose("experiment=ci")[key]["_target_"] == compose()[key]["_target_"]
