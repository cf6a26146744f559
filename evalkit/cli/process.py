"""Runs a job in a fresh process, so that trials share neither memory nor a CUDA context.

Jobs that compute nothing may share one process, which imports and compiles once for all of them. A process can be
started early, to import while the command line is still being read. No process outlives its job: it is terminated, and
killed if it does not end, however the wait for it ends; and it exits by itself when its parent was killed.
"""

import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from evalkit.boundary import progress
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.signals import defer_signals
from evalkit.boundary.spawning import without_main
from evalkit.cli.child_process import serve

T = TypeVar("T")

GRACE_S = 10.0
"""Time for a process to close its files before it is killed."""


def in_fresh_process(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    on_result: Callable[[Any], None] = lambda value: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> T:
    """Return what `job` returns, or raise what it raises, with the traceback of its process as a note.

    The process may be the one of `start_early`.

    Args:
        job: a function of a module, which the process imports.
        *arguments: arguments of the job, which are pickled.
        time_limit_s: seconds after which the job is ended; None for no limit.
        environment: environment variables of the process; None for those of this process.
        on_result: called with each value that the job passes to `tell_parent`.
        meanwhile: called in this process once the job has begun.

    Raises:
        EvalkitError: the process died, or did not end within `time_limit_s` seconds.
        Stopped: a signal came; the process has ended.
    """
    process, pipe = _taken_early(environment) or _started(1, environment)
    try:
        pipe.send((progress.current_output(), job, arguments))
        meanwhile()
        kind, value = _answer(process, pipe, time_limit_s, on_result)
    except BaseException:
        process.terminate()
        raise
    finally:
        _ended(process, pipe)
    if kind != "done":
        raise value
    result: T = value
    return result


def in_shared_process(
    job: Callable[..., T],
    *arguments: Any,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    on_result: Callable[[Any], None] = lambda value: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> T:
    """Do as `in_fresh_process`, in one process for all calls, which runs until this program ends.

    If it was stopped, died or ran out of time, the next call starts a new one.

    Args:
        job: as for `in_fresh_process`.
        *arguments: as for `in_fresh_process`.
        time_limit_s: as for `in_fresh_process`.
        environment: as for `in_fresh_process`; it counts where a process is started.
        on_result: as for `in_fresh_process`.
        meanwhile: as for `in_fresh_process`.

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
        meanwhile()
        kind, value = _answer(process, pipe, time_limit_s, on_result)
    except BaseException:
        end_shared_process()
        raise
    if kind == "stopped":
        end_shared_process()
    if kind != "done":
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


def start_early(imports: Sequence[str]) -> int | None:
    """Start the process of the next `in_fresh_process` now, with this environment.

    Args:
        imports: modules that it imports before it takes a job.

    Returns:
        The id of the process.
    """
    global _early
    end_early_process()
    started = _started(1, None, imports)
    _early = started, dict(os.environ)
    atexit.register(end_early_process)
    return started[0].pid


def end_early_process() -> None:
    """End the process of `start_early`, if there is one without a job."""
    global _early
    early, _early = _early, None
    if early is not None:
        atexit.unregister(end_early_process)
        early[0][0].kill()  # it imports and holds nothing
        _ended(*early[0])


def _taken_early(environment: Mapping[str, str] | None) -> "_Started | None":
    """Return the process of `start_early` for a job, if there is one that lives and has this environment."""
    global _early
    if _early is None or not _early[0][0].is_alive() or _early[1] != (environment or dict(os.environ)):
        end_early_process()
        return None
    taken, _early = _early[0], None
    atexit.unregister(end_early_process)
    return taken


_Started = tuple[BaseProcess, "Connection[Any, Any]"]
"""A process, and the pipe to it."""
_shared: _Started | None = None
"""The process of `in_shared_process`."""
_early: tuple[_Started, dict[str, str]] | None = None
"""The process of `start_early` until it gets a job, and the environment that it started with."""


def _started(jobs: int | None, environment: Mapping[str, str] | None, imports: Sequence[str] = ()) -> _Started:
    """Start a process that runs `jobs` jobs, None for any number; return it and the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, jobs, imports), name="evalkit-trial")
    with defer_signals(), _terminal_signals_blocked(), _started_with(environment), without_main():
        process.start()
    theirs.close()
    return process, ours


def _ended(process: BaseProcess, pipe: "Connection[Any, Any]") -> None:
    """Wait until the process has ended, kill it if it does not, and close the pipe."""
    process.join(GRACE_S)
    process.kill()
    process.join()
    pipe.close()


def _answer(
    process: BaseProcess, pipe: Connection, time_limit_s: float | None, on_result: Callable[[Any], None]
) -> tuple[str, Any]:
    """Return how the job ended, ``done``, ``error`` or ``stopped``, and its value or what is to be raised."""
    began = time.monotonic()
    while True:
        left_s = None if time_limit_s is None else max(began + time_limit_s - time.monotonic(), 0.0)
        if not connection.wait([pipe, process.sentinel], left_s):
            raise EvalkitError(
                f"the trial did not end within time_limit_s={time_limit_s:g} seconds{_where()}; raise the limit, or "
                "cut the slice (slice.queries=N) or the depth"
            )
        try:
            if not pipe.poll():  # an answer sent before the process died counts
                break
            kind, value = pipe.recv()
        except (EOFError, OSError):
            break
        reply = None
        if kind == "call":
            function, arguments = value
            reply = function(*arguments)
        elif kind == "interim":
            on_result(value)
        else:
            return str(kind), value
        with suppress(OSError):  # it died meanwhile
            pipe.send(reply)
    process.join(GRACE_S)
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
