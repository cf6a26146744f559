"""The part of a report on the cost under load: throughput, latency, and where throughput stops rising."""

from collections.abc import Sequence

from evalkit.report.content.cost_part import Part, without_empty_columns
from evalkit.report.content.numbers import amount, counted
from evalkit.types import Interval, Load, LoadLevel

TITLE = "Under load"
_FOR_P99 = 100
"""Samples below which the 99th percentile by nearest rank is the slowest one."""


def load_name(level: LoadLevel) -> str:
    """Return a level in words, such as ``4 clients`` or ``2.5 queries/s``."""
    if level.clients is None:
        return f"{level.rate_per_s or 0:g} queries/s"
    return counted(level.clients, "client")


def under_load(load: Load) -> Part:
    """Return throughput and latency for each number of clients and each rate."""
    rows = [
        (
            load_name(level),
            amount(level.queries_per_s),
            _latency(level, level.p50_ms, level.p50_ci95_ms),
            _latency(level, level.p90_ms, level.p90_ci95_ms),
            _latency(level, level.p99_ms, level.p99_ci95_ms),
            "" if level.waiting_share is None else f"{level.waiting_share:.0%}",
            f"{level.answered:,}",
            f"{level.failed:,}" if level.failed else "",
            f"{level.unanswered:,}" if level.unanswered else "",
        )
        for level in load.levels
    ]
    columns = (
        "load", "queries/s", "p50, ms", "p90, ms", "p99, ms", "waiting", "answered", "failed", "given up",
    )  # fmt: skip
    return without_empty_columns(TITLE, columns, rows, [*_notes(load), *(f"{note}." for note in load.notes)])


def _latency(level: LoadLevel, value: float | None, interval: Interval) -> str:
    low, high = interval
    if value is None:
        return "not known" if level.answered else "none"
    return amount(value) + (f" ({amount(low)} to {amount(high)})" if low is not None and high is not None else "")


def _notes(load: Load) -> list[str]:
    """Return what the levels were, how the queries met, and where throughput stops rising."""
    clients = [level for level in load.levels if level.clients is not None]
    at_rates = [level for level in load.levels if level.clients is None]
    how = (
        "queries are handed to the reranker as they come, several at once"
        if load.at_once
        else "queries wait for one another, for one model on one device computes them in the order in which they come"
    )
    notes = [
        f"A query has {amount(load.pairs_per_query)} passages; {how}. Latency includes the time until a query is "
        "begun; its share is under waiting."
    ]
    if clients:
        notes.append(
            "A client sends its next query when it has the answer to its last one (closed loop). In brackets: the 95 % "
            "interval, for one client alone, as queries that wait for one another are no independent samples."
        )
        notes.append(_clients_saturate(load, clients))
    if at_rates:
        notes.append(
            "Queries at a rate arrive whether or not earlier ones are answered (open loop, a Poisson process), and "
            "their latency counts from the moment at which they were to arrive."
        )
        notes.append(_rates_saturate(load, at_rates))
    if few := [load_name(level) for level in load.levels if 0 < level.answered + level.unanswered < _FOR_P99]:
        notes.append(
            f"Fewer than {_FOR_P99} queries give no p99 but the slowest one, and a throughput that may be off by more "
            f"than 5 %: {', '.join(few)}. protocol.load_s makes each load last longer."
        )
    return notes


def _clients_saturate(load: Load, levels: Sequence[LoadLevel]) -> str:
    most = load_name(levels[-1])
    if load.saturates_at_clients is not None:
        return (
            f"Saturated from {counted(load.saturates_at_clients, 'client')} on: more clients, up to {most}, raise "
            "throughput by less than 5 %."
        )
    if len(levels) < 2:
        return "One number of clients does not show where throughput stops rising."
    return f"Not saturated before {most}: throughput rises by 5 % or more up to there."


def _rates_saturate(load: Load, levels: Sequence[LoadLevel]) -> str:
    rates = [level.rate_per_s or 0.0 for level in levels]
    if load.saturates_at_per_s is None:
        return f"It keeps up with {rates[-1]:g} queries/s: at least 95 % of each rate were answered in time."
    below = [rate for rate in rates if rate < load.saturates_at_per_s]
    return f"It does not keep up with {load.saturates_at_per_s:g} queries/s: fewer than 95 % were answered in time" + (
        f"; it does with {below[-1]:g}." if below else "."
    )
