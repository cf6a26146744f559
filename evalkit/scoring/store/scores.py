"""Scored pairs, kept on disk as they come: a run that died goes on where it stopped.

One SQLite file. Each batch of scored pairs is one row, a blob of fixed records with a checksum, written in one
transaction; looking up reads the rows of one space through once. A row for each pair, clustered by its hashes, is the
obvious layout, but batches come sorted by length, so each pair would dirty a page of its own (benchmarks/store.py).
"""

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import EvalkitError
from evalkit.scoring.store.file import (
    RECORD,
    canonical,
    checksum,
    damaged,
    errors_as_sentences,
    integrity_errors,
    now_s,
    open_file,
    sha256,
    stored_batches,
    transaction,
)

SPACE = (
    "model", "revision", "tokenizer", "precision", "device", "attention", "max_length", "truncation", "engine", "torch"
)  # fmt: skip
"""What a space must name: whatever can change a logit. The revision is the hub's commit, or a hash of the folder."""

Keys = npt.NDArray[np.uint64]
"""128 bits for each pair of texts, (pairs, 2)."""


_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Known:
    """What the store knows of the pairs asked for, in their order."""

    logits: npt.NDArray[np.float32]
    """NaN where the pair is not known."""
    truncated: npt.NDArray[np.bool_]
    """Whether the pair was cut to the maximum length; False where it is not known."""
    tokens: npt.NDArray[np.int32]
    """Tokens of the pair as it was computed, special tokens included; 0 where it is not known."""


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
        self._described = canonical(space)
        self._digest = sha256(self._described)
        self._connection = open_file(path)
        try:
            with errors_as_sentences(path):
                # Some 60 ms a million pairs; without it, damage may hide scores, to be computed again in silence.
                if wrong := integrity_errors(self._connection, at_most=1):
                    raise damaged(path, wrong[0])
                with transaction(self._connection):
                    self._enter_space()
                    self._connection.execute("UPDATE spaces SET used_s = ? WHERE digest = ?", (now_s(), self._digest))
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
        records = np.empty(int(finite.sum()), dtype=RECORD)
        records["key"] = keys[finite]
        records["logit"] = logits[finite]
        records["tokens"] = tokens[finite].astype(np.uint32) << 1 | truncated[finite]
        blob = records.tobytes()
        with errors_as_sentences(self.path), transaction(self._connection):
            self._enter_space()
            self._connection.execute(
                "INSERT INTO batches (space, checksum, records) SELECT id, ?, ? FROM spaces WHERE digest = ?",
                (checksum(self._digest, blob), blob, self._digest),
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
            (self._digest, self._described, now_s()),
        )

    def _candidates(self, wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.void]:
        """Return the records whose first 64 bits are among those `wanted` (sorted), in the order they were kept."""
        found = [np.empty(0, dtype=RECORD)]
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
        with errors_as_sentences(self.path):
            for number, blob, sound in stored_batches(self._connection, self._digest):
                if not sound:
                    raise EvalkitError(
                        f"the score store {self.path} is damaged (batch {number} does not fit its checksum): remove "
                        "what was scored under these conditions with `python -m evalkit store prune --space "
                        f"{self._digest[:12]} --path {shlex.quote(str(self.path))}`, or go without with store=off"
                    )
                blobs.append(blob)
                size += len(blob)
                if size >= _READ_BYTES:
                    yield np.frombuffer(b"".join(blobs), dtype=RECORD)
                    blobs, size = [], 0
        yield np.frombuffer(b"".join(blobs), dtype=RECORD)


def pair_keys(texts: Sequence[tuple[str, str]]) -> Keys:
    """Return a key for each (query, passage): the 128-bit BLAKE2b of the one, exclusive-or that of the other.

    The two are personalised apart, so any two pairs share a key with probability 2**-128: some 1.5e-21 for one clash
    among 10**9 pairs (n**2 / 2**129). A disk is sold with one bit read wrong in 10**15.
    """
    return _hashes([query for query, _ in texts], b"query") ^ _hashes([passage for _, passage in texts], b"passage")


# --- keys


def _hashes(texts: Sequence[str], role: bytes) -> Keys:
    blank = hashlib.blake2b(digest_size=16, person=role)
    digests = {}
    for text in dict.fromkeys(texts):
        hasher = blank.copy()  # half a microsecond cheaper than a new one
        hasher.update(text.encode("utf-8", "surrogatepass"))  # lone surrogates of broken files differ too
        digests[text] = hasher.digest()
    return np.frombuffer(b"".join([digests[text] for text in texts]), dtype="<u8").reshape(-1, 2)


# --- rows


# --- the file
