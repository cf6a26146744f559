"""Latency: pieces of work timed one by one, with percentiles and intervals."""

import math
import time
from collections.abc import Callable, Sequence

from evalkit.types import Interval, Latency


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` percent of the samples do not exceed (nearest rank).

    A latency that was really seen, where interpolation would invent one between two.
    """
    ordered = sorted(samples)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def percentile_interval(samples: Sequence[float], percent: float, confidence: float = 0.95) -> Interval:
    """Return two samples that enclose the percentile of what the samples were drawn from, with `confidence`.

    Order statistics: how many of n independent samples lie below the percentile is binomial, whatever their
    distribution, so each end is the outermost rank that leaves (1 - confidence) / 2 beyond it (Hahn and Meeker,
    Statistical Intervals, 1991, section 5.2). Nothing is assumed and nothing interpolated: where even the smallest
    or the largest sample leaves more than that, this end is None. Samples of few queries, timed again and again, are
    draws from these queries: the interval is for them.
    """
    ordered, tail = sorted(samples), (1 - confidence) / 2
    low = high = None
    for below, at_most in enumerate(_binomial_cdf(len(ordered), percent / 100)):
        # Sample number `below` + 1 is above the percentile if no more than `below` samples are under it.
        if at_most <= tail:
            low = below + 1
        # Sample number `below` + 1 is under it if more than `below` are.
        if high is None and 1 - at_most <= tail and below < len(ordered):
            high = below + 1
    return (None if low is None else ordered[low - 1]), (None if high is None else ordered[high - 1])


def _binomial_cdf(n: int, p: float) -> list[float]:
    """Return the probability of at most k successes in n, for k from 0 to n; 0 < p < 1."""
    found, total = [], 0.0
    for k in range(n + 1):
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)  # logarithms: n may be thousands
        total += math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
        found.append(min(total, 1.0))
    return found


def time_ms(work: Callable[[], object]) -> float:
    """Return how long `work` takes in milliseconds by the clock on the wall."""
    started = time.perf_counter()
    work()
    return round((time.perf_counter() - started) * 1000, 4)  # 0.1 microseconds: finer is noise


def measure_latency(
    work: Sequence[Callable[[], object]],
    pairs_per_query: float,
    min_repetitions: int = 0,
    min_s: float = 0.0,
    between: Callable[[], None] = lambda: None,
) -> Latency:
    """Time each piece of work: one query with its candidates, as a user would wait for it.

    A piece ends when its scores are on the host: the device has finished by then. All pieces are done once, and all
    of them again until there are `min_repetitions` samples that took `min_s` seconds together. `between` runs before
    each, where no clock does.
    """
    samples: list[float] = []
    while not samples or len(samples) < min_repetitions or sum(samples) < min_s * 1000:
        for piece in work:
            between()
            samples.append(time_ms(piece))
    return summarize(samples, len(work), pairs_per_query)


def summarize(samples_ms: Sequence[float], queries: int, pairs_per_query: float) -> Latency:
    """Return samples with their percentiles and how sure these are."""
    return Latency(
        samples_ms=tuple(samples_ms),
        p50_ms=percentile(samples_ms, 50),
        p90_ms=percentile(samples_ms, 90),
        p95_ms=percentile(samples_ms, 95),
        p99_ms=percentile(samples_ms, 99),
        p50_ci95_ms=percentile_interval(samples_ms, 50),
        p90_ci95_ms=percentile_interval(samples_ms, 90),
        p95_ci95_ms=percentile_interval(samples_ms, 95),
        p99_ci95_ms=percentile_interval(samples_ms, 99),
        pairs_per_query=pairs_per_query,
        queries=queries,
        repetitions=len(samples_ms),
        duration_s=sum(samples_ms) / 1000,
    )
