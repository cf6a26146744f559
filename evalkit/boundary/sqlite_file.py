"""SQLite files of evalkit: opened, checked and locked, with their errors as one sentence each."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError

_NETWORK_FILE_SYSTEMS = {
    "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"
}  # fmt: skip
"""Processes on several machines may use them; WAL keeps its index in memory that those do not share."""


@dataclass(frozen=True)
class FileKind:
    """What a file is for, how it is recognised, and how processes share it."""

    name: str
    """In messages: ``score store``."""
    noun: str
    """The same in one word: ``store``."""
    setting: str
    """The setting that names the file or goes without it."""
    application_id: int
    """Distinguishes the file from any other SQLite file."""
    schema_version: int
    tables: Mapping[str, str]
    """Name of a table or an index -> the statement that creates it."""
    busy_timeout_s: float
    """How long to wait for another process."""
    wal: bool
    """Whether writers append to a log, without which each write waits for the disk."""
    replacement: str = ""
    """How to get a new file in place of a damaged one."""

    def __str__(self) -> str:
        return f"the {self.name}"


def connect(path: Path, kind: FileKind) -> sqlite3.Connection:
    """Return a connection to a file; creates it if it does not exist, and never changes one of another kind.

    Args:
        path: The file.
        kind: What it has to be.

    Raises:
        EvalkitError: it cannot be read and written, it is damaged or of another kind, or a newer evalkit wrote it.
    """
    with translate_errors(path, kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind.wal and (network := network_file_system(path.parent)):
            raise _wal_unsupported(path, kind, network)
        wal = path.with_name(path.name + "-wal")
        # SQLite would discard the log. Without one, an empty file was left by a process that died while creating it.
        if path.exists() and not path.stat().st_size and wal.exists() and wal.stat().st_size:
            raise damaged_error(path, kind, "it is empty, and its log is not")
        connection = sqlite3.connect(path, timeout=kind.busy_timeout_s, isolation_level=None)
        try:
            # The file may come from elsewhere: https://www.sqlite.org/security.html, "Untrusted SQLite Database Files".
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            if kind.wal:
                # In WAL mode, NORMAL loses no commit if a process dies; a power failure may lose the last ones.
                connection.execute("PRAGMA synchronous = NORMAL")
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            if _is_new(connection):
                _enable_wal(connection, path, kind)
                _create_tables(connection, kind)
            _check_schema(connection, path, kind)
            _enable_wal(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


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
def translate_errors(path: Path, kind: FileKind) -> Iterator[None]:
    """Raise errors of SQLite and of the operating system as an `EvalkitError` of one sentence.

    Args:
        path: The file.
        kind: What it is.

    Raises:
        EvalkitError: in place of such an error.
    """
    try:
        yield
    except OSError as error:
        raise _unusable(path, kind, error.strerror or str(error)) from None
    except UnicodeDecodeError:  # the message of SQLite quotes a damaged name, which Python cannot decode
        raise damaged_error(path, kind, "its tables have names that are no text") from None
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):
            raise  # not about the file: a programming error
        raise _translated(path, kind, error) from None


def damaged_error(path: Path, kind: FileKind, problem: str) -> EvalkitError:
    """Return the error for a file that is damaged.

    Args:
        path: The file.
        kind: What it should be.
        problem: What was found.
    """
    return EvalkitError(
        f"{kind} {path} is damaged, or not a {kind.noun} at all ({problem}): move the file away{kind.replacement}, "
        f"name another with {kind.setting}=FILE, or go without with {kind.setting}=off"
    )


def integrity_errors(connection: sqlite3.Connection, at_most: int) -> list[str]:
    """Return the errors that SQLite finds in the file; empty if there are none.

    Args:
        connection: As `connect` returns it.
        at_most: The number of errors after which to stop.
    """
    report = "\n".join(str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({at_most})"))
    return [line for line in report.splitlines() if line != "ok" and not line.startswith("***")]


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of network file system of a folder; None if it is local, or not known.

    Args:
        folder: An existing folder.
        mounts: The table of mounted file systems.
    """
    if not mounts.exists():  # not Linux
        return None
    # https://docs.kernel.org/filesystems/proc.html, mountinfo: the device is the third field, the kind follows a dash.
    lines = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    kinds = {fields[2]: fields[fields.index("-") + 1] for fields in lines}
    device = folder.stat().st_dev
    found = kinds.get(f"{os.major(device)}:{os.minor(device)}")
    return found if found in _NETWORK_FILE_SYSTEMS else None


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def _is_new(connection: sqlite3.Connection) -> bool:
    return _pragma(connection, "application_id") == 0 and not _schema(connection)


