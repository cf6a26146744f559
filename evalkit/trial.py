"""The story of a trial: search to a depth, score the pairs, order them, measure what it gained and what it cost."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from evalkit import measures, ranking
from evalkit.cost import MemoryWatch, measure_latency
from evalkit.errors import EvalkitError
from evalkit.measures import Measure
from evalkit.progress import say, stage
from evalkit.types import Cost, Latency, Pair, Run, Scores, Settings, Slice, Trial


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
    """
    wanted = plan.parsed()
    started = time.perf_counter()
    # Measures that look deeper than the reranker does need the passages below `depth` too.
    first = first_stage.search(data, max(plan.depth, *(measure.cutoff for measure in wanted)))
    first_stage_s = time.perf_counter() - started
    if not any(first.rankings.values()):
        raise EvalkitError("the first stage found no passage for any query; check slice.lang and first_stage.analysis")
    pairs = candidates(first, plan.depth)

    watch = MemoryWatch(_device(reranker))
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
    if reranker.computes and plan.latency_queries:
        timed = random.Random(plan.seed).sample(groups, min(plan.latency_queries, len(groups)))  # noqa: S311
        latency = _latency(reranker, data, timed)
    memory = watch.read()

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
            "scoring": _scoring_facts(scores, logits, first),
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
    return replace(trial, warnings=tuple(_warnings(trial)))


def candidates(first: Run, depth: int) -> list[Pair]:
    """Return the pairs to score: the best `depth` passages of each query."""
    return [Pair(query_id, hit.doc_id) for query_id, hits in first.rankings.items() for hit in hits[:depth]]


def reorder(first: Run, logits: Mapping[str, Mapping[str, float]], depth: int, name: str) -> Run:
    """Return the reranked run; `logits` is query_id -> doc_id -> logit, without the passages that have none."""
    return Run(name, {q: ranking.rerank(hits, logits.get(q, {}), depth) for q, hits in first.rankings.items()})


def _logits_by_query(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    logits: dict[str, dict[str, float]] = {}
    for pair, logit in zip(pairs, scores.logits, strict=True):
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


def _warm_up(reranker: Reranker, data: Slice, groups: Sequence[Sequence[Pair]]) -> float:
    started = time.perf_counter()
    for group in groups:
        reranker.score(group, data.queries, data.docs)
    return time.perf_counter() - started


def _latency(reranker: Reranker, data: Slice, groups: Sequence[Sequence[Pair]]) -> Latency:
    with stage("timing single queries", len(groups), "queries") as advance:

        def one(group: Sequence[Pair]) -> int:
            reranker.score(group, data.queries, data.docs)
            return len(group)

        def pieces() -> Iterator[Callable[[], int]]:
            for group in groups:
                yield partial(one, group)
                advance(1)  # between two pieces, where no clock runs

        return measure_latency(pieces())


def _scoring_facts(scores: Scores, logits: Mapping[str, Mapping[str, float]], first: Run) -> dict[str, Any]:
    return {
        "pairs": len(scores.logits),
        "pairs_unscored": sum(logit is None for logit in scores.logits),
        "truncated_pairs": scores.truncated_pairs,
        "tied_pairs": sum(ranking.tied(list(of_query.values())) for of_query in logits.values()),
        "queries_without_hits": sum(not hits for hits in first.rankings.values()),
        "tokens": scores.tokens,
        "padding_share": round(1 - scores.tokens / scores.padded_tokens, 4) if scores.padded_tokens else 0.0,
    }


def _warnings(trial: Trial) -> list[str]:
    """Return what a careful reader would want to know before quoting a figure."""
    facts, scoring, found = trial.effective["slice"], trial.effective["scoring"], []
    for label, run_name in (("first_stage", "first stage"), ("reranked", "reranked list")):
        if trial.unjudged_at_10[label] > 0.2:
            found.append(
                f"{trial.unjudged_at_10[label]:.0%} of the top 10 of the {run_name} are unjudged and count as "
                "not relevant"
            )
    if facts["judged_docs_without_text"]:
        found.append(
            f"{facts['judged_docs_without_text']} judged passages are not in this slice's corpus and cannot be "
            "found; figures are not comparable with the full collection's"
        )
    if facts["corpus"] != "full":
        found.append(f"the corpus is cut ({facts['corpus']}): a first stage has it easier than on the full collection")
    if facts["queries_without_relevant"]:
        found.append(f"{facts['queries_without_relevant']} queries have no relevant passage and count 0 in every list")
    if scoring["queries_without_hits"]:
        found.append(f"the first stage found nothing for {scoring['queries_without_hits']} queries; they count 0")
    if scoring["pairs_unscored"]:
        found.append(
            f"the reranker says nothing of {scoring['pairs_unscored']} of {scoring['pairs']} candidates; they "
            "follow its own in first-stage order"
        )
    if trial.effective["reranker"].get("ranked_but_no_candidate"):
        found.append(
            f"{trial.effective['reranker']['ranked_but_no_candidate']} passages of the reranker's run are not "
            "among the candidates and were left out"
        )
    if scoring["truncated_pairs"]:
        found.append(
            f"{scoring['truncated_pairs']} of {scoring['pairs']} pairs were cut to "
            f"{trial.effective['reranker']['max_length']} tokens"
        )
    if scoring["tied_pairs"]:
        found.append(
            f"{scoring['tied_pairs']} pairs share their score with another one of their query; first-stage order "
            "decides between them"
        )
    for stage_name in ("first_stage", "reranker"):
        if clash := trial.effective[stage_name].get("queries_where_rank_and_score_disagree"):
            found.append(
                f"in the {stage_name.replace('_', ' ')}'s run file rank and score disagree for {clash} queries; "
                "the scores decide"
            )
    if len(trial.slice.queries) < 30:
        found.append(f"{len(trial.slice.queries)} queries are few: only large differences can be told from chance")
    return found
