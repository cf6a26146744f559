"""Figures of a load: throughput, percentiles of latency, and where throughput stops rising."""

import itertools
import math
from collections.abc import Sequence

from evalkit.cost.latency import percentile, percentile_interval
from evalkit.cost.load_loops import Asked
from evalkit.types import LoadLevel

RISE, IN_TIME = 0.05, 0.95
"""Throughput that rises by less with more clients is saturated; so is a rate of which a smaller share is answered."""


def closed_level(clients: int, asked: Sequence[Asked]) -> LoadLevel:
    """Return the figures of a closed loop: throughput is that from the first query to the last answer.

    Args:
        clients: how many there were.
        asked: one or more queries.
    """
    ends = [one.ended_s for one in asked if one.ended_s is not None]
    answered = len(_answered(asked))
    seconds = max(ends) - min(one.arrived_s for one in asked)
    return _level("closed", asked, seconds, answered / seconds if seconds else 0.0, clients=clients)


def open_level(rate: float, asked: Sequence[Asked]) -> LoadLevel:
    """Return the figures of an open loop.

    Throughput is that between the first answer and the last, as the arrivals have their rate between the first and the
    last: then the latency of the last answer, which comes after all arrivals, makes it no smaller.

    Args:
        rate: queries a second that were to arrive.
        asked: one or more queries.
    """
    ends = sorted(one.ended_s for one in asked if one.ended_s is not None)
    of_answers = sorted(one.ended_s for one in _answered(asked) if one.ended_s is not None)
    seconds = (ends[-1] if ends else max(one.arrived_s for one in asked)) - min(one.arrived_s for one in asked)
    between = of_answers[-1] - of_answers[0] if of_answers else 0.0
    per_s = (len(of_answers) - 1) / between if between else len(of_answers) / seconds if seconds else 0.0
    return _level("open", asked, seconds, per_s, rate=rate)


def _level(
    kind: str,
    asked: Sequence[Asked],
    seconds: float,
    per_s: float,
    clients: int | None = None,
    rate: float | None = None,
) -> LoadLevel:
    answered = _answered(asked)
    unanswered = sum(one.began_s is None for one in asked)
    took_ms = [(one.ended_s - one.arrived_s) * 1000 for one in answered if one.ended_s is not None]
    waited_ms = [(one.began_s - one.arrived_s) * 1000 for one in answered if one.began_s is not None]
    samples = [*took_ms, *[math.inf] * unanswered]  # those that were given up came last, and waited longest

    def of(percent: float) -> float | None:
        value = percentile(samples, percent) if took_ms else math.inf
        return round(value, 4) if math.isfinite(value) else None

    def interval(percent: float) -> tuple[float | None, float | None]:
        if clients != 1 or not took_ms:
            return (None, None)
        low, high = percentile_interval(took_ms, percent)
        return (None if low is None else round(low, 4)), (None if high is None else round(high, 4))

    return LoadLevel(
        kind=kind,
        clients=clients,
        rate_per_s=rate,
        answered=len(answered),
        failed=sum(one.error is not None for one in asked),
        unanswered=unanswered,
        seconds=seconds,
        queries_per_s=per_s,
        p50_ms=of(50),
        p90_ms=of(90),
        p99_ms=of(99),
        p50_ci95_ms=interval(50),
        p90_ci95_ms=interval(90),
        p99_ci95_ms=interval(99),
        waiting_share=sum(waited_ms) / sum(took_ms) if sum(took_ms) else None,
    )


def _answered(asked: Sequence[Asked]) -> list[Asked]:
    return [one for one in asked if one.ended_s is not None and one.error is None]


def saturating_clients(levels: Sequence[LoadLevel]) -> int | None:
    """Return the smallest number of clients of which no larger one has a throughput that is 5 % higher.

    Args:
        levels: closed loops, and others, which are left out.

    Returns:
        None if throughput still rises up to the largest number, or there are fewer than two.
    """
    closed = sorted((level.clients, level.queries_per_s) for level in levels if level.clients is not None)
    for place, (clients, per_s) in enumerate(closed[:-1]):
        if all(more < per_s * (1 + RISE) for _, more in closed[place + 1 :]):
            return clients
    return None


def saturating_rate(levels: Sequence[LoadLevel]) -> float | None:
    """Return the lowest rate of which fewer than 95 % were answered in time, or None.

    Args:
        levels: open loops, and others, which are left out.
    """
    rates = [
        level.rate_per_s
        for level in levels
        if level.rate_per_s is not None and (level.unanswered or level.queries_per_s < IN_TIME * level.rate_per_s)
    ]
    return min(rates, default=None)


def most_under_way(asked: Sequence[Asked]) -> int:
    """Return how many queries were begun and not yet ended at the same time, at most."""
    steps = [(at_s, step) for one in asked for at_s, step in ((one.ended_s, -1), (one.began_s, 1)) if at_s is not None]
    return max(itertools.accumulate((step for _, step in sorted(steps)), initial=0))
