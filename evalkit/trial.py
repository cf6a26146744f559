"""The story of a trial: search to a depth, score the pairs, order them, measure what it gained and what it cost."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit import measures, ranking, searching, trec
from evalkit.adapters import first_stage_of, reranker_of
from evalkit.caveats import caveats
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.first_stage.base import FirstStage
from evalkit.measures import Measure
from evalkit.meter import Meter
from evalkit.progress import say, stage
from evalkit.rerankers.base import Reranker
from evalkit.types import Pair, Run, Scores, Settings, Slice, Trial


@dataclass(frozen=True)
class Plan:
    """What a trial needs besides its slice, first stage and reranker."""

    name: str
    depth: int
    measures: Sequence[str]
    warmup_queries: int
    """Queries reranked before any clock is read: the first forwards compile, allocate and fill caches."""
    latency_queries: int
    """Queries timed one by one, drawn by `seed`; 0 for none."""
    seed: int
    calibrate: bool = False
    """Whether a fixed piece of work is timed beside the reranker (`evalkit.calibration`)."""
    latency_min_repetitions: int = 0
    """The timed queries are gone through again until there are so many samples,"""
    latency_min_s: float = 0.0
    """and until they took so many seconds together."""
    throughput_pairs: int = 256
    """Pairs that tokenization alone is timed on, and throughput too where a store knows some of the scores."""
    matrix_rate_s: float = 0.0
    """Seconds in which the device multiplies matrices, to be held against the model's rate; 0 for none."""
    memory_pass: bool = False
    """Whether memory is measured in a pass of its own over the longest pairs."""
    grid_depths: Sequence[int] = ()
    """Passages a query of the latency grid; none for no grid."""
    grid_lengths: Sequence[int] = ()
    """Tokens a pair of the latency grid."""
    grid_repetitions: int = 10
    """Samples of each cell of the grid,"""
    grid_cell_s: float = 5.0
    """or as many as begin within so many seconds. A cell that takes longer is timed once."""
    price_per_gpu_hour: float | None = None
    """What an hour of the GPU costs; None for no estimate."""
    currency: str = "USD"
    """Of that price; it is only shown."""

    def parsed(self) -> list[Measure]:
        """Return the measures with their cutoffs.

        Raises:
            EvalkitError: `depth` is below 1, a setting of the protocol is out of range, no measure is given, or one
                is unknown.
        """
        if self.depth < 1:
            raise EvalkitError(f"depth={self.depth}: give how many candidates of each query to rerank, 1 or more")
        for key, (least, what) in _LEAST.items():
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= least):
                raise EvalkitError(f"protocol.{key}={value}: give {what}")
        for key in ("grid_depths", "grid_lengths"):
            if wrong := [value for value in getattr(self, key) if value < 1]:
                raise EvalkitError(f"protocol.{key} has {wrong[0]}: give numbers of 1 or more, or [] for no grid")
        if self.price_per_gpu_hour is not None and not 0 <= self.price_per_gpu_hour < math.inf:
            raise EvalkitError(f"protocol.price_per_gpu_hour={self.price_per_gpu_hour}: give a price, or null for none")
        if not self.measures:
            raise EvalkitError("measures.names is empty; give at least one, such as nDCG@10")
        return [measures.parse(name, self.depth) for name in self.measures]


_LEAST = {
    "warmup_queries": (0, "a number of queries, 0 for none"),
    "latency_queries": (0, "a number of queries, 0 for none"),
    "latency_min_repetitions": (0, "a number of timed queries, 0 for each of them once"),
    "latency_min_s": (0, "a number of seconds, 0 for each query once"),
    "throughput_pairs": (1, "a number of pairs, 1 or more"),
    "matrix_rate_s": (0, "a number of seconds, 0 for none"),
    "grid_repetitions": (1, "a number of samples, 1 or more"),
    "grid_cell_s": (0, "a number of seconds, 0 for one sample a cell"),
}
"""The least that a setting of the protocol may be, and what a user is told to give."""


