"""Scored pairs, kept on disk as they come: a run that died goes on where it stopped.

One SQLite file. Each batch of scored pairs is one row, a blob of fixed records with a checksum, written in one
transaction; looking up reads the rows of one space through once. A row for each pair, clustered by its hashes, is the
obvious layout, but batches come sorted by length, so each pair would dirty a page of its own (benchmarks/store.py).
"""

import hashlib
import json
import os
import shlex
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import EvalkitError

SPACE = (
    "model", "revision", "tokenizer", "precision", "device", "attention", "max_length", "truncation", "engine", "torch"
)  # fmt: skip
"""What a space must name: whatever can change a logit. The revision is the hub's commit, or a hash of the folder."""

Keys = npt.NDArray[np.uint64]
"""128 bits for each pair of texts, (pairs, 2)."""

_RECORD = np.dtype([("key", "<u8", 2), ("logit", "<f4"), ("tokens", "<u4")])
"""24 bytes a pair, the same on every machine. The lowest bit of ``tokens`` says whether the pair was truncated."""
_READ_BYTES = 4 << 20
_BUSY_S = 60.0
"""How long to wait for another process: longer than it takes to vacuum some gigabytes."""

_APPLICATION = 0x45564B54  # "EVKT": tells a store from any other SQLite file
_SCHEMA = 1
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


@dataclass(frozen=True)
class Known:
    """What the store knows of the pairs asked for, in their order."""

    logits: npt.NDArray[np.float32]
    """NaN where the pair is not known."""
    truncated: npt.NDArray[np.bool_]
    """Whether the pair was cut to the maximum length; False where it is not known."""
    tokens: npt.NDArray[np.int32]
    """Tokens of the pair as it was computed, special tokens included; 0 where it is not known."""


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


