"""The story of a trial: search to a depth, score the pairs, order them, measure what it gained and what it cost."""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from evalkit import measures, ranking
from evalkit.caveats import caveats
from evalkit.cost import MemoryWatch, measure_latency
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.measures import Measure
from evalkit.progress import say, stage
from evalkit.types import Cost, Latency, Pair, Run, Scores, Settings, Slice, Trial

if TYPE_CHECKING:
    from evalkit.calibration import Yardstick


class FirstStage(Protocol):
    """Finds candidates."""

    def check(self) -> None:
        """Raise an EvalkitError for what can be known to be wrong before the work starts."""

    def search(self, data: Slice, depth: int) -> Run:
        """Return the best `depth` passages of each query of the slice."""

    def describe(self) -> Settings:
        """Return what was really done, after `search`."""


class Reranker(Protocol):
    """Scores candidates."""

    computes: bool
    """Whether scoring is work, whose cost is worth measuring."""

    def check(self) -> None:
        """Raise an EvalkitError for what can be known to be wrong before the work starts."""

    def load(self) -> None:
        """Get ready to score."""

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = ...,
    ) -> Scores:
        """Return a logit for each pair, or None for a pair that it knows nothing of.

        `on_progress` is told how many more pairs are done.
        """

    def describe(self) -> Settings:
        """Return what was really done, after `score`."""


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

    def parsed(self) -> list[Measure]:
        """Return the measures with their cutoffs.

        Raises:
            EvalkitError: `depth` is below 1, a number of queries below 0, no measure is given, or one is unknown.
        """
        if self.depth < 1:
            raise EvalkitError(f"depth={self.depth}: give how many candidates of each query to rerank, 1 or more")
        for key in ("warmup_queries", "latency_queries"):
            if getattr(self, key) < 0:
                raise EvalkitError(f"protocol.{key}={getattr(self, key)}: give a number of queries, 0 for none")
        if not self.measures:
            raise EvalkitError("measures.names is empty; give at least one, such as nDCG@10")
        return [measures.parse(name, self.depth) for name in self.measures]


