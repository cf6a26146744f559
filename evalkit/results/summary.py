"""Names and key figures of a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.results import naming
from evalkit.results.comparison_schema import CostFigures
from evalkit.results.result import Result


def label(result: Result) -> str:
    """Return a line that says which system a result is of."""
    effective = result.get("effective")
    if effective is None:
        return _asked(result)
    reranker = effective["reranker"]
    if not reranks(result):
        return label_first(result)
    precision = f" at {reranker['precision']}" if "precision" in reranker else ""
    return f"{effective['first_stage']['name']} + {reranker['name']}{precision}"


def labels(results: Sequence[Result], depth: bool = True) -> list[str]:
    """Return a line for each result that says which system it is of, and by what it differs from others on its slice.

    Without `depth` it is not named.
    """
    found = [label(result) for result in results]
    of_slice: dict[str, list[int]] = {}
    for number, result in enumerate(results):
        if result["status"] == "finished":
            of_slice.setdefault(str(result["effective"]["slice"]["name"]), []).append(number)
    for places in of_slice.values():
        for place, name in zip(places, naming.apart([_named(results[place]) for place in places], depth)):
            found[place] = name
    return found


def differing(results: Sequence[Result]) -> list[str]:
    """Return the settings in which finished results differ where their labels do not say so."""
    return naming.differing([_named(result) for result in results])


def _named(result: Result) -> naming.Named:
    return naming.Named(label(result), result["effective"], "reranked" if reranks(result) else "first_stage")


def reranks(result: Result) -> bool:
    """Return whether a finished result has a reranker at all."""
    return bool(result["effective"]["reranker"].get("reranks", True))


def label_first(result: Result) -> str:
    """Return the first stage's name."""
    return str(result["effective"]["first_stage"]["name"])


def label_second(result: Result) -> str:
    """Return the reranker's name."""
    return f"+ {result['effective']['reranker']['name']}"


def cost_figures(result: Result) -> CostFigures | None:
    """Return the figures of a trial's cost by which trials are compared; None where nothing was computed."""
    cost = result.get("cost")
    if not cost:
        return None
    latency, memory, reranker = cost.get("latency") or {}, cost["memory"], result["effective"]["reranker"]
    apart = (memory.get("own_pass") or {}).get("cuda_allocated_peak_mb")
    gpu_mb = memory["cuda_allocated_peak_mb"] if apart is None else apart
    return CostFigures(
        pairs_per_s=cost["pairs_per_s"],
        p50_ms=latency.get("p50_ms"),
        p50_ci95_ms=latency.get("p50_ci95_ms"),
        p99_ms=latency.get("p99_ms"),
        p99_ci95_ms=latency.get("p99_ci95_ms"),
        latency_samples=samples(latency) if latency else None,
        peak_mb=memory["rss_peak_mb"] if gpu_mb is None else gpu_mb,
        peak_of="process" if gpu_mb is None else "GPU",
        weights_mb=memory.get("weights_mb"),
        batch_tokens=reranker.get("batch_tokens"),
        device=reranker.get("device_name"),
    )


def samples(latency: Mapping[str, Any]) -> int:
    """Return how many runs were timed."""
    return len(latency["samples_ms"])


def _asked(result: Result) -> str:
    precision = result["asked"].get("precision", {}).get("name", "")
    return f"{result['name']} at {precision}"