class ScoreStore:
    """The scored pairs of one space: a context manager, for one thread; processes may share the file."""

    def __init__(self, path: Path, space: Mapping[str, Any]) -> None:
        """Open the store at `path`, made if there is none, for the pairs scored under the conditions `space`.

        Raises:
            EvalkitError: it cannot be read and written, it is damaged or not a store, or a newer evalkit wrote it.
            ValueError: `space` leaves out a part of `SPACE`.
        """
        if missing := [part for part in SPACE if part not in space]:
            raise ValueError(f"a space without {', '.join(missing)} would mix scores that differ")
        self.path = path
        self._described = _canonical(space)
        self._digest = _sha256(self._described)
        self._connection = _open(path)
        try:
            with _told(path):
                # Some 60 ms a million pairs; without it, damage may hide scores, to be computed again in silence.
                if wrong := _integrity(self._connection, at_most=1):
                    raise _damaged(path, wrong[0])
                with _transaction(self._connection):
                    self._enter_space()
                    self._connection.execute("UPDATE spaces SET used_s = ? WHERE digest = ?", (_now_s(), self._digest))
        except BaseException:
            self.close()
            raise

    def known(self, keys: Keys) -> Known:
        """Return what is known of the pairs with these `pair_keys`. Ask once for all: it reads the whole space.

        Raises:
            EvalkitError: the store is damaged or cannot be read.
        """
        known = Known(
            np.full(len(keys), np.nan, dtype=np.float32), np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int32)
        )
        order = np.argsort(keys[:, 0])  # sorted, what is looked for stays in the processor's cache: six times as fast
        wanted = keys[order]
        records = self._candidates(np.ascontiguousarray(wanted[:, 0]))
        if not len(records):
            return known
        # Stable: where two processes scored the same pair, the one kept first counts, now and ever after.
        records = records[np.argsort(records["key"][:, 0], kind="stable")]
        at = np.minimum(np.searchsorted(records["key"][:, 0], wanted[:, 0]), len(records) - 1)
        # Two pairs with the same first 64 bits are told apart here; the second one would be computed again each time.
        hit = (records["key"][at] == wanted).all(axis=1)
        found, rows = records[at[hit]], order[hit]
        known.logits[rows] = found["logit"]
        known.truncated[rows] = found["tokens"] & 1
        known.tokens[rows] = found["tokens"] >> 1
        return known

    def keep(
        self,
        keys: Keys,
        logits: npt.NDArray[np.float32],
        truncated: npt.NDArray[np.bool_],
        tokens: npt.NDArray[np.integer[Any]],
    ) -> None:
        """Keep a batch of scored pairs in one transaction; a logit that is not a finite number is left out.

        Raises:
            EvalkitError: the disk is full, or the store can no longer be written; what was kept before stays.
        """
        finite = np.isfinite(logits)
        if not finite.any():
            return
        records = np.empty(int(finite.sum()), dtype=_RECORD)
        records["key"] = keys[finite]
        records["logit"] = logits[finite]
        records["tokens"] = tokens[finite].astype(np.uint32) << 1 | truncated[finite]
        blob = records.tobytes()
        with _told(self.path), _transaction(self._connection):
            self._enter_space()
            self._connection.execute(
                "INSERT INTO batches (space, checksum, records) SELECT id, ?, ? FROM spaces WHERE digest = ?",
                (_checksum(self._digest, blob), blob, self._digest),
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> "ScoreStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _enter_space(self) -> None:
        """Write the space down, unless it is there; another process may have pruned it since."""
        self._connection.execute(
            "INSERT OR IGNORE INTO spaces (digest, described, used_s) VALUES (?, ?, ?)",
            (self._digest, self._described, _now_s()),
        )

    def _candidates(self, wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.void]:
        """Return the records whose first 64 bits are among those `wanted` (sorted), in the order they were kept."""
        found = [np.empty(0, dtype=_RECORD)]
        for records in self._read() if len(wanted) else ():
            order = np.argsort(records["key"][:, 0])
            first = records["key"][order, 0]
            at = np.minimum(np.searchsorted(wanted, first), len(wanted) - 1)
            asked = np.empty(len(records), np.bool_)
            asked[order] = wanted[at] == first
            found.append(records[asked])
        return np.concatenate(found)

    def _read(self) -> Iterator[npt.NDArray[np.void]]:
        blobs: list[bytes] = []
        size = 0
        with _told(self.path):
            for number, blob, sound in _batches(self._connection, self._digest):
                if not sound:
                    raise EvalkitError(
                        f"the score store {self.path} is damaged (batch {number} does not fit its checksum): remove "
                        "what was scored under these conditions with `python -m evalkit store prune --space "
                        f"{self._digest[:12]} --path {shlex.quote(str(self.path))}`, or go without with store=off"
                    )
                blobs.append(blob)
                size += len(blob)
                if size >= _READ_BYTES:
                    yield np.frombuffer(b"".join(blobs), dtype=_RECORD)
                    blobs, size = [], 0
        yield np.frombuffer(b"".join(blobs), dtype=_RECORD)


def pair_keys(texts: Sequence[tuple[str, str]]) -> Keys:
    """Return a key for each (query, passage): the 128-bit BLAKE2b of the one, exclusive-or that of the other.

    The two are personalised apart, so any two pairs share a key with probability 2**-128: some 1.5e-21 for one clash
    among 10**9 pairs (n**2 / 2**129). A disk is sold with one bit read wrong in 10**15.
    """
    return _hashes([query for query, _ in texts], b"query") ^ _hashes([passage for _, passage in texts], b"passage")


def check_place(path: Path) -> None:
    """Check before the work starts that a store can be kept at `path`.

    Raises:
        EvalkitError: it cannot be read and written, or it is damaged or no store.
    """
    _open(path).close()


def size_bytes(path: Path) -> int:
    """Return what the store takes on disk, its log included; 0 if there is none.

    Raises:
        EvalkitError: the system does not tell.
    """
    with _told(path):
        return sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())


def contents(path: Path) -> tuple[Space, ...]:
    """Return the spaces of the store at `path`, the one last used first.

    Raises:
        EvalkitError: as for `ScoreStore`.
    """
    connection = _open(path)
    try:
        with _told(path):
            return _spaces(connection)
    finally:
        connection.close()


def prune(path: Path, older_than_days: float | None = None, space: str | None = None) -> Pruned:
    """Remove the spaces not used for so many days, the one whose digest starts with `space`, or all if neither is set.

    Raises:
        EvalkitError: there is no such space, or as for `ScoreStore`.
    """
    connection = _open(path)
    try:
        with _told(path):
            before = size_bytes(path)
            with _transaction(connection):
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
    connection = _open(path)
    try:
        with _told(path):
            found = [f"SQLite finds: {wrong}" for wrong in _integrity(connection, at_most=100)]
            lost = connection.execute("SELECT count(*) FROM batches WHERE space NOT IN (SELECT id FROM spaces)")
            if count := lost.fetchone()[0]:
                found.append(f"{count} batches belong to no space")
            for space in _spaces(connection):
                if not space.facts:
                    found.append(f"space {space.digest[:12]}: what it describes does not fit its SHA-256")
                broken = [number for number, _, sound in _batches(connection, space.digest) if not sound]
                if broken:
                    found.append(f"space {space.digest[:12]}: {len(broken)} batches do not fit their checksums")
            return tuple(found)
    finally:
        connection.close()


