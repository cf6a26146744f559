"""Stores scored pairs as they are computed, and looks them up, so that an interrupted run can be resumed."""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.sqlite_file import integrity_errors, transaction
from evalkit.scoring.store.database import (
    RECORD,
    canonical_json,
    checksum,
    connect,
    damaged_error,
    now_s,
    space_digest,
    stored_batches,
    translate_errors,
)

SPACE = (
    "model", "revision", "tokenizer", "precision", "device", "attention", "max_length", "truncation", "engine", "torch"
)  # fmt: skip
"""The conditions that a space must state: whatever can change a logit. The revision is the hub's commit, or the hash of
a local folder."""

PairKeys = npt.NDArray[np.uint64]
"""128 bits for each pair of texts, (pairs, 2)."""

READ_BYTES = 4 << 20
"""Records are read in batches of this size."""


@dataclass(frozen=True)
class StoredScores:
    """The result of a look-up, in the order of the keys."""

    logits: npt.NDArray[np.float32]
    """(pairs,); NaN for a pair that is not stored."""
    truncated: npt.NDArray[np.bool_]
    """Whether the pair was truncated, (pairs,); False for a pair that is not stored."""
    tokens: npt.NDArray[np.int32]
    """Tokens of the pair after truncation, special tokens included, (pairs,); 0 for a pair that is not stored."""


