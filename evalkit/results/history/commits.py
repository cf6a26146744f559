"""Pairs the runs of two commits: for each setting that has a run in both, the newest of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError
from evalkit.results import provenance
from evalkit.results.history.entry import HistoryEntry, is_same_setting, system

SHORT = 10
"""Characters of a commit in messages and reports."""


@dataclass(frozen=True)
class Pair:
    """The newest run of one setting at each of two commits."""

    before: HistoryEntry
    after: HistoryEntry


@dataclass(frozen=True)
class Pairs:
    """The runs of two commits."""

    before: str
    """The whole name of the first commit."""
    after: str
    pairs: Sequence[Pair]
    notes: Sequence[str]
    """Sentences about runs that were left out, and about commits with changes on top."""


def between(entries: Sequence[HistoryEntry], before: str, after: str) -> Pairs:
    """Pair the runs of two commits.

    Args:
        entries: runs, the newest first.
        before: the first commit: the beginning of its name, or what git resolves to it, such as a tag.
        after: the second one.

    Raises:
        EvalkitError: a commit is not known or not the only one with that beginning, both are the same, or they have no
            setting in common.
    """
    names = [_commit(entries, typed) for typed in (before, after)]
    if names[0] == names[1]:
        raise EvalkitError(f"--between {before} {after}: both are commit {names[0][:SHORT]}; name two")
    sides = [[entry for entry in entries if entry.commit == name] for name in names]
    there = [[entry for entry in side if entry.is_there] for side in sides]
    newest = [_newest_of_each_setting(side) for side in there]
    pairs = []
    for old in newest[0]:
        new = next((one for one in newest[1] if is_same_setting(old, one)), None)
        if new is not None:
            pairs.append(Pair(old, new))
    if not pairs:
        of_each = "; ".join(f"{name[:SHORT]} has {_settings(side)}" for name, side in zip(names, newest, strict=True))
        raise EvalkitError(f"--between {before} {after}: no setting has a finished run at both commits: {of_each}")
    return Pairs(names[0], names[1], pairs, _notes(names, sides, there, newest, pairs))


def setting(entry: HistoryEntry) -> str:
    """Return the slice, the system and the depth of a run in words."""
    return f"{entry.slice}, {system(entry)}" + (f", depth {entry.depth}" if entry.reranker else "")


def _commit(entries: Sequence[HistoryEntry], typed: str) -> str:
    known = list(dict.fromkeys(entry.commit for entry in entries if entry.commit))
    found = [commit for commit in known if typed and commit.startswith(typed.lower())]
    if not found and (resolved := provenance.resolve_commit(typed)) in known:
        found = [resolved]
    if len(found) == 1:
        return found[0]
    some = ", ".join(commit[:SHORT] for commit in (found or known)[:10]) or "none"
    more = ", ..." if len(found or known) > 10 else ""
    problem = f"{len(found)} commits of the history start so" if found else "the history has no run at that commit"
    raise EvalkitError(f"--between {typed}: {problem}; there is {some}{more}")


def _newest_of_each_setting(entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    for entry in entries:
        if not any(is_same_setting(entry, other) for other in found):
            found.append(entry)
    return found


def _settings(entries: Sequence[HistoryEntry]) -> str:
    named = [f"{setting(one)}{f' on {one.device}' if one.device else ''}" for one in entries[:10]]
    more = [f"{len(entries) - 10} more"] if len(entries) > 10 else []
    return " and ".join((*named, *more)) or "no run whose folder is still there"


def _notes(
    names: Sequence[str],
    sides: Sequence[Sequence[HistoryEntry]],
    there: Sequence[Sequence[HistoryEntry]],
    newest: Sequence[Sequence[HistoryEntry]],
    pairs: Sequence[Pair],
) -> list[str]:
    notes = []
    for name, all_of_it, usable in zip(names, sides, there, strict=True):
        if gone := len(all_of_it) - len(usable):
            notes.append(f"left out: {gone} of {len(all_of_it)} runs at {name[:SHORT]}, whose folders are gone")
    used = [one for pair in pairs for one in (pair.before, pair.after)]
    for name, side in zip(names, newest, strict=True):
        notes += [f"only at {name[:SHORT]}: {setting(one)}" for one in side if one not in used]
    for one in used:
        if one.dirty:
            notes.append(f"{one.folder} was run with uncommitted changes on top of {str(one.commit)[:SHORT]}")
    return notes
