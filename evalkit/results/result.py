"""Builds the result of a trial, and writes result.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.boundary.atomic import write_atomically
from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import measures, ties
from evalkit.evaluation.breakdown import analyse
from evalkit.evaluation.measure_names import parse, without_unjudged
from evalkit.evaluation.significance import Comparison, adjust_differing, compare, paired_delta
from evalkit.evaluation.ties import Tied
from evalkit.results.published import compare_published
from evalkit.results.schema import (
    Analysis,
    BeforeAfter,
    Blend,
    Change,
    Chunks,
    CondensedValues,
    Effective,
    Effectiveness,
    FirstStageTime,
    Fusion,
    FusionMember,
    JudgedOnly,
    Means,
    MeasureTests,
    PerQuery,
    PerQueryValues,
    Result,
    Truncation,
    Unfinished,
)
from evalkit.types import SCHEMA_VERSION, Run, Settings, Trial


def finished(trial: Trial, references: Sequence[Mapping[str, Any]] = (), ranked: Result | None = None) -> Result:
    """Return the result of a finished trial.

    Args:
        trial: the trial.
        references: published figures of its slice, which `evalkit.results.published.check` has accepted.
        ranked: the result of the same trial before its queries were timed, whose statistics are not computed again.
    """
    effective = effective_facts(trial.effective)
    effect = ranked.effectiveness if ranked else effectiveness(trial)
    return Result(
        schema_version=SCHEMA_VERSION,
        status="finished",
        name=trial.name,
        asked=trial.asked,
        effective=effective,
        provenance=trial.provenance,
        effectiveness=effect,
        analysis=ranked.analysis if ranked else _analysis(trial),
        fusion=ranked.fusion if ranked else _fusion(trial),
        blend=ranked.blend if ranked else _blend(trial),
        chunks=_chunks(trial),
        cost=trial.cost,
        warnings=trial.warnings,
        references=compare_published(references, effective, effect),
    )


def effective_facts(effective: Settings) -> Effective:
    """Return a trial's ``effective`` settings as the fields of a result."""
    return Effective(**{**effective, "first_stage_time": FirstStageTime(**effective.get("first_stage_time", {}))})


def effectiveness(trial: Trial) -> Effectiveness:
    """Return the measures before and after reranking, with intervals and tests of the differences."""
    first, reranked = trial.effectiveness["first_stage"], trial.effectiveness["reranked"]
    deltas = {name: paired_delta(first.per_query[name], reranked.per_query[name]) for name in first.per_query}
    return Effectiveness(
        queries=len(trial.slice.queries),
        relevance_level=trial.slice.relevance_level,
        first_stage=Means(first.mean()),
        reranked=Means(reranked.mean()),
        ceiling=Means(trial.effectiveness["ceiling"].mean()),
        delta={name: delta.mean for name, delta in deltas.items()},
        delta_ci95={name: (delta.low, delta.high) for name, delta in deltas.items()},
        verdict={name: delta.verdict for name, delta in deltas.items()},
        wins={name: delta.wins for name, delta in deltas.items()},
        ties={name: delta.ties for name, delta in deltas.items()},
        losses={name: delta.losses for name, delta in deltas.items()},
        tests=_tests({name: compare(first.per_query[name], reranked.per_query[name]) for name in deltas}),
        unjudged_at_10=BeforeAfter(**trial.unjudged_at_10),
        judged_only=_judged_only(trial),
        per_query=PerQueryValues(first.per_query, reranked.per_query),
    )


def _judged_only(trial: Trial) -> JudgedOnly | None:
    """Return the first measure of the condensed lists; None where the measure has none."""
    first_name = next(iter(trial.effectiveness["first_stage"].per_query))
    measure = without_unjudged(parse(first_name, trial.effective["depth"]))
    if measure is None:
        return None
    first, reranked = (
        measures.evaluate(run, trial.slice.qrels, [measure], trial.slice.relevance_level)
        for run in (trial.first_stage, trial.reranked)
    )
    name = str(measure)
    delta = paired_delta(first.per_query[name], reranked.per_query[name])
    return JudgedOnly(
        measure=name,
        mean=BeforeAfter(first.mean()[name], reranked.mean()[name]),
        delta=delta.mean,
        delta_ci95=(delta.low, delta.high),
        verdict=delta.verdict,
        per_query=CondensedValues(first.per_query[name], reranked.per_query[name]),
    )


def _tests(found: Mapping[str, Comparison]) -> dict[str, MeasureTests]:
    """Return for each measure its tests; Holm and Benjamini-Hochberg over the measures in which some query differs."""
    ps = [one.randomization_p for one in found.values()]
    differ = [bool(one.wins + one.losses) for one in found.values()]
    holm_ps, bh_ps = adjust_differing(ps, differ, "holm"), adjust_differing(ps, differ, "bh")
    return {
        name: MeasureTests(
            bca95=(one.bca_low, one.bca_high),
            t_p=one.t_p,
            wilcoxon_p=one.wilcoxon_p,
            randomization_p=one.randomization_p,
            holm_p=holm,
            bh_p=bh,
            effect_size=one.effect_size,
            detectable=one.detectable,
        )
        for (name, one), holm, bh in zip(found.items(), holm_ps, bh_ps)
    }


