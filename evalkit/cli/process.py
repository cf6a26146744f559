"""Runs a job in a fresh process, so that one trial's memory and CUDA context never touch another's.

Jobs that compute nothing, and have neither to keep apart, may share one, which loads and compiles once for all of them.
Nothing is left behind: the process is told to stop, and killed if it does not, however the wait for it ends; and it
ends by itself when the one that waits was killed.
"""

import atexit
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from evalkit.boundary import progress, signals
from evalkit.boundary.progress import Output
from evalkit.boundary.signals import Stopped, defer_signals
from evalkit.errors import EvalkitError

T = TypeVar("T")

_GRACE_S = 10.0
"""For closing what is open, before the process is killed."""


def in_fresh_process(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Return what `job` returns, or raise what it raises, with the traceback of its process as a note.

    The process starts with `environment`, or with this one's where it is None.

    Raises:
        EvalkitError: the process died, or did not end within `time_limit_s` seconds.
        Stopped: a signal came; the process has ended.
    """
    process, pipe = _started(jobs=1, environment=environment)
    try:
        pipe.send((progress.current_output(), job, arguments))
        kind, value = _answer(process, pipe, time_limit_s)
    except BaseException:
        process.terminate()
        raise
    finally:
        _ended(process, pipe)
    if kind == "error":
        raise value
    result: T = value
    return result


def in_kept_process(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Do as `in_fresh_process`, in a process that goes on to serve the next call, until this program ends.

    One that was stopped, died or ran out of time is replaced by a new one.

    Raises:
        EvalkitError: the process died, or did not end within `time_limit_s` seconds.
        Stopped: a signal came; the process has ended.
    """
    global _kept
    if _kept is not None and not _kept[0].is_alive():
        end_kept_process()
    if _kept is None:
        _kept = _started(None, environment)
        atexit.register(end_kept_process)
    process, pipe = _kept
    try:
        pipe.send((progress.current_output(), job, arguments))
        kind, value = _answer(process, pipe, time_limit_s)
    except BaseException:
        end_kept_process()
        raise
    if kind == "error":
        raise value
    result: T = value
    return result


def end_kept_process() -> None:
    """End the process of `in_kept_process`, if there is one."""
    global _kept
    kept, _kept = _kept, None
    if kept is not None:
        atexit.unregister(end_kept_process)
        kept[0].terminate()
        _ended(*kept)


_kept: tuple[BaseProcess, "Connection[Any, Any]"] | None = None
"""The process of `in_kept_process`, and the pipe to it."""


def _started(jobs: int | None, environment: Mapping[str, str] | None) -> tuple[BaseProcess, "Connection[Any, Any]"]:
    """Start a process that serves so many jobs, all that come where None; return it with the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, jobs), name="evalkit-trial")
    with defer_signals(), _deaf_to_the_terminal(), _started_with(environment):
        process.start()
    theirs.close()
    return process, ours


def _ended(process: BaseProcess, pipe: "Connection[Any, Any]") -> None:
    """Wait until the process has ended, kill it if it does not, and close the pipe."""
    process.join(_GRACE_S)
    process.kill()
    process.join()
    pipe.close()


def _answer(process: BaseProcess, pipe: Connection, time_limit_s: float | None) -> tuple[str, Any]:
    if not connection.wait([pipe, process.sentinel], time_limit_s):
        raise EvalkitError(
            f"the trial did not end within time_limit_s={time_limit_s:g} seconds{_where()}; raise the limit, or "
            "cut the slice (slice.queries=N) or the depth"
        )
    try:
        if pipe.poll():  # what was said before the end counts
            kind, value = pipe.recv()
            return str(kind), value
    except (EOFError, OSError):
        pass
    process.join(_GRACE_S)
    raise EvalkitError(f"the trial's process died without a word{_where()}: {_how(process.exitcode)}")


def _where() -> str:
    log = progress.current_output().log
    where = progress.last_stage(log) if log else None
    return f" ({where})" if where else ""


def _how(exit_code: int | None) -> str:
    """Return what an exit code tells, and what to do about it."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}, and what it printed above may say why"
    with suppress(ValueError):
        name = signal.Signals(-exit_code).name
        if name == "SIGKILL":
            return (
                "SIGKILL, most likely from the system for using too much memory; lower reranker.batch_tokens, cut the "
                "slice (slice.corpus=judged, slice.queries=N) or use a smaller model"
            )
        return f"{name}; a signal from outside, or a defect of a library, and then another version of it may help"
    return f"signal {-exit_code}"


@contextmanager
def _started_with(environment: Mapping[str, str] | None) -> Iterator[None]:
    """Have processes that are started in the block begin with `environment`: they begin with what this one has then."""
    before = dict(os.environ)
    if environment is not None:
        _replace_environment(environment)
    try:
        yield
    finally:
        _replace_environment(before)


def _replace_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


@contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach, though the terminal sends it to all: the one that waits hears it.

    A blocked signal is inherited, and one that comes meanwhile is not lost to this process.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own helper, whose start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, jobs: int | None) -> None:
    """Do jobs in this process, which is the fresh one, and send what comes of each."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # nobody waits any more
        served = 0
        while served != jobs:
            answer = _outcome(*pipe.recv())
            sys.stdout.flush()
            sys.stderr.flush()
            pipe.send(answer)
            served += 1
    pipe.close()
    # All is said. To take down an interpreter that has loaded torch and numba piece by piece takes seconds.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _outcome(telling: Output, job: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Return what a job gives, or what it raises, as it is sent to the process that waits."""
    try:
        with signals.handle_signals(signal.SIGTERM), progress.redirected(telling):
            return "done", job(*arguments)
    except Stopped as stopped:
        return "error", EvalkitError(f"the trial's process was told to stop by {stopped.name}")
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        return "error", _portable(error)


def _portable(error: BaseException) -> BaseException:
    """Return an error that can be sent to another process: itself, or what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        said = RuntimeError(f"{type(error).__name__}: {error}")
        said.__notes__ = error.__notes__
        return said
    return error


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # at once, as the parent did: the lock on its folder is gone, and another run may take it over
