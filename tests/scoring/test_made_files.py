"""A graph is made once, in a process of its own, and an interrupted or failed one leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.made_files import GRAPHS, cached
from tests.conftest import REPOSITORY


def write_process_id(folder: Path, name: str) -> None:
    sys.stdout.write("what a library prints is not shown")
    (folder / name).write_text(str(os.getpid()), "utf-8")


def refuse(folder: Path) -> None:
    raise EvalkitError("reranker.model=x: no")


def die(folder: Path) -> None:
    os._exit(9)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path))
    return tmp_path


def test_an_entry_is_made_once_by_another_process(capfd: pytest.CaptureFixture[str]) -> None:
    first = cached(GRAPHS, "making", {"of": 1}, write_process_id, "graph")
    made_by = (first / "graph").read_text("utf-8")
    assert made_by != str(os.getpid())
    assert cached(GRAPHS, "making", {"of": 1}, refuse) == first
    assert cached(GRAPHS, "making", {"of": 2}, write_process_id, "graph") != first
    assert "what a library prints" not in "".join(capfd.readouterr())


def test_a_job_that_fails_leaves_nothing_and_its_sentence_is_the_users(home: Path) -> None:
    with pytest.raises(EvalkitError, match=r"reranker\.model=x: no"):
        cached(GRAPHS, "making", {"of": 1}, refuse)
    assert list((home / "graphs").iterdir()) == []


def test_a_job_that_is_killed_is_an_error_with_advice(home: Path) -> None:
    with pytest.raises(EvalkitError, match="making: the process that does it was ended, most likely because memory"):
        cached(GRAPHS, "making", {"of": 1}, die)
    assert list((home / "graphs").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_error_with_advice(home: Path) -> None:
    (home / "graphs").write_text("a file where the folder should be", "utf-8")
    with pytest.raises(EvalkitError, match=r"graphs: the graphs of runtimes are stored there, and it cannot be "
                                           r"written .*; set EVALKIT_HOME=DIR"):  # fmt: skip
        cached(GRAPHS, "making", {"of": 1}, refuse)


def test_a_script_without_a_main_guard_is_not_run_once_more(tmp_path: Path) -> None:
    """As most people's scripts are: multiprocessing imports the main program again in each process that it starts."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import os, sys\n"
        "from evalkit.scoring.made_files import in_own_process\n"
        "print('begun')\n"
        "in_own_process('making', 'another', os.mkdir, sys.argv[1])\n"
    )
    made = tmp_path / "made"
    done = subprocess.run([sys.executable, script, made], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.stdout, done.stderr, done.returncode) == ("begun\n", "", 0)
    assert made.is_dir()