# --- keys


def _hashes(texts: Sequence[str], role: bytes) -> Keys:
    blank = hashlib.blake2b(digest_size=16, person=role)
    digests = {}
    for text in dict.fromkeys(texts):
        hasher = blank.copy()  # half a microsecond cheaper than a new one
        hasher.update(text.encode("utf-8", "surrogatepass"))  # lone surrogates of broken files differ too
        digests[text] = hasher.digest()
    return np.frombuffer(b"".join([digests[text] for text in texts]), dtype="<u8").reshape(-1, 2)


def _canonical(space: Mapping[str, Any]) -> str:
    return json.dumps(dict(space), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(described: str) -> str:
    return hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()


def _checksum(digest: str, blob: bytes) -> int:
    """Return the CRC-32 of a batch and its space: SQLite itself has none, and garbage would pass for logits."""
    return zlib.crc32(blob, zlib.crc32(digest.encode("utf-8", "surrogatepass")))


def _now_s() -> int:
    return int(time.time())


# --- rows


def _integrity(connection: sqlite3.Connection, at_most: int) -> list[str]:
    """Return what SQLite finds wrong with the file as a database; nothing if all is well."""
    told = "\n".join(str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({at_most})"))
    return [line for line in told.splitlines() if line != "ok" and not line.startswith("***")]


def _spaces(connection: sqlite3.Connection) -> tuple[Space, ...]:
    rows = connection.execute(
        "SELECT digest, described, used_s, (SELECT total(length(records)) FROM batches WHERE space = spaces.id) "
        "FROM spaces ORDER BY used_s DESC, id DESC"
    ).fetchall()
    return tuple(
        Space(str(digest), _facts(str(described), str(digest)), int(size) // _RECORD.itemsize, _seconds(used_s))
        for digest, described, used_s, size in rows
    )


def _facts(described: str, digest: str) -> dict[str, Any]:
    if _sha256(described) != digest:
        return {}
    with suppress(ValueError, RecursionError):
        facts = json.loads(described)
        return facts if isinstance(facts, dict) else {}
    return {}


def _seconds(stored: object) -> int:
    """Return a time that can be shown: a damaged one is some other type, or beyond the calendar."""
    return stored if isinstance(stored, int) and 0 <= stored < 1 << 37 else 0


def _batches(connection: sqlite3.Connection, digest: str) -> Iterator[tuple[int, bytes, bool]]:
    """Yield number, records and soundness of each batch of a space, in the order they were kept."""
    rows = connection.execute(
        "SELECT id, checksum, records FROM batches WHERE space = (SELECT id FROM spaces WHERE digest = ?) ORDER BY id",
        (digest,),
    )
    for number, checksum, blob in rows:
        sound = isinstance(blob, bytes) and len(blob) % _RECORD.itemsize == 0 and checksum == _checksum(digest, blob)
        yield number, blob, sound


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


# --- the file


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")  # a lock that is got late, after reading, could not be waited for
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite itself has rolled back where the disk is full
            connection.execute("ROLLBACK")
        raise


def _open(path: Path) -> sqlite3.Connection:
    """Return a connection to the store at `path`, made if there is none; nothing but a store is ever written to."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind := _network_file_system(path.parent):
            raise _without_log(path, kind)
        log = path.with_name(path.name + "-wal")
        # SQLite would throw the log away. Without one, an empty file is what a process leaves that died at the start.
        if path.exists() and not path.stat().st_size and log.exists() and log.stat().st_size:
            raise _damaged(path, "it is empty, and its log is not")
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
    with _transaction(connection):
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
        raise _damaged(path, "its tables are not those of a store")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one sentence what SQLite or the system raises about the store."""
    try:
        yield
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:  # SQLite quotes a damaged name in its message, and Python cannot read that
        raise _damaged(path, "its tables have names that are no text") from None
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):
            raise  # not about the file: a mistake of ours
        raise _sentence(path, error) from None


def _sentence(path: Path, error: sqlite3.Error) -> EvalkitError:
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _damaged(path, str(error))
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


def _damaged(path: Path, why: str) -> EvalkitError:
    return EvalkitError(
        f"the score store {path} is damaged, or not a store at all ({why}): move the file away, name another with "
        "store=FILE, or go without with store=off"
    )
