"""Groups runs by slice: a leaderboard of the newest run of each setting, and all runs in order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.results import labels as labelling
from evalkit.results.history import selecting
from evalkit.results.history.entry import IDENTITY, HistoryEntry, is_same_setting, system


@dataclass(frozen=True)
class Standing:
    """A setting in a leaderboard."""

    label: str
    """Distinct in its leaderboard, unless nothing that is recorded differs."""
    newest: HistoryEntry
    runs: int
    """Number of runs of this setting."""


@dataclass(frozen=True)
class Leaderboard:
    """The runs on one slice whose first measure is the same."""

    slice: str
    measure: str
    queries: int
    standings: Sequence[Standing]
    """The largest mean of the newest run first."""
    runs: Sequence[tuple[int, HistoryEntry]]
    """Position in `standings` and run, the oldest first."""


def leaderboards(entries: Sequence[HistoryEntry]) -> list[Leaderboard]:
    """Return a leaderboard for each slice, the one with the newest run first.

    Slices are distinguished by their fingerprint and by what counts as relevant, not by their names.

    Args:
        entries: in any order.
    """
    found: dict[tuple[str, int, str], list[HistoryEntry]] = {}
    for entry in selecting.sort(entries):
        found.setdefault((entry.fingerprint, entry.relevance_level, entry.measure), []).append(entry)
    return [_leaderboard(runs) for runs in found.values()]


def _leaderboard(newest_first: Sequence[HistoryEntry]) -> Leaderboard:
    first = newest_first[0]
    groups: list[list[HistoryEntry]] = []
    seen: dict[Any, list[HistoryEntry]] = {}
    for entry in newest_first:
        key = (*(getattr(entry, field) for field in IDENTITY), frozenset(entry.settings.items()))
        if key not in seen:  # most runs are equal to one before in all that is compared
            group = next((group for group in groups if is_same_setting(group[0], entry)), None)
            if group is None:
                groups.append(group := [])
            seen[key] = group
        seen[key].append(entry)
    of_newest = {group[0].folder: group for group in groups}
    ranked = selecting.sort([group[0] for group in groups], first.measure)
    standings = [
        Standing(label, entry, len(of_newest[entry.folder]))
        for label, entry in zip(_labels(ranked), ranked, strict=True)
    ]
    places = {run.folder: place for place, entry in enumerate(ranked) for run in of_newest[entry.folder]}
    runs = [(places[run.folder], run) for run in reversed(newest_first)]
    return Leaderboard(first.slice, first.measure, first.queries, standings, runs)


def _labels(entries: Sequence[HistoryEntry]) -> list[str]:
    """Return for each setting its system, and in what it differs from others of the same name."""
    found = labelling.distinct_labels([_labelled(entry) for entry in entries])
    if len({entry.device for entry in entries if entry.device}) > 1:
        found = [f"{label}, {one.device}" if one.device else label for label, one in zip(found, entries, strict=True)]
    return found


def _labelled(entry: HistoryEntry) -> labelling.Labelled:
    def part(name: str, label: str | None) -> dict[str, Any]:
        start = f"{name}."
        return {"name": label} | {
            key.removeprefix(start): value for key, value in entry.settings.items() if key.startswith(start)
        }

    effective = {
        "first_stage": part("first_stage", entry.first_stage),
        "reranker": part("reranker", entry.reranker),
        "depth": entry.depth,
    }
    return labelling.Labelled(system(entry), effective, not entry.reranker)
