"""Tables and sentences on the cost of a trial, shared by Markdown and HTML.

A figure that is None was not measured; it is never shown as 0.
"""

from collections.abc import Mapping
from typing import Any

from evalkit.evaluation.scoring_counts import ScoringCounts
from evalkit.report.content.cost_load import under_load
from evalkit.report.content.cost_part import Part, without_empty_columns
from evalkit.report.content.numbers import amount, counted, number
from evalkit.results.schema import RerankerFacts, Result
from evalkit.types import (
    Calibration,
    Cost,
    CostEstimate,
    Interval,
    Latency,
    LatencyGrid,
    Memory,
    MemoryPass,
    Throughput,
)

NOT_MEASURED = "not measured"
LATENCY, GRID = "Latency of a query", "Latency by depth and length"


def parts(result: Result) -> list[Part]:
    """Return the tables and notes on a trial's cost, the most important first; empty where nothing was computed."""
    cost = result.cost
    if not cost:
        return []
    effective = result.effective
    found = [
        _throughput(cost, effective.scoring),
        *([_latency(cost.latency)] if cost.latency else []),
        *([_grid(cost.latency_grid)] if cost.latency_grid else []),
        *([under_load(cost.load)] if cost.load else []),
        _memory(cost.memory, cost.calibration, effective.scoring),
        _phases(cost),
        _storage(effective.reranker, effective.slice["docs"]),
        _money(cost),
        _conditions(effective.reranker, effective.environment or {}, cost),
    ]
    return [part for part in found if part.rows or part.notes]


def ends(interval: Interval, count: int) -> str:
    """Return an interval in words; an end that is None cannot be determined from so few samples.

    Args:
        interval: lower and upper end, in any unit; None for an end that cannot be determined.
        count: number of samples.
    """
    low, high = interval
    unknown = f"not determinable from {counted(count, 'sample')}"
    if low is not None and high is not None:
        return f"{amount(low)} to {amount(high)}"
    if low is not None:
        return f"from {amount(low)}; upper end {unknown}"
    return f"to {amount(high)}; lower end {unknown}" if high is not None else unknown


def _throughput(cost: Cost, scoring: ScoringCounts) -> Part:
    found = cost.throughput
    rows = [
        ("pairs/s, end to end", amount(cost.pairs_per_s)),
        ("pairs/s, the model alone", (number(found.model_pairs_per_s) if found else "") or NOT_MEASURED),
        ("pairs/s, tokenization alone", (number(found.tokenize_pairs_per_s) if found else "") or NOT_MEASURED),
    ]
    notes = []
    padding = scoring.get("padding_share")
    if found:
        more, note = _of_throughput(found)
        rows, notes = [*rows, *more], [note]
    elif padding is not None:  # a result of an older version
        rows.append(("padding, share of the tokens that were computed", f"{padding:.1%}"))
    if (chunks := scoring.get("chunk_pairs")) is not None:
        notes.append(f"The model scored {chunks:,} pairs of a query and a chunk for {counted(cost.pairs, 'pair')}.")
    if known := scoring.get("pairs_from_store"):
        notes.append(f"{known:,} of {counted(cost.pairs, 'score')} came from a store and are in none of these times.")
    if repeated := scoring.get("pairs_repeated"):
        notes.append(f"{counted(repeated, 'pair')} repeated the texts of another pair and took its score.")
    notes += [str(sentence) for sentence in scoring.get("budget_halvings") or ()]
    return Part("Throughput", ("", "value"), tuple(rows), tuple(notes))


def _of_throughput(found: Throughput) -> tuple[list[tuple[str, str]], str]:
    """Return the figures beyond pairs a second, and what they were measured on."""
    flops, model, matrix = found.flops, found.model_flops_per_s, found.matrix_flops_per_s
    rows = [
        ("useful tokens/s, end to end", amount(found.tokens_per_s) if found.tokens else NOT_MEASURED),
        (
            "padding, share of the tokens that were computed",
            f"{found.padding_share:.1%}" if found.tokens else NOT_MEASURED,
        ),
        *([("shared prefixes, tokens not computed again", f"{found.shared_share:.1%}")] if found.shared_share else []),
        *([("FLOPs of the useful tokens", _si(flops, "FLOP"))] if flops is not None else []),
        *([("FLOPs a second, the model alone", _si(model, "FLOP/s"))] if model is not None else []),
        *([("FLOPs a second, a matrix product in this run", _si(matrix, "FLOP/s"))] if matrix is not None else []),
        ("MFU, the model alone", _share(found.model_mfu)),
        ("MFU, end to end", _share(found.end_to_end_mfu)),
    ]
    of = "the scoring of all pairs" if found.source == "scoring" else "a timed pass of its own over a sample"
    note = (
        f"Of {of}: {counted(found.pairs, 'pair')}{_tokens(found, ', ')}, {_s(found.wall_s)}. MFU is the "
        "rate of the useful tokens' FLOPs over that of a matrix product at the same precision; every layer counts "
        "in full, even where the engine skips part of the last one"
        + (", and every token, even where a shared prefix is computed once" if found.shared_share else "")
        + ", so that MFU may exceed 100 %"
        + ("." if matrix is not None else ", which protocol=standard measures.")
    )
    return rows, note


