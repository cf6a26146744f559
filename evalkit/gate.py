"""The gate: a result against a baseline, check by check; what got worse is named, noise is let pass."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

from evalkit import baseline as baselines
from evalkit.baseline import Baseline
from evalkit.errors import EvalkitError
from evalkit.limits import Limits
from evalkit.report.reading import Finished
from evalkit.significance import Delta, deviation, paired_delta, smallest_detectable


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["passed", "failed", "skipped", "no limit"]
    message: str
    value: float | None = None
    """The figure that a budget is about; None for other checks."""


@dataclass(frozen=True)
class Move:
    """A passage that moved; None for a rank before that the baseline does not keep, and after for none at all."""

    doc_id: str
    text: str
    grade: int | None
    rank_before: int | None
    rank_after: int | None


@dataclass(frozen=True)
class Loss:
    """A query that lost, and the passages whose moves cost it most."""

    query_id: str
    query: str
    before: float
    after: float
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Quality:
    """One measure before and after."""

    measure: str
    before: float
    after: float
    delta: Delta
    tolerance: float
    max_drop: float
    detectable: float | None
    """The smallest true drop that the slice shows with the stated power, if a change is as uneven as reranking is."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    system: str
    changed: tuple[str, ...]
    """What is another system than the baseline's, setting by setting."""
    queries: int
    qualities: tuple[Quality, ...]
    checks: tuple[Check, ...]
    losses: tuple[Loss, ...]
    """By the first measure, the largest loss first."""
    kept: int
    """How many ranks of each query the baseline knows."""
    confidence: float
    power: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def holds(self) -> bool:
        """Whether nothing got worse."""
        return not self.failed


def judge(baseline: Baseline, finished: Finished, limits: Limits) -> Verdict:
    """Compare a finished trial with a baseline.

    Raises:
        EvalkitError: the two cannot be compared, or a budget is set that the result has no figures for.
    """
    limits.check()
    now = baselines.of(finished)
    refuse_unlike(baseline, now)
    qualities = tuple(_quality(measure, baseline, now, limits) for measure in baseline.reranked)
    checks = (
        _first_stage(baseline, now, limits),
        Check("logits_finite", "passed", "all logits are finite numbers"),
        *_scores(baseline, now, limits),
        *(_judged(quality, limits) for quality in qualities),
        _drift(baseline, now, limits),
        *_budgets(finished.result.get("cost"), limits),
    )
    skipped = set(limits.skip)
    return Verdict(
        system=f"{now.first_stage.get('name')} + {now.reranker.get('name')}",
        changed=tuple(_changed(baseline, now)),
        queries=len(baseline.top),
        qualities=qualities,
        checks=tuple(
            replace(check, state="skipped")
            if check.state == "failed" and ({check.name, "quality" if "@" in check.name else ""} & skipped)
            else check
            for check in checks
        ),
        losses=tuple(_losses(baseline, now, finished, limits.worst)),
        kept=min(baseline.depth, baselines.KEPT_HITS),
        confidence=limits.confidence,
        power=limits.power,
    )


def not_finite(message: str) -> Verdict:
    """Return the verdict on a trial that ended because its model gave NaN or infinite logits."""
    check = Check("logits_finite", "failed", message)
    return Verdict("", (), 0, (), (check,), (), 0, 0.0, 0.0)


