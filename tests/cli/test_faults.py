"""Faults, injected: whatever dies, hangs, fills up or comes twice, no result is lost, half written, or a lie."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evalkit.boundary import cache_dirs, progress, signals
from evalkit.boundary.atomic import atomic_folder
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.signals import Stopped
from evalkit.cli import run_folder, tasks
from evalkit.cli.process import in_fresh_process
from tests.conftest import REPOSITORY, compose
from tests.helpers import fault_jobs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and mounts are a matter of POSIX")

WAITING = """
import sys
from pathlib import Path
from tests.helpers import fault_jobs
from evalkit.boundary import signals
from evalkit.cli.process import in_fresh_process
if __name__ == "__main__":
    try:
        with signals.handle_signals():
            in_fresh_process(fault_jobs.hang, Path(sys.argv[1]))
    except KeyboardInterrupt as stop:
        sys.exit(stop.exit_code)
"""


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(what: Any) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    path = tmp_path / progress.LOG
    path.touch()
    with progress.log_to(path):
        yield path


# --- the trial's process


def test_a_job_answers_from_a_process_of_its_own() -> None:
    assert in_fresh_process(fault_jobs.add, 2, 3) == 5


@pytest.mark.parametrize(("kind", "error", "message"), [
    ("sendable", ValueError, "a defect"),
    ("unsendable", RuntimeError, "UnsendableError: this and that"),
])  # fmt: skip
def test_an_error_of_the_job_comes_back_with_its_traceback(kind: Any, error: Any, message: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        in_fresh_process(fault_jobs.fail, kind)
    assert "in fail\n" in caught.value.__notes__[0]


@pytest.mark.parametrize(("number", "message"), [
    (signal.SIGKILL, "SIGKILL, most likely from the system for using too much memory; lower reranker.batch_tokens, "),
    (signal.SIGSEGV, "SIGSEGV: sent by another process, or a defect in a library"),
])  # fmt: skip
def test_a_process_that_dies_is_reported_with_its_stage(log: Any, number: Any, message: Any) -> None:
    with pytest.raises(EvalkitError) as caught:
        in_fresh_process(fault_jobs.die, number)
    where = "scoring, 0 of 1,434 pairs"  # the log has an entry every ten seconds
    assert str(caught.value).startswith(f"the trial's process ended without a result ({where}): {message}")


def test_a_process_that_is_stopped_reports_the_signal(log: Any) -> None:
    with pytest.raises(EvalkitError, match="the trial's process was stopped by SIGTERM"):
        in_fresh_process(fault_jobs.die, signal.SIGTERM)
    assert progress.last_stage(log) == "scoring, 830 of 1,434 pairs"


def test_a_process_that_hangs_is_ended_at_the_limit(log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not listen to SIGTERM either, as a library that computes does not."""
    from evalkit.cli import process as worker

    monkeypatch.setattr(worker, "GRACE_S", 0.2)
    with pytest.raises(EvalkitError, match=r"did not end within time_limit_s=3 seconds \(waiting\); raise the limit"):
        in_fresh_process(fault_jobs.hang, tmp_path / "process", True, time_limit_s=3)
    assert not is_alive(int((tmp_path / "process").read_text()))


def test_a_job_can_send_values_to_its_parent_before_it_ends() -> None:
    received: list[str] = []
    assert in_fresh_process(fault_jobs.tell_twice_and_die, 0, on_result=received.append) == "done"
    assert received == ["one", "other"]


def test_values_sent_before_the_process_dies_are_received() -> None:
    received: list[str] = []
    with pytest.raises(EvalkitError, match="SIGKILL"):
        in_fresh_process(fault_jobs.tell_twice_and_die, signal.SIGKILL, on_result=received.append)
    assert received == ["one", "other"]


def test_an_error_in_the_callback_for_results_ends_the_process() -> None:
    def refuse(value: Any) -> None:
        raise ValueError(f"not {value}")

    with pytest.raises(ValueError, match="not one"):
        in_fresh_process(fault_jobs.tell_twice_and_die, 0, on_result=refuse)


def test_a_job_can_have_a_function_called_in_its_parent_which_has_its_turn_before() -> None:
    events: list[str] = []
    own, parents = in_fresh_process(fault_jobs.both_process_ids, meanwhile=lambda: events.append("meanwhile"))
    assert parents == os.getpid() != own
    assert events == ["meanwhile"]


