"""Progress: plain lines where there is no terminal, JSON on request, and a log of where the time went."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary import progress
from evalkit.boundary.errors import EvalkitError
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def plain_again() -> Any:
    yield
    progress.set_format("text")


@pytest.fixture
def log(tmp_path: Path) -> Any:
    path = tmp_path / progress.LOG
    path.touch()
    return path


def entries(log: Any) -> Any:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def score(pairs: Any = 30, of: Any = 30) -> None:
    with progress.stage("scoring", of, "pairs") as advance:
        for _ in range(pairs):
            advance(1)


def test_without_a_terminal_a_stage_is_one_line_at_its_start_and_one_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    score()
    with progress.stage("indexing"):
        pass
    assert list(progress.track("ab", "reading", "letters")) == ["a", "b"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.sub(r"\d+\.\d s", "0.0 s", printed.err) == (
        "  scoring ... (30 pairs)\n  scoring: 30 pairs in 0.0 s\n"
        "  indexing ...\n  indexing: 0.0 s\n"
        "  reading ...\n  reading: 2 letters in 0.0 s\n"
    )


def test_on_a_terminal_the_live_line_has_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it in the end is the one line that stays."""
    from rich.console import Console

    class Terminal(io.StringIO):
        def isatty(self) -> Any:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "_console", Console(file=terminal, force_terminal=True, width=100, highlight=False))
    with progress.stage("scoring", 1434, "pairs") as advance:
        for _ in range(3):
            advance(100)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.search(r"scoring .*300/1434 pairs [\d,.]+/s \d+:\d\d:\d\d", shown)
    assert re.search(r"  scoring: 300 pairs in \d\.\d s\n$", shown)


def test_json_is_one_object_a_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    progress.set_format("json")
    score()
    progress.say("  a note\nof two lines \ud800")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [entry["event"] for entry in events] == ["begin", "end", "message"]
    assert events[2]["message"] == "a note\nof two lines \ud800"
    assert (events[1]["stage"], events[1]["items"], events[1]["of"], events[1]["unit"]) == ("scoring", 30, 30, "pairs")


def test_the_log_has_the_numbers_of_where_the_time_went(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.log_to(log):
        progress.say("loading")
        score()
    assert capsys.readouterr().err.startswith("loading\n")  # the terminal has its own form
    message, begin, end = entries(log)
    assert message["message"] == "loading"
    assert (begin["event"], begin["stage"], begin["of"], begin["unit"]) == ("begin", "scoring", 30, "pairs")
    assert (end["event"], end["items"]) == ("end", 30)
    assert end["per_s"] > 30  # it took less than a second
    for entry in (message, begin, end):
        assert entry["rss_peak_mb"] >= entry["rss_mb"] > 10
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert message["at_s"] <= begin["at_s"] <= end["at_s"]
    progress.say("after the run")
    assert len(entries(log)) == 3


def test_a_stage_that_takes_long_logs_its_progress(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    with progress.log_to(log):
        score(pairs=2, of=3)
    assert [(entry["event"], entry.get("items")) for entry in entries(log)] == [
        ("begin", None), ("progress", 1), ("progress", 2), ("end", 2),
    ]  # fmt: skip


def test_a_log_that_cannot_be_written_ends_no_work(tmp_path: Path) -> None:
    with progress.log_to(tmp_path / "nowhere" / "evalkit.log"):
        score()


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ([], None),
        (['{"event": "run", "process": 7}', '{"event": "message", "message": "loading"}'], None),
        (['{"event": "begin", "stage": "indexing", "of": null, "unit": null}'], "indexing"),
        (['{"event": "begin", "stage": "scoring", "of": 1434, "unit": "pairs"}'], "scoring, 0 of 1,434 pairs"),
        (
            [
                '{"event": "begin", "stage": "scoring", "of": 1434, "unit": "pairs"}',
                '{"event": "progress", "stage": "scoring", "items": 830, "of": 1434, "unit": "pairs"}',
                '{"event": "prog',  # cut in the middle
            ],
            "scoring, 830 of 1,434 pairs",
        ),
        (
            [
                '{"event": "begin", "stage": "searching", "of": 5, "unit": "queries"}',
                '{"event": "end", "stage": "searching", "items": 5, "of": 5, "unit": "queries"}',
            ],
            "after searching",
        ),
        (["[]", "7", '{"event": "begin"}', '{"event": "end"}', "\x00\xff"], None),
    ],
)
def test_a_log_shows_the_stage_in_which_a_process_was_killed(log: Any, lines: Any, where: Any) -> None:
    log.write_text("\n".join(lines))
    assert progress.last_stage(log) == where


def test_without_a_log_there_is_no_last_stage(tmp_path: Path) -> None:
    assert progress.last_stage(tmp_path / "evalkit.log") is None


def test_an_error_in_a_stage_is_in_the_log(log: Any) -> None:
    def work() -> None:
        with progress.stage("searching", 5, "queries") as advance:
            advance(2)
            raise KeyError("no such key")

    with progress.log_to(log), pytest.raises(KeyError):
        work()
    last = entries(log)[-1]
    assert (last["event"], last["items"], last["of"], last["error"]) == ("broken off", 2, 5, "KeyError")


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EvalkitError, match="log_format=xml: choose from text, json"):
        progress.set_format("xml")


IN_A_NOTEBOOK = """
import io
from tqdm.std import tqdm
from evalkit.boundary import progress
progress.in_notebook = lambda: True
left_open = [tqdm(total=1, file=io.StringIO()) for _ in range(30)]  # as libraries do
with progress.stage("scoring", 4, "pairs") as advance:
    advance(4)
with progress.stage("loading"):
    pass
"""


def test_a_stage_in_a_notebook_is_a_bar_that_goes_when_it_is_done() -> None:
    """In a process of its own: tqdm has one state for all bars of a process, those of other tests included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NOTEBOOK], capture_output=True, check=True, cwd=REPOSITORY, env=environment
    )
    shown = done.stderr.decode().split("\r")
    assert any(re.match(r"scoring: .*0/4 .*pairs/s", line) for line in shown)
    assert any(line.startswith("loading: 00:00") for line in shown)
    assert not shown[-1].strip()
