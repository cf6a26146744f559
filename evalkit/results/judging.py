"""Holds judges against a human: agreement, and whether finished results have the same verdict under each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import escape_id
from evalkit.evaluation import agreement, measures, significance
from evalkit.evaluation.agreement import Grades
from evalkit.evaluation.judged_by import Judge, is_its_own_judge
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.results import reading, summary
from evalkit.results.judges_schema import (
    Gain,
    JudgeAgreement,
    JudgedResult,
    JudgeReport,
    SharedPairs,
    SystemOrder,
)
from evalkit.results.same_data import chosen_measure, slice_identity
from evalkit.results.systems import System, systems_of
from evalkit.types import SCHEMA_VERSION, Hit, Run

_OfQrels = Callable[[Grades], tuple[Gain, dict[str, float]]]

TOP = 10
"""Rank down to which a reranking promotes and demotes passages."""


def report(
    human: Judge,
    judges: Sequence[Judge],
    places: Sequence[str] = (),
    relevance_level: int | None = None,
    measure: str | None = None,
    seed: int = 0,
) -> JudgeReport:
    """Compare judges with a human, and the verdicts of finished results under each.

    Args:
        human: whose grades the others are compared with.
        judges: the others.
        places: folders of finished results on one slice, whoever judged it.
        relevance_level: the lowest grade that is relevant; None for that of the results, else 1.
        measure: name of the measure; None for the first one that the results have.
        seed: of the bootstrap.

    Raises:
        EvalkitError: there is no judge, two have one name, a judge has no pair in common with the human, or results
            cannot be read, are of different data, or share no query with a judge.
    """
    if not judges:
        raise EvalkitError("no judge is left to compare with the human; name a file of labels of another judge")
    names = [one.name for one in judges]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise EvalkitError(f"judge {twice} has labels in two files; give them different names, or join the files")
    human, judges = _escaped(human), [_escaped(one) for one in judges]
    finished = [reading.read(where) for where in places]
    level = _level(finished, relevance_level)
    agreements = [_agreement(human, one, level, seed) for one in judges]
    notes = [*_scales(human, agreements)]
    name, results, orders = None, [], []
    if finished:
        _refuse_other_data(finished)
        values = [one.result.effectiveness.per_query.reranked for one in finished]
        name = chosen_measure(values, measure, finished[0].result.effective.depth)
        wanted = parse(name, finished[0].result.effective.depth)
        systems = systems_of(finished)
        runs = {one.label: _run(one) for one in systems}
        reranked = [one for one in systems if one.side == "reranked"]
        results = [_result(one, runs, human, judge, wanted, level, seed) for one in reranked for judge in judges]
        orders = [_order(runs, human, judge, wanted, level) for judge in judges] if len(systems) > 1 else []
        notes += [*_own_judgments(reranked, results, name), *_same_models(results)]
    return JudgeReport(
        schema_version=SCHEMA_VERSION,
        human=human.name,
        human_queries=len(human.grades),
        human_pairs=sum(map(len, human.grades.values())),
        relevance_level=level,
        seed=seed,
        judges=agreements,
        alpha_between_judges=agreement.alpha_of(_units(judges)) if len(judges) > 1 else None,
        measure=name,
        results=results,
        orders=orders,
        notes=notes,
    )


def _escaped(one: Judge) -> Judge:
    """Return a judge with the ids that runs have."""
    grades = {escape_id(q): {escape_id(d): grade for d, grade in of.items()} for q, of in one.grades.items()}
    return replace(one, grades=grades)


def _level(finished: Sequence[reading.Finished], asked: int | None) -> int:
    if asked is not None:
        return asked
    levels = {one.result.effectiveness.relevance_level for one in finished} or {1}
    if len(levels) > 1:
        raise EvalkitError(
            f"the results count grades from {' and from '.join(map(str, sorted(levels)))} on as relevant; "
            "--relevance-level N sets one for all"
        )
    return levels.pop()


def _refuse_other_data(finished: Sequence[reading.Finished]) -> None:
    """Refuse results of other queries or passages; their judgments may differ, as all are measured anew."""
    one, *others = [slice_identity(each.result.effective.slice).fingerprints for each in finished]
    for place, other in enumerate(others, 1):
        if (one.queries, one.docs) != (other.queries, other.docs):
            raise EvalkitError(
                f"{finished[place].where} has other queries or passages than {finished[0].where}; name results of one "
                "slice"
            )


def _run(system: System) -> Run:
    if system.side == "reranked" or not summary.reranks(system.finished.result):
        return system.finished.reranked
    found = reading.first_stage(system.finished)
    if found is None:
        raise EvalkitError(
            f"there is no first_stage.trec in {system.finished.where}; the whole folder of the trial is needed"
        )
    return found


def _agreement(human: Judge, judge: Judge, level: int, seed: int) -> JudgeAgreement:
    try:
        found = agreement.agreement(human.grades, judge.grades, level, seed)
    except EvalkitError as error:
        raise EvalkitError(f"{human.name} and judge {judge.name}: {error}") from None
    pairs = sum(map(len, judge.grades.values()))
    return JudgeAgreement(judge.name, judge.kind, len(judge.grades), pairs, found, judge.source)


def _units(judges: Sequence[Judge]) -> list[list[int]]:
    given: dict[tuple[str, str], list[int]] = {}
    for judge in judges:
        for query_id, grades in judge.grades.items():
            for doc_id, grade in grades.items():
                given.setdefault((query_id, doc_id), []).append(grade)
    return list(given.values())


def _common_queries(runs: Mapping[str, Run], human: Judge, judge: Judge) -> list[str]:
    found = [q for q in human.grades if q in judge.grades and all(q in run.rankings for run in runs.values())]
    if not found:
        raise EvalkitError(
            f"{human.name}, judge {judge.name} and the results have no query in common; are the ids of one collection?"
        )
    return found


def _result(
    system: System, runs: Mapping[str, Run], human: Judge, judge: Judge, measure: Measure, level: int, seed: int
) -> JudgedResult:
    assert system.own_first_stage is not None
    first, reranked = runs[system.own_first_stage], runs[system.label]
    queries = _common_queries({"first": first, "reranked": reranked}, human, judge)
    of_human, of_judge = ({q: one.grades[q] for q in queries} for one in (human, judge))

    def gain(qrels: Grades) -> tuple[Gain, dict[str, float]]:
        return _gain(first, reranked, qrels, measure, level)

    (by_human, human_deltas), (by_judge, judge_deltas) = gain(of_human), gain(of_judge)
    shift = significance.paired_delta(human_deltas, judge_deltas)
    only_reranked, only_first = _difference(reranked, first), _difference(first, reranked)
    return JudgedResult(
        label=system.label,
        first_stage=system.own_first_stage,
        judge=judge.name,
        queries=len(queries),
        human=by_human,
        by_judge=by_judge,
        same_verdict=by_human.verdict == by_judge.verdict,
        inflation=shift.mean,
        inflation_ci95=(shift.low, shift.high),
        shared=_shared(of_human, of_judge, gain),
        favour=agreement.favour(of_human, of_judge, only_reranked, only_first, seed),
        same_model=is_its_own_judge(judge.name, system.finished.result.effective.reranker),
    )


def _shared(of_human: Grades, of_judge: Grades, gain: _OfQrels) -> SharedPairs | None:
    both = agreement.shared_pairs(of_human, of_judge)
    counts = [sum(map(len, grades.values())) for grades in (of_human, of_judge, both)]
    if len(set(counts)) == 1 or not both:
        return None
    human, judge = (gain({q: {d: of[q][d] for d in ids} for q, ids in both.items()})[0] for of in (of_human, of_judge))
    return SharedPairs(human=human, judge=judge, same_verdict=human.verdict == judge.verdict)


def _gain(first: Run, reranked: Run, qrels: Grades, measure: Measure, level: int) -> tuple[Gain, dict[str, float]]:
    before, after = (
        measures.evaluate(run, qrels, [measure], level).per_query[str(measure)] for run in (first, reranked)
    )
    delta = significance.paired_delta(before, after)
    found = Gain(
        before=fmean(before.values()),
        after=fmean(after.values()),
        mean=delta.mean,
        ci95=(delta.low, delta.high),
        p=significance.randomization_p(before, after),
        verdict=delta.verdict,
        unjudged_at_10=measures.unjudged_share(reranked, qrels),
    )
    return found, {query_id: after[query_id] - value for query_id, value in before.items()}


def _difference(one: Run, other: Run) -> dict[str, set[str]]:
    """Return the passages in the first run's top that are not in the other's."""

    def top(hits: Sequence[Hit]) -> set[str]:
        return {hit.doc_id for hit in hits[:TOP]}

    return {q: top(hits) - top(other.rankings.get(q, ())) for q, hits in one.rankings.items()}


def _order(runs: Mapping[str, Run], human: Judge, judge: Judge, measure: Measure, level: int) -> SystemOrder:
    queries = _common_queries(runs, human, judge)

    def means(of: Judge) -> list[float]:
        qrels = {q: of.grades[q] for q in queries}
        return [measures.evaluate(run, qrels, [measure], level).mean()[str(measure)] for run in runs.values()]

    by_human, by_judge = means(human), means(judge)
    return SystemOrder(
        judge=judge.name,
        queries=len(queries),
        systems=list(runs),
        human=by_human,
        by_judge=by_judge,
        tau=agreement.tau(by_human, by_judge),
    )


def _scales(human: Judge, found: Sequence[JudgeAgreement]) -> list[str]:
    """Return which judges do not use the human's grades."""
    notes = []
    for one in found:
        of = one.agreement
        by_human, by_judge = (
            max(grade for grade, counts in zip(of.grades, side, strict=True) if any(counts))
            for side in (of.confusion, zip(*of.confusion, strict=True))
        )
        if by_human != by_judge:
            notes.append(
                f"on the pairs that both have judged, {one.name} gives grades up to {by_judge} and {human.name} up to "
                f"{by_human}: weighted kappa, alpha and nDCG compare two scales, kappa of relevance does not"
            )
    return notes


def _own_judgments(systems: Sequence[System], results: Sequence[JudgedResult], measure: str) -> list[str]:
    """Return whose gain by the human is not that of its own result, on the same number of queries."""
    notes = []
    for system in systems:
        effect = system.finished.result.effectiveness
        one = next(one for one in results if one.label == system.label)
        stated = effect.delta[measure]
        if one.queries == effect.queries and abs(one.human.mean - stated) > 1e-4:
            notes.append(
                f"the result of {one.label} has a gain of {stated:+.4f}: it was measured by other judgments than "
                "the human's here"
            )
    return notes


def _same_models(results: Sequence[JudgedResult]) -> list[str]:
    return [
        f"judge {one.judge} has the name of the reranker of {one.label}: a model that judges its own ranking agrees "
        "with itself, whatever is relevant"
        for one in results
        if one.same_model
    ]
