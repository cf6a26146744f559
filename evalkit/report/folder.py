"""Writes a trial's folder: result.json, report.md, the two runs, a table per query, and the passages to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError
from evalkit.report import markdown, plot
from evalkit.report.result import Result, finished
from evalkit.trec import write_qrels, write_run
from evalkit.types import Trial

if TYPE_CHECKING:
    import pandas as pd


def write_trial(trial: Trial, folder: Path) -> Result:
    """Write everything about `trial` and return its result; result.json comes last, as the sign that all is there.

    Raises:
        EvalkitError: the folder cannot be written, or the disk is full.
    """
    result = finished(trial)
    try:
        write_run(trial.first_stage, folder / "first_stage.trec")
        write_run(trial.reranked, folder / "reranked.trec")
        write_qrels(trial.slice.qrels, folder / "qrels.trec")
        per_query(trial).to_csv(folder / "per_query.csv", index=False, float_format="%.6f")
        (folder / "passages.jsonl").write_text(passages(trial), encoding="utf-8", errors="surrogatepass")
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


def passages(trial: Trial) -> str:
    """Return a JSON line for each query: its text and the passages that a reader would look at.

    Those are the top 10 of either list and the relevant ones, each with its grade (null if unjudged), its rank in
    both lists (from 1; null if it is not there) and the beginning of its text.
    """
    data, lines = trial.slice, []
    for query_id, query in data.queries.items():
        grades = data.qrels[query_id]
        ranks = [
            {hit.doc_id: rank for rank, hit in enumerate(run.rankings[query_id], 1)}
            for run in (trial.first_stage, trial.reranked)
        ]
        shown = [hit.doc_id for run in (trial.reranked, trial.first_stage) for hit in run.rankings[query_id][:10]]
        shown += [doc_id for doc_id, grade in grades.items() if grade >= trial.slice.relevance_level]
        entries = [
            {
                "doc_id": doc_id,
                "grade": grades.get(doc_id),
                "first_stage_rank": ranks[0].get(doc_id),
                "reranked_rank": ranks[1].get(doc_id),
                "text": data.docs.get(doc_id, "")[:_SHOWN_CHARACTERS],
            }
            for doc_id in dict.fromkeys(shown)
        ]
        lines.append(json.dumps({"query_id": query_id, "query": query, "passages": entries}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


_SHOWN_CHARACTERS = 300


def per_query(trial: Trial) -> "pd.DataFrame":
    """Return a row for each query: its text, how many passages are relevant, and each measure before and after."""
    import pandas as pd

    first, reranked = (trial.effectiveness[label].per_query for label in ("first_stage", "reranked"))
    data = trial.slice
    frame = pd.DataFrame(
        {
            "query_id": list(data.queries),
            "query": list(data.queries.values()),
            "relevant": [sum(g >= data.relevance_level for g in data.qrels[q].values()) for q in data.queries],
            "hits": [len(trial.first_stage.rankings[q]) for q in data.queries],
        }
    )
    for name in first:
        frame[f"{name} before"] = [first[name][q] for q in data.queries]
        frame[f"{name} after"] = [reranked[name][q] for q in data.queries]
        frame[f"{name} delta"] = frame[f"{name} after"] - frame[f"{name} before"]
    return frame
