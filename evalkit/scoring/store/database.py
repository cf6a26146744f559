"""The SQLite file of a score store: opened, checked and locked, with its errors as one sentence each.

Each batch of scored pairs is one row: a blob of fixed-size records and a checksum. A row for each pair, clustered by
its key, is the obvious layout, but batches come sorted by length, so that each pair would change a page of its own
(measured by benchmarks/store.py).
"""

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import EvalkitError

RECORD = np.dtype([("key", "<u8", 2), ("logit", "<f4"), ("tokens", "<u4")])
"""A scored pair: 24 bytes, the same on every machine. The lowest bit of ``tokens`` is set if the pair was truncated."""

_TABLES = {
    "spaces": "CREATE TABLE spaces (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, described TEXT NOT NULL, "
    "used_s INTEGER NOT NULL)",
    "batches": "CREATE TABLE batches (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, checksum INTEGER NOT NULL, "
    "records BLOB NOT NULL)",
    "batches_of_a_space": "CREATE INDEX batches_of_a_space ON batches (space)",
}

_APPLICATION_ID = 0x45564B54
""""EVKT", which distinguishes a store from any other SQLite file."""

_SCHEMA_VERSION = 1

_BUSY_TIMEOUT_S = 60.0
"""How long to wait for another process: longer than it takes to vacuum several GB."""

_NETWORK_FILE_SYSTEMS = {
    "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"
}  # fmt: skip
"""Processes on several machines may use them; WAL keeps its index in memory that those do not share."""


class StoredBatch(NamedTuple):
    """A row of the store."""

    number: int
    records: bytes
    """Bytes of `RECORD`s."""
    is_intact: bool
    """Whether the records match their checksum."""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a store; creates the file if it does not exist, and never changes one of another kind.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: it cannot be read and written, it is damaged or not a store, or a newer evalkit wrote it.
    """
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind := _network_file_system(path.parent):
            raise _wal_unsupported(path, kind)
        wal = path.with_name(path.name + "-wal")
        # SQLite would discard the log. Without one, an empty file was left by a process that died while creating it.
        if path.exists() and not path.stat().st_size and wal.exists() and wal.stat().st_size:
            raise damaged_error(path, "it is empty, and its log is not")
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            # The file may come from elsewhere: https://www.sqlite.org/security.html, "Untrusted SQLite Database Files".
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            # In WAL mode, NORMAL loses no commit if a process dies; a power failure may lose the last ones.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            if _is_new(connection):
                _enable_wal(connection, path)
                _create_tables(connection)
            _check_schema(connection, path)
            _enable_wal(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def check_writable(path: Path) -> None:
    """Check that a store can be used, before other work starts.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: as for `connect`.
    """
    connect(path).close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all writes inside the context, or none of them.

    Args:
        connection: As `connect` returns it.

    Raises:
        sqlite3.Error: the database is locked by another process for too long, or cannot be written.
    """
    connection.execute(
        "BEGIN IMMEDIATE"
    )  # upgrading a read lock to a write lock later would not wait for other writers
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # on a full disk SQLite has rolled back already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and of the operating system as an `EvalkitError` of one sentence.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: in place of such an error.
    """
    try:
        yield
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:  # the message of SQLite quotes a damaged name, which Python cannot decode
        raise damaged_error(path, "its tables have names that are no text") from None
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):
            raise  # not about the file: a programming error
        raise _translated(path, error) from None


def damaged_error(path: Path, problem: str) -> EvalkitError:
    """Return the error for a store that is damaged.

    Args:
        path: The store's file.
        problem: What was found.
    """
    return EvalkitError(
        f"the score store {path} is damaged, or not a store at all ({problem}): move the file away, name another with "
        "store=FILE, or go without with store=off"
    )


def integrity_errors(connection: sqlite3.Connection, at_most: int) -> list[str]:
    """Return the errors that SQLite finds in the file; empty if there are none.

    Args:
        connection: As `connect` returns it.
        at_most: The number of errors after which to stop.
    """
    report = "\n".join(str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({at_most})"))
    return [line for line in report.splitlines() if line != "ok" and not line.startswith("***")]


def stored_batches(connection: sqlite3.Connection, digest: str) -> Iterator[StoredBatch]:
    """Yield the batches of a space, in the order in which they were added.

    Args:
        connection: As `connect` returns it.
        digest: The `space_digest` of the space.
    """
    rows = connection.execute(
        "SELECT id, checksum, records FROM batches WHERE space = (SELECT id FROM spaces WHERE digest = ?) ORDER BY id",
        (digest,),
    )
    for number, stored_checksum, blob in rows:
        is_blob = isinstance(blob, bytes) and len(blob) % RECORD.itemsize == 0
        yield StoredBatch(number, blob, is_blob and stored_checksum == checksum(digest, blob))


def size_bytes(path: Path) -> int:
    """Return the size of a store on disk in bytes, its log included; 0 if there is none.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: the size cannot be read.
    """
    with translate_errors(path):
        return sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())


def canonical_json(space: Mapping[str, Any]) -> str:
    """Return the conditions of a space as JSON, the same text for equal conditions.

    Args:
        space: The conditions under which pairs are scored.
    """
    return json.dumps(dict(space), sort_keys=True, separators=(",", ":"), allow_nan=False)


def space_digest(described: str) -> str:
    """Return the SHA-256 by which a space is found.

    Args:
        described: The space's `canonical_json`.
    """
    return hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()


def checksum(digest: str, blob: bytes) -> int:
    """Return the CRC-32 of a batch together with its space; SQLite has no checksums of its own.

    Args:
        digest: The `space_digest` of the space.
        blob: The batch's records.
    """
    return zlib.crc32(blob, zlib.crc32(digest.encode("utf-8", "surrogatepass")))


def now_s() -> int:
    """Return the time in seconds since 1970, UTC."""
    return int(time.time())


def _network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of network file system of a folder; None if it is local, or not known."""
    if not mounts.exists():  # not Linux
        return None
    # https://docs.kernel.org/filesystems/proc.html, mountinfo: the device is the third field, the kind follows a dash.
    lines = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    kinds = {fields[2]: fields[fields.index("-") + 1] for fields in lines}
    device = folder.stat().st_dev
    kind = kinds.get(f"{os.major(device)}:{os.minor(device)}")
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def _is_new(connection: sqlite3.Connection) -> bool:
    return _pragma(connection, "application_id") == 0 and not _schema(connection)


