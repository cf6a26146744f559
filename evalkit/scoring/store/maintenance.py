"""Lists, prunes and checks the contents of a score store."""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.sqlite_file import integrity_errors, transaction
from evalkit.scoring.store.database import (
    RECORD,
    connect,
    size_bytes,
    space_digest,
    stored_batches,
    translate_errors,
)


@dataclass(frozen=True)
class Space:
    """A space of a store: the conditions under which its pairs were scored, and their number."""

    digest: str
    """SHA-256 over the canonical JSON of `conditions`."""
    conditions: Mapping[str, Any]
    """Empty if they do not match the digest, which happens in a damaged file only."""
    pairs: int
    used_s: int
    """When a run last opened it, in seconds since 1970, UTC."""


@dataclass(frozen=True)
class PruneResult:
    """What was removed from a store."""

    spaces: tuple[Space, ...]
    freed_bytes: int


def list_spaces(path: Path) -> tuple[Space, ...]:
    """Return the spaces of a store, the most recently used first.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: as for `ScoreStore`.
    """
    connection = connect(path)
    try:
        with translate_errors(path):
            return _read_spaces(connection)
    finally:
        connection.close()


def prune(path: Path, older_than_days: float | None = None, space: str | None = None) -> PruneResult:
    """Remove spaces from a store; all of them if neither condition is given.

    Args:
        path: The store's file.
        older_than_days: Removes the spaces that have not been used for this many days.
        space: Removes the space whose digest starts with this.

    Raises:
        EvalkitError: there is no such space, or as for `ScoreStore`.
    """
    connection = connect(path)
    try:
        with translate_errors(path):
            before = size_bytes(path)
            with transaction(connection):
                removed = _select_spaces(_read_spaces(connection), older_than_days, space)
                if older_than_days is None and space is None:
                    connection.execute("DELETE FROM batches")  # including those whose space was lost by damage
                    connection.execute("DELETE FROM spaces")
                for one in removed:
                    connection.execute(
                        "DELETE FROM batches WHERE space = (SELECT id FROM spaces WHERE digest = ?)", (one.digest,)
                    )
                    connection.execute("DELETE FROM spaces WHERE digest = ?", (one.digest,))
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return PruneResult(removed, max(0, before - size_bytes(path)))
    finally:
        connection.close()


def find_errors(path: Path) -> tuple[str, ...]:
    """Read all of a store, and return a sentence for each error in it; nothing is changed.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: as for `ScoreStore`: it is not a store, or so damaged that it cannot be read.
    """
    connection = connect(path)
    try:
        with translate_errors(path):
            errors = [f"SQLite finds: {error}" for error in integrity_errors(connection, at_most=100)]
            lost = connection.execute("SELECT count(*) FROM batches WHERE space NOT IN (SELECT id FROM spaces)")
            if count := lost.fetchone()[0]:
                errors.append(f"{count} batches belong to no space")
            for space in _read_spaces(connection):
                if not space.conditions:
                    errors.append(f"space {space.digest[:12]}: what it describes does not fit its SHA-256")
                if broken := sum(not batch.is_intact for batch in stored_batches(connection, space.digest)):
                    errors.append(f"space {space.digest[:12]}: {broken} batches do not fit their checksums")
            return tuple(errors)
    finally:
        connection.close()


def _read_spaces(connection: sqlite3.Connection) -> tuple[Space, ...]:
    rows = connection.execute(
        "SELECT digest, described, used_s, (SELECT total(length(records)) FROM batches WHERE space = spaces.id) "
        "FROM spaces ORDER BY used_s DESC, id DESC"
    ).fetchall()
    return tuple(
        Space(
            str(digest),
            _parse_conditions(str(described), str(digest)),
            int(size) // RECORD.itemsize,
            _valid_time(used_s),
        )
        for digest, described, used_s, size in rows
    )


def _parse_conditions(described: str, digest: str) -> dict[str, Any]:
    if space_digest(described) != digest:
        return {}
    with suppress(ValueError, RecursionError):
        conditions = json.loads(described)
        return conditions if isinstance(conditions, dict) else {}
    return {}


def _valid_time(stored: object) -> int:
    """Return a time that can be shown as a date, or 0: a damaged one may be of another type or out of range."""
    return stored if isinstance(stored, int) and 0 <= stored < 1 << 37 else 0


def _select_spaces(spaces: tuple[Space, ...], older_than_days: float | None, prefix: str | None) -> tuple[Space, ...]:
    if prefix is not None:
        matching = tuple(space for space in spaces if prefix and space.digest.startswith(prefix))
        if len(matching) != 1:
            digests = ", ".join(space.digest[:12] for space in matching or spaces) or "none"
            raise EvalkitError(f"--space {prefix}: {len(matching)} spaces start so; there is {digests}")
        return matching
    if older_than_days is not None:
        return tuple(space for space in spaces if space.used_s < time.time() - older_than_days * 86400)
    return spaces
