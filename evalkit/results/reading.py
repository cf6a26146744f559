"""Reads the folder of a finished trial back: what the gate and a baseline are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from evalkit.boundary.text import escape_id, is_folder, quoted, read_text, user_path
from evalkit.boundary.validation import COUNT, ID, LINE, SHARE, Each, Limited, Many, Maybe, find_mismatch
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.evaluation.trec import read_run
from evalkit.results.result import Result
from evalkit.types import SCHEMA_VERSION, Hit, Run


@dataclass(frozen=True)
class Passage:
    """A passage that the report shows: one of the top 10 of either list, or a relevant one."""

    doc_id: str
    grade: int | None
    """None where nobody judged it."""
    text: str
    """Its beginning."""


@dataclass(frozen=True)
class Finished:
    """A finished trial as it lies on disk."""

    where: str
    result: Result
    reranked: Run
    queries: Mapping[str, str]
    passages: Mapping[str, Mapping[str, Passage]]
    """query_id -> doc_id -> passage."""


def read(where: str | Path) -> Finished:
    """Read a trial's folder, or the result.json in it.

    Raises:
        EvalkitError: there is no result, it cannot be read, it is of another version, or of a trial that failed.
        NotFiniteError: the trial failed because its model gave NaN or infinite logits.
    """
    path = user_path(where)
    path = path / "result.json" if is_folder(path) else path
    result = read_json(path, "a result of evalkit")
    version = result.get("schema_version")
    if version != SCHEMA_VERSION:
        raise EvalkitError(
            f"{path} has schema version {quoted(version)}, and this evalkit reads {SCHEMA_VERSION}; run the trial "
            "again with this version"
        )
    if result.get("status") == "failed":
        kind = NotFiniteError if result.get("error_kind") == NotFiniteError.__name__ else EvalkitError
        raise kind(f"{path} is of a trial that failed: {' '.join(str(result.get('error')).split())[:1000]}")
    if result.get("status") != "finished":
        raise EvalkitError(f"{path} is of a trial that did not finish (status {quoted(result.get('status'))})")
    if wrong := find_mismatch(result, _RESULT, "it"):
        raise EvalkitError(f"{path} is no result of evalkit: {wrong}")
    run_file = path.with_name("reranked.trec")
    if not run_file.exists():
        raise EvalkitError(f"there is no reranked.trec beside {path}; the whole folder of the trial is needed")
    queries, passages, moved = _passages(path.with_name("passages.jsonl"))
    # Its ranks are the order that was measured; files of older versions have tied scores.
    ranked = read_run(run_file, "rank").run
    reranked = Run(ranked.name, {
        query_id: tuple(Hit(doc_id, moved.get((query_id, doc_id, score), score)) for doc_id, score in hits)
        for query_id, hits in ranked.rankings.items()
    })  # fmt: skip
    return Finished(str(where), result, reranked, queries, passages)


def first_stage(one: Finished) -> Run | None:
    """Return the first stage's run of a trial in the order that was measured; None where its file is not there.

    Raises:
        EvalkitError: the file is no run.
    """
    path = user_path(one.where)
    run_file = (path if is_folder(path) else path.parent) / "first_stage.trec"
    return read_run(run_file, "rank").run if run_file.exists() else None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EvalkitError: the file is missing, unreadable, empty, or holds something else; `what` says what it should be.
    """
    text = read_text(path, what)
    if not text.strip():
        raise EvalkitError(f"{path} is empty; it should be {what}")
    try:
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(f"{path} is not whole, or no JSON ({error}); it should be {what}") from None
    if not isinstance(value, dict):
        raise EvalkitError(f"{path} holds a {type(value).__name__}; it should be {what}")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value


