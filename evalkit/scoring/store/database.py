"""The SQLite file of a score store: its rows and their checksums.

Each batch of scored pairs is one row: a blob of fixed-size records and a checksum. A row for each pair, clustered by
its key, is the obvious layout, but batches come sorted by length, so that each pair would change a page of its own
(measured by benchmarks/store.py).
"""

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.boundary import sqlite_file
from evalkit.boundary.errors import EvalkitError

RECORD = np.dtype([("key", "<u8", 2), ("logit", "<f4"), ("tokens", "<u4")])
"""A scored pair: 24 bytes, the same on every machine. The lowest bit of ``tokens`` is set if the pair was truncated."""

KIND = sqlite_file.FileKind(
    name="score store",
    noun="store",
    setting="store",
    application_id=0x45564B54,  # "EVKT"
    schema_version=1,
    tables={
        "spaces": "CREATE TABLE spaces (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, described TEXT NOT NULL, "
        "used_s INTEGER NOT NULL)",
        "batches": "CREATE TABLE batches (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, checksum INTEGER NOT NULL, "
        "records BLOB NOT NULL)",
        "batches_of_a_space": "CREATE INDEX batches_of_a_space ON batches (space)",
    },
    busy_timeout_s=60.0,  # longer than it takes to vacuum several GB
    wal=True,
)


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
    return sqlite_file.connect(path, KIND)


def check_writable(path: Path) -> None:
    """Check that a store can be used, before other work starts.

    Args:
        path: The store's file.

    Raises:
        EvalkitError: as for `connect`.
    """
    connect(path).close()


def translate_errors(path: Path) -> AbstractContextManager[None]:
    """Raise errors of SQLite and of the operating system in the context as an `EvalkitError` of one sentence.

    Args:
        path: The store's file.
    """
    return sqlite_file.translate_errors(path, KIND)


def damaged_error(path: Path, problem: str) -> EvalkitError:
    """Return the error for a store that is damaged.

    Args:
        path: The store's file.
        problem: What was found.
    """
    return sqlite_file.damaged_error(path, KIND, problem)


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