def test_an_error_of_a_function_that_the_parent_calls_ends_the_job() -> None:
    with pytest.raises(ValueError, match="a defect"):
        in_fresh_process(fault_jobs.fail_in_parent)


def test_in_a_process_that_is_nobodys_child_the_function_is_called_there() -> None:
    assert fault_jobs.both_process_ids() == (os.getpid(), os.getpid())


@pytest.fixture
def start_early() -> Any:
    """A function that starts a process early and returns its number; it ends with the test."""
    from evalkit.cli import process as worker

    yield lambda: worker.start_early(["mailbox"])
    worker.end_early_process()


def test_a_process_that_was_started_early_takes_one_job_with_its_imports_done(start_early: Any) -> None:
    early = start_early()
    assert in_fresh_process(fault_jobs.imported, "mailbox", "evalkit") == [True, True]
    assert not is_alive(early)
    assert in_fresh_process(fault_jobs.imported, "mailbox") == [False]


def test_a_process_that_was_started_early_is_not_used_with_another_environment(start_early: Any) -> None:
    early = start_early()
    assert in_fresh_process(fault_jobs.process_id, environment=os.environ | {"EVALKIT_THEIRS": "1"}) != early
    assert not is_alive(early)


def test_a_process_that_was_started_early_and_died_is_replaced(start_early: Any) -> None:
    early = start_early()
    os.kill(early, signal.SIGKILL)
    wait_until(lambda: not is_alive(early))
    assert in_fresh_process(fault_jobs.add, 2, 3) == 5


@pytest.fixture
def in_shared_process() -> Any:
    """The process that jobs share ends with the test."""
    from evalkit.cli import process as worker

    yield worker.in_shared_process
    worker.end_shared_process()


def test_jobs_that_share_a_process_find_what_was_loaded_before(in_shared_process: Any) -> None:
    first = in_shared_process(fault_jobs.process_id)
    with pytest.raises(ValueError, match="a defect"):
        in_shared_process(fault_jobs.fail, "sendable")  # an error of a job is no fault of the process
    assert in_shared_process(fault_jobs.process_id) == first != os.getpid()
    assert in_fresh_process(fault_jobs.process_id) != first


def test_a_shared_process_that_died_or_took_too_long_is_replaced(
    in_shared_process: Any, log: Any, tmp_path: Path
) -> None:
    first = in_shared_process(fault_jobs.process_id)
    with pytest.raises(EvalkitError, match=r"ended without a result \(scoring, 0 of 1,434 pairs\): SIGKILL"):
        in_shared_process(fault_jobs.die, signal.SIGKILL)
    second = in_shared_process(fault_jobs.process_id)
    with pytest.raises(EvalkitError, match=r"did not end within time_limit_s=2 seconds"):
        in_shared_process(fault_jobs.hang, tmp_path / "process", time_limit_s=2)
    third = in_shared_process(fault_jobs.process_id)
    assert len({first, second, third}) == 3
    assert not is_alive(first)
    assert not is_alive(second)


def test_a_shared_process_that_was_stopped_while_its_parent_worked_is_replaced(in_shared_process: Any) -> None:
    first = in_shared_process(fault_jobs.process_id)
    with pytest.raises(EvalkitError, match="the trial's process was stopped by SIGTERM"):
        in_shared_process(fault_jobs.be_stopped_while_the_parent_works)
    assert in_shared_process(fault_jobs.add, 2, 3) == 5
    assert not is_alive(first)


