"""Runs a job in a fresh process, so that trials share neither memory nor a CUDA context.

Jobs that compute nothing may share one process, which imports and compiles once for all of them. No process outlives
its job: it is terminated, and killed if it does not end, however the wait for it ends; and it exits by itself when its
parent was killed.
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
"""Time for a process to close its files before it is killed."""


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


def in_shared_process(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> T:
    """Do as `in_fresh_process`, in one process for all calls, which runs until this program ends.

    If it was stopped, died or ran out of time, the next call starts a new one.

    Raises:
        EvalkitError: the process died, or did not end within `time_limit_s` seconds.
        Stopped: a signal came; the process has ended.
    """
    global _shared
    if _shared is not None and not _shared[0].is_alive():
        end_shared_process()
    if _shared is None:
        _shared = _started(None, environment)
        atexit.register(end_shared_process)
    process, pipe = _shared
    try:
        pipe.send((progress.current_output(), job, arguments))
        kind, value = _answer(process, pipe, time_limit_s)
    except BaseException:
        end_shared_process()
        raise
    if kind == "error":
        raise value
    result: T = value
    return result


def end_shared_process() -> None:
    """End the process of `in_shared_process`, if there is one."""
    global _shared
    shared, _shared = _shared, None
    if shared is not None:
        atexit.unregister(end_shared_process)
        shared[0].terminate()
        _ended(*shared)


_shared: tuple[BaseProcess, "Connection[Any, Any]"] | None = None
"""The process of `in_shared_process`, and the pipe to it."""


def _started(jobs: int | None, environment: Mapping[str, str] | None) -> tuple[BaseProcess, "Connection[Any, Any]"]:
    """Start a process that runs `jobs` jobs, None for any number; return it and the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, jobs), name="evalkit-trial")
    with defer_signals(), _terminal_signals_blocked(), _started_with(environment):
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
        if pipe.poll():  # an answer sent before the process died counts
            kind, value = pipe.recv()
            return str(kind), value
    except (EOFError, OSError):
        pass
    process.join(_GRACE_S)
    raise EvalkitError(f"the trial's process ended without a result{_where()}: {_how(process.exitcode)}")


def _where() -> str:
    log = progress.current_output().log
    where = progress.last_stage(log) if log else None
    return f" ({where})" if where else ""


def _how(exit_code: int | None) -> str:
    """Return what an exit code means, and what to do about it."""
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}; its output above may show why"
    with suppress(ValueError):
        name = signal.Signals(-exit_code).name
        if name == "SIGKILL":
            return (
                "SIGKILL, most likely from the system for using too much memory; lower reranker.batch_tokens, cut the "
                "slice (slice.corpus=judged, slice.queries=N) or use a smaller model"
            )
        return f"{name}: sent by another process, or a defect in a library, for which another version may help"
    return f"signal {-exit_code}"


@contextmanager
def _started_with(environment: Mapping[str, str] | None) -> Iterator[None]:
    """Start processes in the block with `environment`, by giving it to this process, which they inherit from."""
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
def _terminal_signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGHUP for processes that are started in the block: only the waiting parent handles them.

    The terminal sends both to every process of the group. A child inherits the blocked signals; one that arrives
    meanwhile is delivered to this process after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's helper: starting it later would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, jobs: int | None) -> None:
    """Run jobs in this process, the child, and send the outcome of each."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has ended
        served = 0
        while served != jobs:
            answer = _outcome(*pipe.recv())
            sys.stdout.flush()
            sys.stderr.flush()
            pipe.send(answer)
            served += 1
    pipe.close()
    # Skip the interpreter's own shutdown, which takes seconds once torch and numba are loaded.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _outcome(telling: Output, job: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Return the value of a job, or what it raised, as it is sent to the parent."""
    try:
        with signals.handle_signals(signal.SIGTERM), progress.redirected(telling):
            return "done", job(*arguments)
    except Stopped as stopped:
        return "error", EvalkitError(f"the trial's process was stopped by {stopped.name}")
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        return "error", _portable(error)


def _portable(error: BaseException) -> BaseException:
    """Return an error that can be pickled: itself, or a RuntimeError with its type and message."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        portable = RuntimeError(f"{type(error).__name__}: {error}")
        portable.__notes__ = error.__notes__
        return portable
    return error


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # at once, as the parent did: its lock on the folder is released, and another run may use the folder
