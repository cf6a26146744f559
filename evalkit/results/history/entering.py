"""Makes an entry of the history from a result, and reads the entries of all results below folders."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import track
from evalkit.boundary.text import is_folder, user_path
from evalkit.evaluation.judged_by import judged_by
from evalkit.results import labels, reading, summary
from evalkit.results.history.entry import HistoryEntry, Text
from evalkit.results.provenance import state_of
from evalkit.results.schema import Result

_NO_SETTINGS = ("cache", "executor", "batch_timeout_s")
"""Settings of components, or the first part of their names, that do not change what a system is."""


@dataclass(frozen=True)
class Found:
    """What lies below some folders."""

    entries: Sequence[HistoryEntry]
    left_out: Sequence[str]
    """For each result.json that is of no finished run, or cannot be read: a sentence that names it."""


def entry_of(result: Result, folder: Path) -> HistoryEntry:
    """Return the entry of a finished run.

    Args:
        result: its result.
        folder: its folder.
    """
    effective, effect, provenance = result.effective, result.effectiveness, result.provenance
    measure = next(iter(effect.per_query.reranked))
    reranks, reranker, cost = summary.reranks(result), effective.reranker, summary.cost_figures(result)
    low, high = effect.delta_ci95.get(measure, (None, None))
    commit, dirty = state_of(provenance)
    return HistoryEntry(
        folder=str(folder.resolve()),
        ended=_utc(provenance.get("ended")) or _utc(provenance.get("started")),
        name=result.name,
        commit=commit,
        dirty=dirty,
        evalkit=_text(_mapping(provenance.get("evalkit")).get("version")),
        slice=_slice(effective.slice),
        fingerprint=effective.slice["fingerprint"],
        relevance_level=effective.slice["relevance_level"],
        queries=effective.slice["queries"],
        first_stage=effective.first_stage["name"],
        reranker=reranker["name"] if reranks else None,
        depth=effective.depth,
        runtime=reranker.get("runtime"),
        precision=reranker.get("precision"),
        device=reranker.get("device_name") or reranker.get("device"),
        settings=_settings(result.asked, reranks),
        measure=measure,
        before=effect.first_stage.mean[measure],
        after=effect.reranked.mean[measure],
        delta=effect.delta.get(measure) if reranks else None,
        delta_low=low if reranks else None,
        delta_high=high if reranks else None,
        verdict=effect.verdict.get(measure) if reranks else None,
        means_before=dict(effect.first_stage.mean),
        means=dict(effect.reranked.mean),
        p50_ms=cost.p50_ms if cost else None,
        peak_mib=cost.peak_mb if cost else None,
    )


def _slice(facts: Mapping[str, Any]) -> str:
    """Return the name of the slice, with its judge where one is stated."""
    who = judged_by(facts)
    return f"{facts['name']} ({who})" if who else str(facts["name"])


def below(folders: Sequence[str]) -> Found:
    """Read the results in folders and in all folders below them.

    Args:
        folders: as the user named them; links inside of them are not followed.

    Raises:
        EvalkitError: one of them is no folder.
    """
    roots = [user_path(name) for name in folders]
    for root in roots:
        if not is_folder(root):
            raise EvalkitError(f"there is no folder {root}; name folders that hold the folders of runs")
    entries: dict[str, HistoryEntry] = {}
    left_out: dict[str, str] = {}
    for where in track(sorted({path for root in roots for path in _results(root.resolve())}), "reading", "results"):
        try:
            entry = entry_of(reading.read_result(where / "result.json"), where)
            if any(isinstance(value, int) and abs(value) >= 2**63 for value in vars(entry).values()):
                raise ValueError(f"{where / 'result.json'} has a count that is beyond 64 bits")
        except (EvalkitError, ValueError) as error:
            left_out[str(where)] = str(error)
        else:
            entries[entry.folder] = entry
    return Found(list(entries.values()), list(left_out.values()))


def _results(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]  # such as folders that are being written
        if "result.json" in files:
            yield Path(folder)


def _settings(asked: Mapping[str, Any], reranks: bool) -> dict[str, Text]:
    found: dict[str, Text] = {}
    for part in ("first_stage", "reranker") if reranks else ("first_stage",):
        settings = _mapping(asked.get(part))
        is_run = str(settings.get("_target_")).endswith(".TrecRun")  # its file is what is judged, and no setting
        left_out = (*_NO_SETTINGS, "path") if is_run else _NO_SETTINGS
        for key, value in labels.settings(settings):
            if key.split(".")[0] not in left_out:
                found[f"{part}.{key}"] = value if isinstance(value, Text) else str(value)
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _utc(value: object) -> str | None:
    """Return a time as UTC, so that texts have the order of times; None for what is no time."""
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec="milliseconds")
    return None
