"""Ctrl-C and SIGTERM as an exception, so that whatever is open gets closed on the way out."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_S = 1.0
"""Within so much time, a second signal is the first one again: a terminal sends Ctrl-C to a launcher too, which may
hand it on."""


class Stopped(KeyboardInterrupt):
    """A signal asked this program to stop. Nothing that catches errors catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """Return the signal's name."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """Return what a shell calls this end: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class _Ear:
    """What has been heard."""

    first_at_s: float | None = None
    holding = False
    held: int | None = None


_ear = _Ear()


@contextmanager
def handle_signals(*numbers: int) -> Iterator[None]:
    """Raise `Stopped` in the block when one of the signals comes, all of `SIGNALS` if none is named.

    A second one, a second later, ends the process at once. A signal that was ignored before (as by nohup) stays so.
    """
    _ear.first_at_s = _ear.held = None
    before: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread, where nobody hears signals
        for number in numbers or SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, _hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let the block come to its end before a signal is heeded: for what must not be half done."""
    _ear.holding = True
    try:
        yield
    finally:
        _ear.holding = False
        number, _ear.held = _ear.held, None
        if number is not None:
            raise Stopped(number)


def _hear(number: int, frame: FrameType | None) -> None:
    now_s = time.monotonic()
    if _ear.first_at_s is None:
        _ear.first_at_s = now_s
        if not _ear.holding:
            raise Stopped(number)
        _ear.held = number
    elif now_s - _ear.first_at_s > _AGAIN_S:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
