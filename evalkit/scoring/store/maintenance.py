"""What a store holds: shown, pruned, checked."""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.scoring.store.file import (
    RECORD,
    errors_as_sentences,
    integrity_errors,
    open_file,
    sha256,
    size_bytes,
    stored_batches,
    transaction,
)


@dataclass(frozen=True)
class Space:
    """One space of a store: under which conditions its pairs were scored, and how many there are."""

    digest: str
    """SHA-256 over the canonical JSON of `facts`."""
    facts: Mapping[str, Any]
    """Empty if they do not fit the digest, which a damaged file is the only reason for."""
    pairs: int
    used_s: int
    """Seconds since 1970, UTC: when a run last opened it."""


@dataclass(frozen=True)
class Pruned:
    """What was removed from a store."""

    spaces: tuple[Space, ...]
    freed_bytes: int


def contents(path: Path) -> tuple[Space, ...]:
    """Return the spaces of the store at `path`, the one last used first.

    Raises:
        EvalkitError: as for `ScoreStore`.
    """
    connection = open_file(path)
    try:
        with errors_as_sentences(path):
            return _spaces(connection)
    finally:
        connection.close()


def prune(path: Path, older_than_days: float | None = None, space: str | None = None) -> Pruned:
    """Remove the spaces not used for so many days, the one whose digest starts with `space`, or all if neither is set.

    Raises:
        EvalkitError: there is no such space, or as for `ScoreStore`.
    """
    connection = open_file(path)
    try:
        with errors_as_sentences(path):
            before = size_bytes(path)
            with transaction(connection):
                chosen = _chosen(_spaces(connection), older_than_days, space)
                if older_than_days is None and space is None:
                    connection.execute("DELETE FROM batches")  # those of a space that damage has lost, too
                    connection.execute("DELETE FROM spaces")
                for one in chosen:
                    connection.execute(
                        "DELETE FROM batches WHERE space = (SELECT id FROM spaces WHERE digest = ?)", (one.digest,)
                    )
                    connection.execute("DELETE FROM spaces WHERE digest = ?", (one.digest,))
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return Pruned(chosen, max(0, before - size_bytes(path)))
    finally:
        connection.close()


def check(path: Path) -> tuple[str, ...]:
    """Read everything in the store at `path`, and return what is wrong with it, a sentence each; nothing is changed.

    Raises:
        EvalkitError: as for `ScoreStore`: it is not a store, or so damaged that nothing in it can be read.
    """
    connection = open_file(path)
    try:
        with errors_as_sentences(path):
            found = [f"SQLite finds: {wrong}" for wrong in integrity_errors(connection, at_most=100)]
            lost = connection.execute("SELECT count(*) FROM batches WHERE space NOT IN (SELECT id FROM spaces)")
            if count := lost.fetchone()[0]:
                found.append(f"{count} batches belong to no space")
            for space in _spaces(connection):
                if not space.facts:
                    found.append(f"space {space.digest[:12]}: what it describes does not fit its SHA-256")
                broken = [number for number, _, sound in stored_batches(connection, space.digest) if not sound]
                if broken:
                    found.append(f"space {space.digest[:12]}: {len(broken)} batches do not fit their checksums")
            return tuple(found)
    finally:
        connection.close()


def _spaces(connection: sqlite3.Connection) -> tuple[Space, ...]:
    rows = connection.execute(
        "SELECT digest, described, used_s, (SELECT total(length(records)) FROM batches WHERE space = spaces.id) "
        "FROM spaces ORDER BY used_s DESC, id DESC"
    ).fetchall()
    return tuple(
        Space(str(digest), _facts(str(described), str(digest)), int(size) // RECORD.itemsize, _seconds(used_s))
        for digest, described, used_s, size in rows
    )


def _facts(described: str, digest: str) -> dict[str, Any]:
    if sha256(described) != digest:
        return {}
    with suppress(ValueError, RecursionError):
        facts = json.loads(described)
        return facts if isinstance(facts, dict) else {}
    return {}


def _seconds(stored: object) -> int:
    """Return a time that can be shown: a damaged one is some other type, or beyond the calendar."""
    return stored if isinstance(stored, int) and 0 <= stored < 1 << 37 else 0


def _chosen(spaces: tuple[Space, ...], older_than_days: float | None, start: str | None) -> tuple[Space, ...]:
    if start is not None:
        found = tuple(space for space in spaces if start and space.digest.startswith(start))
        if len(found) != 1:
            there = ", ".join(space.digest[:12] for space in found or spaces) or "none"
            raise EvalkitError(f"--space {start}: {len(found)} spaces start so; there is {there}")
        return found
    if older_than_days is not None:
        return tuple(space for space in spaces if space.used_s < time.time() - older_than_days * 86400)
    return spaces
