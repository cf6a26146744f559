"""The SQLite file of a store: opened, checked, locked; what goes wrong with it put in one sentence."""

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import EvalkitError


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that is inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")  # a lock that is got late, after reading, could not be waited for
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite itself has rolled back where the disk is full
            connection.execute("ROLLBACK")
        raise


def open_file(path: Path) -> sqlite3.Connection:
    """Return a connection to the store at `path`, made if there is none; nothing but a store is ever written to."""
    with errors_as_sentences(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind := _network_file_system(path.parent):
            raise _without_log(path, kind)
        log = path.with_name(path.name + "-wal")
        # SQLite would throw the log away. Without one, an empty file is what a process leaves that died at the start.
        if path.exists() and not path.stat().st_size and log.exists() and log.stat().st_size:
            raise damaged(path, "it is empty, and its log is not")
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            # A store may come from elsewhere: https://www.sqlite.org/security.html, "Untrusted SQLite Database Files".
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            # With the log, NORMAL loses no commit when a process dies; a power cut may cost the last, and no more.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            if _is_new(connection):
                _use_log(connection, path)
                _make_tables(connection)
            _check_is_a_store(connection, path)
            _use_log(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the name of the network file system that `folder` lies on; None if it is local, or nobody tells."""
    if not mounts.exists():  # not Linux
        return None
    # https://docs.kernel.org/filesystems/proc.html, mountinfo: the device is the third field, the kind follows a dash.
    lines = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    kinds = {fields[2]: fields[fields.index("-") + 1] for fields in lines}
    device = folder.stat().st_dev
    kind = kinds.get(f"{os.major(device)}:{os.minor(device)}")
    return kind if kind in _NETWORK else None


def _is_new(connection: sqlite3.Connection) -> bool:
    return _pragma(connection, "application_id") == 0 and not _schema(connection)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to write-ahead logging, if it is not in use yet.

    Without it each batch waits for the disk. SQLite before 3.51.3 can damage a file that two processes write to and
    checkpoint in the same instant (https://www.sqlite.org/wal.html); the checks then tell, and no score is wrong.
    """
    given_up_at = time.monotonic() + _BUSY_S
    mode = _pragma(connection, "journal_mode")
    while mode != "wal":
        try:
            mode = _pragma(connection, "journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait for this lock by itself, as for all others.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > given_up_at:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise _without_log(path, f"it stays at {mode}")


def _make_tables(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if _is_new(connection):  # another process may have been faster
            for statement in _TABLES.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")


def _check_is_a_store(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != _APPLICATION:
        raise EvalkitError(
            f"{path} is a database of another program, not a score store of evalkit: name another file with "
            "store=FILE, or go without with store=off"
        )
    if (schema := _pragma(connection, "user_version")) > _SCHEMA:
        raise EvalkitError(
            f"the score store {path} was written by a newer evalkit (schema {schema}, and this one knows up to "
            f"{_SCHEMA}): update evalkit, name another file with store=FILE, or go without with store=off"
        )
    if schema != _SCHEMA or _schema(connection) != _TABLES:
        raise damaged(path, "its tables are not those of a store")


@contextmanager
def errors_as_sentences(path: Path) -> Iterator[None]:
    """Say in one sentence what SQLite or the system raises about the store."""
    try:
        yield
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:  # SQLite quotes a damaged name in its message, and Python cannot read that
        raise damaged(path, "its tables have names that are no text") from None
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):
            raise  # not about the file: a mistake of ours
        raise _sentence(path, error) from None


def _sentence(path: Path, error: sqlite3.Error) -> EvalkitError:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return damaged(path, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EvalkitError(
            f"the score store {path} has been locked by another process for {_BUSY_S:.0f} s: wait for it, name "
            "another file with store=FILE, or go without with store=off"
        )
    if code == sqlite3.SQLITE_FULL:
        return EvalkitError(
            f"the disk of the score store {path} is full, and what was kept before stays: make room on it, name a "
            "file elsewhere with store=FILE, or go without with store=off"
        )
    if code == sqlite3.SQLITE_PROTOCOL or error.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
        return _without_log(path, error.sqlite_errorname)
    return _unusable(path, f"{error}, {error.sqlite_errorname}")


def _without_log(path: Path, why: str) -> EvalkitError:
    return EvalkitError(
        f"the score store {path} would lie on a file system where SQLite's write-ahead log does not work ({why}): name "
        "a file on a local disk with store=FILE, or go without with store=off"
    )


def _unusable(path: Path, why: str) -> EvalkitError:
    return EvalkitError(
        f"the score store {path} cannot be read and written ({why}): name another file with store=FILE, or go "
        "without with store=off"
    )


def damaged(path: Path, why: str) -> EvalkitError:
    """Return the error for a store that is damaged."""
    return EvalkitError(
        f"the score store {path} is damaged, or not a store at all ({why}): move the file away, name another with "
        "store=FILE, or go without with store=off"
    )


def integrity_errors(connection: sqlite3.Connection, at_most: int) -> list[str]:
    """Return what SQLite finds wrong with the file as a database; nothing if all is well."""
    told = "\n".join(str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({at_most})"))
    return [line for line in told.splitlines() if line != "ok" and not line.startswith("***")]


_TABLES = {
    "spaces": "CREATE TABLE spaces (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, described TEXT NOT NULL, "
    "used_s INTEGER NOT NULL)",
    "batches": "CREATE TABLE batches (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, checksum INTEGER NOT NULL, "
    "records BLOB NOT NULL)",
    "batches_of_a_space": "CREATE INDEX batches_of_a_space ON batches (space)",
}


_NETWORK = {
    "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"
}  # fmt: skip
"""File systems whose processes sit on several machines; WAL keeps its index in memory that they do not share."""


_APPLICATION = 0x45564B54  # "EVKT": tells a store from any other SQLite file


_SCHEMA = 1


_BUSY_S = 60.0
"""How long to wait for another process: longer than it takes to vacuum some gigabytes."""


def check_place(path: Path) -> None:
    """Check before the work starts that a store can be kept at `path`.

    Raises:
        EvalkitError: it cannot be read and written, or it is damaged or no store.
    """
    open_file(path).close()


def size_bytes(path: Path) -> int:
    """Return what the store takes on disk, its log included; 0 if there is none.

    Raises:
        EvalkitError: the system does not tell.
    """
    with errors_as_sentences(path):
        return sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())


RECORD = np.dtype([("key", "<u8", 2), ("logit", "<f4"), ("tokens", "<u4")])
"""24 bytes a pair, the same on every machine. The lowest bit of ``tokens`` says whether the pair was truncated."""


def stored_batches(connection: sqlite3.Connection, digest: str) -> Iterator[tuple[int, bytes, bool]]:
    """Yield number, records and soundness of each batch of a space, in the order they were kept."""
    rows = connection.execute(
        "SELECT id, checksum, records FROM batches WHERE space = (SELECT id FROM spaces WHERE digest = ?) ORDER BY id",
        (digest,),
    )
    for number, written, blob in rows:
        sound = isinstance(blob, bytes) and len(blob) % RECORD.itemsize == 0 and written == checksum(digest, blob)
        yield number, blob, sound


def sha256(described: str) -> str:
    """Return the digest by which a space is found."""
    return hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()


def checksum(digest: str, blob: bytes) -> int:
    """Return the CRC-32 of a batch and its space: SQLite itself has none, and garbage would pass for logits."""
    return zlib.crc32(blob, zlib.crc32(digest.encode("utf-8", "surrogatepass")))


def canonical(space: Mapping[str, Any]) -> str:
    """Return a space as JSON, the same text for the same facts."""
    return json.dumps(dict(space), sort_keys=True, separators=(",", ":"), allow_nan=False)


def now_s() -> int:
    """Return the time in seconds since 1970, UTC."""
    return int(time.time())
