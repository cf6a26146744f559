"""Attention over packed pairs: each pair's tokens see their own pair and no other, and nothing is padded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from evalkit.scoring.device import Precision


@dataclass(frozen=True)
class Segments:
    """Where the pairs of a packed batch begin and end."""

    lengths: npt.NDArray[np.int32]
    """Tokens of each pair, on the host."""
    starts: torch.Tensor
    """(pairs + 1,) int32 on the device: the first token of each pair, and the number of all tokens."""

    @cached_property
    def longest(self) -> int:
        """Return the tokens of the longest pair."""
        return int(self.lengths.max())

    @cached_property
    def groups(self) -> list[tuple[int, int, int, int]]:
        """Return runs of neighbours of one length: first pair, pairs, first token, tokens of each."""
        edges = np.flatnonzero(np.diff(self.lengths)) + 1
        found, token = [], 0
        for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(self.lengths)], strict=True):
            length = int(self.lengths[first])
            found.append((first, end - first, token, length))
            token += (end - first) * length
        return found


Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Segments, bool], torch.Tensor]
"""(query, key, value, segments, first_only) -> mixed values, all (tokens, heads, head size).

With `first_only` the query holds the first token of each pair alone, (pairs, heads, head size), and so does the result.
"""

OverStates = Callable[[torch.Tensor, torch.Tensor, Segments, float], torch.Tensor]
"""(query, states, segments, scale) -> mixed states: for each pair and head one query over the pair's own states.

Query and result are (pairs, heads, hidden), states (tokens, hidden).
"""


@dataclass(frozen=True)
class Kernel:
    """One way to compute it, under the name that goes into a result."""

    name: str
    attend: Attention
    over_states: OverStates | None = None
    """Where a head may be as wide as the model: what spares the last layer its keys and values."""
    reads_starts: bool = True
    """Whether it takes a batch's pairs from `Segments.starts` alone, on the device: only then can it be replayed."""


def choose(device: torch.device, precision: Precision, head_size: int) -> Kernel:
    """Return the kernel for this device, precision and size of a head.

    On CUDA, half precision takes torch's own variable-length FlashAttention where torch and the device have it
    (torch 2.10, compute capability 8.0, heads of up to 256), all else its memory-efficient attention. Heads that are no
    multiple of 8 suit neither, and a CPU has none of them: pairs of equal length are taken together.
    """
    if device.type == "cpu":
        return Kernel("packed, sdpa by equal length, last layer over states", _by_equal_length, _over_states, False)
    if head_size % 8:
        return Kernel("packed, sdpa by equal length", _by_equal_length, reads_starts=False)
    half = precision.dtype in (torch.float16, torch.bfloat16) and head_size <= 256
    if half and torch.cuda.get_device_capability(device) >= (8, 0) and _has_varlen():
        return Kernel("packed, varlen_attn (FlashAttention)", _varlen)
    return Kernel("packed, efficient_attention", _efficient)


def _by_equal_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    mixed = torch.empty_like(query)
    heads, size = query.shape[1:]
    for first, pairs, token, length in segments.groups:
        rows = slice(first, first + pairs) if first_only else slice(token, token + pairs * length)
        tokens = slice(token, token + pairs * length)
        of_group = functional.scaled_dot_product_attention(
            query[rows].reshape(pairs, -1, heads, size).transpose(1, 2),
            key[tokens].reshape(pairs, length, heads, size).transpose(1, 2),
            value[tokens].reshape(pairs, length, heads, size).transpose(1, 2),
        )
        mixed[rows].view(pairs, -1, heads, size).copy_(of_group.transpose(1, 2))
    return mixed


def _over_states(query: torch.Tensor, states: torch.Tensor, segments: Segments, scale: float) -> torch.Tensor:
    mixed = torch.empty_like(query)
    for first, pairs, token, length in segments.groups:
        rows = slice(first, first + pairs)
        of_group = states[token : token + pairs * length].view(pairs, 1, length, -1)
        mixed[rows] = functional.scaled_dot_product_attention(query[rows, None], of_group, of_group, scale=scale)[:, 0]
    return mixed


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = segments.starts, segments.longest
    mixed = varlen_attn(
        query, key, value, _each(query, segments) if first_only else starts, starts, 1 if first_only else longest,
        longest,
    )  # fmt: skip
    assert isinstance(mixed, torch.Tensor)  # a pair only where the log-sum-exp is asked for too
    return mixed


def _efficient(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    starts, longest = segments.starts, segments.longest
    mixed: torch.Tensor = torch.ops.aten._efficient_attention_forward(
        query[None], key[None], value[None], None, _each(query, segments) if first_only else starts, starts,
        1 if first_only else longest, longest, 0.0, 0,
    )[0][0]  # fmt: skip
    return mixed


def _each(query: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Return the starts of segments of one query token each."""
    return torch.arange(len(segments.lengths) + 1, dtype=torch.int32, device=query.device)


def _has_varlen() -> bool:
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:
        return False
    return True