def _passages(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Passage]], dict[tuple[str, str, float], float]]:
    """Return queries, passages, and the scores that reranked.trec has others for, by query, passage and that other."""
    queries, passages, moved = {}, {}, {}
    text = read_text(path, "the passages of a trial; the whole folder is needed")
    try:
        for line in filter(None, text.split("\n")):  # not splitlines: texts may hold U+2028
            entry = json.loads(line, parse_constant=_refused, object_pairs_hook=_once)
            if wrong := find_mismatch(entry, _SHOWN, "a line"):
                raise ValueError(wrong)
            queries[entry["query_id"]] = entry["query"]
            passages[entry["query_id"]] = {
                shown["doc_id"]: Passage(shown["doc_id"], shown["grade"], shown["text"]) for shown in entry["passages"]
            }
            for hit in entry.get("moved_scores", {}).get("reranked", ()):
                if hit["score"] is not None:
                    moved[escape_id(entry["query_id"]), hit["doc_id"], hit["written"]] = float(hit["score"])
    except (ValueError, RecursionError) as error:
        raise EvalkitError(f"{path} is damaged ({type(error).__name__}: {error}); run the trial again") from None
    return queries, passages, moved


def _has_both_peaks(cost: Mapping[str, Any]) -> bool:
    memory, yard = cost["memory"], cost.get("calibration") or dict.fromkeys(_PEAKS)
    if yard["rss_peak_mb"] is not None and yard["rss_before_mb"] is None:
        return False
    return all(yard[key] is None or memory[key] is not None for key in _PEAKS)


_ABOVE_0 = Limited(float, lambda number: number > 0, "above 0")
_ENDS = Limited(list[float | None], lambda ends: len(ends) == 2, "two ends of an interval")
_PEAKS = {"rss_peak_mb": float | None, "cuda_allocated_peak_mb": float | None}
_PER_QUERY = Limited(
    Each(Each(SHARE, ID), LINE),
    lambda found: len({frozenset(values) for values in found.values()}) == 1 and all(found.values()),
    "values of the same queries for each measure",
)
_MEANS = {"mean": Each(SHARE, LINE)}
_COST = Limited(
    {
        "pairs_per_s": _ABOVE_0,
        "latency?": Maybe(
            {
                "samples_ms": list[float],
                "p50_ms": _ABOVE_0,
                "p99_ms": _ABOVE_0,
                "p50_ci95_ms?": Maybe(_ENDS),
                "p99_ci95_ms?": Maybe(_ENDS),
            }
        ),
        "memory": {
            **_PEAKS,
            "weights_mb?": float | None,
            "own_pass?": Maybe({"cuda_allocated_peak_mb?": float | None}),
        },
        "calibration?": Maybe({**_PEAKS, "p50_ms": _ABOVE_0, "rss_before_mb": float | None}),
    },
    _has_both_peaks,
    "one with a peak of the trial for each of the calibration",
)
_RESULT = {
    "name": LINE,
    "effective": {
        "depth": Limited(int, lambda number: number > 0, "1 or more"),
        "slice": {
            "name": LINE,
            "lang": LINE,
            "queries": COUNT,
            "docs": COUNT,
            "relevance_level": int,
            "fingerprint": LINE,
            "fingerprints": dict.fromkeys(("queries", "docs", "judgments"), LINE),
        },
        "first_stage": {"name": LINE},
        "reranker": {
            "name": LINE,
            "reranks?": bool,
            "precision?": LINE,
            "device_name?": LINE,
            "batch_tokens?": int | None,
        },
        "scoring": {"pairs_unscored": COUNT},
        "first_stage_time?": {"per_query_ms?": Maybe(Limited(float, lambda number: number >= 0, "0 or more"))},
    },
    "effectiveness": Limited(
        {
            "per_query": {"first_stage": _PER_QUERY, "reranked": _PER_QUERY},
            "first_stage": _MEANS,
            "reranked": _MEANS,
            "ceiling": _MEANS,
            "unjudged_at_10": {"first_stage": SHARE, "reranked": SHARE},
        },
        lambda found: all(
            found["per_query"]["reranked"].keys() == found["per_query"][side].keys() <= found[side]["mean"].keys()
            for side in ("first_stage", "reranked")
        ),
        "one with values and a mean of each measure, before and after",
    ),
    "cost?": Maybe(_COST),
    "warnings": list[str],
}
"""What of a result is read again, by the gate, a baseline and a comparison: they need not look twice."""
_SHOWN = {
    "query_id": str,
    "query": str,
    "passages": Many({"doc_id": str, "grade": int | None, "text": str}),
    "moved_scores?": {"reranked?": Many({"doc_id": str, "score": float | None, "written": float})},
}
