"""The child's side of `evalkit.cli.process`: serves jobs, and sends the outcome of each to the parent."""

import atexit
import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from evalkit.boundary import progress, signals
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.importing import uncollected
from evalkit.boundary.progress import Output
from evalkit.boundary.signals import Stopped

T = TypeVar("T")


def tell_parent(value: Any) -> None:
    """Give the parent a value while the job goes on, and return when the parent has dealt with it.

    In a process that is nobody's child, nothing happens.
    """
    _tell(value)


def in_parent(function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function of a module returns in the parent, which waits and has a core to itself.

    In a process that is nobody's child, it is called here.

    Args:
        function: what it raises ends the job.
        *arguments: these and what it returns are pickled.
    """
    found: T = _call(function, *arguments)
    return found


@contextmanager
def telling(tell: Callable[[Any], None], call: Callable[..., Any] | None = None) -> Iterator[None]:
    """Have `tell_parent` call `tell`, and `in_parent` call `call`, while the block runs."""
    global _tell, _call
    before, _tell, _call = (_tell, _call), tell, call or _here
    try:
        yield
    finally:
        _tell, _call = before


def _nobody(value: Any) -> None:
    pass


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


_tell: Callable[[Any], None] = _nobody
_call: Callable[..., Any] = _here


def serve(pipe: Connection, jobs: int | None, imports: Sequence[str]) -> None:
    """Import modules, run jobs, and send the outcome of each.

    Args:
        pipe: to the parent.
        jobs: how many to run; None for any number.
        imports: modules that are imported before the first job.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with uncollected():
        for name in imports:
            importlib.import_module(name)

    def tell(value: Any) -> None:
        pipe.send(("interim", value))
        pipe.recv()

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        pipe.send(("call", (function, arguments)))
        return pipe.recv()

    with suppress(EOFError, OSError):  # the parent has ended
        served = 0
        while served != jobs:
            answer = _outcome(telling(tell, call), *pipe.recv())
            sys.stdout.flush()
            sys.stderr.flush()
            pipe.send(answer)
            served += 1
            if answer[0] == "stopped":  # the pipe may still bring the parent's reply to what the job asked
                break
    pipe.close()
    # Skip the interpreter's own shutdown, which takes seconds once torch and numba are loaded.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _outcome(
    talking: AbstractContextManager[None], output: Output, job: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[str, Any]:
    """Return ``done`` and the value of a job, or ``error`` or ``stopped`` and what the parent is to raise."""
    try:
        with signals.handle_signals(signal.SIGTERM), progress.redirected(output), talking:
            return "done", job(*arguments)
    except Stopped as stopped:
        return "stopped", EvalkitError(f"the trial's process was stopped by {stopped.name}")
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