def refuse_unlike(baseline: Baseline, now: Baseline) -> None:
    """Raise an EvalkitError that says which of slice, judgments, depth, queries and measures differ."""
    before, after = baseline.slice, now.slice
    same_data = before["fingerprints"] == after["fingerprints"]
    if before["name"] != after["name"] and not same_data:
        raise EvalkitError(
            f"the baseline is of slice {before['name']}, the result of {after['name']}; give the baseline of that slice"
        )
    if baseline.depth != now.depth:
        raise EvalkitError(
            f"the baseline reranks to depth {baseline.depth}, the result to {now.depth}; run it with "
            f"depth={baseline.depth}, or write a new baseline"
        )
    if list(baseline.reranked) != list(now.reranked):
        raise EvalkitError(
            f"the baseline measures {', '.join(baseline.reranked)}, the result {', '.join(now.reranked)}; run it with "
            "the same measures.names, or write a new baseline"
        )
    if before["relevance_level"] != after["relevance_level"]:
        raise EvalkitError(
            f"the baseline counts grade {before['relevance_level']} and above as relevant, the result "
            f"{after['relevance_level']} and above; use the same slice.relevance_level"
        )
    missing, extra = sorted(baseline.top.keys() - now.top.keys()), sorted(now.top.keys() - baseline.top.keys())
    if missing or extra:
        parts = [f"lacks {len(missing)} of them ({_some(missing)})"] if missing else []
        parts += [f"has {len(extra)} others ({_some(extra)})"] if extra else []
        raise EvalkitError(
            f"the baseline has {len(baseline.top)} queries, and the result {' and '.join(parts)}; run it on the whole "
            "slice, or write a new baseline"
        )
    parts = [
        words
        for part, words in (("queries", "texts of queries"), ("docs", "passages"), ("judgments", "judgments"))
        if before["fingerprints"][part] != after["fingerprints"][part]
    ]
    if not same_data:
        raise EvalkitError(
            f"the {' and the '.join(parts)} of slice {after['name']} are not those of the baseline (another "
            "fingerprint), so figures cannot be compared; go back to the same data, or write a new baseline"
        )


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


def _changed(baseline: Baseline, now: Baseline) -> Iterator[str]:
    for part, before, after in (
        ("first stage", baseline.first_stage, now.first_stage),
        ("reranker", baseline.reranker, now.reranker),
    ):
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                yield f"{part} {key}: {before.get(key, 'none')} -> {after.get(key, 'none')}"


def _quality(measure: str, baseline: Baseline, now: Baseline, limits: Limits) -> Quality:
    before, after = baseline.reranked[measure], now.reranked[measure]
    # Where nothing changed, the change itself says nothing of how uneven changes are: reranking does.
    spreads = [
        deviation([late[query_id] - early[query_id] for query_id in before]) if len(before) > 1 else 0.0
        for early, late in ((baseline.first[measure], before), (now.first[measure], after), (before, after))
    ]
    return Quality(
        measure,
        baseline.mean("reranked", measure),
        now.mean("reranked", measure),
        paired_delta(before, after, limits.confidence),
        limits.of(limits.tolerance, measure),
        limits.of(limits.max_drop, measure),
        smallest_detectable(max(spreads), len(before), limits.confidence, limits.power),
    )


def _judged(quality: Quality, limits: Limits) -> Check:
    delta = quality.delta
    # Rounded as the values themselves are: the last bits of a sum differ from machine to machine.
    drop, low = -round(delta.mean, 6), None if delta.low is None else round(delta.low, 6)
    interval = "" if low is None else f", {100 * limits.confidence:g} % interval {delta.low:+.4f} to {delta.high:+.4f}"
    figures = (
        f"{quality.before:.4f} -> {quality.after:.4f} ({delta.mean:+.4f}{interval}; {delta.wins} queries better, "
        f"{delta.losses} worse, {delta.ties} equal)"
    )
    if drop > quality.max_drop:
        return Check(quality.measure, "failed", f"fell {figures}: more than max_drop {quality.max_drop:g}")
    if low is not None and low < -quality.tolerance:
        return Check(
            quality.measure,
            "failed",
            f"may have fallen {figures}: the interval does not rule out a drop of more than the tolerance "
            f"{quality.tolerance:g}",
        )
    return Check(quality.measure, "passed", figures)


def _first_stage(baseline: Baseline, now: Baseline, limits: Limits) -> Check:
    recalls = [measure for measure in now.first if measure.startswith(("R@", "R("))]
    if recalls:
        name = max(recalls, key=lambda measure: int(measure.split("@")[1]))
        before, after = baseline.mean("first", name), now.mean("first", name)
    else:
        name = next(iter(now.ceiling))
        before, after = baseline.ceiling[name], now.ceiling[name]
        name = f"ceiling of {name}"
    lost = now.scoring["queries_without_hits"] - baseline.scoring["queries_without_hits"]
    figures = f"{name} of the first stage {before:.4f} -> {after:.4f}"
    if lost > 0:
        figures += f", and {lost} more queries find nothing"
    if limits.max_recall_drop is None:
        return Check("first_stage", "no limit", figures)
    if before - after > limits.max_recall_drop + _ROUNDING or lost > 0:
        return Check(
            "first_stage",
            "failed",
            f"the retriever is at fault, not the reranker: {figures}; a reranker cannot find what was not retrieved",
        )
    return Check("first_stage", "passed", figures)


