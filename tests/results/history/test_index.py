"""The index of the history: what is entered is read, whatever else happens to the file."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.results.history import index
from evalkit.results.history.entry import HistoryEntry
from tests.helpers.history import entry

NUMBER = st.floats(0, 1e6)
SHARE = st.floats(0, 1)
LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENTRIES = st.builds(
    HistoryEntry,
    folder=LINE, ended=st.none() | LINE, name=LINE, commit=st.none() | LINE, dirty=st.none() | st.booleans(),
    evalkit=st.none() | LINE, slice=LINE, fingerprint=LINE, relevance_level=st.integers(0, 5),
    queries=st.integers(0, 2**62), first_stage=LINE, reranker=st.none() | LINE, depth=st.integers(1, 1000),
    runtime=st.none() | LINE, precision=st.none() | LINE, device=st.none() | LINE,
    settings=st.dictionaries(LINE, st.none() | LINE | st.booleans() | st.integers() | NUMBER, max_size=3),
    measure=LINE, before=SHARE, after=SHARE, delta=st.none() | NUMBER, delta_low=st.none() | NUMBER,
    delta_high=st.none() | NUMBER, verdict=st.none() | LINE, means_before=st.dictionaries(LINE, SHARE, max_size=2),
    means=st.dictionaries(LINE, SHARE, max_size=2), p50_ms=st.none() | NUMBER, peak_mib=st.none() | NUMBER,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "history.sqlite"


@settings(max_examples=8, deadline=None)
@given(st.lists(ENTRIES, max_size=4))
def test_what_is_entered_is_read_and_entering_twice_changes_nothing(entries: list[HistoryEntry]) -> None:
    import tempfile

    of_folder = {one.folder: one for one in entries}  # a later run replaces the one in its folder
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.sqlite")
        for _ in range(2):
            for one in entries:
                index.enter(path, one)
        read = index.read(path)
        assert {one.folder: one for one in read} == of_folder
        assert len(read) == len(of_folder)
        assert index.replace_all(path, entries) == len(of_folder)
        assert index.read(path) == read


def test_the_newest_run_comes_first_and_unknown_times_last(path: Path) -> None:
    for folder, ended in (("/a", "2026-01-02"), ("/b", None), ("/c", "2026-01-03"), ("/d", "2026-01-01")):
        index.enter(path, entry(folder, ended=ended))
    assert [one.folder for one in index.read(path)] == ["/c", "/a", "/d", "/b"]


def test_there_are_no_runs_where_there_is_no_file_and_reading_makes_none(path: Path) -> None:
    assert index.read(path) == []
    assert not path.parent.exists()


def test_a_run_in_the_same_folder_takes_the_place_of_the_earlier_one(path: Path) -> None:
    index.enter(path, entry("/a", after=0.5))
    index.enter(path, entry("/a", after=0.6))
    assert [one.after for one in index.read(path)] == [0.6]


def test_a_folder_with_half_a_character_in_its_name_is_entered(path: Path) -> None:
    index.enter(path, entry("/runs/\udcff"))
    assert [one.folder for one in index.read(path)] == ["/runs/?"]


ENTER = """
import sys
from pathlib import Path
from evalkit.results.history import index
from tests.helpers.history import entry
for number in range(20):
    index.enter(Path(sys.argv[1]), entry(f"/{sys.argv[2]}/{number}"))
"""


def test_processes_that_end_at_the_same_time_all_enter_their_runs(path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", ENTER, str(path), str(process)]) for process in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(index.read(path)) == 60


def test_a_history_that_another_process_has_locked_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.enter(path, entry("/a"))
    monkeypatch.setattr(index, "KIND", replace(index.KIND, busy_timeout_s=0.05))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(EvalkitError, match=r"the history .* has been locked by another process .* or go without with "):
        index.enter(path, entry("/b"))
    assert len(index.read(path)) == 1  # it can be listed meanwhile
    other.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"\x00garbage\xff" * 1000, r"is damaged, or not a history at all \(file is not a database\): move the file "
                                    r"away and make a new one with `python -m evalkit history --rebuild FOLDER`, name"),
        ("PRAGMA application_id = 7", "is a database of another program, not a history of evalkit"),
        ("PRAGMA user_version = 7", "was written by a newer evalkit"),
        ("UPDATE runs SET means = '[]'", r"is damaged, .* \(means is no mapping\)"),
        ("UPDATE runs SET means = '{'", "is damaged"),
        ("UPDATE runs SET queries = 'many'", r"is damaged, .* \(queries is of another type\)"),
        ("UPDATE runs SET means = '{\"nDCG@10\": \"high\"}'", r"is damaged, .* \(a mean is no number\)"),
        ("DROP TABLE runs", "its tables are not those of a history"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_history_is_refused_and_not_changed(path: Path, damage: Any, message: str) -> None:
    index.enter(path, entry("/a"))
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(damage)
        connection.close()
    before = path.read_bytes()
    with pytest.raises(EvalkitError, match=message):
        index.read(path)
    assert path.read_bytes() == before
