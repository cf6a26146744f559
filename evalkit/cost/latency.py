"""Latency of single queries, with percentiles and their confidence intervals."""

import math
import time
from collections.abc import Callable, Sequence

from evalkit.types import Interval, Latency


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile by nearest rank: the smallest sample that at least `percent` percent do not exceed.

    It is always a measured latency; interpolation would give one that did not occur.

    Args:
        samples: one or more, in any order.
        percent: from 0 to 100.
    """
    ordered = sorted(samples)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def percentile_interval(samples: Sequence[float], percent: float, confidence: float = 0.95) -> Interval:
    """Return a distribution-free confidence interval of a percentile: two of the samples.

    The number of n independent samples below the percentile is binomial for any distribution, so each end is the
    innermost order statistic with a probability of at most (1 - confidence) / 2 beyond it (Hahn and Meeker, Statistical
    Intervals, 1991, section 5.2). If few queries are timed repeatedly, the interval holds for these queries.

    Args:
        samples: one or more, in any order.
        percent: strictly between 0 and 100.
        confidence: in (0, 1).

    Returns:
        Lower and upper end; None for an end that even the smallest or largest sample does not guarantee.
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
    """Return the wall-clock time of `work` in milliseconds."""
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
    """Time single queries, each with its candidates, as a user would wait for them.

    Args:
        work: one function for each query; it returns when the scores are on the host, so the device has finished.
        pairs_per_query: mean number of candidates, for the result.
        min_repetitions: all queries are timed again until there are so many samples,
        min_s: and until the samples took so many seconds together.
        between: runs before each query, outside of the timing.
    """
    samples: list[float] = []
    while not samples or len(samples) < min_repetitions or sum(samples) < min_s * 1000:
        for piece in work:
            between()
            samples.append(time_ms(piece))
    return summarize(samples, len(work), pairs_per_query)


def summarize(samples_ms: Sequence[float], queries: int, pairs_per_query: float) -> Latency:
    """Return samples with their percentiles and the confidence intervals of these.

    Args:
        samples_ms: one or more latencies, in milliseconds, in the order of measurement.
        queries: number of different queries that were timed.
        pairs_per_query: mean number of candidates.
    """
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