def run(
    plan: Plan, data: Slice, first_stage: FirstStage, reranker: Reranker, asked: Settings, provenance: Settings
) -> Trial:
    """Run one trial; a first stage or a reranker may have its contract's shape without inheriting.

    Raises:
        EvalkitError: a setting is out of range, or what slice, first stage and reranker refuse.
        NotFiniteError: the reranker gave a logit that is NaN or infinite.
    """
    wanted = plan.parsed()
    first_stage, reranker = first_stage_of(first_stage), reranker_of(reranker)
    started = time.perf_counter()
    # Measures that look deeper than the reranker does need the passages below `depth` too.
    deepest = max(plan.depth, *(measure.cutoff for measure in wanted))
    first, left_out = searching.search(first_stage.search, data, deepest)
    # What it takes to keep an index for later runs is no part of searching.
    first_stage_s = time.perf_counter() - started - first_stage.cache_s
    if not any(first.rankings.values()):
        raise EvalkitError("the first stage found no passage for any query; check slice.lang and first_stage.analysis")
    pairs = candidates(first, plan.depth)

    meter = Meter(plan, reranker, data, pairs)
    if reranker.reranks:
        say(f"  loading {reranker.label}")
    meter.load()
    scores = meter.score()
    logits = _logits_by_query(pairs, scores)  # a broken model is told of before it is measured
    cost = meter.cost(first_stage_s)

    described = {"name": reranker.label, **reranker.describe()}
    reranked = reorder(first, logits, plan.depth, str(described["name"]), scores.tie_order)
    ceiling = Run("perfect order", {
        query_id: ranking.perfect(hits, data.qrels[query_id], plan.depth) for query_id, hits in first.rankings.items()
    })  # fmt: skip
    if measures.first_use():
        say("  ranx compiles its kernels on the first use on a machine: 10 to 40 s")
    with stage("measuring"):
        effectiveness = {
            label: measures.evaluate(ranked, data.qrels, wanted, data.relevance_level)
            for label, ranked in (("first_stage", first), ("reranked", reranked), ("ceiling", ceiling))
        }
    trial = Trial(
        name=plan.name,
        asked=asked,
        effective={
            "slice": {"name": data.name, "lang": data.lang, "fingerprint": data.fingerprint,
                      "relevance_level": data.relevance_level, **data.facts},
            "first_stage": {"name": first_stage.label, **first_stage.describe(), **left_out},
            "reranker": described,
            "first_stage_time": _first_stage_time(first_stage_s, first_stage.index_s, len(data.queries)),
            "depth": plan.depth,
            "measures": [str(measure) for measure in wanted],
            "scoring": _scoring_facts(scores, logits, first, reranked, plan.depth),
            "environment": meter.environment(),
        },
        provenance=provenance,
        slice=data,
        first_stage=first,
        reranked=reranked,
        effectiveness=effectiveness,
        unjudged_at_10={
            "first_stage": measures.unjudged_share(first, data.qrels),
            "reranked": measures.unjudged_share(reranked, data.qrels),
        },
        cost=cost,
    )  # fmt: skip
    return replace(trial, warnings=tuple(caveats(trial)))


def _first_stage_time(total_s: float, index_s: float | None, queries: int) -> Settings:
    """Return what the first stage took, and of it what each query takes where an index is there already."""
    per_query_ms = None if index_s is None else max(total_s - index_s, 0.0) * 1000 / queries
    return {"total_s": total_s, "index_s": index_s, "per_query_ms": per_query_ms}


def candidates(first: Run, depth: int) -> list[Pair]:
    """Return the pairs to score: the best `depth` passages of each query."""
    return [Pair(query_id, hit.doc_id) for query_id, hits in first.rankings.items() for hit in hits[:depth]]


def reorder(
    first: Run,
    logits: Mapping[str, Mapping[str, float]],
    depth: int,
    name: str,
    tie_order: Mapping[str, Mapping[str, int]] | None = None,
) -> Run:
    """Return the reranked run; `logits` is query_id -> doc_id -> logit, without the passages that have none.

    `tie_order` is `Scores.tie_order`.
    """
    ties = tie_order or {}
    return Run(name, {
        query_id: ranking.rerank(hits, logits.get(query_id, {}), depth, ties.get(query_id))
        for query_id, hits in first.rankings.items()
    })  # fmt: skip


def _logits_by_query(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    logits: dict[str, dict[str, float]] = {}
    for pair, logit in zip(pairs, scores.logits, strict=True):
        if logit is not None and not math.isfinite(logit):
            raise NotFiniteError(
                f"the reranker gave {logit} as logit for query {pair.query_id!r} and passage {pair.doc_id!r}; a wider "
                "precision (bf16 or fp32) may help, or the weights are broken"
            )
        if logit is not None:
            logits.setdefault(pair.query_id, {})[pair.doc_id] = logit
    return logits


def _scoring_facts(
    scores: Scores, logits: Mapping[str, Mapping[str, float]], first: Run, reranked: Run, depth: int
) -> dict[str, Any]:
    given = [list(of_query.values()) for of_query in logits.values()]
    found = [[hit.score for hit in hits] for hits in first.rankings.values()]
    computed = scores.computed_pairs
    return {
        "pairs": len(scores.logits),
        "pairs_from_store": scores.from_store,
        "pairs_repeated": 0 if computed is None else len(scores.logits) - scores.from_store - computed,
        "pairs_unscored": sum(logit is None for logit in scores.logits),
        "truncated_pairs": scores.truncated_pairs,
        "unknown_query_share": scores.unknown_query_share,
        "unknown_passage_share": scores.unknown_passage_share,
        "longest_pair_tokens": scores.longest_pair_tokens,
        "tied_pairs": sum(map(ranking.tied, given)),
        "queries_with_ties": sum(ranking.tied(values) > 0 for values in given),
        "queries_with_constant_score": sum(map(ranking.constant, given)),
        "first_stage_hits": sum(map(len, found)),
        "first_stage_tied_hits": sum(map(ranking.tied, found)),
        "first_stage_queries_with_ties": sum(ranking.tied(values) > 0 for values in found),
        "first_stage_queries_with_constant_score": sum(map(ranking.constant, found)),
        "scores_moved": {"first_stage": trec.count_moved(first), "reranked": trec.count_moved(reranked)},
        "queries_reordered": sum(
            [hit.doc_id for hit in hits[:depth]] != [hit.doc_id for hit in reranked.rankings[query_id][:depth]]
            for query_id, hits in first.rankings.items()
        ),
        "queries_without_hits": sum(not hits for hits in first.rankings.values()),
        "tokens": scores.tokens,
        "padding_share": round(1 - scores.tokens / scores.padded_tokens, 4) if scores.padded_tokens else 0.0,
        "budget_halvings": list(scores.budget_halvings),
    }
