"""Rows and sentences of a trial, shared by the terminal, Markdown, HTML and LaTeX."""

from collections.abc import Sequence

from evalkit.evaluation.judged_by import judged_by
from evalkit.evaluation.ties import Tied
from evalkit.report.content import blend
from evalkit.report.content.numbers import amount, interval, number, plus_minus
from evalkit.results.comparison_schema import CostFigures
from evalkit.results.schema import Result, Unfinished
from evalkit.results.summary import cost_figures, label, label_first, label_second, labels, reranks


def verdict(result: Result) -> str:
    """Return `reranking`, and the sentence on the blend of both scores where that changes the verdict."""
    return " ".join(filter(None, (reranking(result), blend.claim(result))))


def reranking(result: Result) -> str:
    """Return one sentence: did reranking help, by how much, and how sure is that. The first measure decides.

    Truncation is part of the sentence from `MUCH_CUT` of the pairs on.
    """
    effect = result.effectiveness
    name = next(iter(effect.delta))
    if not reranks(result):
        return f"No reranker: {name} {effect.first_stage.mean[name]:.4f} by {label(result)}."
    before, after = effect.first_stage.mean[name], effect.reranked.mean[name]
    ends = interval(*effect.delta_ci95[name])
    counts = f"{effect.wins[name]} queries better, {effect.losses[name]} worse, {effect.ties[name]} equal"
    return (
        f"Reranking {effect.verdict[name]}: {name} {before:.4f} -> {after:.4f} "
        f"({effect.delta[name]:+.4f}{f', 95 % interval {ends}' if ends else ''}; {counts}){_truncation(result)}."
    )


MUCH_CUT = 0.1
"""Share of pairs from which on truncation is part of the verdict: the gate's default limit."""


def _truncation(result: Result) -> str:
    scoring, reranker = result.effective.scoring, result.effective.reranker
    cut, pairs, most = scoring.get("truncated_pairs", 0), scoring.get("pairs", 0), reranker.get("max_length")
    if not pairs or cut / pairs < MUCH_CUT or most is None:
        return ""
    longest = scoring.get("longest_pair_tokens")
    way_out = (
        "a larger reranker.max_length would cut fewer"
        if longest is None
        else f"reranker.max_length={longest} would cut none, where the model takes as many"
    )
    if "chunks" not in reranker:
        way_out += ", and chunks=tokens scores every part"
    return f", but {cut:,} of {pairs:,} pairs ({cut / pairs:.0%}) were cut to {most:,} tokens; {way_out}"


def tied_means(result: Result) -> list[tuple[str, str, Tied]]:
    """Return for each list with ties, and each measure: its mean over all orders of the tied passages, and the ends."""
    analysis = result.analysis
    return [
        (label, measure, means)
        for label, tied in ((label_first(result), analysis.tied_first_stage), (label_second(result), analysis.tied))
        for measure, means in (tied or {}).items()
    ]


def tie_lines(result: Result, least: float = 0.0) -> list[str]:
    """Return a sentence for each list with ties: what the first measure could be over all orders of the tied passages.

    Args:
        result: a finished trial.
        least: the smallest difference between the lowest and the highest value for which a sentence is returned.
    """
    scoring, analysis, effect = result.effective.scoring, result.analysis, result.effectiveness
    name, found = next(iter(effect.delta)), []
    hits, tied_hits = scoring.get("first_stage_hits", 0), scoring.get("first_stage_tied_hits", 0)
    pairs, tied_pairs = scoring.get("pairs", 0), scoring.get("tied_pairs", 0)
    for ranking, means, tied, count, of, what in (
        (label_first(result), effect.first_stage, analysis.tied_first_stage, tied_hits, hits, "hits"),
        (label_second(result), effect.reranked, analysis.tied, tied_pairs, pairs, "candidates"),
    ):
        over = (tied or {}).get(name)
        if not over or not count or over.high - over.low < least:
            continue
        found.append(
            f"Ties of {ranking}: {count:,} of {of:,} {what} ({count / of:.1%}); "
            f"{name} is {means.mean[name]:.4f} in the order measured, {over.low:.4f} to "
            f"{over.high:.4f} over all orders of the tied, {over.expected:.4f} on average."
        )
    return found


