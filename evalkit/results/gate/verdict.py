"""The gate's verdict: checks, measures before and after, and the queries that lost most."""

from dataclasses import dataclass
from typing import Literal

from evalkit.evaluation.significance import Delta

Outcome = Literal["worse", "not worse", "undecided"]
"""What the change of a measure shows; see `evalkit.results.gate.quality.qualities`."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    state: Literal["passed", "failed", "undecided", "skipped", "no limit"]
    message: str
    value: float | None = None
    """The figure that a limit of time or memory applies to; None for other checks."""


@dataclass(frozen=True)
class Move:
    """A passage whose rank changed.

    `rank_before` is None below the ranks that the baseline stores, `rank_after` for a passage that is not ranked.
    """

    doc_id: str
    text: str
    grade: int | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True)
class Loss:
    """A query that lost, and the passages whose moves cost it most."""

    query_id: str
    query: str
    before: float
    after: float
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Quality:
    """One measure before and after."""

    measure: str
    before: float
    after: float
    delta: Delta
    tolerance: float
    max_drop: float | None
    """A hard limit for the mean, where the user sets one."""
    detectable: float | None
    """The smallest true drop in this measure alone that the gate's rule shows with the stated power."""
    uneven_as: str
    """What `detectable` takes changes to be as uneven as: "reranking is" or "this change is", whatever is more so."""
    low: float | None
    """The one-sided lower bound of the mean change."""
    p: float
    """Of "it did not fall", corrected for the number of measures."""
    outcome: Outcome
    needed: int | None
    """About how many queries would decide; None unless undecided, and where no number would."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of the gate."""

    system: str
    changed: tuple[str, ...]
    """The settings in which the system differs from the baseline's, one line each."""
    queries: int
    qualities: tuple[Quality, ...]
    checks: tuple[Check, ...]
    losses: tuple[Loss, ...]
    """By the first measure, the largest loss first."""
    kept: int
    """Ranks of each query that the baseline stores."""
    confidence: float
    power: float
    false_alarms: float
    own_limits: tuple[str, ...] = ()
    """Limits that are the baseline's and not the defaults, one sentence each."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The checks without enough evidence either way; they do not fail the gate."""
        return tuple(check for check in self.checks if check.state == "undecided")

    @property
    def holds(self) -> bool:
        """Whether nothing is known to have got worse."""
        return not self.failed


ROUNDING = 1e-6
"""Measures are kept to 6 decimals."""


def figure(value: float) -> str:
    """Return a budget's figure to three digits; from 1,000 on as a whole number, which ``.3g`` gives an exponent."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
