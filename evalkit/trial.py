"""The story of a trial: search to a depth, score the pairs, order them, evaluate what it gained and what it cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say, stage
from evalkit.cost.meter import Meter
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import blending, measures
from evalkit.evaluation.blending import BlendSettings, Lists
from evalkit.evaluation.caveats import caveats
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.evaluation.ranking import candidates, oracle_run, reorder
from evalkit.evaluation.scoring_counts import count_scoring
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.first_stage.search import timed_search
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker, logits_by_query
from evalkit.rerankers.chunked import Chunked
from evalkit.types import Chunking, Effectiveness, Pair, Run, Searched, Settings, Slice, Trial


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
    on_ranked: Callable[[Trial], None] = lambda trial: None,
) -> Trial:
    """Run one trial.

    Args:
        plan: name, depth, measures and what is measured of the cost.
        data: queries, passages and judgments.
        first_stage: finds the candidates. It may have the shape of `FirstStage` without inheriting from it.
        reranker: scores the candidates. It may have the shape of `Reranker` without inheriting from it.
        asked: the configuration, recorded as `Trial.asked`.
        provenance: commit, versions and command, recorded as `Trial.provenance`.
        on_ranked: called with the trial as soon as its rankings are evaluated, before queries are timed: all of its
            effectiveness is there, and neither cost, nor chunking, nor caveats.

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
    runs = {"first_stage": first, "reranked": reranked, "ceiling": oracle_run(first, data.qrels, plan.depth)}
    effectiveness = _evaluate(runs, data, wanted)
    blended = None
    if plan.blend and plan.blend.method != "none" and described.get("reranks", True):
        with stage("blending"):
            lists = Lists(first, reranked, logits, plan.depth)
            blended = blending.blend(plan.blend, lists, data, wanted, effectiveness)
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
        effectiveness=effectiveness,
        unjudged_at_10={
            "first_stage": measures.unjudged_share(first, data.qrels),
            "reranked": measures.unjudged_share(reranked, data.qrels),
        },
        cost=None,
        fused=fused,
        members=_evaluate({name: one.run for name, one in fused.members.items()}, data, wanted) if fused else {},
        blend=blended,
    )
    on_ranked(trial)
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
    scored: Mapping[str, Mapping[str, float]],
    wanted: Sequence[Measure],
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
    effectiveness = _evaluate({"truncated": run}, data, wanted)["truncated"]
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


def _evaluate(runs: Mapping[str, Run], data: Slice, wanted: Sequence[Measure]) -> dict[str, Effectiveness]:
    if measures.needs_compilation():
        say("  ranx compiles its kernels on the first use on a machine: 10 to 40 s")
    with stage("measuring"):
        return {label: measures.evaluate(run, data.qrels, wanted, data.relevance_level) for label, run in runs.items()}