def cost_line(result: Result) -> str | None:
    """Return time, memory and price in one line, or None where nothing was computed."""
    cost = result.cost
    if cost is None:
        return None
    reranker = result.effective.reranker
    known = result.effective.scoring.get("pairs_from_store")
    stored = f" ({known:,} known from a store, none of them timed)" if known else ""
    chunks = result.effective.scoring.get("chunk_pairs")
    split = "" if chunks is None else f", {chunks:,} with a chunk,"
    parts = [f"{cost.pairs:,} pairs{split} at {amount(cost.pairs_per_s)} pairs/s{stored}"]
    if latency := cost.latency:
        parts.append(
            f"one query with {latency.pairs_per_query:.0f} passages takes {amount(latency.p50_ms)} ms (p50), "
            f"{amount(latency.p90_ms)} (p90), {amount(latency.p99_ms)} (p99) in {len(latency.samples_ms):,} samples"
        )
    memory = cost.memory
    if memory.cuda_allocated_peak_mb is not None:
        parts.append(
            f"peak GPU memory {memory.cuda_allocated_peak_mb:,.0f} MiB allocated, "
            f"{memory.cuda_reserved_peak_mb:,.0f} reserved"
        )
    if memory.rss_peak_mb is not None:
        parts.append(f"peak process memory {memory.rss_peak_mb:,.0f} MiB")
    estimate = cost.estimate
    if estimate is not None and estimate.per_1000_queries is not None:
        parts.append(f"1,000 queries for {amount(estimate.per_1000_queries)} {estimate.currency}")
    at = f" at {reranker['precision']}" if reranker.get("precision") else ""
    on = f" on {reranker['device_name']}" if reranker.get("device_name") else ""
    return f"Cost{at}{on}: {'; '.join(parts)}."


def device(cost: CostFigures) -> str:
    """Return the name of the device that a cost was measured on."""
    return cost.device or "an unnamed device"


def heading(result: Result) -> str:
    """Return what was evaluated, in a line."""
    facts, effect = result.effective.slice, result.effectiveness
    by = f", judged by {who}" if (who := judged_by(facts)) else ""
    return f"{facts['name']}: {effect.queries} queries, {facts['docs']:,} passages{by}, depth {result.effective.depth}"


def effectiveness_columns(result: Result) -> list[str]:
    """Return the headings of `effectiveness_rows`; without a reranker there is nothing after, and no difference."""
    if not reranks(result):
        return ["measure", label_first(result), "ceiling"]
    return ["measure", label_first(result), label_second(result), "delta, 95 % interval", "win/tie/loss", "ceiling"]


def effectiveness_rows(result: Result) -> list[list[str]]:
    """Return for each measure the cells under `effectiveness_columns`; after the delta comes half its interval."""
    effect = result.effectiveness
    if not reranks(result):
        first, ceiling = effect.first_stage.mean, effect.ceiling.mean
        return [[name, f"{value:.4f}", f"{ceiling[name]:.4f}"] for name, value in first.items()]
    rows = []
    for name, delta in effect.delta.items():
        low, high = effect.delta_ci95[name]
        rows.append(
            [
                name,
                f"{effect.first_stage.mean[name]:.4f}",
                f"{effect.reranked.mean[name]:.4f}",
                plus_minus(delta, low, high),
                f"{effect.wins[name]}/{effect.ties[name]}/{effect.losses[name]}",
                f"{effect.ceiling.mean[name]:.4f}",
            ]
        )
    return rows


def sweep_rows(results: Sequence[Result | Unfinished], measures: int | None = None) -> list[dict[str, str]]:
    """Return a row for each trial, with effectiveness and cost side by side.

    Slice and depth have columns of their own where they differ. Measures that not every trial has are left out.

    Args:
        results: the trials, finished or not.
        measures: how many measures are shown, from the first on; None for all.

    Returns:
        For each trial: heading of a column -> text of the cell; the headings are the same in all rows.
    """
    done = [result for result in results if isinstance(result, Result) and result.status == "finished"]
    names = [n for n in (done[0].effectiveness.delta if done else ()) if all(_has(r, n) for r in done)][:measures]
    vary_slice = len({result.effective.slice["name"] for result in done}) > 1
    vary_depth = len({_depth(result) for result in results}) > 1
    rows = []
    for result, name in zip(results, labels(results, depth=False)):
        finished = result if isinstance(result, Result) and result.status == "finished" else None
        row = {"system": name}
        if vary_slice:
            row["slice"] = finished.effective.slice["name"] if finished else ""
        if vary_depth:
            row["depth"] = _depth(result)
        row |= {measure: _after_and_delta(finished, measure) if finished else "failed" for measure in names}
        cost = cost_figures(result) if isinstance(result, Result) else None
        row["pairs/s"] = number(cost.pairs_per_s if cost else None)
        row["p50 ms"] = number(cost.p50_ms if cost else None)
        row["p99 ms"] = number(cost.p99_ms if cost else None)
        row["peak MiB"] = number(cost.peak_mb if cost else None, ",.0f")
        rows.append(row)
    return rows


def _depth(result: Result | Unfinished) -> str:
    """Return the depth in effect, or the one asked for where the trial did not finish."""
    depth = result.effective.depth if isinstance(result, Result) else result.asked.get("depth")
    return "" if depth is None else str(depth)


def _has(result: Result, name: str) -> bool:
    return name in result.effectiveness.delta


def _after_and_delta(result: Result, name: str) -> str:
    effect = result.effectiveness
    after = f"{effect.reranked.mean[name]:.4f}"
    return f"{after} ({effect.delta[name]:+.4f})" if reranks(result) else after
