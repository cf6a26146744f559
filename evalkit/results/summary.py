"""Names and key figures of a result."""

from collections.abc import Sequence
from dataclasses import asdict

from evalkit.results import labels as labelling
from evalkit.results.comparison_schema import CostFigures
from evalkit.results.schema import Result, Unfinished


def label(result: Result | Unfinished) -> str:
    """Return the label of a result's system: "bm25 + bge-reranker-v2-m3 at fp16"."""
    if isinstance(result, Unfinished):
        return _asked(result)
    effective, reranker = result.effective, result.effective.reranker
    if not reranks(result):
        return label_first(result)
    precision = f" at {reranker['precision']}" if "precision" in reranker else ""
    return f"{effective.first_stage['name']} + {reranker['name']}{precision}"


def labels(results: Sequence[Result | Unfinished], depth: bool = True) -> list[str]:
    """Return a label for each result, with the settings in which its system differs from others on the same slice.

    Args:
        results: finished or not; those that are not finished have the name and precision that were asked for.
        depth: whether to add the depth where it differs.
    """
    found = [label(result) for result in results]
    of_slice: dict[str, dict[int, labelling.Labelled]] = {}
    for number, result in enumerate(results):
        if isinstance(result, Result) and result.status == "finished":
            of_slice.setdefault(result.effective.slice["name"], {})[number] = _named(result)
    for named in of_slice.values():
        for place, name in zip(named, labelling.distinct_labels([*named.values()], depth)):
            found[place] = name
    return found


def differing_settings(results: Sequence[Result]) -> list[str]:
    """Return the names of the settings in which finished results with the same names differ."""
    return labelling.differing_settings([_named(result) for result in results])


def _named(result: Result) -> labelling.Labelled:
    return labelling.Labelled(label(result), asdict(result.effective), not reranks(result))


def reranks(result: Result) -> bool:
    """Return whether a result has a reranker, and not the first stage alone."""
    return bool(result.effective.reranker.get("reranks", True))


def label_first(result: Result) -> str:
    """Return the first stage's name."""
    return str(result.effective.first_stage["name"])


def label_second(result: Result) -> str:
    """Return the reranker's name."""
    return f"+ {result.effective.reranker['name']}"


def cost_figures(result: Result) -> CostFigures | None:
    """Return the figures of a trial's cost that comparisons show; None where nothing was computed.

    The peak on a GPU is that of the memory pass, if there was one, else that of the trial to the end of scoring.
    """
    cost = result.cost
    if not cost:
        return None
    latency, memory, reranker = cost.latency, cost.memory, result.effective.reranker
    own_pass_mb = memory.own_pass.cuda_allocated_peak_mb if memory.own_pass else None
    gpu_mb = memory.cuda_allocated_peak_mb if own_pass_mb is None else own_pass_mb
    return CostFigures(
        pairs_per_s=cost.pairs_per_s,
        p50_ms=latency.p50_ms if latency else None,
        p50_ci95_ms=latency.p50_ci95_ms if latency else None,
        p99_ms=latency.p99_ms if latency else None,
        p99_ci95_ms=latency.p99_ci95_ms if latency else None,
        latency_samples=len(latency.samples_ms) if latency else None,
        peak_mb=memory.rss_peak_mb if gpu_mb is None else gpu_mb,
        peak_of="process" if gpu_mb is None else "GPU",
        weights_mb=memory.weights_mb,
        batch_tokens=reranker.get("batch_tokens"),
        device=reranker.get("device_name"),
    )


def _asked(result: Unfinished) -> str:
    precision = result.asked.get("precision", {}).get("name", "")
    return f"{result.name} at {precision}"