def run(
    plan: Plan, data: Slice, first_stage: FirstStage, reranker: Reranker, asked: Settings, provenance: Settings
) -> Trial:
    """Run one trial.

    Raises:
        EvalkitError: a setting is out of range, or what slice, first stage and reranker refuse.
        NotFiniteError: the reranker gave a logit that is NaN or infinite.
    """
    wanted = plan.parsed()
    started = time.perf_counter()
    # Measures that look deeper than the reranker does need the passages below `depth` too.
    first = first_stage.search(data, max(plan.depth, *(measure.cutoff for measure in wanted)))
    first_stage_s = time.perf_counter() - started
    if not any(first.rankings.values()):
        raise EvalkitError("the first stage found no passage for any query; check slice.lang and first_stage.analysis")
    pairs = candidates(first, plan.depth)

    device = _device(reranker)
    yardstick = _yardstick(device) if plan.calibrate and reranker.computes else None
    watch = MemoryWatch(device)
    say(f"  loading {getattr(reranker, 'model', None) or getattr(reranker, 'path', 'the reranker')}")
    started = time.perf_counter()
    reranker.load()
    load_s = time.perf_counter() - started
    watch.loaded()

    warmup_s, latency = 0.0, None
    if reranker.computes:
        groups = list(_by_query(pairs).values())
        warmup_s = _warm_up(reranker, data, groups[: plan.warmup_queries])
    started = time.perf_counter()
    with stage("scoring", len(pairs), "pairs") as advance:
        scores = reranker.score(pairs, data.queries, data.docs, advance)
    scoring_s = time.perf_counter() - started
    memory = watch.read()
    if reranker.computes and plan.latency_queries:
        timed = random.Random(plan.seed).sample(groups, min(plan.latency_queries, len(groups)))  # noqa: S311
        latency = _latency(reranker, data, timed, yardstick.measure if yardstick else _nothing)

    described = dict(reranker.describe())
    logits = _logits_by_query(pairs, scores)
    reranked = reorder(first, logits, plan.depth, str(described["name"]))
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
    cost = None
    if reranker.computes:
        cost = Cost(
            first_stage_s=first_stage_s,
            load_s=load_s,
            warmup_s=warmup_s,
            pairs=len(pairs),
            scoring_s=scoring_s,
            pairs_per_s=len(pairs) / scoring_s,
            tokenize_s=scores.tokenize_s,
            forward_s=scores.forward_s,
            latency=latency,
            memory=memory,
            calibration=yardstick.read() if yardstick else None,
        )
    trial = Trial(
        name=plan.name,
        asked=asked,
        effective={
            "slice": {"name": data.name, "lang": data.lang, "fingerprint": data.fingerprint,
                      "relevance_level": data.relevance_level, **data.facts},
            "first_stage": dict(first_stage.describe()),
            "reranker": described,
            "depth": plan.depth,
            "measures": [str(measure) for measure in wanted],
            "scoring": _scoring_facts(scores, logits, first, reranked, plan.depth),
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


def candidates(first: Run, depth: int) -> list[Pair]:
    """Return the pairs to score: the best `depth` passages of each query."""
    return [Pair(query_id, hit.doc_id) for query_id, hits in first.rankings.items() for hit in hits[:depth]]


def reorder(first: Run, logits: Mapping[str, Mapping[str, float]], depth: int, name: str) -> Run:
    """Return the reranked run; `logits` is query_id -> doc_id -> logit, without the passages that have none."""
    return Run(name, {q: ranking.rerank(hits, logits.get(q, {}), depth) for q, hits in first.rankings.items()})


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


def _by_query(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.query_id, []).append(pair)
    return groups


def _device(reranker: Reranker) -> str:
    asked = getattr(reranker, "device", "cpu")
    if not reranker.computes or asked == "cpu":
        return "cpu"
    from evalkit.scoring.device import resolve_device

    return str(resolve_device(asked))


def _yardstick(device: str) -> "Yardstick":
    from evalkit.calibration import Yardstick

    return Yardstick(device)


def _warm_up(reranker: Reranker, data: Slice, groups: Sequence[Sequence[Pair]]) -> float:
    started = time.perf_counter()
    for group in groups:
        reranker.score(group, data.queries, data.docs)
    return time.perf_counter() - started


def _latency(reranker: Reranker, data: Slice, groups: Sequence[Sequence[Pair]], between: Callable[[], None]) -> Latency:
    with stage("timing single queries", len(groups), "queries") as advance:

        def one(group: Sequence[Pair]) -> int:
            reranker.score(group, data.queries, data.docs)
            return len(group)

        def pieces() -> Iterator[Callable[[], int]]:
            for group in groups:
                between()  # where no clock of ours runs
                yield partial(one, group)
                advance(1)

        return measure_latency(pieces())


def _nothing() -> None:
    pass


def _scoring_facts(
    scores: Scores, logits: Mapping[str, Mapping[str, float]], first: Run, reranked: Run, depth: int
) -> dict[str, Any]:
    several = [list(of_query.values()) for of_query in logits.values() if len(of_query) > 1]
    return {
        "pairs": len(scores.logits),
        "pairs_unscored": sum(logit is None for logit in scores.logits),
        "truncated_pairs": scores.truncated_pairs,
        "tied_pairs": sum(ranking.tied(list(of_query.values())) for of_query in logits.values()),
        "queries_with_constant_score": sum(len(set(values)) == 1 for values in several),
        "queries_reordered": sum(
            [hit.doc_id for hit in hits[:depth]] != [hit.doc_id for hit in reranked.rankings[query_id][:depth]]
            for query_id, hits in first.rankings.items()
        ),
        "queries_without_hits": sum(not hits for hits in first.rankings.values()),
        "tokens": scores.tokens,
        "padding_share": round(1 - scores.tokens / scores.padded_tokens, 4) if scores.padded_tokens else 0.0,
    }