def test_no_shared_process_stays_behind(tmp_path: Path) -> None:
    script = (
        "from tests.helpers import fault_jobs\nfrom evalkit.cli.process import in_shared_process\n"
        "if __name__ == '__main__':\n    print(in_shared_process(fault_jobs.process_id))\n"
    )
    (tmp_path / "ends.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "ends.py")], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not is_alive(int(done.stdout))


@pytest.mark.parametrize(("number", "exit_code", "caught"), [
    (signal.SIGTERM, 143, "Stopped"),
    (signal.SIGKILL, -signal.SIGKILL, None),  # it cannot be caught, and the trial's process ends all the same
])  # fmt: skip
def test_no_process_stays_behind(tmp_path: Path, number: Any, exit_code: Any, caught: Any) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    command = [sys.executable, str(tmp_path / "waiting.py"), str(tmp_path / "process")]
    place = os.pathsep.join([str(REPOSITORY)])
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": place}, stderr=subprocess.DEVNULL) as run:
        wait_until((tmp_path / "process").exists)
        wait_until(lambda: (tmp_path / "process").read_text())
        run.send_signal(number)
        assert run.wait(30) == exit_code
    wait_until(lambda: not is_alive(int((tmp_path / "process").read_text())))
    left = tmp_path / "process.caught"
    assert (left.read_text() if left.exists() else None) == caught


# --- signals


def test_a_signal_ends_what_waits_as_an_exception() -> None:
    with pytest.raises(Stopped) as caught, signals.handle_signals():
        signal.raise_signal(signal.SIGTERM)
    assert (caught.value.name, caught.value.exit_code) == ("SIGTERM", 143)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert not isinstance(caught.value, Exception)


def test_what_must_not_be_half_done_comes_to_its_end_first() -> None:
    done = []

    def work() -> None:
        with signals.handle_signals(), signals.defer_signals():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(Stopped):
        work()
    assert done


def test_a_signal_that_came_twice_at_once_is_one() -> None:
    """A launcher hands Ctrl-C on to those who got it from the terminal already."""

    def work() -> None:
        with signals.handle_signals():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        work()


def test_a_signal_while_the_program_is_still_being_imported_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "hydra.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, "-m", "evalkit"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "evalkit: stopped by SIGINT\n")


# --- results, whole or not at all


def test_a_folder_is_as_it_was_where_writing_failed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("old")

    def write() -> None:
        with atomic_folder(tmp_path, "result.json") as part:
            (part / "result.json").write_text("new")
            raise TypeError("a defect")

    with pytest.raises(TypeError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_files_of_others_stay_and_files_of_ours_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "report.md").write_text("old")
    with atomic_folder(tmp_path, "result.json") as part:
        for name in ("report.md", "result.json"):
            (part / name).write_text("new")
        assert (tmp_path / "report.md").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "mine.txt": "mine", "report.md": "new", "result.json": "new",
    }  # fmt: skip


def test_a_run_that_was_killed_while_it_wrote_leaves_nothing_to_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="ended without a result"):
        in_fresh_process(fault_jobs.die_while_writing, tmp_path)
    assert not (tmp_path / "result.json").exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()]  # what it had written, under a temporary name
    with run_folder.claimed(tmp_path, overwrite=False):
        assert [path.name for path in tmp_path.iterdir()] == [progress.LOG]


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with run_folder.claimed(tmp_path, overwrite=False):
        with pytest.raises(EvalkitError) as caught, run_folder.claimed(tmp_path, overwrite=True):
            pass
        assert str(caught.value) == (
            f"another run (process {os.getpid()}) is at work in {tmp_path}; wait for it, or name another folder with "
            "out_dir=DIR"
        )
    with run_folder.claimed(tmp_path, overwrite=False):
        pass  # the first one has ended


@pytest.mark.parametrize("status", ["failed", "partial"])
def test_the_folder_of_a_trial_that_came_to_no_end_is_used_again(tmp_path: Path, status: Any) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"status": status}))
    with run_folder.claimed(tmp_path, overwrite=False):
        assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("text", ["{}", "[", '{"status": "finished"}', '{"status": "partial", "effectiveness": {}}'])
