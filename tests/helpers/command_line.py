"""Runs evalkit as a user does, in a process of its own, or in this one, where torch and ranx are loaded already."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.helpers.their_trec_eval import assert_agrees

T = TypeVar("T")
Finished = subprocess.CompletedProcess[str]


def run_evalkit(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    """Run ``python -m evalkit`` in a process of its own, as a user would.

    trec_eval has to find evalkit's figures in whatever TREC files that leaves in `cwd`.
    """
    with _agrees_with_trec_eval(cwd):
        return subprocess.run(
            [sys.executable, "-m", "evalkit", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=os.environ | environment,
            timeout=900,
            check=False,
        )


def run_here(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    """Do as `run_evalkit`, in this process: a trial then takes a second instead of ten, for all imports are done.

    The processes of the trial and of its graph are left out too, and pictures are blank, for drawing takes longer than
    all the rest. A test of processes, imports, signals or pictures needs `run_evalkit`.
    """
    from evalkit.cli import app, process
    from evalkit.report import plots

    out, err = StringIO(), StringIO()
    main_file = Path(app.__file__).parents[1] / "__main__.py"
    with _agrees_with_trec_eval(cwd), _own_state(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "path", [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path])
        patch.setattr(sys, "argv", [str(main_file), *map(str, arguments)])
        for name in ("in_fresh_process", "in_shared_process"):
            patch.setattr(process, name, _called)
        patch.setattr("evalkit.scoring.made_files.in_own_process", lambda label, otherwise, job, *of: job(*of))
        patch.setattr(plots, "save", _saved_blank)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            app.main()
    code = ended.value.code
    assert isinstance(code, int)
    return Finished([*map(str, arguments)], code, out.getvalue(), err.getvalue())


def sentence(stderr: str) -> str:
    """Return the one line that says what is wrong; there must be one, and no traceback."""
    assert "Traceback" not in stderr, stderr
    found = [line for line in stderr.splitlines() if line.startswith("evalkit: ")]
    assert len(found) == 1, stderr
    return found[0].removeprefix("evalkit: ")


def _saved_blank(figure: Any, stem: Path) -> list[Path]:
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        file.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>\n', "utf-8")
    figure.clear()
    return files


def _called(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: object = None,
    on_result: Callable[[Any], None] = lambda value: None,
    meanwhile: object = None,
) -> T:
    from evalkit.cli.child_process import telling

    with telling(on_result):
        return job(*arguments)


@contextmanager
def _own_state() -> Iterator[None]:
    """Undo what a process of its own would have taken with it at its end."""
    from hydra.core.global_hydra import GlobalHydra

    from evalkit.boundary import progress, redaction

    environment, modules, secrets = dict(os.environ), set(sys.modules), set(redaction.known_secrets)
    GlobalHydra.instance().clear()
    try:
        with progress.redirected(progress.current_output()):
            yield
    finally:
        GlobalHydra.instance().clear()
        _restore(environment)
        redaction.known_secrets.intersection_update(secrets)
        for name in sys.modules.keys() - modules:
            if _is_a_users(sys.modules[name]):
                del sys.modules[name]


def _restore(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _is_a_users(module: object) -> bool:
    """Return whether a module lies in the folder of a test."""
    return "pytest-of-" in str(getattr(module, "__file__", ""))


@contextmanager
def _agrees_with_trec_eval(folder: Path) -> Iterator[None]:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    yield
    for path in folder.rglob("result.json"):
        if before.get(path) != path.stat().st_mtime_ns and path.with_name("qrels.trec").exists():
            assert_agrees(path.parent)
