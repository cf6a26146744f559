"""Latency of one query: samples, percentiles, by depth and length, and under load."""

from dataclasses import dataclass

Interval = tuple[float | None, float | None]
"""Lower and upper end of an interval; None for an end that so few samples do not determine."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency of reranking one query with its candidates after warm-up, in milliseconds, with the raw samples.

    Fields with a default are missing in results of older versions.
    """

    samples_ms: tuple[float, ...]
    """In the order of measurement: all queries once, then all of them again."""
    p50_ms: float
    p90_ms: float
    p95_ms: float | None = None
    p99_ms: float
    p50_ci95_ms: Interval = (None, None)
    """Two samples that enclose the percentile with 95 % confidence, whatever the distribution.

    See `evalkit.cost.latency.percentile_interval`.
    """
    p90_ci95_ms: Interval = (None, None)
    p95_ci95_ms: Interval = (None, None)
    p99_ci95_ms: Interval = (None, None)
    pairs_per_query: float
    queries: int | None = None
    """Distinct queries that were timed."""
    repetitions: int | None = None
    """Samples: each query was timed equally often."""
    duration_s: float | None = None
    """Sum of the samples."""


@dataclass(frozen=True)
class GridCell:
    """Latency of one query with `depth` passages, where each pair has about `length` tokens."""

    depth: int
    length: int
    tokens_per_pair: float
    """Mean over the pairs as they were built, special tokens included."""
    latency: Latency


@dataclass(frozen=True)
class LatencyGrid:
    """Latency by depth and length, on passages built from texts of the slice."""

    cells: tuple[GridCell, ...]
    """By depth, then by length."""
    notes: tuple[str, ...] = ()
    """One sentence for each setting that was not applied as requested."""


@dataclass(frozen=True, kw_only=True)
class LoadLevel:
    """Latency and throughput of queries under one load, failed ones left out; times are what a client waits."""

    kind: str
    """``closed``: so many clients, each of which sends its next query when the last is answered; ``open``: a rate."""
    clients: int | None = None
    """None for a rate."""
    rate_per_s: float | None = None
    """Queries a second that were to arrive, whatever the answers; None for clients."""
    answered: int
    failed: int = 0
    unanswered: int = 0
    """Queries that arrived and were given up before they were begun; percentiles count them as the slowest."""
    seconds: float
    """From the first arrival to the last answer."""
    queries_per_s: float
    """Answered ones; of a rate, over the time from the first answer to the last."""
    p50_ms: float | None
    """None where so many queries were unanswered that it is not known, or none was answered."""
    p90_ms: float | None
    p99_ms: float | None
    p50_ci95_ms: Interval = (None, None)
    """As in `Latency`, for one client alone: queries that wait for one another are no independent samples."""
    p90_ci95_ms: Interval = (None, None)
    p99_ci95_ms: Interval = (None, None)
    waiting_share: float | None = None
    """Share of the time of all answered queries for which they waited to be begun (on this machine)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What users of a deployment wait while others use it too."""

    at_once: bool
    """Whether several queries were handed to the reranker at once; else they waited for one another, in order."""
    queries: int
    """Different queries, asked in turn."""
    pairs_per_query: float
    levels: tuple[LoadLevel, ...]
    """By ascending clients, then by ascending rate."""
    saturates_at_clients: int | None = None
    """The smallest number of clients of which no larger one has a throughput that is 5 % higher; None if not seen."""
    saturates_at_per_s: float | None = None
    """The lowest rate at which fewer than 95 % of it were answered in time; None if all were kept up with."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that did not go as requested."""