def _tokens(found: Throughput | MemoryPass, before: str, after: str = "") -> str:
    """Return how many tokens were computed; nothing where the reranker did not count them."""
    return f"{before}{found.tokens:,} tokens{after}" if found.tokens else ""


def _latency(found: Latency) -> Part:
    count = len(found.samples_ms)
    rows = [
        (name, number(value), ends(interval, count))
        for name, value, interval in (
            ("p50", found.p50_ms, found.p50_ci95_ms),
            ("p90", found.p90_ms, found.p90_ci95_ms),
            ("p95", found.p95_ms, found.p95_ci95_ms),
            ("p99", found.p99_ms, found.p99_ci95_ms),
        )
    ]
    note = f"One query with {amount(found.pairs_per_query)} passages, after warm-up: {counted(count, 'sample')}"
    if found.queries is not None and found.duration_s is not None:
        note += f" of {counted(found.queries, 'query', 'queries')}, {amount(found.duration_s)} s together"
    note += ". A percentile is a sample (nearest rank)"
    note += ", and so are the ends of its interval." if any(row[2] for row in rows) else "."
    return without_empty_columns(LATENCY, ("", "ms", "95 % interval, ms"), [row for row in rows if row[1]], [note])


def _grid(grid: LatencyGrid) -> Part:
    cells = {(cell.depth, cell.length): cell.latency for cell in grid.cells}
    depths, lengths = (list(dict.fromkeys(key[n] for key in cells)) for n in (0, 1))
    rows = [(str(depth), *(_spread(cells.get((depth, length))) for length in lengths)) for depth in depths]
    notes = ["Milliseconds of a query: the median, and in brackets the fastest and the slowest sample."] if rows else []
    columns = ("passages", *(f"{length:,} tokens a pair" for length in lengths))
    return Part(GRID, columns, tuple(rows), (*notes, *grid.notes))


def _spread(found: Latency | None) -> str:
    if found is None:
        return ""
    times = found.samples_ms
    middle = amount(found.p50_ms)
    return f"{middle} ({amount(min(times))} to {amount(max(times))})" if len(times) > 1 else f"{middle} (timed once)"


def _memory(memory: Memory, calibration: Calibration | None, scoring: ScoringCounts) -> Part:
    own = memory.own_pass
    predicted, peak = (own.predicted_peak_mb, own.cuda_allocated_peak_mb) if own else (None, None)
    own_pass = [(words, _mb(getattr(own, field, None)), "", "") for field, words in _OWN_PASS]
    if predicted is not None and peak is not None:
        at = [key for key, _ in _OWN_PASS].index("cuda_allocated_peak_mb")
        own_pass[at] = (own_pass[at][0], _mb(peak), _mb(predicted), f"{peak / predicted:.2f}")
    rows = [
        *((words, _mb(getattr(memory, field)), "", "") for field, words in _MEMORY),
        *own_pass,
        *((words, _mb(getattr(calibration, field, None)), "", "") for field, words in _CALIBRATION),
    ]
    if memory.why:
        notes = [f"Memory was not measured: {memory.why}."]
    elif own:
        notes = [
            f"Memory pass: a separate pass over the longest {counted(own.pairs, 'pair')}{_tokens(own, ' (', ')')}, "
            "with all peaks reset before it."
        ]
    else:
        notes = ["Memory was not measured in a pass of its own (protocol=standard does)."]
    if scoring.get("pairs_from_store"):
        notes.append("Scores came from a store, so peaks to the end of scoring may be lower than without one.")
    if predicted is not None and peak is None:
        notes.append(
            f"Weights and activations of a batch should take {_mb(predicted)} MiB by arithmetic. That is for GPU "
            "memory: a resident set also contains libraries and texts."
        )
    columns = ("MiB", "measured", "predicted", "measured / predicted")
    return without_empty_columns("Memory", columns, [row for row in rows if row[1]], notes)