def _scores(baseline: Baseline, now: Baseline, limits: Limits) -> Iterator[Check]:
    counts, pairs = now.scoring, max(now.scoring["pairs"], 1)
    constant = counts["queries_with_constant_score"] - baseline.scoring["queries_with_constant_score"]
    if constant > 0:
        yield Check(
            "scores_vary",
            "failed",
            f"{constant} more queries than in the baseline have the same score for all of their passages: the "
            "reranker tells nothing apart there",
        )
    else:
        yield _share(
            "scores_vary",
            counts["tied_pairs"] / pairs,
            limits.max_tied_share,
            "max_tied_share",
            "of the pairs share their score with another one of their query: scores were rounded, clipped or lost",
        )
    if counts["queries_reordered"]:
        yield Check(
            "order_changed", "passed", f"the reranker changed the order of {counts['queries_reordered']} queries"
        )
    else:
        yield Check(
            "order_changed",
            "failed",
            "the reranker changed no order: every list is the first stage's, as if it were off",
        )
    yield _above(now)
    yield _share(
        "truncated",
        counts["truncated_pairs"] / pairs,
        limits.max_truncated_share,
        "max_truncated_share",
        f"of the pairs were cut to {now.reranker.get('max_length', 'the maximum number of')} tokens",
    )
    yield _rise(
        "unscored",
        baseline.scoring["pairs_unscored"] / max(baseline.scoring["pairs"], 1),
        counts["pairs_unscored"] / pairs,
        limits.max_unscored_rise,
        "max_unscored_rise",
        "share of candidates without a score",
    )
    yield _rise(
        "unjudged",
        baseline.unjudged_at_10,
        now.unjudged_at_10,
        limits.max_unjudged_rise,
        "max_unjudged_rise",
        "share of unjudged passages in the top 10, which count as not relevant,",
    )


def _above(now: Baseline) -> Check:
    measure = next(iter(now.reranked))
    before, after = now.mean("first", measure), now.mean("reranked", measure)
    figures = f"{measure} {before:.4f} before reranking, {after:.4f} after"
    if after < before - _ROUNDING:
        return Check(
            "above_first_stage", "failed", f"after is below before: {figures}; the first stage alone is better"
        )
    return Check("above_first_stage", "passed", figures)


def _share(name: str, share: float, limit: float | None, setting: str, words: str) -> Check:
    message = f"{share:.1%} {words}"
    if limit is None:
        return Check(name, "no limit", message)
    if share > limit:
        return Check(name, "failed", f"{message}; more than {setting} {limit:g}")
    return Check(name, "passed", message)


def _rise(name: str, before: float, after: float, limit: float | None, setting: str, words: str) -> Check:
    message = f"{words} {before:.1%} -> {after:.1%}"
    if limit is None:
        return Check(name, "no limit", message)
    if after - before > limit + _ROUNDING:
        return Check(name, "failed", f"{message}; a rise of more than {setting} {limit:g}")
    return Check(name, "passed", message)


def _drift(baseline: Baseline, now: Baseline, limits: Limits) -> Check:
    """Compare logits where the ranking stayed: where it did not, the measures judge."""
    drift, where, agree, pairs = 0.0, "", 0, 0
    for query_id, hits in baseline.top.items():
        new = {hit.doc_id: hit.score for hit in now.top[query_id]}
        rank = {doc_id: position for position, doc_id in enumerate(new)}
        common = [hit for hit in hits if hit.doc_id in new]
        in_order = [rank[one.doc_id] < rank[other.doc_id] for one, other in combinations(common, 2)]
        agree, pairs = agree + sum(in_order), pairs + len(in_order)
        for doc_id, score in common:
            if abs(new[doc_id] - score) > drift:
                drift = abs(new[doc_id] - score)
                where = f" (query {query_id}, passage {doc_id}: {score:g} -> {new[doc_id]:g})"
    same = agree / pairs if pairs else 1.0
    message = f"stored logits moved by at most {drift:.4f}{where}; {same:.1%} of all pairs of passages kept their order"
    if limits.max_score_drift is None:
        return Check("score_drift", "no limit", message)
    if same >= _SAME_RANKING and drift > limits.max_score_drift + _ROUNDING:
        return Check(
            "score_drift",
            "failed",
            f"scores drifted though the ranking did not: {message}; more than max_score_drift "
            f"{limits.max_score_drift:g}, and whoever cuts at a threshold will notice",
        )
    return Check("score_drift", "passed", message)


