"""Writes a trial's folder: result.json, report.md, the two runs, and a table per query."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from evalkit.errors import EvalkitError
from evalkit.report import markdown, plot
from evalkit.report.result import Result, finished
from evalkit.trec import write_run
from evalkit.types import Trial


def write_trial(trial: Trial, folder: Path) -> Result:
    """Write everything about `trial` and return its result; result.json comes last, as the sign that all is there.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    result = finished(trial)
    try:
        write_run(trial.first_stage, folder / "first_stage.trec")
        write_run(trial.reranked, folder / "reranked.trec")
        _write_per_query(trial, folder / "per_query.csv")
        plot.before_after(result, folder / "before_after.png")
        (folder / "report.md").write_text(markdown.trial(result, "before_after.png"), encoding="utf-8")
        write_result(result, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return result


def write_sweep(results: Sequence[Result], folder: Path) -> None:
    """Write the combined report of a sweep.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    try:
        (folder / "report.md").write_text(markdown.sweep(results), encoding="utf-8")
        (folder / "sweep.json").write_text(_json(list(results)), encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_result(result: Result, folder: Path) -> None:
    """Write result.json whole or not at all: to a temporary name first, then renamed."""
    temporary = folder / "result.json.part"
    temporary.write_text(_json(result), encoding="utf-8")
    temporary.replace(folder / "result.json")


def cannot_write(folder: Path, error: OSError) -> EvalkitError:
    """Return the sentence for a folder that cannot be written."""
    return EvalkitError(
        f"cannot write the results to {folder}: {error.strerror or error}; free some space, or name "
        "another folder with out_dir=DIR"
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_per_query(trial: Trial, path: Path) -> None:
    first, reranked = (trial.effectiveness[label].per_query for label in ("first_stage", "reranked"))
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        columns = [f"{name} {part}" for name in first for part in ("before", "after", "delta")]
        rows.writerow(["query_id", "query", "relevant", "hits", *columns])
        for query_id, text in trial.slice.queries.items():
            values = [(first[name][query_id], reranked[name][query_id]) for name in first]
            relevant = sum(g >= trial.slice.relevance_level for g in trial.slice.qrels[query_id].values())
            rows.writerow([
                query_id, text, relevant, len(trial.first_stage.rankings[query_id]),
                *(f"{value:.6f}" for before, after in values for value in (before, after, after - before)),
            ])  # fmt: skip
