"""The story of a trial: search to a depth, score the pairs, order them, evaluate what it gained and what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.cost.meter import Meter
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.blending import BlendSettings
from evalkit.evaluation.caveats import caveats
from evalkit.evaluation.evaluated import Evaluated, Logits, evaluate, measured
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.evaluation.ranking import candidates, reorder
from evalkit.evaluation.scoring_counts import count_scoring
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.search import timed_search
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker, logits_by_query
from evalkit.rerankers.chunked import Chunked
from evalkit.types import Chunking, Pair, Run, Searched, Settings, Slice, Trial

Evaluate = Callable[[Trial, Logits, BlendSettings | None], Evaluated]
"""Of a trial without values, the logits of its candidates, and the settings of the blend."""


@dataclass(frozen=True)
class Plan:
    """What a trial needs besides its slice, first stage and reranker."""

    name: str
    depth: int
    """How many candidates of each query are reranked, 1 or more."""
    measures: Sequence[str]
    """Names such as nDCG@10; the first one decides the verdict."""
    protocol: CostProtocol
    blend: BlendSettings | None = None
    """How the two scores are interpolated; None for no blend."""

    def check(self) -> list[Measure]:
        """Check all settings, and return the measures parsed.

        Raises:
            EvalkitError: `depth` is below 1, a setting of the protocol or of the blend is out of range, no measure is
                given, or one is unknown.
        """
        if self.depth < 1:
            raise EvalkitError(f"depth={self.depth}: give how many candidates of each query to rerank, 1 or more")
        self.protocol.check()
        if self.blend:
            self.blend.check()
        if not self.measures:
            raise EvalkitError("measures.names is empty; give at least one, such as nDCG@10")
        return [parse(name, self.depth) for name in self.measures]


def run(
    plan: Plan,
    data: Slice,
    first_stage: FirstStage,
    reranker: Reranker,
    asked: Settings,
    provenance: Settings,
    evaluate_elsewhere: Evaluate | None = None,
) -> Trial:
    """Run one trial.

    Args:
        plan: name, depth, measures and what is measured of the cost.
        data: queries, passages and judgments.
        first_stage: finds the candidates. It may have the shape of `FirstStage` without inheriting from it.
        reranker: scores the candidates. It may have the shape of `Reranker` without inheriting from it.
        asked: the configuration, recorded as `Trial.asked`.
        provenance: commit, versions and command, recorded as `Trial.provenance`.
        evaluate_elsewhere: `evaluated.evaluate` in another process; None to evaluate in this one. Another takes no
            memory of this one, so it can have its turn before any pass is made for its cost alone.

    Returns:
        The finished trial, with the caveats that its figures need.

    Raises:
        EvalkitError: a setting is out of range, or slice, first stage or reranker refuse something.
        NotFiniteError: the reranker gave a logit that is NaN or infinite.
    """
    wanted = plan.check()
    first_stage, reranker = adapt_first_stage(first_stage), adapt_reranker(reranker)
    # Measures with a cutoff beyond `depth` need the passages below it too.
    searched = _search(first_stage, data, max(plan.depth, *(m.cutoff for m in wanted)))
    first, fused = searched.run, first_stage.fused
    pairs = candidates(first, plan.depth)
    meter = Meter(plan.protocol, plan.depth, reranker, data, pairs)
    scores, logits = meter.score()
    described = {"name": reranker.shown_name, **reranker.describe()}
    reranked = reorder(first, logits, plan.depth, str(described["name"]), scores.tie_order)
    trial = Trial(
        name=plan.name,
        asked=asked,
        effective={
            "slice": _describe_slice(data),
            "first_stage": searched.facts,
            "reranker": described,
            "first_stage_time": {key: getattr(searched, key) for key in ("total_s", "index_s", "per_query_ms")},
            "depth": plan.depth,
            "measures": [str(name) for name in wanted],
            "scoring": count_scoring(scores, logits, first, reranked, plan.depth),
            "environment": None,
        },
        provenance=provenance,
        slice=data,
        first_stage=first,
        reranked=reranked,
        effectiveness={},
        unjudged_at_10={},
        cost=None,
        fused=fused,
    )
    if evaluate_elsewhere is None:
        meter.make_memory_passes()
        found = evaluate(trial, logits, plan.blend)
    else:
        with meter.paused():
            found = evaluate_elsewhere(trial, logits, plan.blend)
    trial = found.of(trial)
    cost = meter.cost(searched.total_s)
    described = {**described, **reranker.describe()}  # once more: a server's requests are counted
    effective = {**trial.effective, "reranker": described, "environment": meter.environment()}
    chunking = None
    if isinstance(reranker, Chunked):
        chunking = _against_truncation(reranker, plan.depth, data, first, pairs, logits, wanted)
    trial = replace(trial, cost=cost, effective=effective, chunking=chunking)
    return replace(trial, warnings=tuple(caveats(trial)))


def _against_truncation(
    reranker: Chunked,
    depth: int,
    data: Slice,
    first: Run,
    pairs: Sequence[Pair],
    scored: Logits,
    wanted: list[Measure],
) -> Chunking:
    """Return how passages were split, and the effectiveness without that; a passage of one chunk keeps its score."""
    counts = reranker.count(pairs, data.docs)
    if not reranker.settings.against_truncation:
        return Chunking(counts=counts)
    split = [pair for pair in pairs if len(reranker.chunks(data.docs[pair.doc_id])) > 1]
    cut: int | None = 0
    logits = {query_id: dict(of_query) for query_id, of_query in scored.items()}
    if split:
        with stage("scoring whole passages, to compare", len(split), "pairs") as advance:
            whole = reranker.score_whole(split, data.queries, data.docs, advance)
        cut = whole.truncated_pairs if reranker.states_max_length else None
        found = logits_by_query(split, whole)
        for query_id, doc_id in split:
            logits.setdefault(query_id, {}).pop(doc_id, None)
        for query_id, of_query in found.items():
            logits[query_id] |= of_query
    run = reorder(first, logits, depth, "truncated")
    effectiveness = measured({"truncated": run}, data, wanted)["truncated"]
    return Chunking(counts=counts, truncated_pairs=cut, truncated=effectiveness)


def _search(first_stage: FirstStage, data: Slice, depth: int) -> Searched:
    found = timed_search(first_stage, data, depth)
    if not any(found.run.rankings.values()):
        raise EvalkitError("the first stage found no passage for any query; check slice.lang and first_stage.analysis")
    return found


def _describe_slice(data: Slice) -> Settings:
    return {
        "name": data.name,
        "lang": data.lang,
        "fingerprint": data.fingerprint,
        "relevance_level": data.relevance_level,
        **data.facts,
    }
