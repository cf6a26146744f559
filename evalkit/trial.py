"""The story of a trial: search to a depth, score the pairs, order them, measure what it gained and what it cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.boundary.progress import say, stage
from evalkit.cost.meter import Meter, _logits_by_query
from evalkit.cost.protocol import CostProtocol
from evalkit.errors import EvalkitError
from evalkit.evaluation import measures, ranking, trec
from evalkit.evaluation.caveats import caveats
from evalkit.evaluation.measures import Measure
from evalkit.evaluation.ranking import candidates, reorder
from evalkit.first_stage import search
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker
from evalkit.types import Run, Scores, Settings, Slice, Trial


@dataclass(frozen=True)
class Plan:
    """What a trial needs besides its slice, first stage and reranker."""

    name: str
    depth: int
    """How many candidates of each query are reranked, 1 or more."""
    measures: Sequence[str]
    """Names such as nDCG@10; the first one gives the verdict."""
    protocol: CostProtocol

    def parsed(self) -> list[Measure]:
        """Return the measures with their cutoffs.

        Raises:
            EvalkitError: `depth` is below 1, a setting of the protocol is out of range, no measure is given, or one
                is unknown.
        """
        if self.depth < 1:
            raise EvalkitError(f"depth={self.depth}: give how many candidates of each query to rerank, 1 or more")
        self.protocol.check()
        if not self.measures:
            raise EvalkitError("measures.names is empty; give at least one, such as nDCG@10")
        return [measures.parse(name, self.depth) for name in self.measures]


def run(
    plan: Plan, data: Slice, first_stage: FirstStage, reranker: Reranker, asked: Settings, provenance: Settings
) -> Trial:
    """Run one trial; a first stage or a reranker may have its contract's shape without inheriting.

    Raises:
        EvalkitError: a setting is out of range, or what slice, first stage and reranker refuse.
        NotFiniteError: the reranker gave a logit that is NaN or infinite.
    """
    wanted = plan.parsed()
    first_stage, reranker = adapt_first_stage(first_stage), adapt_reranker(reranker)
    started = time.perf_counter()
    # Measures that look deeper than the reranker does need the passages below `depth` too.
    deepest = max(plan.depth, *(measure.cutoff for measure in wanted))
    first, left_out = search.search(first_stage.search, data, deepest)
    # What it takes to keep an index for later runs is no part of searching.
    first_stage_s = time.perf_counter() - started - first_stage.cache_s
    if not any(first.rankings.values()):
        raise EvalkitError("the first stage found no passage for any query; check slice.lang and first_stage.analysis")
    pairs = candidates(first, plan.depth)

    meter = Meter(plan.protocol, plan.depth, reranker, data, pairs)
    if reranker.reranks:
        say(f"  loading {reranker.label}")
    meter.load()
    scores = meter.score()
    logits = _logits_by_query(pairs, scores)  # a broken model is told of before it is measured
    cost = meter.cost(first_stage_s)

    described = {"name": reranker.label, **reranker.describe()}
    reranked = reorder(first, logits, plan.depth, str(described["name"]), scores.tie_order)
    ceiling = Run("perfect order", {
        query_id: ranking.oracle(hits, data.qrels[query_id], plan.depth) for query_id, hits in first.rankings.items()
    })  # fmt: skip
    if measures.needs_compilation():
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
        "tied_pairs": sum(map(ranking.count_tied, given)),
        "queries_with_ties": sum(ranking.count_tied(values) > 0 for values in given),
        "queries_with_constant_score": sum(map(ranking.is_constant, given)),
        "first_stage_hits": sum(map(len, found)),
        "first_stage_tied_hits": sum(map(ranking.count_tied, found)),
        "first_stage_queries_with_ties": sum(ranking.count_tied(values) > 0 for values in found),
        "first_stage_queries_with_constant_score": sum(map(ranking.is_constant, found)),
        "scores_moved": {
            "first_stage": trec.count_adjusted_scores(first),
            "reranked": trec.count_adjusted_scores(reranked),
        },
        "queries_reordered": sum(
            [hit.doc_id for hit in hits[:depth]] != [hit.doc_id for hit in reranked.rankings[query_id][:depth]]
            for query_id, hits in first.rankings.items()
        ),
        "queries_without_hits": sum(not hits for hits in first.rankings.values()),
        "tokens": scores.tokens,
        "padding_share": round(1 - scores.tokens / scores.padded_tokens, 4) if scores.padded_tokens else 0.0,
        "budget_halvings": list(scores.budget_halvings),
    }
