"""Reads the folder of a finished trial, and refuses damaged or incompatible results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.boundary.strict_json import read_json_and_text
from evalkit.boundary.text import escape_id, is_folder, quoted, user_path
from evalkit.evaluation.trec import read_run
from evalkit.results.schema import Result, Unfinished
from evalkit.types import SCHEMA_VERSION, Cost, Hit, Run

if TYPE_CHECKING:
    from evalkit.results.passages import Passage

_WHAT = "a result of evalkit"


@dataclass(frozen=True)
class Finished:
    """A finished trial, read from its folder."""

    where: str
    """The folder, or its result.json, as it was named."""
    result: Result
    reranked: Run
    """In the order that was measured, with the reranker's own scores."""
    queries: Mapping[str, str]
    passages: Mapping[str, Mapping[str, "Passage"]]
    """query_id -> doc_id -> passage."""


def read(where: str | Path) -> Finished:
    """Read a finished trial.

    Args:
        where: its folder, or the result.json in it; ``~`` is the home folder.

    Raises:
        EvalkitError: there is no result, it cannot be read, it is of another version, or of a trial that failed.
        NotFiniteError: the trial failed because its model gave NaN or infinite logits.
    """
    from evalkit.results.passages import read_passages  # pydantic takes a tenth of a second, which --help is spared

    result, path = read_result(where), result_file(where)
    run_file = path.with_name("reranked.trec")
    if not run_file.exists():
        raise EvalkitError(f"there is no reranked.trec next to {path}; the whole folder of the trial is needed")
    passages = read_passages(path.with_name("passages.jsonl"))
    # The ranks are the order that was measured; files of older versions have tied scores.
    ranked = read_run(run_file, "rank").run
    reranked = Run(ranked.name, {
        query_id: tuple(Hit(doc_id, passages.adjusted.get((query_id, doc_id, score), score)) for doc_id, score in hits)
        for query_id, hits in ranked.rankings.items()
    })  # fmt: skip
    return Finished(str(where), result, reranked, passages.queries, passages.shown)


def read_result(where: str | Path) -> Result:
    """Read the result of a finished trial, without its rankings and texts: result.json alone is enough.

    Args:
        where: as for `read`.

    Raises:
        EvalkitError: as for `read`.
        NotFiniteError: as for `read`.
    """
    path = result_file(where)
    plain, text = read_json_and_text(path, _WHAT)
    version = plain.get("schema_version")
    if version != SCHEMA_VERSION:
        raise EvalkitError(
            f"{path} has schema version {quoted(version)}, and this evalkit reads {SCHEMA_VERSION}; run the trial "
            "again with this version"
        )
    if plain.get("status") == "failed":
        kind = NotFiniteError if plain.get("error_kind") == NotFiniteError.__name__ else EvalkitError
        raise kind(f"{path} is of a trial that failed: {' '.join(str(plain.get('error')).split())[:1000]}")
    if plain.get("status") != "finished":
        raise EvalkitError(f"{path} is of a trial that did not finish (status {quoted(plain.get('status'))})")
    try:
        return parse_finished(text)
    except ValueError as wrong:
        raise EvalkitError(f"{path} is no result of evalkit: {wrong}") from None


def result_file(where: str | Path) -> Path:
    """Return the path of a result.json, from its folder or from itself."""
    path = user_path(where)
    return path / "result.json" if is_folder(path) else path


def read_outcome(path: Path) -> Result | Unfinished:
    """Read a result.json, of a finished trial or not; keys that this version does not know are left out.

    Args:
        path: the file.

    Raises:
        EvalkitError: the file is missing, or no JSON.
        ValueError: a field is missing or has another type, or fields contradict each other.
    """
    from evalkit.boundary.typed import typed_json

    plain, text = read_json_and_text(path, _WHAT)
    if "effectiveness" not in plain and plain.get("status") != "finished":
        return typed_json(Unfinished, text)
    return parse_finished(text)


def parse_finished(text: str) -> Result:
    """Return the content of a result.json with measures; keys that this version does not know are left out.

    Args:
        text: JSON.

    Raises:
        ValueError: a field is missing or has another type, or fields contradict each other.
    """
    from evalkit.boundary.typed import typed_json

    result = typed_json(Result, text)
    _check(result)
    return result


def _check(result: Result) -> None:
    """Check what the types of single fields cannot.

    Raises:
        ValueError: a name has several lines or an id white space, or figures that belong together are not all there.
    """
    effective, effect, cost = result.effective, result.effectiveness, result.cost
    names = {
        "name": result.name,
        "effective.slice.name": effective.slice["name"],
        "effective.slice.lang": effective.slice["lang"],
        "effective.first_stage.name": effective.first_stage["name"],
        "effective.reranker.name": effective.reranker["name"],
    }
    for field, text in names.items():
        if "\n" in text or "\r" in text:
            raise ValueError(f"{field} is {quoted(text)}, and has to be a text of one line")
    before, after = effect.per_query.first_stage, effect.per_query.reranked
    for side, values in (("first_stage", before), ("reranked", after)):
        where = f"effectiveness.per_query.{side}"
        queries = {frozenset(of_measure) for of_measure in values.values()}
        if len(queries) != 1 or not all(values.values()):
            raise ValueError(f"{where} has to be values of the same queries for each measure")
        for query_id in next(iter(queries)):
            if not query_id or escape_id(query_id) != query_id:
                raise ValueError(f"a name in {where} is {quoted(query_id)}, and has to be an id without white space")
    if condensed := effect.judged_only:
        expected = next(iter(after.values())).keys()
        for side, of in (("first_stage", condensed.per_query.first_stage), ("reranked", condensed.per_query.reranked)):
            if of.keys() != expected:
                raise ValueError(f"effectiveness.judged_only.per_query.{side} has to have the queries of per_query")
    if not after.keys() == before.keys() <= effect.first_stage.mean.keys() & effect.reranked.mean.keys():
        raise ValueError("effectiveness has to be one with values and a mean of each measure, before and after")
    if cost is not None:
        _check_cost(cost)


def _check_cost(cost: Cost) -> None:
    """Check that times are above 0, and that the trial has each peak that the reference workload has."""
    times = {"pairs_per_s": cost.pairs_per_s}
    if cost.latency:
        times |= {"latency.p50_ms": cost.latency.p50_ms, "latency.p99_ms": cost.latency.p99_ms}
    if cost.calibration:
        times["calibration.p50_ms"] = cost.calibration.p50_ms
    for field, value in times.items():
        if value <= 0:
            raise ValueError(f"cost.{field} is {value:g}, and has to be above 0")
    memory, work = cost.memory, cost.calibration
    if work is not None and (
        (work.rss_peak_mb is not None and (work.rss_before_mb is None or memory.rss_peak_mb is None))
        or (work.cuda_allocated_peak_mb is not None and memory.cuda_allocated_peak_mb is None)
    ):
        raise ValueError("cost has to be one with a peak of the trial for each of the calibration")


def first_stage(one: Finished) -> Run | None:
    """Return the first stage's run of a trial in the order that was measured; None if the file is missing.

    Raises:
        EvalkitError: the file is not a TREC run.
    """
    return ranking(one.where, "first_stage")


def ranking(where: str | Path, side: Literal["first_stage", "reranked"]) -> Run | None:
    """Return a run of a trial in the order that was measured, with the scores of its file; None without the file.

    Args:
        where: as for `read`.
        side: which of the two.

    Raises:
        EvalkitError: the file is not a TREC run.
    """
    run_file = result_file(where).with_name(f"{side}.trec")
    return read_run(run_file, "rank").run if run_file.exists() else None
