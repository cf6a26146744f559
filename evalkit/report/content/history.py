"""Rows and sentences of the history, shared by the terminal and HTML."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.cells import cell_len

from evalkit.report.content.numbers import counted, interval, measure_value, number, signed
from evalkit.results.history.entry import HistoryEntry

_SHORT = 10
"""Characters of a commit."""


_TEXT = ("ended (UTC)", "commit", "slice", "first stage", "reranker", "runtime", "precision", "folder")
"""Columns of words, which are on the left."""

_SHARED: dict[str, Callable[[HistoryEntry], str]] = {
    "slice": lambda one: one.slice,
    "queries": lambda one: str(one.queries),
    "first stage": lambda one: one.first_stage,
    "reranker": lambda one: one.reranker or "none",
    "depth": lambda one: str(one.depth),
    "runtime": lambda one: one.runtime or "",
    "precision": lambda one: one.precision or "",
    "device": lambda one: one.device or "",
}
"""Columns that are left out where all runs have the same value."""
_ONLY_NAMED = ("queries", "device")
"""Those that are never a column: lines would be too long."""


def lines(entries: Sequence[HistoryEntry], total: int, selected: int) -> list[str]:
    """Return a table of runs in the order given, a line for each, and notes below it.

    It has no frame and nothing is folded: rich takes 2.5 ms for a row, and lines can be searched with grep.

    Args:
        entries: what is listed, one or more.
        total: number of runs in the history.
        selected: number of runs for which the filters hold.
    """
    several = len(entries) > 1
    same = {name for name, cell in _SHARED.items() if several and len({cell(entry) for entry in entries}) == 1}
    common = [f"{name} {_SHARED[name](entries[0])}" for name in _SHARED if name in same and _SHARED[name](entries[0])]
    shown = [name for name in _SHARED if name not in same and name not in _ONLY_NAMED]
    measures = {entry.measure for entry in entries}
    measure = measures.pop() if len(measures) == 1 else None
    columns = ["ended (UTC)", "commit", *shown, measure or "measure", "delta", "p50 ms", "peak MiB", "folder"]
    rows = [
        [
            ended(entry),
            commit(entry),
            *(_SHARED[name](entry) for name in shown),
            measure_value(entry.after) if measure else f"{entry.measure} {measure_value(entry.after)}",
            change(entry),
            number(entry.p50_ms),
            number(entry.peak_mib),
            shown_folder(entry),
        ]
        for entry in entries
    ]
    table = _aligned([columns, *rows], [column in _TEXT for column in columns])
    return [*([f"All of them: {', '.join(common)}"] if common else []), *table, *_notes(entries, total, selected)]


def _aligned(rows: Sequence[Sequence[str]], is_text: Sequence[bool]) -> list[str]:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) if left else " " * (width - cell_len(cell)) + cell
            for cell, width, left in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in rows
    ]


def ended(entry: HistoryEntry) -> str:
    """Return when a run ended, to the minute."""
    return "unknown" if entry.ended is None else entry.ended[:16].replace("T", " ")


def commit(entry: HistoryEntry) -> str:
    """Return the beginning of a commit, with a plus sign if there were changes on top of it."""
    return "" if entry.commit is None else entry.commit[:_SHORT] + "+" * bool(entry.dirty)


def change(entry: HistoryEntry) -> str:
    """Return the delta, with a star where its interval leaves out 0; empty without a reranker."""
    if entry.delta is None:
        return ""
    return signed(entry.delta) + (" *" if is_clear(entry) else "  ")


def is_clear(entry: HistoryEntry) -> bool:
    """Return whether the 95 % interval of the delta leaves out 0."""
    low, high = entry.delta_low, entry.delta_high
    return low is not None and high is not None and (low > 0 or high < 0)


def delta_interval(entry: HistoryEntry) -> str:
    """Return the interval of the delta; empty where it is not known."""
    return interval(entry.delta_low, entry.delta_high)


def shown_folder(entry: HistoryEntry) -> str:
    """Return the folder, relative where it is below the working folder, with a mark where it is gone."""
    folder, here = Path(entry.folder), Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return str(shown) if entry.is_there else f"{shown} (gone)"


def plain(entry: HistoryEntry) -> dict[str, object]:
    """Return an entry as JSON has it, with ``gone`` for a folder that has no result any more."""
    return {**vars(entry), "gone": not entry.is_there}


def rebuilt(path: Path, entries: int, before: int, left_out: Sequence[str]) -> list[str]:
    """Return the sentences after the history was made again from folders.

    Args:
        path: the file.
        entries: number of runs in it.
        before: number of runs that it had.
        left_out: sentences on the results that were left out.
    """
    lines = [f"{path}: {counted(entries, 'run')}, in place of {before:,} before"]
    if left_out:
        lines.append(f"left out: {counted(len(left_out), 'result')} of no finished run, or that cannot be read")
        lines += [f"  {' '.join(one.split())}" for one in left_out[:_MOST_NAMED]]
    if len(left_out) > _MOST_NAMED:
        lines.append(f"  and {counted(len(left_out) - _MOST_NAMED, 'other')}")
    return lines


_MOST_NAMED = 20


def _notes(entries: Sequence[HistoryEntry], total: int, selected: int) -> list[str]:
    found = []
    if len(entries) < selected:
        found.append(f"{len(entries):,} of {counted(selected, 'run')}; --limit 0 lists all of them")
    elif selected < total:
        found.append(f"{selected:,} of {counted(total, 'run')} in the history")
    if any(is_clear(entry) for entry in entries):
        found.append("* the 95 % interval of the delta, reranked against first stage, leaves out 0")
    if len({entry.device for entry in entries if entry.p50_ms is not None}) > 1:
        found.append("on several devices, whose times and memory cannot be compared with one another")
    if any(entry.dirty for entry in entries):
        found.append("+ after a commit: with uncommitted changes")
    if (slices := len({(entry.fingerprint, entry.relevance_level) for entry in entries})) > 1:
        found.append(f"of {slices} slices, whose figures cannot be compared with one another")
    return found