def test_a_result_that_may_be_worth_something_is_not_overwritten(tmp_path: Path, text: Any) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(EvalkitError, match="holds a result already"), run_folder.claimed(tmp_path, overwrite=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    with run_folder.claimed(tmp_path, overwrite=True):
        # Gone before the work starts: a trial that dies then leaves no result that is not its own.
        assert not (tmp_path / "result.json").exists()


def judging(folder: Path, out: Path, *more: str) -> dict[str, Any]:
    """The settings of a trial that judges finished runs, which computes nothing."""
    settings: Any = OmegaConf.to_container(compose(
        "slice=beir", f"slice.path={folder}", "first_stage=trec_run", f"first_stage.path={folder}/first.trec",
        "reranker=trec_run", f"reranker.path={folder}/reranked.trec", "depth=3", f"out_dir={out}", *more,
    ), resolve=True)  # fmt: skip
    return dict(settings)


@pytest.fixture
def mounted(tmp_path: Path) -> Any:
    """Mount a small disk."""
    folders: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_at_the_end_leaves_no_half_of_a_result(mounted: Any, beir_folder: Any) -> None:
    disk = mounted("size=16k")
    with pytest.raises(EvalkitError) as caught:
        tasks.run_trial(judging(beir_folder, disk), {}, disk)
    assert str(caught.value) == (
        f"cannot write the results to {disk}: No space left on device; free some space, or name another folder with "
        "out_dir=DIR"
    )
    assert list(disk.iterdir()) == []
    why = run_folder.write_why(disk, judging(beir_folder, disk), {}, caught.value)
    assert why.endswith(f"; see {disk}/result.json")
    assert json.loads((disk / "result.json").read_text())["status"] == "failed"


def test_a_report_that_cannot_be_drawn_loses_no_result(
    beir_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a defect of matplotlib after an hour of scoring."""
    from evalkit.report import folder
    from evalkit.report.html import pages

    def broken(*_: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(pages, "trial", broken)
    monkeypatch.setitem(folder.TRIAL_PICTURES, "changes", broken)
    asked = judging(beir_folder, tmp_path)
    result = tasks.run_trial(asked, {"command": ["evalkit"]}, tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["status"] == result.status == "partial"
    assert written["missing"] == ["changes.png (KeyError: 'a defect')", "report.html (KeyError: 'a defect')"]
    assert written["effectiveness"]["reranked"]["mean"]["RR@10"] == pytest.approx(2 / 3)
    assert (tmp_path / "report.md").exists()
    assert not (tmp_path / "changes.png").exists()


def test_ten_thousand_queries_are_tested_and_reported(tmp_path: Path) -> None:
    """One query in two finds its passage first, the other second; a reranker turns all of them around."""
    count = 10_000
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "a"}\n{"_id": "b", "text": "b"}\n')
    (tmp_path / "queries.jsonl").write_text("".join(f'{{"_id": "q{n}", "text": "{n}"}}\n' for n in range(count)))
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\ta\t1\n" for n in range(count))
    )
    for name, first in (("first", 0), ("reranked", 1)):
        (tmp_path / f"{name}.trec").write_text("".join(
            f"q{n} Q0 {doc} {rank} {2 - rank} run\n"
            for n in range(count) for rank, doc in enumerate("ab" if n % 2 == first else "ba")
        ))  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    asked = judging(tmp_path, out, "measures.names=[RR@10]")
    effect = tasks.run_trial(asked, {"command": ["evalkit"]}, out).effectiveness
    assert effect.reranked.mean["RR@10"] == pytest.approx(0.75)
    assert (effect.wins["RR@10"], effect.losses["RR@10"], effect.ties["RR@10"]) == (count / 2, count / 2, 0)
    assert len((out / "per_query.csv").read_text().splitlines()) == count + 1


# --- the home, the clock


def at_home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have this home, and no variables that lead elsewhere."""
    given = {key: value for key, value in os.environ.items() if key not in ("IR_DATASETS_HOME", "MPLCONFIGDIR")}
    monkeypatch.setattr(os, "environ", given | {"HOME": str(folder)})


def test_libraries_get_a_folder_where_the_home_cannot_be_written(
    mounted: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mounted("size=16k,ro")
    at_home(monkeypatch, disk)
    cache_dirs.ensure_writable()
    Path(os.environ["IR_DATASETS_HOME"]).mkdir()
    Path(os.environ["MPLCONFIGDIR"]).mkdir()
    assert f"the home folder {disk} is not writable; IR_DATASETS_HOME and " in capsys.readouterr().err


def test_a_home_that_can_be_written_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_home(monkeypatch, tmp_path)
    cache_dirs.ensure_writable()
    assert "IR_DATASETS_HOME" not in os.environ
    assert "MPLCONFIGDIR" not in os.environ
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_a_clock_that_goes_backwards_changes_no_duration(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    with progress.stage("searching", 2, "queries") as advance:
        assert time.time() > time.time()
        advance(2)
    begin, end = (json.loads(line) for line in log.read_text().splitlines())
    assert 0 <= end["seconds"] < 60
    assert begin["at_s"] <= end["at_s"]


def test_wall_clock_time_is_used_for_dates_and_not_for_durations() -> None:
    """Of all sources: the last use of a stored entry, in days, is the one time that must outlive a restart."""
    package = Path(tasks.__file__).parents[1]
    users = {path for path in package.rglob("*.py") if re.search(r"\btime\.time(_ns)?\(", path.read_text("utf-8"))}
    assert {path.relative_to(package).parts[:2] for path in users} == {
        ("boundary", "index_cache.py"),
        ("scoring", "store"),
    }
