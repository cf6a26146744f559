"""``evalkit.evaluate``: one trial from Python, on the code and the defaults of the command line."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evalkit.api.first_stages import FunctionSearch, GivenRun
from evalkit.api.outcomes import TrialResult
from evalkit.api.rerankers import reranker_from
from evalkit.api.slices import make_slice
from evalkit.boundary import progress, redaction
from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.boundary.text import is_folder, quoted, user_path
from evalkit.cli import composed, describe, quoting, recording, run_folder, tasks
from evalkit.cli.hydra_limits import read_value
from evalkit.cli.process import in_fresh_process
from evalkit.cli.tasks import Given
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.report.folder import write_trial, write_trial_data
from evalkit.results import provenance
from evalkit.types import Run, Slice, Trial


def evaluate(
    queries: Any,
    docs: Any = None,
    qrels: Any = None,
    *,
    first_stage: Any = "bm25",
    reranker: Any = "packaged",
    depth: int | None = None,
    measures: Sequence[str] | None = None,
    name: str | None = None,
    lang: str | None = None,
    relevance_level: int | None = None,
    protocol: str | None = None,
    precision: str | None = None,
    device: str | None = None,
    overrides: Sequence[str] = (),
    in_process: bool = True,
    out_dir: str | Path | None = None,
    overwrite: bool = False,
) -> TrialResult:
    """Run one trial: search, rerank, evaluate what it gained and what it cost.

    What is not given has the command line's default: ``evaluate("dev")`` measures what ``python -m evalkit`` does.

    Args:
        queries: query_id -> text, or a DataFrame or rows (see `evalkit.make_slice`), with `docs` and `qrels`; or,
            alone, the name of a slice (``"msmarco_dl19"``), the folder of a BEIR collection, or a `Slice`. Files of any
            format (``slice=files``) are given as three paths.
        docs: doc_id -> text, or a DataFrame or rows, or a path.
        qrels: query_id -> {doc_id: grade}, or a DataFrame or rows, or a path.
        first_stage: a name of the group ``first_stage``, a run (a mapping query_id -> {doc_id: score}, a DataFrame, a
            file), a function ``(query, depth) -> hits``, or an object by the contract of
            `evalkit.first_stage.base.FirstStage`.
        reranker: a name of the group ``reranker``, a model's hub id or folder, a finished run's file, a function
            ``(query, texts) -> scores``, an object with ``predict``, ``rank`` or ``compute_score``
            (sentence-transformers, rerankers, FlagEmbedding), one by the contract of
            `evalkit.rerankers.base.Reranker`, or None for no reranker.
        depth: how many candidates of each query are reranked.
        measures: such as ``["nDCG@10", "RR@10"]``; the first one decides the verdict.
        name: of the trial.
        lang: language code of given texts; ``en`` if None.
        relevance_level: of given judgments, the lowest grade that counts as relevant; 1 if None.
        protocol: a name of the group ``protocol``: what is measured of time and memory.
        precision: a name of the group ``precision``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``cuda:all`` or ``mps``.
        overrides: further settings as on the command line, such as ``["reranker.max_length=256", "runtime=openvino"]``.
        in_process: whether the trial runs in this process. Its memory figures then include what the process held
            before, which the result states as a warning. A fresh process, as on the command line, can only be given
            names, data and runs, no functions and no objects.
        out_dir: where to write the trial with pictures and reports; None for a temporary folder with its data alone.
        overwrite: whether a result in `out_dir` may be replaced.

    Returns:
        The finished trial.

    Raises:
        EvalkitError: a setting or a value is refused, or the trial failed.
    """
    data, settings = _data(queries, docs, qrels, lang, relevance_level)
    searcher, more = _first_stage(first_stage)
    settings += more
    scorer, more = _reranker(reranker)
    settings += more
    plain = {"depth": depth, "name": name, "protocol": protocol, "precision": precision, "device": device}
    settings += [_setting(key, value) for key, value in plain.items() if value is not None]
    if name is None:
        settings.append(_setting("name", data.name if data else Path(str(queries)).stem))
    if measures is not None:
        if isinstance(measures, str):
            raise EvalkitError(f"measures={measures!r}: give a list, such as [{measures!r}]")
        settings.append(f"measures.names={list(measures)}")
    settings += overrides
    if not in_process and (scorer is not None or not isinstance(searcher, GivenRun | None)):
        raise EvalkitError(
            "in_process=False: a fresh process can be given names, data and runs, but no functions and no objects; "
            "leave it out to run in this process"
        )
    given = Given(data, searcher, scorer)
    _check_overrides(given, overrides)
    asked = composed.settings(settings)
    _describe_given(asked, given, first_stage, reranker)
    return _run(asked, given, settings, in_process, user_path(out_dir) if out_dir else None, overwrite)


def _run(
    asked: dict[str, Any],
    given: Given,
    settings: Sequence[str],
    in_process: bool,
    out_dir: Path | None,
    overwrite: bool,
) -> TrialResult:
    facts = redaction.settings(provenance.collect(["evalkit.evaluate", *settings]))
    work = partial(_work, asked, facts, given, in_process, out_dir is not None)
    if out_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="evalkit-"))
        try:
            (folder / progress.LOG).touch()
            work(folder, folder / progress.LOG)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return TrialResult(folder, temporary=True)
    with run_folder.claimed(out_dir, overwrite) as log:
        try:
            work(out_dir, log)
        except BaseException as error:
            run_folder.write_why(out_dir, redaction.settings(asked), facts, error)
            raise
    found = TrialResult(out_dir)
    recording.record(found.result, out_dir, asked["history"], asked["tracking"])
    return found


def _work(
    asked: dict[str, Any],
    facts: dict[str, Any],
    given: Given,
    in_process: bool,
    with_reports: bool,
    folder: Path,
    log: Path,
) -> None:
    with progress.log_to(log):
        if in_process:
            done, references = tasks.carry_out(asked, facts, given)
            (write_trial if with_reports else write_trial_data)(_with_memory_note(done), folder, references)
            return
        in_fresh_process(tasks.run_trial, asked, facts, folder, given, time_limit_s=asked["time_limit_s"])


def _with_memory_note(done: Trial) -> Trial:
    """Return a trial with the warning that its process had done other work before."""
    if done.cost is None:
        return done
    held_mb = done.cost.memory.rss_before_load_mb
    held = "" if held_mb is None else f", {held_mb:,.0f} MiB of it before the reranker was loaded"
    note = (
        f"measured in a process that does other work too: peak memory is that of all of it{held}; in_process=False "
        "measures in a fresh one"
    )
    return replace(done, warnings=(*done.warnings, note))


def _data(queries: Any, docs: Any, qrels: Any, lang: str | None, level: int | None) -> tuple[Slice | None, list[str]]:
    """Return the slice that was given, or the settings that name one."""
    if docs is not None or qrels is not None:
        parts = {"docs_path": docs, "queries_path": queries, "qrels": qrels}
        if all(isinstance(part, str | Path) for part in parts.values()):
            of_files = {**parts, "lang": lang, "relevance_level": level}
            return None, ["slice=files", *(_setting(f"slice.{k}", v) for k, v in of_files.items() if v is not None)]
        return make_slice(queries, docs, qrels, lang=lang or "en", relevance_level=level or 1), []
    stated = [key for key, value in (("lang", lang), ("relevance_level", level)) if value is not None]
    if stated:
        raise EvalkitError(
            f"{stated[0]} is of data given as queries, docs and qrels; of a slice it is a setting: "
            f"overrides=['slice.{stated[0]}=...']"
        )
    if isinstance(queries, Slice):
        return queries, []
    if isinstance(queries, str) and queries in describe.choices("slice"):
        return None, [f"slice={queries}"]
    if isinstance(queries, str | Path) and is_folder(user_path(queries)):
        return None, ["slice=beir", _setting("slice.path", str(queries))]
    if isinstance(queries, str | Path):
        near = nearest(str(queries), describe.choices("slice"))
        raise EvalkitError(
            f"{quoted(str(queries))} is no data (given as queries, docs and qrels), no folder and no slice{near}"
        )
    raise EvalkitError("queries come with docs and qrels; alone there may be the name of a slice, a folder, or a Slice")


def _first_stage(value: Any) -> tuple[FirstStage | None, list[str]]:
    """Return the first stage that was given, or the settings that name one."""
    if isinstance(value, str) and value in describe.choices("first_stage"):
        return None, [f"first_stage={value}"]
    if isinstance(value, str | Path):
        if user_path(value).is_file():
            return None, ["first_stage=trec_run", _setting("first_stage.path", str(value))]
        names = describe.choices("first_stage")
        raise EvalkitError(f"first_stage {quoted(str(value))} is no file and no choice{nearest(str(value), names)}")
    if isinstance(value, Run | Mapping) or hasattr(value, "columns") or isinstance(value, list):
        return GivenRun(value), []
    if isinstance(value, FirstStage) or hasattr(value, "search"):
        return adapt_first_stage(value), []
    if callable(value):
        return FunctionSearch(value), []
    raise EvalkitError(
        f"first_stage is of type {type(value).__name__}, and has to be a name, a run (a mapping, a DataFrame, a file), "
        "or a function (query, depth) -> hits"
    )


def _reranker(value: Any) -> tuple[Any, list[str]]:
    """Return the reranker that was given, or the settings that name one."""
    if value is None:
        return None, ["reranker=none"]
    if not isinstance(value, str | Path):
        return reranker_from(value), []
    names = describe.choices("reranker")
    if isinstance(value, str) and value in names:
        return None, [f"reranker={value}"]
    if user_path(value).is_file():
        return None, ["reranker=trec_run", _setting("reranker.path", str(value))]
    if "/" in str(value) or is_folder(user_path(value)):
        return None, ["reranker=cross_encoder", _setting("reranker.model", str(value))]
    raise EvalkitError(
        f"reranker {quoted(str(value))} is no folder, no hub id (OWNER/NAME) and no choice{nearest(str(value), names)}"
    )


def _setting(key: str, value: object) -> str:
    """Return ``key=value`` as on the command line, quoted where it has to be."""
    typed = f"{key}={value}"
    if not isinstance(value, str | Path):
        return typed
    return typed if isinstance(value, str) and value.isidentifier() else quoting.for_hydra(typed, read_value) or typed


def _check_overrides(given: Given, overrides: Sequence[str]) -> None:
    """Refuse a setting that would have no effect, as a parameter has the value of it or of its group.

    Raises:
        EvalkitError: there is one.
    """
    parts = {"slice": given.data, "first_stage": given.first_stage, "reranker": given.reranker}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "experiment":
            raise EvalkitError(f"overrides: {override} chooses what the parameters choose; give what it names by those")
        if key in parts:
            given_by = "queries" if key == "slice" else key
            raise EvalkitError(f"overrides: {override} is given by the parameter {given_by}")
        if parts.get(group := key.split(".")[0]) is not None:
            raise EvalkitError(f"overrides: {override} has no effect, as {group} is given as a value and not by name")


def _describe_given(asked: dict[str, Any], given: Given, first_stage: Any, reranker: Any) -> None:
    """Record what was given in place of the settings that name a part."""
    parts = {
        "slice": (given.data, given.data),
        "first_stage": (given.first_stage, first_stage),
        "reranker": (given.reranker, reranker),
    }
    for group, (part, value) in parts.items():
        if part is not None:
            asked[group] = {"given": type(value).__name__}
