"""Results as rows and sentences: the words that terminal and Markdown share."""

from collections.abc import Sequence

from evalkit.report.result import Result


def verdict(result: Result) -> str:
    """Return one sentence: did reranking help, by how much, and how sure is that. The first measure decides."""
    effect = result["effectiveness"]
    name = next(iter(effect["delta"]))
    if not reranks(result):
        return f"No reranker: {name} {effect['first_stage']['mean'][name]:.4f} by {label(result)}."
    before, after = effect["first_stage"]["mean"][name], effect["reranked"]["mean"][name]
    low, high = effect["delta_ci95"][name]
    interval = f", 95 % interval {low:+.4f} to {high:+.4f}" if low is not None else ""
    counts = f"{effect['wins'][name]} queries better, {effect['losses'][name]} worse, {effect['ties'][name]} equal"
    return (
        f"Reranking {effect['verdict'][name]}: {name} {before:.4f} -> {after:.4f} "
        f"({effect['delta'][name]:+.4f}{interval}; {counts})."
    )


def cost_line(result: Result) -> str | None:
    """Return time and memory in one line, or None where nothing was computed."""
    cost = result["cost"]
    if cost is None:
        return None
    reranker = result["effective"]["reranker"]
    parts = [f"{cost['pairs']} pairs at {_rate(cost['pairs_per_s'])} pairs/s"]
    if latency := cost["latency"]:
        parts.append(
            f"one query with {latency['pairs_per_query']:.0f} passages takes {latency['p50_ms']:.0f} ms (p50), "
            f"{latency['p90_ms']:.0f} (p90), {latency['p99_ms']:.0f} (p99)"
        )
    memory = cost["memory"]
    if memory["cuda_allocated_peak_mb"] is not None:
        parts.append(
            f"peak GPU memory {memory['cuda_allocated_peak_mb']:.0f} MiB allocated, "
            f"{memory['cuda_reserved_peak_mb']:.0f} reserved"
        )
    if memory["rss_peak_mb"] is not None:
        parts.append(f"peak process memory {memory['rss_peak_mb']:.0f} MiB")
    return f"Cost at {reranker['precision']} on {reranker['device_name']}: {'; '.join(parts)}."


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


def reranks(result: Result) -> bool:
    """Return whether a finished result has a reranker at all."""
    return bool(result["effective"]["reranker"].get("reranks", True))


def label_first(result: Result) -> str:
    """Return the first stage's name."""
    return str(result["effective"]["first_stage"]["name"])


def label_second(result: Result) -> str:
    """Return the reranker's name."""
    return f"+ {result['effective']['reranker']['name']}"


def heading(result: Result) -> str:
    """Return what was evaluated, in a line."""
    facts, effect = result["effective"]["slice"], result["effectiveness"]
    return (
        f"{facts['name']}: {effect['queries']} queries, {facts['docs']:,} passages, "
        f"depth {result['effective']['depth']}"
    )


def effectiveness_columns(result: Result) -> list[str]:
    """Return the headings of `effectiveness_rows`."""
    return ["measure", label_first(result), label_second(result), "delta, 95 % interval", "win/tie/loss", "ceiling"]


def effectiveness_rows(result: Result) -> list[list[str]]:
    """Return for each measure the cells under `effectiveness_columns`; after the delta comes half its interval."""
    effect = result["effectiveness"]
    rows = []
    for name, delta in effect["delta"].items():
        low, high = effect["delta_ci95"][name]
        rows.append(
            [
                name,
                f"{effect['first_stage']['mean'][name]:.4f}",
                f"{effect['reranked']['mean'][name]:.4f}",
                around(delta, low, high),
                f"{effect['wins'][name]}/{effect['ties'][name]}/{effect['losses'][name]}",
                f"{effect['ceiling']['mean'][name]:.4f}",
            ]
        )
    return rows


def sweep_rows(results: Sequence[Result], measures: int | None = None) -> list[dict[str, str]]:
    """Return a row for each trial: the first `measures` of effectiveness (None for all) and cost, side by side.

    Slice and depth have columns of their own where they differ. Measures that not every trial has are left out.
    """
    done = [result for result in results if result["status"] == "finished"]
    names = [n for n in (done[0]["effectiveness"]["delta"] if done else ()) if all(_has(r, n) for r in done)][:measures]
    vary_slice = len({result["effective"]["slice"]["name"] for result in done}) > 1
    vary_depth = len({result["asked"]["depth"] for result in results}) > 1
    rows = []
    for result in results:
        finished = result["status"] == "finished"
        row = {"system": label(result)}
        if vary_slice:
            row["slice"] = result["effective"]["slice"]["name"] if finished else ""
        if vary_depth:
            row["depth"] = str(result["asked"]["depth"])
        row |= {name: _after_and_delta(result, name) if finished else "failed" for name in names}
        cost = result.get("cost") or {}
        latency, memory = cost.get("latency") or {}, cost.get("memory") or {}
        row["pairs/s"] = _rate(cost["pairs_per_s"]) if cost else ""
        row["p50 ms"] = number(latency.get("p50_ms"), ".0f")
        row["p99 ms"] = number(latency.get("p99_ms"), ".0f")
        row["peak MiB"] = number(memory.get("cuda_allocated_peak_mb") or memory.get("rss_peak_mb"), ".0f")
        rows.append(row)
    return rows


def _has(result: Result, name: str) -> bool:
    return name in result["effectiveness"]["delta"]


def _after_and_delta(result: Result, name: str) -> str:
    effect = result["effectiveness"]
    return f"{effect['reranked']['mean'][name]:.4f} ({effect['delta'][name]:+.4f})"


def _asked(result: Result) -> str:
    precision = result["asked"].get("precision", {}).get("name", "")
    return f"{result['name']} at {precision}"


def _rate(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def around(delta: float, low: float | None, high: float | None) -> str:
    """Return a change with half its interval, where there is one."""
    return f"{delta:+.4f}" + ("" if low is None or high is None else f" \u00b1 {(high - low) / 2:.4f}")


def number(value: float | None, form: str) -> str:
    """Return a number in a form, or nothing where there is none."""
    return "" if value is None else format(value, form)