def _budgets(cost: Mapping[str, Any] | None, limits: Limits) -> Iterator[Check]:
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
                    "run the trial with protocol=ci on the device that the limit is for, or take the limit away"
                )
            continue
        message = f"{_FIGURES[name]}: {value:.3g}"
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


def figures(cost: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the figures that budgets are about, those that the result has: ratios need a calibration."""
    if not cost:
        return {}
    latency, memory, yard = cost.get("latency") or {}, cost.get("memory") or {}, cost.get("calibration") or {}
    found = {
        "p50_ms": latency.get("p50_ms"),
        "p99_ms": latency.get("p99_ms"),
        "pairs_per_s": cost.get("pairs_per_s"),
        "rss_mb": memory.get("rss_peak_mb"),
        "cuda_mb": memory.get("cuda_allocated_peak_mb"),
    }
    if yard:
        if latency:
            found["latency_ratio"] = latency["p50_ms"] / yard["p50_ms"]
        found["scoring_ratio"] = 100_000 / cost["pairs_per_s"] / yard["p50_ms"]
        if yard.get("cuda_allocated_peak_mb"):
            found["memory_ratio"] = memory["cuda_allocated_peak_mb"] / yard["cuda_allocated_peak_mb"]
        elif yard.get("rss_peak_mb") and yard["rss_peak_mb"] > yard["rss_before_mb"]:
            base = yard["rss_before_mb"]
            found["memory_ratio"] = (memory["rss_peak_mb"] - base) / (yard["rss_peak_mb"] - base)
    return {name: float(value) for name, value in found.items() if value is not None}


def _losses(baseline: Baseline, now: Baseline, finished: Finished, worst: int) -> Iterator[Loss]:
    measure = next(iter(baseline.reranked))
    before, after = baseline.reranked[measure], now.reranked[measure]
    lost = sorted((after[q] - before[q], q) for q in before if after[q] < before[q] - _ROUNDING)
    for _, query_id in lost[:worst]:
        yield Loss(
            query_id,
            finished.queries.get(query_id, ""),
            before[query_id],
            after[query_id],
            tuple(_moves(baseline, finished, query_id)),
        )


def _moves(baseline: Baseline, finished: Finished, query_id: str) -> list[Move]:
    """Return the relevant passages that lost most discounted gain, and what is in the top 10 that was not."""
    old = {hit.doc_id: rank for rank, hit in enumerate(baseline.top[query_id], 1)}
    new = {hit.doc_id: rank for rank, hit in enumerate(finished.reranked.rankings.get(query_id, ()), 1)}
    moved = [
        Move(passage.doc_id, passage.text, passage.grade, old.get(passage.doc_id), new.get(passage.doc_id))
        for passage in finished.passages.get(query_id, {}).values()
        if old.get(passage.doc_id) != new.get(passage.doc_id)
    ]
    fallen = sorted((move for move in moved if _gain_lost(move) > 0), key=_gain_lost, reverse=True)
    risen = [move for move in moved if not move.grade and _discount(move.rank_after) > _discount(move.rank_before)]
    return fallen[:3] + sorted(risen, key=lambda move: move.rank_after or math.inf)[:2]


def _gain_lost(move: Move) -> float:
    return (move.grade or 0) * (_discount(move.rank_before) - _discount(move.rank_after))


def _discount(rank: int | None) -> float:
    """Return nDCG's weight of a rank; a rank that is not known weighs nothing."""
    return 1 / math.log2(rank + 1) if rank else 0.0


_ROUNDING = 1e-6
"""Measures are kept to 6 decimals."""
_SAME_RANKING = 0.98
"""Share of pairs of stored passages in the stored order, from which on one speaks of the same ranking."""
