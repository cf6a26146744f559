"""Logs a finished run to MLflow or Trackio, by their own clients and with their own settings."""

import importlib.util
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.results.history.entry import HistoryEntry, Text

TRACKERS = ("none", "mlflow", "trackio")
PROJECT = "evalkit"
"""The experiment in MLflow, unless MLFLOW_EXPERIMENT_NAME has another, and the project in Trackio."""
_FACTS = (
    "slice", "fingerprint", "queries", "first_stage", "reranker", "depth", "runtime", "precision", "device", "measure",
    "verdict",
)  # fmt: skip
_ORIGIN = ("commit", "dirty", "evalkit", "folder", "ended")


def check(tracking: str) -> None:
    """Check the setting before any work is done.

    Args:
        tracking: one of `TRACKERS`.

    Raises:
        EvalkitError: it is none of them, or its package is not installed.
    """
    if tracking not in TRACKERS:
        raise EvalkitError(f"tracking={tracking}: there is no such tracker{nearest(tracking, TRACKERS)}")
    if tracking != "none" and importlib.util.find_spec(tracking) is None:
        raise EvalkitError(
            f"tracking={tracking} needs a package that is not installed: pip install 'evalkit-rerank[{tracking}]', or "
            "go without with tracking=none"
        )


def log(entry: HistoryEntry, tracking: str) -> None:
    """Log a run; what the client prints goes to standard error.

    Args:
        entry: the run.
        tracking: one of `TRACKERS`; nothing is done for ``none``.

    Raises:
        EvalkitError: the client raised an error, whatever its kind.
    """
    if tracking == "none":
        return
    try:
        with redirect_stdout(sys.stderr):
            (_to_mlflow if tracking == "mlflow" else _to_trackio)(entry)
    except Exception as error:
        why = " ".join(str(error).split())[:800] or type(error).__name__
        raise EvalkitError(f"tracking={tracking}: {why}") from None


def metrics(entry: HistoryEntry) -> dict[str, float]:
    """Return the figures of a run by names that both clients accept: ``nDCG_at_10``, ``first_stage/nDCG_at_10``."""
    found = {_name(measure): mean for measure, mean in entry.means.items()}
    found |= {f"first_stage/{_name(measure)}": mean for measure, mean in entry.means_before.items()}
    others = {f"delta/{_name(entry.measure)}": entry.delta, "p50_ms": entry.p50_ms, "peak_mib": entry.peak_mib}
    return found | {name: value for name, value in others.items() if value is not None}


def facts(entry: HistoryEntry) -> dict[str, Text]:
    """Return what was run: the fields that describe it, and all further settings of its components."""
    described: dict[str, Text] = {name: getattr(entry, name) for name in _FACTS}
    return {name: value for name, value in (described | dict(entry.settings)).items() if value is not None}


def _to_mlflow(entry: HistoryEntry) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # figures go to the user's tracking server alone
    import mlflow

    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    with mlflow.start_run(run_name=entry.name):
        mlflow.log_params({_name(name): value for name, value in facts(entry).items()})
        mlflow.log_metrics(metrics(entry))
        mlflow.set_tags({f"evalkit.{name}": str(getattr(entry, name)) for name in _ORIGIN})
        for file in ("result.json", "report.html"):
            if (path := Path(entry.folder, file)).exists():
                mlflow.log_artifact(str(path))


def _to_trackio(entry: HistoryEntry) -> None:
    import trackio

    origin = {name: getattr(entry, name) for name in _ORIGIN}
    # Runs are named uniquely: a second one of the same name would be refused.
    name = f"{entry.name} {entry.ended or ''}".strip()
    trackio.init(
        project=PROJECT,
        name=name,
        config={**facts(entry), **origin},
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    try:
        trackio.log(metrics(entry))
    finally:
        trackio.finish()


def _name(name: str) -> str:
    """Return a name without characters that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"), flags=re.ASCII)
