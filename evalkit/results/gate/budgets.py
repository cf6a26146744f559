"""Checks of time and memory: absolute, or relative to a workload that was measured in the same run."""

from collections.abc import Iterator

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.verdict import Check, figure
from evalkit.types import Cost


def budgets(cost: Cost | None, limits: Limits) -> Iterator[Check]:
    """Yield a check for each figure that the result has.

    Args:
        cost: what the new result measured; None where nothing was computed.
        limits: the limits in force.

    Raises:
        EvalkitError: a budget is set, and the result has no figure for it.
    """
    asked = {
        "latency_ratio": ("max_latency_ratio", limits.max_latency_ratio),
        "scoring_ratio": ("max_scoring_ratio", limits.max_scoring_ratio),
        "memory_ratio": ("max_memory_ratio", limits.max_memory_ratio),
        "p50_ms": ("max_p50_ms", limits.max_p50_ms),
        "p99_ms": ("max_p99_ms", limits.max_p99_ms),
        "pairs_per_s": ("min_pairs_per_s", limits.min_pairs_per_s),
        "rss_mb": ("max_rss_mb", limits.max_rss_mb),
        "cuda_mb": ("max_cuda_mb", limits.max_cuda_mb),
    }
    found = figures(cost)
    for name, (setting, limit) in asked.items():
        value = found.get(name)
        if value is None:
            if limit is not None:
                raise EvalkitError(
                    f"gate.{setting}={limit:g} is set, but the result has no {_FIGURES[name]}; "
                    "run the trial with protocol=ci on the device that the limit is for, or remove the limit"
                )
            continue
        message = f"{_FIGURES[name]}: {figure(value)}"
        if limit is None:
            yield Check(name, "no limit", f"{message} (gate.{setting} sets a limit)", value)
        elif value < limit if setting.startswith("min") else value > limit:
            word = "below" if setting.startswith("min") else "above"
            yield Check(name, "failed", f"{message}, {word} {setting} {limit:g}", value)
        else:
            yield Check(name, "passed", f"{message} ({setting} {limit:g})", value)


_FIGURES = {
    "latency_ratio": "median time of a query, in runs of the calibration workload",
    "scoring_ratio": "time of 100 pairs, in runs of the calibration workload",
    "memory_ratio": "peak memory, in that of the calibration workload",
    "p50_ms": "median time of a query in ms",
    "p99_ms": "99th percentile of the time of a query in ms",
    "pairs_per_s": "pairs a second",
    "rss_mb": "peak memory of the process in MiB",
    "cuda_mb": "peak GPU memory in MiB",
}


def figures(cost: Cost | None) -> dict[str, float]:
    """Return the figures that have limits, as far as the result has them; ratios need a calibration."""
    if not cost:
        return {}
    latency, memory, work = cost.latency, cost.memory, cost.calibration
    found = {
        "p50_ms": latency.p50_ms if latency else None,
        "p99_ms": latency.p99_ms if latency else None,
        "pairs_per_s": cost.pairs_per_s,
        "rss_mb": memory.rss_peak_mb,
        "cuda_mb": memory.cuda_allocated_peak_mb,
    }
    if work:
        if latency:
            found["latency_ratio"] = latency.p50_ms / work.p50_ms
        found["scoring_ratio"] = 100_000 / cost.pairs_per_s / work.p50_ms
        base, peak_mb = work.rss_before_mb, memory.rss_peak_mb
        if work.cuda_allocated_peak_mb and memory.cuda_allocated_peak_mb is not None:
            found["memory_ratio"] = memory.cuda_allocated_peak_mb / work.cuda_allocated_peak_mb
        elif work.rss_peak_mb and base is not None and peak_mb is not None and work.rss_peak_mb > base:
            found["memory_ratio"] = (peak_mb - base) / (work.rss_peak_mb - base)
    return {name: float(value) for name, value in found.items() if value is not None}
