"""``python -m evalkit history``: finished runs are entered, listed, drawn, and compared by commit."""

import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.cli import recording
from evalkit.results import reading
from evalkit.results.history import entering, index
from tests.conftest import make_beir_folder
from tests.helpers.command_line import Finished, run_evalkit, run_here, sentence
from tests.helpers.history import entry

A, B = "aaa" + "0" * 37, "bbb" + "0" * 37


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def trial(folder: Path, history: Path | str, out: str, *settings: str) -> Finished:
    """Evaluate the finished runs of `beir_folder`, which takes a second."""
    return run_here(
        "slice=beir", f"slice.path={folder}", "slice.unjudged_queries=drop", "first_stage=trec_run",
        f"first_stage.path={folder}/first.trec", "reranker=trec_run", f"reranker.path={folder}/reranked.trec",
        f"out_dir={out}", *settings, cwd=folder.parent, EVALKIT_HISTORY=str(history),
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, which tests only read."""
    folder = tmp_path_factory.mktemp("history")
    make_beir_folder(folder)
    done = trial(folder / "tiny", "off", "out")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def command(path: Path, *arguments: str | Path) -> Finished:
    return run_here("history", *arguments, "--path", path, cwd=path.parent)


def listed(path: Path, *arguments: str) -> list[dict[str, Any]]:
    done = command(path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_finished_run_is_entered_and_one_that_is_replaced_is_entered_once(beir_folder: Path, path: Path) -> None:
    for out, settings in (("one", ()), ("one", ("overwrite=true", "name=again"))):
        done = trial(beir_folder, path, out, *settings)
        assert done.returncode == 0, done.stderr
    failed = trial(beir_folder, path, "three", "reranker.path=nowhere.trec")
    assert failed.returncode == 2
    runs = listed(path)
    assert [(Path(one["folder"]).name, one["name"]) for one in runs] == [("one", "again")]
    assert not runs[0]["gone"]
    written = json.loads((beir_folder.parent / "one" / "result.json").read_text("utf-8"))
    assert runs[0]["after"] == written["effectiveness"]["reranked"]["mean"][runs[0]["measure"]]
    assert written["provenance"]["ended"] == runs[0]["ended"]
    entered = index.read(path)
    index.replace_all(path, entering.below([str(beir_folder.parent)]).entries)
    assert index.read(path) == entered  # rebuilding gives the rows of entering as one goes


def test_each_trial_of_a_sweep_is_entered(beir_folder: Path, path: Path) -> None:
    base = ("slice=beir", f"slice.path={beir_folder}", "slice.unjudged_queries=drop", "first_stage=trec_run",
            f"first_stage.path={beir_folder}/first.trec", "reranker=trec_run", "out_dir=sweep")  # fmt: skip
    runs = f"reranker.path={beir_folder}/reranked.trec,{beir_folder}/first.trec"
    done = run_here("--multirun", *base, runs, cwd=path.parent, EVALKIT_HISTORY=str(path))
    assert done.returncode == 0, done.stderr
    folders = sorted(Path(one["folder"]).name for one in listed(path))
    assert folders == ["0-path_reranked.trec", "1-path_first.trec"]


def test_without_a_history_nothing_is_entered(result: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(path.parent))
    recording.record(reading.read_result(result), result, "off")
    assert list(path.parent.iterdir()) == []
    recording.record(reading.read_result(result), result, "auto")
    assert len(index.read(path)) == 1  # history.sqlite in evalkit's own folder
    done = run_here("history", cwd=path.parent, EVALKIT_HISTORY="off")
    assert done.returncode == 2
    assert sentence(done.stderr) == "EVALKIT_HISTORY=off: there is no history; name the file with --path FILE"


def test_a_tracker_that_there_is_not_is_refused_before_any_work(beir_folder: Path, path: Path) -> None:
    done = trial(beir_folder, path, "one", "tracking=mlfow")
    assert done.returncode == 2
    assert sentence(done.stderr) == "tracking=mlfow: there is no such tracker; did you mean mlflow?"
    assert not (path.parent / "one" / "result.json").exists()


def test_a_tracker_that_fails_costs_a_warning(
    result: Path, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(entry: object) -> None:
        raise ConnectionError("no server\nat that address")

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(set_experiment=fail))
    recording.record(reading.read_result(result), result, str(path), "mlflow")
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == "  note: the result is complete, and was not logged: tracking=mlflow: no server at that address"
    assert len(index.read(path)) == 1


@pytest.mark.parametrize("damage", ["no database", "locked", "a folder"])
def test_a_history_that_cannot_be_written_costs_a_warning_and_no_result(
    result: Path, path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = None
    if damage == "no database":
        path.write_text("my notes, which are precious\n" * 100)
    elif damage == "locked":
        index.enter(path, entry())
        monkeypatch.setattr(index, "KIND", replace(index.KIND, busy_timeout_s=0.05))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        path.mkdir()
    recording.record(reading.read_result(result), result, str(path))
    if other:
        other.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"  note: the result is complete, and not in the history: the history {path} ")
    assert damage != "no database" or path.read_text().startswith("my notes")


def test_a_run_whose_history_is_damaged_ends_with_exit_code_0(beir_folder: Path, path: Path) -> None:
    path.write_text("my notes, which are precious\n" * 100)
    done = trial(beir_folder, path, "one")
    assert done.returncode == 0
    assert "note: the result is complete, and not in the history" in done.stderr
    assert json.loads((beir_folder.parent / "one" / "result.json").read_text("utf-8"))["status"] == "finished"


def test_the_list_says_once_what_all_runs_have_in_common(path: Path) -> None:
    index.replace_all(path, [
        entry("/runs/1", after=0.7, ended="2026-01-01T10:00:00.000+00:00", commit=A),
        entry("/runs/2", after=0.65, ended="2026-01-02T10:00:00.000+00:00", precision="int8", p50_ms=None,
              delta_low=-0.01, delta_high=0.02, delta=0.005, dirty=True),
    ])  # fmt: skip
    assert command(path).stdout.splitlines() == [
        "All of them: slice dev/en, queries 74, first stage bm25, reranker packaged, depth 20, runtime torch, "
        "device a CPU",
        "ended (UTC)       commit       precision  nDCG@10      delta  p50 ms  peak MiB  folder",
        "2026-01-02 10:00  1a2b3c0000+  int8        0.6500  +0.0050                 722  /runs/2 (gone)",
        "2026-01-01 10:00  aaa0000000   fp32        0.7000  +0.2000 *     174       722  /runs/1 (gone)",
        "* the 95 % interval of the delta, reranked against first stage, leaves out 0",
        "+ after a commit: with uncommitted changes",
    ]


def test_a_list_is_filtered_sorted_and_cut(path: Path) -> None:
    index.replace_all(path, [entry(f"/{n}", after=n / 100, ended=f"{n:03}", depth=10 + n % 2) for n in range(50)])
    assert [one["folder"] for one in listed(path, "depth=11", "--sort", "nDCG@10", "--limit", "2")] == ["/49", "/47"]
    assert len(listed(path)) == 50
    lines = command(path).stdout.splitlines()
    assert "30 of 50 runs; --limit 0 lists all of them" in lines
    assert "25 of 50 runs in the history" in command(path, "depth=11").stdout
    assert command(path, "depth=12").stdout == "none of 50 runs has depth=12\n"
    assert listed(path, "depth=12") == []


def test_what_a_result_of_somebody_else_holds_cannot_move_the_cursor(path: Path) -> None:
    index.enter(path, entry("/1", name="x", slice="\x1b[2Jdev"))
    assert "\x1b" not in command(path).stdout
    assert "\x1b" not in command(path, "--json").stdout


def test_there_is_a_way_to_begin(path: Path) -> None:
    done = command(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"there is no run in the history at {path} yet; finished runs are entered in it")
    assert listed(path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("slic=dev",), "slic=dev: the history has no 'slic'; did you mean slice?"),
        (("--sort", "speed"), "--sort: the history has no 'speed'"),
        (("--limit", "-1"), "--limit -1: give a number of runs, or 0 for all of them"),
        (("--limit", "few"), "argument --limit: invalid int value"),
        (("--html", "."), "--html . is a folder; name a file in it, such as history.html"),
        (("--html", "x", "--json"), "--html and --json do not go together"),
        (("--between", "aaa", "bbb"), "--between bbb: the history has no run at that commit; there is aaa0000000"),
        (("--between", "aaa"), "argument --between: expected 2 arguments"),
        (("--rebuild", "none"), "there is no folder none"),
        (("--rebuild", ".", "--sort", "delta"), "--rebuild takes folders, and no filters"),
        (("--output", "x"), "--output belongs to --between"),
    ],
)
def test_wrong_arguments_are_one_sentence(path: Path, arguments: tuple[str, ...], message: str) -> None:
    index.enter(path, entry(commit=A))
    done = command(path, *arguments)
    assert done.returncode == 2
    assert message in sentence(done.stderr)


def test_two_commits_are_compared_setting_by_setting(result: Path, path: Path) -> None:
    for number, (commit, depth) in enumerate(((A, 2), (A, 3), (B, 2), (B, 3), (B, 1))):
        folder = Path(shutil.copytree(result, path.parent / f"run{number}"))
        plain = json.loads((folder / "result.json").read_text("utf-8"))
        plain["provenance"] = {"working_dir": {"commit": commit, "dirty": number == 3}}
        plain["effective"]["depth"] = depth
        (folder / "result.json").write_text(json.dumps(plain), "utf-8")
    done = command(path, "--rebuild", path.parent)
    assert done.stdout.startswith(f"{path}: 5 runs, in place of 0 before")
    done = command(path, "--between", "aaa", "bb", "--output", path.parent / "both")
    assert done.returncode == 0, done.stderr
    assert "2 settings have a run at both aaa0000000 and bbb0000000" in done.stderr
    assert "run3 was run with uncommitted changes on top of bbb0000000" in done.stderr
    assert "only at bbb0000000: tiny/test, first + reranked, depth 1" in done.stderr
    compared = [json.loads((path.parent / "both" / n / "comparison.json").read_text("utf-8")) for n in "12"]
    assert sorted({one["depth"] for one in found["systems"]} - {None} == {2} for found in compared) == [False, True]
    assert all(found["baseline"].endswith(", commit aaa0000000") for found in compared)
    assert (path.parent / "both" / "1" / "report.html").exists()
    done = command(path, "depth=2", "--between", "aaa", "bb", "--output", path.parent / "both" / "1")
    assert "holds a comparison already" in sentence(done.stderr)
    shutil.rmtree(path.parent / "run2")
    done = command(path, "depth=2", "--between", "aaa", "bb")
    assert "bbb0000000 has no run whose folder is still there" in sentence(done.stderr)


def test_rebuilding_names_what_it_leaves_out(path: Path) -> None:
    (path.parent / "half").mkdir()
    (path.parent / "half" / "result.json").write_text("{")
    done = command(path, "--rebuild", path.parent)
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [
        f"{path}: 0 runs, in place of 0 before",
        "left out: 1 result of no finished run, or that cannot be read",
    ]
    assert f"{path.parent}/half/result.json is not whole" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(path: Path) -> None:
    index.replace_all(path, [entry(f"/runs/{n}") for n in range(3000)])
    command = [sys.executable, "-m", "evalkit", "history", "--limit", "0", "--path", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=path.parent) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.read(100)
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 0


def test_the_command_needs_neither_hydra_nor_numpy(path: Path) -> None:
    index.enter(path, entry())
    done = run_evalkit("history", "--path", path, cwd=path.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == command(path).stdout
    wrong = run_evalkit("history", "slic=dev", "--path", path, cwd=path.parent)
    assert wrong.returncode == 2
    assert sentence(wrong.stderr) == sentence(command(path, "slic=dev").stderr)
    program = (
        "import sys; from evalkit.cli import direct; direct.run(['history', '--path', sys.argv[1]]); "
        "print(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert not {"hydra", "numpy", "pydantic", "torch"} & set(loaded.stdout.splitlines()[-1].split())