def _enable_wal(connection: sqlite3.Connection, path: Path, kind: FileKind) -> None:
    """Switch to write-ahead logging, without which each write waits for the disk, if it is wanted and not enabled yet.

    SQLite before 3.51.3 can damage a file that two processes write to and checkpoint in the same instant
    (https://www.sqlite.org/wal.html). The checks detect such damage, so that no score is wrong.
    """
    if not kind.wal:
        return
    deadline = time.monotonic() + kind.busy_timeout_s
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
            raise _wal_unsupported(path, kind, f"it stays at {mode}")


def _create_tables(connection: sqlite3.Connection, kind: FileKind) -> None:
    with transaction(connection):
        if _is_new(connection):  # another process may have created them meanwhile
            for statement in kind.tables.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {kind.application_id}")
            connection.execute(f"PRAGMA user_version = {kind.schema_version}")


def _check_schema(connection: sqlite3.Connection, path: Path, kind: FileKind) -> None:
    if _pragma(connection, "application_id") != kind.application_id:
        raise EvalkitError(
            f"{path} is a database of another program, not a {kind.name} of evalkit: name another file with "
            f"{kind.setting}=FILE, or go without with {kind.setting}=off"
        )
    if (version := _pragma(connection, "user_version")) > kind.schema_version:
        raise EvalkitError(
            f"{kind} {path} was written by a newer evalkit (schema {version}, and this one knows up to "
            f"{kind.schema_version}): update evalkit, name another file with {kind.setting}=FILE, or go without with "
            f"{kind.setting}=off"
        )
    if version != kind.schema_version or _schema(connection) != kind.tables:
        raise damaged_error(path, kind, f"its tables are not those of a {kind.noun}")


def _translated(path: Path, kind: FileKind, error: sqlite3.Error) -> EvalkitError:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return damaged_error(path, kind, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EvalkitError(
            f"{kind} {path} has been locked by another process for {kind.busy_timeout_s:.0f} s: wait for it, name "
            f"another file with {kind.setting}=FILE, or go without with {kind.setting}=off"
        )
    if code == sqlite3.SQLITE_FULL:
        return EvalkitError(
            f"the disk of {kind} {path} is full, and what was stored before remains: free some space, name a "
            f"file on another disk with {kind.setting}=FILE, or go without with {kind.setting}=off"
        )
    if code == sqlite3.SQLITE_PROTOCOL or error.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
        return _wal_unsupported(path, kind, error.sqlite_errorname)
    return _unusable(path, kind, f"{error}, {error.sqlite_errorname}")


def _wal_unsupported(path: Path, kind: FileKind, reason: str) -> EvalkitError:
    return EvalkitError(
        f"{kind} {path} would be on a file system where SQLite's write-ahead log does not work ({reason}): "
        f"name a file on a local disk with {kind.setting}=FILE, or go without with {kind.setting}=off"
    )


def _unusable(path: Path, kind: FileKind, reason: str) -> EvalkitError:
    return EvalkitError(
        f"{kind} {path} cannot be read and written ({reason}): name another file with {kind.setting}=FILE, or go "
        f"without with {kind.setting}=off"
    )
