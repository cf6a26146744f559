"""The state of the command that runs in this process: one object, new for each command."""

from dataclasses import dataclass
from typing import Protocol

HOLDS, REGRESSED = 0, 1
"""Exit codes of the gate."""
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit codes: a gate or a trial of a sweep failed; the input is wrong; Ctrl-C (a signal gives 128 and its number)."""


class Sweep(Protocol):
    """The sweep that a trial is part of (`evalkit.cli.sweep.SweepReport`)."""

    folders: dict[int, str]

    def ended(self, trial: int, seconds: float, failure: str) -> None:
        """Record how a trial ended.

        Args:
            trial: number of the trial, from 0.
            seconds: how long it took.
            failure: its error message; empty if it finished.
        """

    def end(self, whole: bool) -> bool:
        """Write the combined report."""


@dataclass
class Session:
    """The state of one command; with these defaults in a process that a launcher started."""

    environment: dict[str, str] | None = None
    """The user's environment when evalkit started; None in a process that a launcher started."""
    wants_traceback: bool = False
    """Whether the user asked for tracebacks with HYDRA_FULL_ERROR=1."""
    began: bool = False
    """Whether a job or a command has started: an error before that is one of the command line."""
    exit_code: int = 0
    """The exit code of a trial or gate that failed; a sweep goes on after it."""
    sweep: Sweep | None = None
    """The sweep that is running."""
    stopped: str | None = None
    """The message of a trial that was stopped."""


_current = Session()


def begin(environment: dict[str, str]) -> Session:
    """Return a new session, which is the current one from now on."""
    global _current
    _current = Session(environment, wants_traceback=environment.get("HYDRA_FULL_ERROR") == "1")
    return _current


def current() -> Session:
    """Return the session of this process."""
    return _current
