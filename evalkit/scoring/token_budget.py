"""How many tokens a batch may hold: as configured, or as many as are useful and fit into free memory."""

from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.process_memory import MIB
from evalkit.scoring.flops import ModelShape, activation_bytes

_SATURATING_TOKENS = {"cuda": 65536, "cpu": 1024, "mps": 16384}
"""Tokens of a batch beyond which throughput does not rise: 32k to 64k on a large GPU, and 1k on a CPU, where each core
computes a batch of its own (measured by `benchmarks/engines.py --batch-tokens`). That of mps has not been measured."""

_FIXED_TOKENS = {"cuda": 16384, "cpu": 1024, "mps": 8192}
"""With `deterministic`, where the budget must not depend on free memory."""

_FREE_MEMORY_SHARE = 0.5
"""The other half is for attention's buffers, copies and other processes."""


@dataclass(frozen=True)
class TokenBudget:
    """The largest number of tokens in a batch, and how it was chosen."""

    tokens: int
    source: str


def choose_token_budget(
    requested: int | None,
    shape: ModelShape,
    element_bytes: int,
    max_length: int,
    device: torch.device,
    deterministic: bool,
) -> TokenBudget:
    """Return the token budget of a batch.

    Args:
        requested: The configured number of tokens; None to choose one.
        shape: The model's sizes, for the memory of its activations.
        element_bytes: Bytes of a weight.
        max_length: Tokens of the longest pair.
        device: Where the model computes.
        deterministic: Whether to choose a fixed number, whatever memory is free.

    Raises:
        EvalkitError: the requested number is smaller than one pair, or one pair does not fit into free memory.
    """
    if requested is not None:
        if requested < max_length:
            raise EvalkitError(
                f"reranker.batch_tokens={requested} is smaller than one pair of reranker.max_length={max_length} "
                f"tokens; give {max_length} or more, or reranker.batch_tokens=null for as many as fit"
            )
        return TokenBudget(requested, "as asked")
    if deterministic:
        return TokenBudget(max(_FIXED_TOKENS[device.type], max_length), "fixed, for deterministic=true")
    free = free_memory_bytes(device)
    useful = max(_SATURATING_TOKENS[device.type], max_length)
    if free is None:
        return TokenBudget(useful, "free memory unknown")
    fitting = int(free * _FREE_MEMORY_SHARE) // activation_bytes(shape, element_bytes)
    if fitting < max_length:
        raise EvalkitError(
            f"{free // MIB} MiB are free on {device}: too little for one pair of reranker.max_length={max_length} "
            "tokens; free some, lower reranker.max_length, or use a smaller model"
        )
    if device.type == "cpu":
        fitting = max(fitting // torch.get_num_threads(), max_length)  # each core has a batch of its own
    if fitting >= useful:
        return TokenBudget(useful, "enough to fill the device")
    return TokenBudget(fitting, f"half of {free // MIB} MiB free memory")


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if the platform does not report it.

    Args:
        device: A CUDA device, ``mps``, or the CPU.
    """
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    if device.type == "cuda":
        # Memory that torch has reserved and does not use is available too.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
