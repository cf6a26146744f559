"""Turns Ctrl-C and SIGTERM into an exception, so that open files and processes are closed on the way out."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_S = 1.0
"""Seconds within which a second signal counts as the first one: a terminal also sends Ctrl-C to a parent process, which
may forward it."""


class Stopped(KeyboardInterrupt):
    """A signal asked this program to stop; ``except Exception`` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Return the signal's name."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """Return the exit code that shells use for this signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class _State:
    """The signals received so far."""

    first_at_s: float | None = None
    deferring = False
    deferred: int | None = None


_state = _State()


@contextmanager
def handle_signals(*numbers: int) -> Iterator[None]:
    """Raise `Stopped` in the block when a signal arrives.

    A second signal, more than a second later, ends the process at once. A signal that was ignored before (as by nohup)
    stays ignored.

    Args:
        *numbers: the signals; all of `SIGNALS` if none is given.
    """
    _state.first_at_s = _state.deferred = None
    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread, the only one that receives signals
        for number in numbers or SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, _receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Delay `Stopped` until the block has ended, for work that must not be interrupted halfway.

    Raises:
        Stopped: a signal came while the block ran.
    """
    _state.deferring = True
    try:
        yield
    finally:
        _state.deferring = False
        number, _state.deferred = _state.deferred, None
        if number is not None:
            raise Stopped(number)


def _receive(number: int, frame: FrameType | None) -> None:
    now_s = time.monotonic()
    if _state.first_at_s is None:
        _state.first_at_s = now_s
        if not _state.deferring:
            raise Stopped(number)
        _state.deferred = number
    elif now_s - _state.first_at_s > _AGAIN_S:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
