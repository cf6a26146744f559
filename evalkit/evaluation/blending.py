"""Blends of two scores: the reranker's interpolated with the first stage's, at each weight from 0 to 1.

Nothing is scored again: a blend follows from the first stage's scores and the reranker's of the same candidates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import cross_validation, fusion, measures, ranking
from evalkit.evaluation.fusion import Terms
from evalkit.evaluation.measure_names import Measure
from evalkit.types import Blend, BlendFold, BlendPoint, Effectiveness, Hit, Run, Slice


@dataclass  # not frozen: it is also a schema, and OmegaConf cannot set fields of a frozen one
class BlendSettings:
    """How the two scores are made comparable, and how the weight is chosen: the configuration's group ``blend``."""

    method: str = "min_max"
    """What is interpolated: min_max or z_score (scores normalised per query), rank, rrf; none for no blend."""
    k: int = 60
    """Constant of rrf, 1 / (k + rank)."""
    weight: float | None = None
    """The reranker's weight, 0 (first stage alone) to 1 (reranker alone); null to choose it by cross-validation."""
    steps: int = 10
    """Weights of the curve are multiples of 1 / steps."""
    folds: int = 10
    """Parts into which cross-validation divides the queries, 2 or more; with 10, nine tenths choose a weight."""
    seed: int = 0
    """Draws which query is in which fold."""

    def check(self) -> None:
        """Check every setting.

        Raises:
            EvalkitError: one is out of range.
        """
        if self.method == "none":
            return
        fusion.check_method("blend", self.method, self.k)
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise EvalkitError(
                f"blend.weight={self.weight:g}: give the reranker's weight, from 0 (first stage alone) to 1 (reranker "
                "alone), or null to choose it by cross-validation"
            )
        if not 2 <= self.steps <= 100:
            raise EvalkitError(f"blend.steps={self.steps}: give the number of steps from weight 0 to 1, 2 to 100")
        cross_validation.check_folds("blend.folds", self.folds)


@dataclass(frozen=True)
class Lists:
    """The two rankings of a trial that are blended."""

    first: Run
    reranked: Run
    logits: Mapping[str, Mapping[str, float]]
    """query_id -> doc_id -> logit, without the candidates that have none."""
    depth: int
    """How many candidates of each query were reranked."""


def blend(
    settings: BlendSettings, lists: Lists, data: Slice, wanted: Sequence[Measure], known: Mapping[str, Effectiveness]
) -> Blend:
    """Return the quality at each weight, and the quality of weights that are chosen by cross-validation.

    The score of a candidate is weight * r + (1 - weight) * f, with its terms (`evalkit.evaluation.fusion.METHODS`) in
    the reranker's list and in the first stage's, both over the candidates of its query alone. A list that gives all
    candidates of a query the same score orders nothing, and counts as 0 by ``min_max`` and ``z_score``; a candidate
    without a logit has the term of one that is missing. Equal scores keep the order of the first stage, and passages
    below the candidates follow. At weight 0 and 1 the rankings are the trial's own.

    A weight is chosen for the first of the measures; of weights with equal means, the largest is taken. By
    cross-validation, each query is ranked at the weight that is best on the queries of all other folds.

    Args:
        settings: which `BlendSettings.check` accepts, with another method than ``none``.
        lists: what is blended.
        data: the slice.
        wanted: what is measured.
        known: the values of the trial under ``first_stage`` and ``reranked``.
    """
    run_at = runs(settings, lists)

    def at(weight: float) -> Effectiveness:
        if weight in (0.0, 1.0):
            return known["reranked" if weight else "first_stage"]
        run = run_at(weight)
        return measures.evaluate(run, data.qrels, wanted, data.relevance_level)

    weights = [step / settings.steps for step in range(settings.steps, -1, -1)]
    found = {weight: at(weight) for weight in weights}
    main = str(wanted[0])
    values = {weight: effect.per_query[main] for weight, effect in found.items()}
    folds: tuple[BlendFold, ...] = ()
    chosen, why = None, None
    if settings.weight is not None:
        chosen = at(settings.weight)
    else:
        try:
            cross_validation.check_folds("blend.folds", settings.folds, len(data.queries))
        except EvalkitError as error:
            why = str(error)
        else:
            parts = cross_validation.split(data.queries, settings.folds, settings.seed)
            best = cross_validation.choose(values, parts)
            folds = tuple(BlendFold(weight, part) for weight, part in zip(best, parts, strict=True))
            chosen = _joined(folds, found)
    return Blend(
        method=settings.method,
        measure=main,
        points=tuple(BlendPoint(weight, found[weight].mean()) for weight in reversed(weights)),
        weight=max(values, key=lambda one: fmean(values[one].values())) if settings.weight is None else settings.weight,
        given=settings.weight is not None,
        folds=folds,
        seed=settings.seed,
        effectiveness=chosen,
        why=why,
    )


def runs(settings: BlendSettings, lists: Lists) -> Callable[[float], Run]:
    """Return the function that gives the blended run at a weight in [0, 1]; `blend` has the definition.

    Args:
        settings: the method, and its constant.
        lists: what is blended.
    """
    first, reranker = _terms(lists, settings)
    return lambda weight: _blended(lists, first, reranker, weight)


def _joined(folds: Sequence[BlendFold], found: Mapping[float, Effectiveness]) -> Effectiveness:
    """Return the values of each query at the weight of its fold, in the order of the slice's queries."""
    weight = {query_id: fold.weight for fold in folds for query_id in fold.queries}
    any_weight = next(iter(found.values()))
    return Effectiveness({
        name: {query_id: found[weight[query_id]].per_query[name][query_id] for query_id in of_query}
        for name, of_query in any_weight.per_query.items()
    })  # fmt: skip


def _terms(lists: Lists, settings: BlendSettings) -> tuple[Mapping[str, Terms], Mapping[str, Terms]]:
    """Return the terms of the candidates in the first stage's list and in the reranker's: query_id -> terms."""
    heads = {query_id: hits[: lists.depth] for query_id, hits in lists.first.rankings.items()}
    scored = {
        query_id: tuple(
            Hit(hit.doc_id, lists.logits[query_id][hit.doc_id])
            for hit in hits[: lists.depth]
            if hit.doc_id in lists.logits.get(query_id, {})
        )
        for query_id, hits in lists.reranked.rankings.items()
    }

    def of(name: str, rankings: Mapping[str, tuple[Hit, ...]]) -> dict[str, Terms]:
        by_score = settings.method in ("min_max", "z_score")
        kept = {
            query_id: hits
            for query_id, hits in rankings.items()
            if not (by_score and ranking.is_constant([hit.score for hit in hits]))
        }
        return fusion.terms(Run(name, kept), settings.method, settings.k)

    return of("the first stage", heads), of("the reranker", scored)


_NOTHING = Terms({}, 0.0)


def _blended(lists: Lists, first: Mapping[str, Terms], reranker: Mapping[str, Terms], weight: float) -> Run:
    rankings = {}
    for query_id, hits in lists.first.rankings.items():
        f, r = first.get(query_id, _NOTHING), reranker.get(query_id, _NOTHING)
        scores = {
            hit.doc_id: math.fsum(
                (weight * r.of.get(hit.doc_id, r.missing), (1 - weight) * f.of.get(hit.doc_id, f.missing))
            )
            for hit in hits[: lists.depth]
        }
        rankings[query_id] = ranking.rerank(hits, scores, lists.depth)
    return Run(f"blend at {weight:g}", rankings)