def _enable_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to write-ahead logging, without which each batch waits for the disk, if it is not enabled yet.

    SQLite before 3.51.3 can damage a file that two processes write to and checkpoint in the same instant
    (https://www.sqlite.org/wal.html). The checks detect such damage, so that no score is wrong.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    mode = _pragma(connection, "journal_mode")
    while mode != "wal":
        try:
            mode = _pragma(connection, "journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite's own timeout does not apply to this lock.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise _wal_unsupported(path, f"it stays at {mode}")


def _create_tables(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if _is_new(connection):  # another process may have created them meanwhile
            for statement in _TABLES.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise EvalkitError(
            f"{path} is a database of another program, not a score store of evalkit: name another file with "
            "store=FILE, or go without with store=off"
        )
    if (version := _pragma(connection, "user_version")) > _SCHEMA_VERSION:
        raise EvalkitError(
            f"the score store {path} was written by a newer evalkit (schema {version}, and this one knows up to "
            f"{_SCHEMA_VERSION}): update evalkit, name another file with store=FILE, or go without with store=off"
        )
    if version != _SCHEMA_VERSION or _schema(connection) != _TABLES:
        raise damaged_error(path, "its tables are not those of a store")


def _translated(path: Path, error: sqlite3.Error) -> EvalkitError:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return damaged_error(path, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EvalkitError(
            f"the score store {path} has been locked by another process for {_BUSY_TIMEOUT_S:.0f} s: wait for it, name "
            "another file with store=FILE, or go without with store=off"
        )
    if code == sqlite3.SQLITE_FULL:
        return EvalkitError(
            f"the disk of the score store {path} is full, and what was stored before remains: free some space, name a "
            "file on another disk with store=FILE, or go without with store=off"
        )
    if code == sqlite3.SQLITE_PROTOCOL or error.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
        return _wal_unsupported(path, error.sqlite_errorname)
    return _unusable(path, f"{error}, {error.sqlite_errorname}")


def _wal_unsupported(path: Path, reason: str) -> EvalkitError:
    return EvalkitError(
        f"the score store {path} would be on a file system where SQLite's write-ahead log does not work ({reason}): "
        "name a file on a local disk with store=FILE, or go without with store=off"
    )


def _unusable(path: Path, reason: str) -> EvalkitError:
    return EvalkitError(
        f"the score store {path} cannot be read and written ({reason}): name another file with store=FILE, or go "
        "without with store=off"
    )
