"""Attention kernels over packed pairs: a token attends to the tokens of its own pair only, without padding."""

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
    """The boundaries of the pairs in a packed batch."""

    lengths: npt.NDArray[np.int32]
    """Tokens of each pair, on the host."""
    starts: torch.Tensor
    """Cumulative lengths, (pairs + 1,) int32 on the device: the first token of each pair, and the total of tokens."""

    @cached_property
    def longest(self) -> int:
        """Return the tokens of the longest pair."""
        return int(self.lengths.max())

    @cached_property
    def groups(self) -> list[tuple[int, int, int, int]]:
        """Return runs of consecutive pairs of equal length: (first pair, pairs, first token, tokens of each pair)."""
        edges = np.flatnonzero(np.diff(self.lengths)) + 1
        found, token = [], 0
        for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(self.lengths)], strict=True):
            length = int(self.lengths[first])
            found.append((first, end - first, token, length))
            token += (end - first) * length
        return found


Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Segments, bool], torch.Tensor]
"""(query, key, value, segments, first_only) -> attention output; all (tokens, heads, head size).

With `first_only` the query is the first token of each pair only, (pairs, heads, head size), and so is the output.
"""

StateAttention = Callable[[torch.Tensor, torch.Tensor, Segments, float], torch.Tensor]
"""(query, states, segments, scale) -> weighted states: each pair and head has one query over the pair's hidden states.

Query and result are (pairs, heads, hidden), states (tokens, hidden).
"""


@dataclass(frozen=True)
class Kernel:
    """An implementation of attention, with the name under which results record it."""

    name: str
    attend: Attention
    attend_states: StateAttention | None = None
    """Attention over hidden states, which saves the last layer its keys and values; None if the kernel's heads cannot
    be as wide as the model."""
    graph_capturable: bool = True
    """Whether it reads the pairs from `Segments.starts` on the device only, as capture in a CUDA graph requires."""


def choose_kernel(device: torch.device, precision: Precision, head_size: int) -> Kernel:
    """Return the attention kernel for a device, a precision and a head size.

    On CUDA, half precision uses torch's variable-length FlashAttention if torch and the device have it (torch 2.10,
    compute capability 8.0, head size up to 256), and torch's memory-efficient attention otherwise. Neither supports
    head sizes that are not a multiple of 8, nor a CPU or Metal: there, pairs of equal length are computed together.

    Args:
        device: Where the model computes.
        precision: The precision of the model.
        head_size: Dimensions of one head.
    """
    if device.type in ("cpu", "mps"):
        return Kernel("packed, sdpa by equal length, last layer over states", _by_equal_length, _attend_states, False)
    if head_size % 8:
        return Kernel("packed, sdpa by equal length", _by_equal_length, graph_capturable=False)
    half = precision.dtype in (torch.float16, torch.bfloat16) and head_size <= 256
    if half and torch.cuda.get_device_capability(device) >= (8, 0) and has_varlen():
        return Kernel("packed, varlen_attn (FlashAttention)", _varlen)
    return Kernel("packed, efficient_attention", _efficient)


def _by_equal_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    output = torch.empty_like(query)
    heads, size = query.shape[1:]
    for first, pairs, token, length in segments.groups:
        rows = slice(first, first + pairs) if first_only else slice(token, token + pairs * length)
        tokens = slice(token, token + pairs * length)
        group_output = functional.scaled_dot_product_attention(
            query[rows].reshape(pairs, -1, heads, size).transpose(1, 2),
            key[tokens].reshape(pairs, length, heads, size).transpose(1, 2),
            value[tokens].reshape(pairs, length, heads, size).transpose(1, 2),
        )
        output[rows].view(pairs, -1, heads, size).copy_(group_output.transpose(1, 2))
    return output


def _attend_states(query: torch.Tensor, states: torch.Tensor, segments: Segments, scale: float) -> torch.Tensor:
    output = torch.empty_like(query)
    for first, pairs, token, length in segments.groups:
        rows = slice(first, first + pairs)
        group = states[token : token + pairs * length].view(pairs, 1, length, -1)
        output[rows] = functional.scaled_dot_product_attention(query[rows, None], group, group, scale=scale)[:, 0]
    return output


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = segments.starts, segments.longest
    output = varlen_attn(
        query, key, value, _one_token_starts(query, segments) if first_only else starts, starts,
        1 if first_only else longest, longest,
    )  # fmt: skip
    assert isinstance(output, torch.Tensor)  # a tuple only if the log-sum-exp is requested too
    return output


def _efficient(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, first_only: bool
) -> torch.Tensor:
    starts, longest = segments.starts, segments.longest
    output: torch.Tensor = torch.ops.aten._efficient_attention_forward(
        query[None], key[None], value[None], None, _one_token_starts(query, segments) if first_only else starts,
        starts, 1 if first_only else longest, longest, 0.0, 0,
    )[0][0]  # fmt: skip
    return output


def _one_token_starts(query: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Return `Segments.starts` for one query token per pair."""
    return torch.arange(len(segments.lengths) + 1, dtype=torch.int32, device=query.device)


def has_varlen() -> bool:
    """Return whether torch has attention for sequences of different lengths, as from 2.10 on."""
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:
        return False
    return True
