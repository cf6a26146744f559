"""Compares finished results on one slice: which systems differ, and which rerankings are equivalent."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import significance
from evalkit.evaluation.judged_by import judged_by
from evalkit.evaluation.parity import parity, same_candidates
from evalkit.evaluation.score_analysis import has_all_logits
from evalkit.evaluation.significance import compare, equivalence
from evalkit.results.alternatives import best_without
from evalkit.results.comparison_schema import (
    Agreement,
    ComparedSlice,
    ComparedSystem,
    Comparison,
    Matrix,
    MeasureEquivalence,
    QueryTime,
    Untested,
)  # fmt: skip
from evalkit.results.condensed import condensed_values, judged_only, missing
from evalkit.results.corrections import corrected, matrix_of, without_difference
from evalkit.results.reading import Finished
from evalkit.results.same_data import common_measures, refuse_other_data, slice_identity
from evalkit.results.systems import System, systems_of
from evalkit.types import SCHEMA_VERSION


def side_by_side(
    results: Sequence[Finished],
    baseline: int = 0,
    margin: float = 0.002,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 9999,
    blended: bool = False,
) -> Comparison:
    """Compare finished results on one slice.

    The systems are the reranked rankings and their first stages, each first stage once, and blends if asked for. The p
    values of the randomisation test are corrected three times: against the baseline by Holm and by Benjamini and
    Hochberg over all systems and measures; in the matrix by Holm over all pairs, for each measure; against a system's
    own first stage by Holm over those tests. A test in which no query differs cannot reject anything and is not
    counted.

    Args:
        results: two or more finished results.
        baseline: position in `results` of the one that the others are compared with.
        margin: largest difference in the first measure that the equivalence test treats as equal.
        confidence: confidence of the intervals, in (0, 1).
        seed: seed of the resampling.
        resamples: draws of the randomisation test and of the bootstrap.
        blended: whether the blend that each result has of its two scores is a system as well.

    Raises:
        EvalkitError: fewer than two results, another slice or other judgments, or no measure that all have.
    """
    if len(results) < 2:
        raise EvalkitError("compare needs two results or more; give the folders of finished trials")
    ordered = [results[baseline], *(one for position, one in enumerate(results) if position != baseline)]
    for other in ordered[1:]:
        refuse_other_data(
            slice_identity(ordered[0].result.effective.slice),
            slice_identity(other.result.effective.slice),
            (_queries(ordered[0]), _queries(other)),
            (ordered[0].where, other.where),
        )
    systems = systems_of(ordered, blended)
    measures = common_measures([one.result.effectiveness.per_query.reranked for one in ordered])
    values = {measure: {one.label: one.per_query[measure] for one in systems} for measure in measures}
    first, labels = measures[0], [one.label for one in systems]

    test_values = partial(compare, confidence=confidence, seed=seed, resamples=resamples)

    def test(before: str, after: str, measure: str) -> significance.Comparison:
        return test_values(values[measure][before], values[measure][after])

    raw_against = {
        label: {measure: test(labels[0], label, measure) for measure in measures} for label in labels[1:]
    }  # fmt: skip
    raw_own = {
        one.label: {measure: test(one.own_first_stage, one.label, measure) for measure in measures}
        for one in systems
        if one.own_first_stage is not None
    }
    against, own = corrected(raw_against), corrected(raw_own)

    def p_values(of: Mapping[str, Mapping[str, float]], known: Sequence[float | None]) -> Matrix:
        return matrix_of(of, list(of), known, seed, resamples)

    matrix = {
        measure: p_values(values[measure], [against[label][measure].randomization_p for label in labels[1:]])
        for measure in measures
    }
    best, against_best_without = best_without(systems, first, test, matrix[first])
    with_condensed = [one for one in systems if one.side != "blended"]
    condensed = condensed_values(with_condensed, first)
    return Comparison(
        schema_version=SCHEMA_VERSION,
        slice=_slice(ordered[0]),
        baseline=labels[0],
        measures=measures,
        confidence=confidence,
        seed=seed,
        resamples=resamples,
        systems=[_system(one, measures) for one in systems],
        against_baseline=against,
        untested=Untested(without_difference(against), without_difference(own)),
        against_own_first_stage=own,
        best=best,
        against_best_without=against_best_without,
        judged_only=None
        if condensed is None
        else judged_only(condensed, with_condensed, values[first], raw_against, raw_own, best, test_values, p_values),
        matrix=matrix,
        parity={one.label: _parity(systems[0], one, values[first], margin, first) for one in systems[1:]},
        queries={query_id: ordered[0].queries.get(query_id, "") for query_id in values[first][labels[0]]},
        per_query=values,
        warnings=[*_warnings(systems, measures), *missing(with_condensed, first)],
    )


def _queries(one: Finished) -> Mapping[str, float]:
    per_query = one.result.effectiveness.per_query.reranked
    return next(iter(per_query.values()))


def _slice(one: Finished) -> ComparedSlice:
    facts = one.result.effective.slice
    return ComparedSlice(
        name=facts["name"],
        queries=facts["queries"],
        docs=facts["docs"],
        lang=facts["lang"],
        relevance_level=facts["relevance_level"],
        fingerprint=facts["fingerprint"],
        judged_by=judged_by(facts),
    )


def _system(one: System, measures: Sequence[str]) -> ComparedSystem:
    effective = one.finished.result.effective
    reranker: Mapping[str, Any] = {} if one.side == "first_stage" else effective.reranker
    known = None not in (one.first_stage_ms, one.reranking_ms)
    return ComparedSystem(
        label=one.label,
        where=one.finished.where,
        side=one.side,
        own_first_stage=one.own_first_stage,
        depth=None if one.side == "first_stage" else effective.depth,
        first_stage=effective.first_stage["name"],
        reranker=reranker.get("name"),
        precision=reranker.get("precision"),
        runtime=reranker.get("runtime"),
        mean={measure: one.mean[measure] for measure in measures},
        time=QueryTime(
            first_stage_ms=one.first_stage_ms,
            reranking_p50_ms=one.reranking_ms,
            total_ms=(one.first_stage_ms or 0.0) + (one.reranking_ms or 0.0) if known else None,
        ),
        cost=one.cost,
    )


def _parity(
    base: System, other: System, of: Mapping[str, Mapping[str, float]], margin: float, measure: str
) -> Agreement | None:
    """Return how far two rerankings agree, by ranks alone if one has no logits; None if `_no_parity` gives a reason."""
    if _no_parity(base, other):
        return None
    one, two = base.finished, other.finished
    depth, logits = (
        one.result.effective.depth,
        all(has_all_logits(f.result.effective.reranker, f.result.effective.scoring) for f in (one, two)),
    )
    found = parity(one.reranked, two.reranked, depth, ranks_only=not logits)
    same = equivalence(of[base.label], of[other.label], margin)
    return Agreement(**vars(found), equivalence=MeasureEquivalence(measure=measure, **vars(same)))


def _no_parity(base: System, other: System) -> str | None:
    """Return why two systems have no parity; None where they have one."""
    sides = {base.side, other.side}
    if sides != {"reranked"}:
        return "one of them has no reranker" if "first_stage" in sides else "a result does not have a blend's ranking"
    effective = [one.finished.result.effective for one in (base, other)]
    if effective[0].depth != effective[1].depth:
        return f"one reranked to depth {effective[0].depth}, the other to {effective[1].depth}"
    try:
        same_candidates(base.finished.reranked, other.finished.reranked, effective[0].depth)
    except EvalkitError as error:  # another first stage has other candidates
        return str(error)
    return None


_ORDER = {"blended": 0, "first_stage": 1, "reranked": 2}
"""The side whose label stands for a result is the last one that it has."""


def _warnings(systems: Sequence[System], measures: Sequence[str]) -> list[str]:
    found = []
    of_results = list({one.finished.where: one for one in sorted(systems, key=lambda one: _ORDER[one.side])}.values())
    for one in of_results:  # each result once, by its reranked system where it has one
        if left_out := [measure for measure in one.per_query if measure not in measures]:
            found.append(f"{', '.join(left_out)} of {one.label} is left out: not every result has it")
    for other in systems[1:]:
        reranked = systems[0].side == other.side == "reranked"
        if reranked and (why := _no_parity(systems[0], other)):
            found.append(f"the rankings of {systems[0].label} and {other.label} are not compared: {why}")
    noted: dict[str, list[str]] = {}
    for one in of_results:
        for warning in one.finished.result.warnings:
            noted.setdefault(warning, []).append(one.label)
    for warning, of in noted.items():
        found.append(warning if len(of) == len(of_results) else f"{', '.join(of)}: {warning}")
    untimed = [one.label for one in systems if one.first_stage_ms is None and one.side == "first_stage"]
    if untimed:
        found.append(
            f"the time of a query is not known for {', '.join(untimed)} (a finished run, or a result of an older "
            "version); the picture of quality and latency leaves it out, or shows the time of reranking alone"
        )
    for one in systems:
        if one.again:
            found.append(f"{', '.join(one.again)}: the same first stage as {one.label}, which is listed once")
        if one.also:
            found.append(f"{one.label} is also named {', '.join(one.also)}: the rankings are equal")
    return found