def _phases(cost: Cost) -> Part:
    first, latency, calibration = cost.first_forward_ms, cost.latency, cost.calibration
    rows = [
        ("loading the reranker", _s(cost.load_s)),
        *([("preparation, such as stored vectors", _s(cost.preparation_s))] if cost.preparation_s >= 0.01 else []),
        ("first forward: one query, cold", f"{amount(first)} ms" if first is not None else NOT_MEASURED),
        ("warm-up, the first forward with it", _s(cost.warmup_s)),
        ("steady state: one query, p50", f"{amount(latency.p50_ms)} ms" if latency else NOT_MEASURED),
        ("scoring all pairs", _s(cost.scoring_s)),
        (
            "of which the tokenizer, in parallel with the model",
            _s(cost.tokenize_s) if cost.tokenize_s else NOT_MEASURED,
        ),
        ("of which the model", _s(cost.forward_s) if cost.forward_s else NOT_MEASURED),
        ("first stage: indexing and searching", _s(cost.first_stage_s)),
        *([("calibration workload, median", f"{amount(calibration.p50_ms)} ms")] if calibration else []),
    ]
    notes = (
        "Cold: the first query after loading, with all of its passages. In it libraries choose and compile their "
        "kernels, memory is reserved and caches fill, which a service pays once after each start. Steady state is the "
        "same after warm-up, as in all other figures here."
    )
    return Part("Load, first forward, steady state", ("phase", "time"), tuple(rows), (notes,))


def _storage(reranker: RerankerFacts, docs: int) -> Part:
    title = "Storing the vectors of passages"
    if "vectors_per_passage" not in reranker:
        return Part(title, (), (), ())
    vectors, size, stored = reranker["vectors_per_passage"], reranker["bytes_per_passage"], reranker["stored_passages"]
    rows = (
        ("vectors of a passage, on average", amount(vectors)),
        ("numbers in a vector", str(reranker["dimensions"])),
        ("size of a passage", f"{amount(size / 2**10)} KiB"),
        (f"size of the {counted(docs, 'passage')} of the slice", f"{amount(docs * size / 2**20)} MiB"),
    )
    if stored:
        how = "read from the cache" if reranker["from_cache"] else "computed"
        note = (
            f"The vectors of {counted(stored, 'passage')}, {amount(reranker['stored_mb'])} MiB, were {how} before "
            "anything was timed: no time but that of the preparation includes them."
        )
    else:
        note = "No vectors were stored in this run: passages were embedded in each call, and all times include it."
    return Part(title, ("", "value"), rows, (note,))


def _money(cost: Cost) -> Part:
    notes = []
    energy, estimate = cost.energy, cost.estimate
    if energy and energy.joules is not None:
        each = number(energy.joules_per_1000_pairs)
        notes.append(
            f"Energy of the whole GPU: {amount(energy.joules)} J in {number(energy.duration_s)} s, "
            f"{number(energy.mean_power_w)} W on average; 1,000 pairs took {each} J."
        )
    elif energy and energy.why and estimate:  # else it is no part by itself: see _conditions
        notes.append(f"Energy was not measured: {energy.why}.")
    if estimate:
        currency = estimate.currency
        at = _price(estimate)
        if estimate.why:
            notes.append(f"No estimate at {at}: {estimate.why}.")
        else:
            alone, by_gpu = estimate.per_1000_queries_one_by_one, estimate.price_per_gpu_hour is not None
            notes.append(
                f"At {at}{' that is always busy' if by_gpu else ''}, 1,000 queries with {estimate.depth} passages each "
                f"cost {number(estimate.per_1000_queries)} {currency}{' scored together' if by_gpu else ''}"
                + ("" if alone is None else f", {amount(alone)} {currency} one by one")
                + f"; a million pairs {number(estimate.per_million_pairs)} {currency}."
            )
    return Part("Energy and price", (), (), tuple(notes))


def _price(estimate: CostEstimate) -> str:
    """Return the price that an estimate is made from."""
    if estimate.price_per_gpu_hour is not None:
        return f"{estimate.price_per_gpu_hour:g} {estimate.currency} an hour of a GPU"
    if estimate.price_per_1000_calls is not None:
        return f"{estimate.price_per_1000_calls:g} {estimate.currency} for 1,000 calls"
    return f"{estimate.price_per_million_tokens or 0:g} {estimate.currency} for a million tokens"


