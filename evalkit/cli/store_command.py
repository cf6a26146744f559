"""``python -m evalkit store``: shows, checks and prunes the cached scores and indexes."""

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from evalkit.boundary import cache_dirs, index_cache
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.report import terminal
from evalkit.scoring.store import database, maintenance
from evalkit.scoring.store.score_store import SPACE


def run(parsed: argparse.Namespace) -> bool:
    """Show, check or prune, and return whether a check found damage.

    Raises:
        EvalkitError: the arguments do not go together, or the store cannot be used.
    """
    _check(parsed)
    path = user_path(parsed.path) if parsed.path else cache_dirs.default_store_path()
    indexes = None if parsed.path else index_cache.default_folder(path)
    if parsed.action == "check":
        return _check_scores(path)
    lines = _prune(parsed, path, indexes) if parsed.action == "prune" else _show(path, indexes)
    terminal.show_lines(lines)
    return False


def _check(parsed: argparse.Namespace) -> None:
    asked = {"--older-than": parsed.older_than is not None, "--space": parsed.space is not None, "--all": parsed.all}
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) != (parsed.action == "prune"):
        raise EvalkitError(
            "store prune takes one of --older-than DAYS, --space ID and --all"
            if parsed.action == "prune"
            else f"{given[0]} belongs to store prune"
        )
    if parsed.older_than is not None and not parsed.older_than >= 0:
        raise EvalkitError(f"--older-than {parsed.older_than:g}: give a number of days, 0 or more")


def _check_scores(path: Path) -> bool:
    if not database.size_bytes(path):
        terminal.show_lines([_nothing(path)])
        return False
    found = maintenance.find_errors(path)
    terminal.show_lines(found or [f"{path}: all scores are intact"])
    return bool(found)


def _show(path: Path, indexes: Path | None) -> list[str]:
    lines = [_nothing(path)]
    if size := database.size_bytes(path):
        spaces = maintenance.list_spaces(path)
        pairs = sum(space.pairs for space in spaces)
        lines = [f"{path}: {pairs:,} pairs in {_count(spaces, 'space')}, {_mb(size)}", *map(_space_line, spaces)]
    if indexes and (there := index_cache.list_entries(indexes)):
        size = sum(index.size_bytes for index in there)
        lines += [f"{indexes}: {_count(there, 'index', 'indexes')}, {_mb(size)}", *map(_index_line, there)]
    return lines


def _prune(parsed: argparse.Namespace, path: Path, indexes: Path | None) -> list[str]:
    lines = [_nothing(path)]
    if database.size_bytes(path):
        pruned = maintenance.prune(path, parsed.older_than, parsed.space)
        gone = sum(space.pairs for space in pruned.spaces)
        head = f"removed {gone:,} pairs from {_count(pruned.spaces, 'space')}, {_mb(pruned.freed_bytes)}"
        lines = [head, *map(_space_line, pruned.spaces)]
    if indexes and parsed.space is None and (removed := index_cache.prune(indexes, parsed.older_than)):
        size = sum(index.size_bytes for index in removed)
        lines += [f"removed {_count(removed, 'index', 'indexes')}, {_mb(size)}", *map(_index_line, removed)]
    return lines


def _nothing(path: Path) -> str:
    return f"there is no score store at {path} yet"


def _space_line(space: maintenance.Space) -> str:
    facts = {part: space.conditions[part] for part in SPACE if part in space.conditions} | dict(space.conditions)
    described = " ".join(f"{_plain(part)}={_plain(str(value))}" for part, value in facts.items()) or "damaged"
    return f"  {_plain(space.digest[:12])}  {space.pairs:,} pairs, last used {_day(space.used_s)}: {described}"


def _index_line(index: index_cache.CacheEntry) -> str:
    return f"  {_plain(index.folder.name)}  {_mb(index.size_bytes)}, last used {_day(index.used_s)}"


def _count(things: Sequence[object], one: str, more: str | None = None) -> str:
    return f"{len(things)} {one if len(things) == 1 else more or f'{one}s'}"


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _day(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d}"


def _plain(text: str) -> str:
    """Escape control characters: a store may come from elsewhere."""
    return json.dumps(text)[1:-1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``store`` to its parser."""
    parser.add_argument(
        "action", metavar="prune|check", nargs="?", choices=("prune", "check"), help="default: show what it holds"
    )
    parser.add_argument("--older-than", metavar="DAYS", type=float, help="prune what no run has used for that long")
    parser.add_argument("--space", metavar="ID", help="prune the scores of one model and setting: ID, or its start")
    parser.add_argument("--all", action="store_true", help="prune everything")
    parser.add_argument(
        "--path", metavar="FILE", help="a score store; default: the one in use, and the indexes next to it"
    )
