"""What travels to a worker and back: a block of batches is an Arrow table of one row of lists, and so is its answer."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from evalkit.errors import EvalkitError
from evalkit.scoring.runner import Done
from evalkit.scoring.token_table import Batch

_OF_BATCHES = ("rows", "ids", "type_ids", "lengths", "cut")
_OF_DONE = {"rows": np.int64, "logits": np.float32, "lengths": np.int32, "cut": np.bool_}


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield `size` batches at a time, in their order; the last ones may be fewer."""
    remaining = iter(batches)
    while group := list(islice(remaining, size)):
        yield group


def block(number: int, batches: Sequence[Batch]) -> Any:
    """Return batches as an Arrow table; no type is guessed."""
    columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _OF_BATCHES}
    return _row(number=number, pairs=np.array([len(batch.rows) for batch in batches], dtype=np.int32), **columns)


def batches_of(table: Any) -> tuple[int, list[Batch]]:
    """Return the number and the batches of a block."""
    columns = {name: _array(table, name) for name in _OF_BATCHES}
    pair_ends = np.cumsum(_array(table, "pairs")).tolist()
    token_ends = [0, *np.cumsum(columns["lengths"]).tolist()]
    found = []
    for begin, end in zip([0, *pair_ends[:-1]], pair_ends, strict=True):
        pairs, tokens = slice(begin, end), slice(token_ends[begin], token_ends[end])
        where = {"rows": pairs, "ids": tokens, "type_ids": tokens, "lengths": pairs, "cut": pairs}
        found.append(Batch(**{name: columns[name][part] for name, part in where.items()}))
    return table["number"][0].as_py(), found


def answer(number: int, done: Done) -> Any:
    """Return a scored block as an Arrow table."""
    arrays = {name: getattr(done, name) for name in _OF_DONE}
    return _row(number=number, refusal="", forward_s=done.forward_s, padded_tokens=done.padded_tokens,
                events="\n".join(done.events), **arrays)  # fmt: skip


def refusal(number: int, why: str) -> Any:
    """Return, in place of a scored block, the sentence that says why it was not scored."""
    arrays: dict[str, Any] = {name: np.zeros(0, dtype=kind) for name, kind in _OF_DONE.items()}
    return _row(number=number, refusal=why, forward_s=0.0, padded_tokens=0, events="", **arrays)


def answers(table: Any) -> Iterator[tuple[int, Done]]:
    """Yield the number of each block, and what came of it.

    Raises:
        EvalkitError: a worker refused it.
    """
    for at in range(table.num_rows):
        row = table.slice(at, 1)
        plain = {name: row[name][0].as_py() for name in ("number", "refusal", "forward_s", "padded_tokens", "events")}
        if plain["refusal"]:
            raise EvalkitError(plain["refusal"])
        yield (
            plain["number"],
            Done(
                **{name: _array(row, name) for name in _OF_DONE},
                forward_s=plain["forward_s"],
                padded_tokens=plain["padded_tokens"],
                events=tuple(plain["events"].splitlines()),
            ),
        )


def _row(**values: Any) -> Any:
    import pyarrow as pa

    columns = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            columns[name] = pa.ListArray.from_arrays(pa.array([0, len(value)], pa.int32()), pa.array(value))
        else:
            columns[name] = pa.array([value])
    return pa.table(columns)


def _array(row: Any, name: str) -> Any:
    """Return the list of a table's one row as an array that may be written to, as Ray's own memory may not."""
    values = row[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values if values.flags.writeable else values.copy()
