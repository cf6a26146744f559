"""How many tokens a batch may hold: what was asked, or as many as pay and fit into the memory that is free."""

from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.errors import EvalkitError
from evalkit.scoring.flops import ModelShape, activation_bytes

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
