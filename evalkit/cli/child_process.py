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
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from evalkit.boundary import progress, signals
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.importing import uncollected
from evalkit.boundary.progress import Output
from evalkit.boundary.signals import Stopped


def tell_parent(value: Any) -> None:
    """Give the parent a value while the job goes on, and return when the parent has dealt with it.

    In a process that is nobody's child, nothing happens.
    """
    _tell(value)


@contextmanager
def telling(tell: Callable[[Any], None]) -> Iterator[None]:
    """Have `tell_parent` call `tell` while the block runs."""
    global _tell
    before, _tell = _tell, tell
    try:
        yield
    finally:
        _tell = before


def _nobody(value: Any) -> None:
    pass


_tell: Callable[[Any], None] = _nobody


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

    with suppress(EOFError, OSError):  # the parent has ended
        served = 0
        while served != jobs:
            answer = _outcome(tell, *pipe.recv())
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


def _outcome(
    tell: Callable[[Any], None], output: Output, job: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[str, Any]:
    """Return the value of a job, or what it raised, as it is sent to the parent."""
    try:
        with signals.handle_signals(signal.SIGTERM), progress.redirected(output), telling(tell):
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