def _fusion(trial: Trial) -> Fusion | None:
    """Return the members of a fused first stage, each with the difference that fusing makes; None for any other."""
    if trial.fused is None:
        return None
    fused, members = trial.effectiveness["first_stage"].per_query, {}
    for name, searched in trial.fused.members.items():
        values = trial.members[name]
        deltas = {measure: paired_delta(of_query, fused[measure]) for measure, of_query in values.per_query.items()}
        members[name] = FusionMember(
            mean=values.mean(),
            delta={measure: delta.mean for measure, delta in deltas.items()},
            delta_ci95={measure: (delta.low, delta.high) for measure, delta in deltas.items()},
            time=FirstStageTime(searched.total_s, searched.index_s, searched.per_query_ms),
        )
    return Fusion(members, trial.fused.folds)


def _analysis(trial: Trial) -> Analysis:
    """Return the analysis, with each measure over all orders of tied passages; None for a ranking without ties."""
    wanted = [parse(name, trial.effective["depth"]) for name in trial.effective["measures"]]

    def over_ties(run: Run, count: str) -> dict[str, Tied] | None:
        if not trial.effective["scoring"][count]:
            return None
        return ties.means(ties.evaluate(run, trial.slice.qrels, wanted, trial.slice.relevance_level))

    found = analyse(trial)
    return Analysis(
        depths=found.depths,
        breakdown=found.breakdown,
        scores=found.scores,
        gains=found.gains,
        losses=found.losses,
        tied_first_stage=over_ties(trial.first_stage, "first_stage_tied_hits"),
        tied=over_ties(trial.reranked, "tied_pairs"),
    )


def _blend(trial: Trial) -> Blend | None:
    found = trial.blend
    if found is None:
        return None
    per_query = found.effectiveness.per_query if found.effectiveness else {}

    return Blend(
        method=found.method,
        measure=found.measure,
        points=found.points,
        weight=found.weight,
        given=found.given,
        folds=found.folds,
        seed=found.seed,
        mean=found.effectiveness.mean() if found.effectiveness else {},
        against_first_stage=_changes(trial.effectiveness["first_stage"].per_query, per_query),
        against_reranked=_changes(trial.effectiveness["reranked"].per_query, per_query),
        per_query=per_query,
        why=found.why,
    )


def _changes(before: PerQuery, after: PerQuery) -> dict[str, Change]:
    """Return for each measure of `after` its difference to `before`."""
    deltas = {name: paired_delta(before[name], values) for name, values in after.items()}
    return {
        name: Change(one.mean, (one.low, one.high), one.wins, one.ties, one.losses, one.verdict)
        for name, one in deltas.items()
    }


def _chunks(trial: Trial) -> Chunks | None:
    chunking = trial.chunking
    if chunking is None:
        return None
    if chunking.truncated is None:
        return Chunks(chunking.counts)
    before, after = chunking.truncated.per_query, trial.effectiveness["reranked"].per_query
    truncation = Truncation(
        truncated_pairs=chunking.truncated_pairs,
        mean=chunking.truncated.mean(),
        change=_changes(before, after),
        tests=_tests({name: compare(values, after[name]) for name, values in before.items()}),
        per_query=before,
    )
    return Chunks(chunking.counts, truncation)


def failed(name: str, asked: Settings, provenance: Settings, error: BaseException) -> Unfinished:
    """Return the result of a trial that failed: its settings and the error.

    Args:
        name: name of the trial.
        asked: the settings, without secrets.
        provenance: commit, versions and command line.
        error: the exception that ended the trial.
    """
    return Unfinished(
        schema_version=SCHEMA_VERSION,
        status="failed",
        name=name,
        error=str(error),
        error_kind=type(error).__name__,
        asked=asked,
        provenance=provenance,
    )


def stopped(name: str, asked: Settings, provenance: Settings, why: str) -> Unfinished:
    """Return the result of a trial that was stopped: its settings, and what is missing.

    Args:
        name: name of the trial.
        asked: the settings, without secrets.
        provenance: commit, versions and command line.
        why: one sentence on what stopped it.
    """
    return Unfinished(
        schema_version=SCHEMA_VERSION,
        status="partial",
        name=name,
        error=why,
        error_kind="Stopped",
        missing=("effective", "effectiveness", "analysis", "cost"),
        asked=asked,
        provenance=provenance,
    )


def not_begun(name: str) -> Unfinished:
    """Return the result, in a sweep, of a trial that was not started."""
    return Unfinished(
        schema_version=SCHEMA_VERSION,
        status="partial",
        name=name,
        error="not begun",
        error_kind="Stopped",
        missing=("all of it",),
    )


def to_plain(result: Result | Unfinished) -> dict[str, Any]:
    """Return a result as result.json holds it; an empty `missing` is left out."""
    plain = asdict(result)
    if not result.missing:
        del plain["missing"]
    return plain


def write_result(result: Result | Unfinished, folder: Path) -> None:
    """Write result.json, completely or not at all.

    Args:
        result: a result, finished or not.
        folder: folder of the run, which exists.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(folder / "result.json", to_json(to_plain(result)))


def cannot_write(folder: Path, error: OSError) -> EvalkitError:
    """Return the error for a folder that cannot be written.

    Args:
        folder: the folder.
        error: what the operating system reported.
    """
    return EvalkitError(
        f"cannot write the results to {folder}: {error.strerror or error}; free some space, or name "
        "another folder with out_dir=DIR"
    )


def to_json(value: object) -> str:
    """Return the text of a JSON file."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
