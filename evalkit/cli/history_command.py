"""``python -m evalkit history``: lists finished runs, draws their trends, and compares two commits."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from evalkit.boundary import cache_dirs
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.terminal import without_controls
from evalkit.boundary.text import is_folder, user_path
from evalkit.report.content import history
from evalkit.report.content.numbers import counted
from evalkit.results.history import commits, index, selecting
from evalkit.results.history.entry import HistoryEntry

VARIABLE = "EVALKIT_HISTORY"
"""The environment variable that the setting ``history`` takes its default from."""
LISTED = 30
"""Runs that are listed unless --limit has another number."""


def run(parsed: argparse.Namespace) -> None:
    """List, draw, compare or rebuild.

    Raises:
        EvalkitError: the arguments do not go together, a filter or a commit is unknown, or a file cannot be read or
            written.
    """
    _check(parsed)
    path = _path(parsed.path)
    if parsed.rebuild:
        _rebuild(path, parsed.rebuild)
        return
    entries = index.read(path)
    if not entries and parsed.between:
        raise EvalkitError(f"there is no run in the history at {path} yet; {_HOW}")
    if not entries and not parsed.json:
        _print([f"there is no run in the history at {path} yet; {_HOW}"])
        return
    found = selecting.select(entries, selecting.filters(parsed.filters, entries))
    if parsed.between:
        _compare(selecting.sort(found), parsed)
        return
    limit = parsed.limit if parsed.limit is not None else 0 if parsed.html or parsed.json else LISTED
    listed = selecting.sort(found, parsed.sort)[: limit or None]
    if parsed.json:
        _print([json.dumps([history.plain(entry) for entry in listed], indent=1, ensure_ascii=False)])
    elif not listed:
        _print([f"none of {len(entries):,} runs has {' '.join(parsed.filters)}"])
    elif parsed.html:
        _write_page(listed, user_path(parsed.html), parsed.filters)
    else:
        _print(history.lines(listed, len(entries), len(found)))


_HOW = "finished runs are entered in it, and `python -m evalkit history --rebuild FOLDER` enters those of a folder"


def path_of(setting: str) -> Path | None:
    """Return the file of the history for the setting `history`: ``auto``, ``off`` or a path; None for ``off``.

    Raises:
        EvalkitError: it is ``auto``, and there is no home folder.
    """
    if setting == "off":
        return None
    return cache_dirs.default_history_path() if setting == "auto" else user_path(setting)


def _path(typed: str | None) -> Path:
    found = user_path(typed) if typed else path_of(os.environ.get(VARIABLE) or "auto")
    if found is None:
        raise EvalkitError(f"{VARIABLE}=off: there is no history; name the file with --path FILE")
    return found


def _check(parsed: argparse.Namespace) -> None:
    given = [name for name in ("rebuild", "between", "html", "json") if getattr(parsed, name)]
    if len(given) > 1:
        raise EvalkitError(f"--{given[0]} and --{given[1]} do not go together")
    if parsed.rebuild and (parsed.filters or parsed.sort):
        raise EvalkitError("--rebuild takes folders, and no filters: the history has all runs below them")
    if parsed.output and not parsed.between:
        raise EvalkitError("--output belongs to --between")
    if parsed.limit is not None and (parsed.between or parsed.rebuild):
        raise EvalkitError("--limit belongs to a list or a page")
    if parsed.limit is not None and parsed.limit < 0:
        raise EvalkitError(f"--limit {parsed.limit}: give a number of runs, or 0 for all of them")


def _rebuild(path: Path, folders: list[str]) -> None:
    from evalkit.results.history import entering

    found = entering.below(folders)
    before = index.replace_all(path, found.entries)
    _print(history.rebuilt(path, len(found.entries), before, found.left_out))


def _write_page(entries: list[HistoryEntry], file: Path, filters: list[str]) -> None:
    if is_folder(file):
        raise EvalkitError(f"--html {file} is a folder; name a file in it, such as {file / 'history.html'}")
    from evalkit.report import folder

    folder.write_history(entries, file, filters)
    _print([f"page of {counted(len(entries), 'run')} in {file}"])


def _compare(entries: list[HistoryEntry], parsed: argparse.Namespace) -> None:
    """Compare the newest run of each setting at one commit with that at another."""
    from evalkit.cli import compare_command

    found = commits.between(entries, *parsed.between)
    folders: list[Path | None] = [None] * len(found.pairs)
    if parsed.output:
        output = user_path(parsed.output)
        folders = [output] if len(found.pairs) == 1 else [output / str(n) for n, _ in enumerate(found.pairs, 1)]
        for named in filter(None, folders):
            compare_command.check_output(named, overwrite=False)
    names = f"{found.before[: commits.SHORT]} and {found.after[: commits.SHORT]}"
    have = counted(len(found.pairs), "setting has", "settings have")
    say(f"{have} a run at both {names}")
    for note in found.notes:
        say(f"  note: {note}")
    for pair, folder in zip(found.pairs, folders, strict=True):
        say(f"{commits.setting(pair.after)}: {pair.before.folder} against {pair.after.folder}")
        compare_command.compare([pair.before.folder, pair.after.folder], 0, compare_command.MARGIN, folder)


def _print(lines: Iterable[str]) -> None:
    """Print lines without wrapping; what an entry holds is from results, which may come from elsewhere."""
    sys.stdout.write("".join(f"{without_controls(line)}\n" for line in lines))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``history`` to its parser."""
    parser.add_argument(
        "filters",
        metavar="KEY=VALUE",
        nargs="*",
        help="such as slice=dev, reranker=bge,minilm, commit=1a2b3c, nDCG@10=0.7.. or p50_ms=..200: a part of a text, "
        "the beginning of a commit, a number, or a range; KEY==VALUE for the whole text",
    )
    parser.add_argument(
        "--sort", metavar="KEY", help="best first by KEY, such as nDCG@10, delta or p50_ms; default: newest"
    )
    parser.add_argument("--limit", metavar="N", type=int, help=f"0 for all; default: {LISTED} in a list, all elsewhere")
    parser.add_argument("--html", metavar="FILE", help="write a page with a leaderboard and trends for each slice")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON, with all that is known of them")
    parser.add_argument(
        "--between",
        metavar=("A", "B"),
        nargs=2,
        help="compare two commits: for each setting with a run at both, the newest ones, A being the baseline",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="with --between: folder of the comparison; default: reports/runs/DATE-TIME-compare",
    )
    parser.add_argument(
        "--rebuild", metavar="FOLDER", nargs="+", help="make the history anew from all results in these folders"
    )
    parser.add_argument("--path", metavar="FILE", help=f"a history; default: that of {VARIABLE}, else the one in use")
