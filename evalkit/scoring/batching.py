"""Which pairs go through the model together: the longest first, as many as a budget of tokens allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.errors import EvalkitError
from evalkit.scoring.flops import ModelShape, activation_bytes


def batches(lengths: Sequence[int], budget: int, padded: bool = True) -> Iterator[list[int]]:
    """Yield rows, longest first, so that a batch stays within `budget` tokens.

    A padded batch counts rows x longest, a packed one the sum of its lengths. Longest first, so that a batch that does
    not fit fails at once, not at the end of an hour; equal lengths in the given order. Packed batches are about as
    long as each other, for several are computed at once, and none is to be waited for.
    """
    batch: list[int] = []
    tokens, left = 0, sum(lengths)
    share = _share(left, budget)
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        would_be = (len(batch) + 1) * lengths[batch[0]] if batch and padded else tokens + lengths[row]
        # A packed batch ends where half of the next row would be more than its share of what is left.
        if batch and (would_be > budget or (not padded and tokens + lengths[row] / 2 > share)):
            yield batch
            left -= tokens
            batch, tokens, share = [], 0, _share(left, budget)
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


def _share(tokens: int, budget: int) -> float:
    """Return the tokens of each of the fewest batches that `budget` allows for."""
    return tokens / max(-(-tokens // budget), 1)


def windows(texts: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
    """Yield rows in windows, longest texts first, so that one is tokenized while another is scored.

    Characters stand for tokens here, which are not known yet: within a window `batches` sorts by tokens. The `first`
    window is small, for the model waits for it; the others have `size` pairs.
    """
    order = sorted(range(len(texts)), key=lambda i: -(len(texts[i][0]) + len(texts[i][1])))
    begin, end = 0, first
    while begin < len(order):
        yield order[begin:end]
        begin, end = end, end + size


_PAYS = {"cuda": 65536, "cpu": 1024}
"""Tokens a batch beyond which nothing is gained: a large GPU is busy with 32k to 64k of them, and each core of a CPU
with 1k, a batch each (`benchmarks/engines.py --batch-tokens` shows it)."""


_FIXED = {"cuda": 16384, "cpu": 1024}
"""With `deterministic`, where the memory that happens to be free may have no say."""


_SHARE = 0.5
"""Of the free memory: attention's buffers, copies and other processes want some too."""


@dataclass(frozen=True)
class Budget:
    """Tokens a batch may hold, and where the number came from."""

    tokens: int
    source: str


def budget(
    asked: int | None, shape: ModelShape, element_bytes: int, max_length: int, device: torch.device, deterministic: bool
) -> Budget:
    """Return the token budget of a batch.

    Raises:
        EvalkitError: what was asked is smaller than one pair, or not even one pair fits into the free memory.
    """
    if asked is not None:
        if asked < max_length:
            raise EvalkitError(
                f"reranker.batch_tokens={asked} is smaller than one pair of reranker.max_length={max_length} tokens; "
                f"give {max_length} or more, or reranker.batch_tokens=null for as many as fit"
            )
        return Budget(asked, "as asked")
    if deterministic:
        return Budget(max(_FIXED[device.type], max_length), "fixed, for deterministic=true")
    free = free_bytes(device)
    pays = max(_PAYS[device.type], max_length)
    if free is None:
        return Budget(pays, "free memory unknown")
    fits = int(free * _SHARE) // activation_bytes(shape, element_bytes)
    if fits < max_length:
        raise EvalkitError(
            f"{free // 2**20} MiB are free on {device}: too little for one pair of reranker.max_length={max_length} "
            "tokens; free some, lower reranker.max_length, or use a smaller model"
        )
    if device.type == "cpu":
        fits = max(fits // torch.get_num_threads(), max_length)  # each core has a batch of its own
    return Budget(min(pays, fits), "what pays" if fits >= pays else f"half of {free // 2**20} MiB free memory")


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device, or None where the platform does not tell."""
    if device.type == "cuda":
        # What torch has reserved and does not use is as good as free.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