class ScoreStore:
    """The scored pairs of one space: those that were scored under the same conditions.

    A context manager, for use by one thread. Several processes may share the file.
    """

    def __init__(self, path: Path, space: Mapping[str, Any]) -> None:
        """Open a store; creates the file if it does not exist.

        Args:
            path: The store's file.
            space: The conditions under which the pairs are scored; at least those in `SPACE`.

        Raises:
            EvalkitError: it cannot be read and written, it is damaged or not a store, or a newer evalkit wrote it.
            ValueError: `space` lacks a condition of `SPACE`.
        """
        if missing := [part for part in SPACE if part not in space]:
            raise ValueError(f"a space without {', '.join(missing)} would mix scores that differ")
        self.path = path
        self._described = canonical_json(space)
        self._digest = space_digest(self._described)
        self._connection = connect(path)
        try:
            with translate_errors(path):
                # About 60 ms per million pairs. Without it, damage may hide scores, which would be computed again.
                if errors := integrity_errors(self._connection, at_most=1):
                    raise damaged_error(path, errors[0])
                with transaction(self._connection):
                    self._insert_space()
                    self._connection.execute("UPDATE spaces SET used_s = ? WHERE digest = ?", (now_s(), self._digest))
        except BaseException:
            self.close()
            raise

    def look_up(self, keys: PairKeys) -> StoredScores:
        """Return the stored scores of pairs. Each call reads the whole space, so that one call for all pairs is best.

        Args:
            keys: As `pair_keys` returns them, (pairs, 2).

        Raises:
            EvalkitError: the store is damaged or cannot be read.
        """
        found = StoredScores(
            np.full(len(keys), np.nan, dtype=np.float32), np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int32)
        )
        order = np.argsort(keys[:, 0])  # sorted keys use the processor's cache better, and are six times as fast
        wanted = keys[order]
        records = self._candidates(np.ascontiguousarray(wanted[:, 0]))
        if not len(records):
            return found
        # A stable sort: if two processes scored the same pair, the score that was stored first is always used.
        records = records[np.argsort(records["key"][:, 0], kind="stable")]
        at = np.minimum(np.searchsorted(records["key"][:, 0], wanted[:, 0]), len(records) - 1)
        # Compares all 128 bits. Of two pairs with equal first halves, the second would be computed in each run.
        hit = (records["key"][at] == wanted).all(axis=1)
        matches, rows = records[at[hit]], order[hit]
        found.logits[rows] = matches["logit"]
        found.truncated[rows] = matches["tokens"] & 1
        found.tokens[rows] = matches["tokens"] >> 1
        return found

    def add(
        self,
        keys: PairKeys,
        logits: npt.NDArray[np.float32],
        truncated: npt.NDArray[np.bool_],
        tokens: npt.NDArray[np.integer[Any]],
    ) -> None:
        """Store a batch of scored pairs in one transaction; pairs whose logit is not finite are left out.

        Args:
            keys: As `pair_keys` returns them, (pairs, 2).
            logits: (pairs,)
            truncated: Whether each pair was truncated, (pairs,).
            tokens: Tokens of each pair after truncation, special tokens included, (pairs,).

        Raises:
            EvalkitError: the disk is full, or the store can no longer be written; what was stored before remains.
        """
        finite = np.isfinite(logits)
        if not finite.any():
            return
        records = np.empty(int(finite.sum()), dtype=RECORD)
        records["key"] = keys[finite]
        records["logit"] = logits[finite]
        records["tokens"] = tokens[finite].astype(np.uint32) << 1 | truncated[finite]
        blob = records.tobytes()
        with translate_errors(self.path), transaction(self._connection):
            self._insert_space()
            self._connection.execute(
                "INSERT INTO batches (space, checksum, records) SELECT id, ?, ? FROM spaces WHERE digest = ?",
                (checksum(self._digest, blob), blob, self._digest),
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> "ScoreStore":
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _insert_space(self) -> None:
        """Insert the space if it does not exist; another process may have pruned it since."""
        self._connection.execute(
            "INSERT OR IGNORE INTO spaces (digest, described, used_s) VALUES (?, ?, ?)",
            (self._digest, self._described, now_s()),
        )

    def _candidates(self, wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.void]:
        """Return the records whose first 64 bits are among `wanted` (sorted), in the order in which they were added."""
        found = [np.empty(0, dtype=RECORD)]
        for records in self._read_records() if len(wanted) else ():
            order = np.argsort(records["key"][:, 0])
            first = records["key"][order, 0]
            at = np.minimum(np.searchsorted(wanted, first), len(wanted) - 1)
            is_wanted = np.empty(len(records), np.bool_)
            is_wanted[order] = wanted[at] == first
            found.append(records[is_wanted])
        return np.concatenate(found)

    def _read_records(self) -> Iterator[npt.NDArray[np.void]]:
        blobs: list[bytes] = []
        size = 0
        with translate_errors(self.path):
            for batch in stored_batches(self._connection, self._digest):
                if not batch.is_intact:
                    raise EvalkitError(
                        f"the score store {self.path} is damaged (batch {batch.number} does not fit its checksum): "
                        "remove what was scored under these conditions with `python -m evalkit store prune --space "
                        f"{self._digest[:12]} --path {shlex.quote(str(self.path))}`, or go without with store=off"
                    )
                blobs.append(batch.records)
                size += len(batch.records)
                if size >= READ_BYTES:
                    yield np.frombuffer(b"".join(blobs), dtype=RECORD)
                    blobs, size = [], 0
        yield np.frombuffer(b"".join(blobs), dtype=RECORD)


def pair_keys(pairs: Sequence[tuple[str, str]]) -> PairKeys:
    """Return the key of each pair: the 128-bit BLAKE2b of the query, exclusive-or that of the passage.

    The two hashes are personalised differently, so that any two pairs share a key with probability 2**-128. Among n
    pairs the probability of a collision is n**2 / 2**129: 1.5e-21 for 10**9 pairs. Hard disks are specified to read one
    bit in 10**15 wrong.

    Args:
        pairs: (query, passage) texts.

    Returns:
        (pairs, 2)
    """
    return _hash_texts([query for query, _ in pairs], b"query") ^ _hash_texts([doc for _, doc in pairs], b"passage")


def _hash_texts(texts: Sequence[str], role: bytes) -> PairKeys:
    blank = hashlib.blake2b(digest_size=16, person=role)
    digests = {}
    for text in dict.fromkeys(texts):
        hasher = blank.copy()  # half a microsecond faster than a new one
        hasher.update(text.encode("utf-8", "surrogatepass"))  # lone surrogates of damaged files differ too
        digests[text] = hasher.digest()
    return np.frombuffer(b"".join([digests[text] for text in texts]), dtype="<u8").reshape(-1, 2)
