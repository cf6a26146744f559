"""A trial as the plain dictionary of result.json, the one form that every report is drawn from."""

from dataclasses import asdict
from typing import Any

from evalkit.significance import paired_delta
from evalkit.types import SCHEMA_VERSION, Trial

Result = dict[str, Any]


def finished(trial: Trial) -> Result:
    """Return the result of a trial that came to its end."""
    first, reranked = trial.effectiveness["first_stage"], trial.effectiveness["reranked"]
    deltas = {name: paired_delta(first.per_query[name], reranked.per_query[name]) for name in first.per_query}
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "finished",
        "name": trial.name,
        "asked": dict(trial.asked),
        "effective": dict(trial.effective),
        "provenance": dict(trial.provenance),
        "effectiveness": {
            "queries": len(trial.slice.queries),
            "relevance_level": trial.slice.relevance_level,
            **{label: {"mean": values.mean()} for label, values in trial.effectiveness.items()},
            "delta": {name: delta.mean for name, delta in deltas.items()},
            "delta_ci95": {name: [delta.low, delta.high] for name, delta in deltas.items()},
            "verdict": {name: delta.verdict for name, delta in deltas.items()},
            "wins": {name: delta.wins for name, delta in deltas.items()},
            "ties": {name: delta.ties for name, delta in deltas.items()},
            "losses": {name: delta.losses for name, delta in deltas.items()},
            "unjudged_at_10": dict(trial.unjudged_at_10),
            "per_query": {"first_stage": dict(first.per_query), "reranked": dict(reranked.per_query)},
        },
        "cost": asdict(trial.cost) if trial.cost else None,
        "warnings": list(trial.warnings),
    }


def failed(name: str, asked: dict[str, Any], provenance: dict[str, Any], error: Exception) -> Result:
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