def _conditions(reranker: RerankerFacts, environment: Mapping[str, Any], cost: Cost) -> Part:
    known = {key: value for key, value in environment.items() if value is not None}
    facts: dict[str, Any] = {**reranker, **known}
    energy = cost.energy
    batch, source = facts.get("batch_tokens"), facts.get("batch_tokens_source")
    held_back = facts.get("clocks_held_back_by")
    why = facts.get("nvml")
    rows = [
        ("device", _joined(facts.get("device_name"), facts.get("device"))),
        ("devices", str(facts["devices"]) if (facts.get("devices") or 1) > 1 else ""),
        ("precision", str(facts.get("precision") or "")),
        ("attention", str(facts.get("attention") or "")),
        ("why on this path", str(facts.get("path_reason") or "")),
        ("tokens a batch", "" if batch is None else f"{batch:,}" + (f" ({source})" if source else "")),
        ("threads", str(facts.get("threads") or "")),
        *((words, str(facts[key])) for key, words in _VERSIONS if facts.get(key) is not None),
        ("clock of the multiprocessors", _of(facts.get("sm_clock_mhz"), facts.get("sm_clock_max_mhz"), "MHz")),
        ("clock of the memory", _of(facts.get("memory_clock_mhz"), facts.get("memory_clock_max_mhz"), "MHz")),
        ("clocks held back by", "" if held_back is None else ", ".join(held_back) or "nothing"),
        ("power limit", _unit(facts.get("power_limit_w"), "W")),
        ("temperature", _unit(facts.get("temperature_c"), "\u00b0C")),
        ("NVML", "" if not why or (energy and why == energy.why) else f"not read: {why}"),
    ]
    alone = energy and energy.why and energy.joules is None and not cost.estimate
    notes = (f"Energy was not measured: {energy.why}.",) if energy and alone else ()
    return Part("Measured on", ("", "what"), tuple(row for row in rows if row[1]), notes)


def _s(seconds: float) -> str:
    return f"{amount(seconds)} s"


def _mb(value: float | None) -> str:
    return number(value, ",.0f")


def _share(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.1%}"


def _si(value: float, unit: str) -> str:
    """Return a count of operations with its prefix."""
    prefix, size = next(((p, s) for p, s in _PREFIXES if value >= s), ("", 1.0))
    return f"{amount(value / size)} {prefix}{unit}"


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{amount(value)} {unit}"


def _of(value: float | None, most: float | None, unit: str) -> str:
    if value is None:
        return ""
    return _unit(value, unit) if most is None else f"{amount(value)} of {_unit(most, unit)}"


def _joined(name: object, device: object) -> str:
    return f"{name} ({device})" if name and device else str(name or device or "")


_PREFIXES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))
_MEMORY = (
    ("weights_mb", "weights of the model"),
    ("rss_before_load_mb", "process, before loading"),
    ("rss_after_load_mb", "process, after loading"),
    ("rss_peak_mb", "process, peak to the end of scoring"),
    ("cuda_allocated_peak_mb", "GPU allocated, peak to the end of scoring"),
    ("cuda_reserved_peak_mb", "GPU reserved, peak to the end of scoring"),
)
_OWN_PASS = (
    ("rss_before_mb", "memory pass: process, before"),
    ("rss_peak_mb", "memory pass: process, peak"),
    ("rss_after_mb", "memory pass: process, after"),
    ("cuda_allocated_before_mb", "memory pass: GPU allocated, before"),
    ("cuda_allocated_peak_mb", "memory pass: GPU allocated, peak"),
    ("cuda_reserved_peak_mb", "memory pass: GPU reserved, peak"),
    ("cuda_process_mb", "memory pass: GPU memory of this process (NVML)"),
    ("cuda_device_mb", "memory pass: GPU memory of all processes"),
    ("cuda_device_total_mb", "GPU memory in all"),
)
_CALIBRATION = (
    ("rss_before_mb", "calibration workload: process, before"),
    ("rss_peak_mb", "calibration workload: process, peak"),
    ("cuda_allocated_peak_mb", "calibration workload: GPU allocated, peak"),
)
_VERSIONS = (
    ("torch", "torch"),
    ("transformers", "transformers"),
    ("compute_capability", "compute capability"),
    ("cuda", "CUDA"),
    ("driver", "driver"),
)
