"""A trial as the plain dictionary of result.json, the one form that every report is drawn from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.boundary.atomic import write_atomically
from evalkit.errors import EvalkitError
from evalkit.evaluation import measures, ties
from evalkit.evaluation.breakdown import analyse
from evalkit.evaluation.significance import Comparison, adjust_differing, compare, paired_delta
from evalkit.results.published import beside
from evalkit.types import SCHEMA_VERSION, Trial

Result = dict[str, Any]


def finished(trial: Trial, references: Sequence[Mapping[str, Any]] = ()) -> Result:
    """Return the result of a trial that came to its end; `references` are published figures of its slice."""
    result: Result = {
        "schema_version": SCHEMA_VERSION,
        "status": "finished",
        "name": trial.name,
        "asked": dict(trial.asked),
        "effective": dict(trial.effective),
        "provenance": dict(trial.provenance),
        "effectiveness": effectiveness(trial),
        "analysis": {**analyse(trial), **_tied(trial)},
        "cost": asdict(trial.cost) if trial.cost else None,
        "warnings": list(trial.warnings),
    }
    return result | {"references": beside(references, result)}


def effectiveness(trial: Trial) -> dict[str, Any]:
    """Return the measures before and after, with how sure the differences are."""
    first, reranked = trial.effectiveness["first_stage"], trial.effectiveness["reranked"]
    deltas = {name: paired_delta(first.per_query[name], reranked.per_query[name]) for name in first.per_query}
    return {
        "queries": len(trial.slice.queries),
        "relevance_level": trial.slice.relevance_level,
        **{label: {"mean": values.mean()} for label, values in trial.effectiveness.items()},
        "delta": {name: delta.mean for name, delta in deltas.items()},
        "delta_ci95": {name: [delta.low, delta.high] for name, delta in deltas.items()},
        "verdict": {name: delta.verdict for name, delta in deltas.items()},
        "wins": {name: delta.wins for name, delta in deltas.items()},
        "ties": {name: delta.ties for name, delta in deltas.items()},
        "losses": {name: delta.losses for name, delta in deltas.items()},
        "tests": _tests({name: compare(first.per_query[name], reranked.per_query[name]) for name in deltas}),
        "unjudged_at_10": dict(trial.unjudged_at_10),
        "per_query": {"first_stage": dict(first.per_query), "reranked": dict(reranked.per_query)},
    }


def _tests(found: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """Return for each measure its tests; Holm and Benjamini-Hochberg over the measures in which some query differs."""
    ps, differ = (
        [one.randomization_p for one in found.values()],
        [bool(one.wins + one.losses) for one in found.values()],
    )
    holm_ps, bh_ps = adjust_differing(ps, differ, "holm"), adjust_differing(ps, differ, "bh")
    return {
        name: {
            "bca95": [one.bca_low, one.bca_high],
            "t_p": one.t_p,
            "wilcoxon_p": one.wilcoxon_p,
            "randomization_p": one.randomization_p,
            "holm_p": holm,
            "bh_p": bh,
            "effect_size": one.effect_size,
            "detectable": one.detectable,
        }
        for (name, one), holm, bh in zip(found.items(), holm_ps, bh_ps)
    }


def _tied(trial: Trial) -> dict[str, Any]:
    """Return what each measure would be if tied passages stood in any order, by list; None for one without ties."""
    wanted = [measures.parse(name, trial.effective["depth"]) for name in trial.effective["measures"]]
    found: dict[str, Any] = {}
    for key, run, count in (
        ("tied_first_stage", trial.first_stage, "first_stage_tied_hits"),
        ("tied", trial.reranked, "tied_pairs"),
    ):
        means = None
        if trial.effective["scoring"][count]:
            means = ties.means(ties.evaluate(run, trial.slice.qrels, wanted, trial.slice.relevance_level))
        found[key] = means and {name: asdict(one) for name, one in means.items()}
    return found


def failed(name: str, asked: dict[str, Any], provenance: dict[str, Any], error: BaseException) -> Result:
    """Return the result of a trial that did not: what was asked, and why it failed."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "failed",
        "name": name,
        "error": str(error),
        "error_kind": type(error).__name__,
        "asked": asked,
        "provenance": provenance,
    }


def stopped(name: str, asked: dict[str, Any], provenance: dict[str, Any], why: str) -> Result:
    """Return the result of a trial that was stopped on its way: what was asked, and what is missing."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "partial",
        "name": name,
        "error": why,
        "error_kind": "Stopped",
        "missing": ["effective", "effectiveness", "analysis", "cost"],
        "asked": asked,
        "provenance": provenance,
    }


def not_begun(name: str) -> Result:
    """Return what stands in a sweep for a trial that it did not come to."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "partial",
        "name": name,
        "error": "not begun",
        "error_kind": "Stopped",
        "missing": ["all of it"],
    }


def write_result(result: Result, folder: Path) -> None:
    """Write result.json whole or not at all."""
    write_atomically(folder / "result.json", _json(result))


def cannot_write(folder: Path, error: OSError) -> EvalkitError:
    """Return the sentence for a folder that cannot be written."""
    return EvalkitError(
        f"cannot write the results to {folder}: {error.strerror or error}; free some space, or name "
        "another folder with out_dir=DIR"
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
