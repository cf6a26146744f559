"""What the gate says, as values: checks, measures before and after, and the queries that lost."""

from dataclasses import dataclass
from typing import Literal

from evalkit.significance import Delta


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["passed", "failed", "skipped", "no limit"]
    message: str
    value: float | None = None
    """The figure that a budget is about; None for other checks."""


@dataclass(frozen=True)
class Move:
    """A passage that moved; None for a rank before that the baseline does not keep, and after for none at all."""

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
    max_drop: float
    detectable: float | None
    """The smallest true drop that the slice shows with the stated power, if a change is as uneven as reranking is."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    system: str
    changed: tuple[str, ...]
    """What is another system than the baseline's, setting by setting."""
    queries: int
    qualities: tuple[Quality, ...]
    checks: tuple[Check, ...]
    losses: tuple[Loss, ...]
    """By the first measure, the largest loss first."""
    kept: int
    """How many ranks of each query the baseline knows."""
    confidence: float
    power: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def holds(self) -> bool:
        """Whether nothing got worse."""
        return not self.failed


ROUNDING = 1e-6
"""Measures are kept to 6 decimals."""
