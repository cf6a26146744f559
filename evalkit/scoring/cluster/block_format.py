"""The format in which blocks of batches travel to workers and back: Arrow tables of one row of lists."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.tokenized_pairs import Batch

_BATCH_FIELDS = ("rows", "ids", "type_ids", "lengths", "truncated")
_SCORED_FIELDS = {"rows": np.int64, "logits": np.float32, "lengths": np.int32, "truncated": np.bool_}


def group_batches(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield batches in groups, in order; the last group may be smaller.

    Args:
        batches: The batches.
        size: Batches in a group.
    """
    remaining = iter(batches)
    while group := list(islice(remaining, size)):
        yield group


def encode_block(number: int, batches: Sequence[Batch]) -> Any:
    """Return batches as an Arrow table.

    Args:
        number: The number of the block.
        batches: At least one batch.
    """
    columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _BATCH_FIELDS}
    return _one_row(number=number, pairs=np.array([len(batch.rows) for batch in batches], dtype=np.int32), **columns)


def decode_block(table: Any) -> tuple[int, list[Batch]]:
    """Return the number and the batches of a block.

    Args:
        table: As `encode_block` returns it.
    """
    columns = {name: _array(table, name) for name in _BATCH_FIELDS}
    pair_ends = np.cumsum(_array(table, "pairs")).tolist()
    token_ends = [0, *np.cumsum(columns["lengths"]).tolist()]
    batches = []
    for begin, end in zip([0, *pair_ends[:-1]], pair_ends, strict=True):
        pairs, tokens = slice(begin, end), slice(token_ends[begin], token_ends[end])
        parts = {"rows": pairs, "ids": tokens, "type_ids": tokens, "lengths": pairs, "truncated": pairs}
        batches.append(Batch(**{name: columns[name][part] for name, part in parts.items()}))
    return table["number"][0].as_py(), batches


def encode_scores(number: int, scored: ScoredBatch) -> Any:
    """Return the scores of a block as an Arrow table.

    Args:
        number: The number of the block.
        scored: The scores of all its batches.
    """
    arrays = {name: getattr(scored, name) for name in _SCORED_FIELDS}
    return _one_row(number=number, error="", forward_s=scored.forward_s, padded_tokens=scored.padded_tokens,
                    events="\n".join(scored.events), **arrays)  # fmt: skip


def encode_error(number: int, message: str) -> Any:
    """Return an Arrow table in place of the scores of a block that could not be scored.

    Args:
        number: The number of the block.
        message: What went wrong.
    """
    arrays: dict[str, Any] = {name: np.zeros(0, dtype=kind) for name, kind in _SCORED_FIELDS.items()}
    return _one_row(number=number, error=message, forward_s=0.0, padded_tokens=0, events="", **arrays)


def decode_scores(table: Any) -> Iterator[tuple[int, ScoredBatch]]:
    """Yield the number and the scores of each block.

    Args:
        table: One or more tables of `encode_scores` and `encode_error`, concatenated.

    Raises:
        EvalkitError: a block could not be scored.
    """
    for index in range(table.num_rows):
        row = table.slice(index, 1)
        values = {name: row[name][0].as_py() for name in ("number", "error", "forward_s", "padded_tokens", "events")}
        if values["error"]:
            raise EvalkitError(values["error"])
        yield (
            values["number"],
            ScoredBatch(
                **{name: _array(row, name) for name in _SCORED_FIELDS},
                forward_s=values["forward_s"],
                padded_tokens=values["padded_tokens"],
                events=tuple(values["events"].splitlines()),
            ),
        )


def _one_row(**values: Any) -> Any:
    import pyarrow as pa

    columns = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            columns[name] = pa.ListArray.from_arrays(pa.array([0, len(value)], pa.int32()), pa.array(value))
        else:
            columns[name] = pa.array([value])
    return pa.table(columns)


def _array(row: Any, name: str) -> Any:
    """Return the list of a table's one row as a writable array; Ray's shared memory is read-only."""
    values = row[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values if values.flags.writeable else values.copy()
