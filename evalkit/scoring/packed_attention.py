"""Attention for transformers' models over packed texts: a token sees its own text, and a prefix that the text shares.

The model computes everything else as usual, for all tokens of a batch as one sequence with given positions. So every
architecture whose attention transformers lets be replaced can be packed, without code for it here.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from evalkit.scoring import linear

_NAME = "evalkit_packed"

_GPU_LENGTH_RATIO = 1.25
"""On a GPU texts are padded for attention, and for nothing else, to the longest one computed with them, which is at
most so many times as long as the shortest: launching a kernel for each text takes longer than a few more products. On a
CPU it does not, and tokens that stand next to each other need not be copied."""


@dataclass(frozen=True)
class Span:
    """A text in a packed batch, or what a text has besides a prefix that it shares."""

    start: int
    """Its first token."""
    length: int
    prefix_start: int = 0
    prefix_length: int = 0
    """Tokens of the prefix, which are a span by themselves; 0 for none."""


@dataclass(frozen=True)
class _Chunk:
    """Spans that are computed by one kernel: they have the same prefix and about the same length."""

    rows: torch.Tensor
    """The tokens of each span, (spans, longest); 0 beyond its end."""
    start: int | None
    """The first token if the spans are equally long and follow one another, so that they are a view; else None."""
    lengths: torch.Tensor | None
    """Tokens of each span, (spans,); None if all are equally long."""
    prefix_start: int
    prefix_length: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the spans' own rows of a tensor, (spans, longest, ...).

        Args:
            tensor: (tokens, ...).
        """
        if self.start is None:
            return tensor[self.rows]
        return tensor[self.start : self.start + self.rows.numel()].view(*self.rows.shape, *tensor.shape[1:])


class PackedLayout:
    """Which tokens of a packed batch see which: the argument of attention that is the same for all layers."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        """Put spans of the same prefix and of about the same length together.

        Args:
            spans: All spans of the batch.
            device: Where the model computes.
        """
        by_prefix: dict[tuple[int, int], list[Span]] = {}
        for span in spans:
            by_prefix.setdefault((span.prefix_start, span.prefix_length), []).append(span)
        self._chunks = [
            _chunk(group, device)
            for (_, prefix), of_prefix in by_prefix.items()
            for group in _similar(sorted(of_prefix, key=lambda span: -span.length), length_ratio(device, prefix))
        ]
        self._masks: dict[tuple[int, bool, int | None], tuple[torch.Tensor | None, bool]] = {}

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        causal: bool,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        """Return the output of attention, (tokens, heads, head size).

        Args:
            query: (tokens, heads, head size).
            key: (tokens, key heads, head size); each key head serves as many heads.
            value: As `key`.
            scale: What products are multiplied by; None for one over the root of the head size.
            causal: Whether a token sees none that come after it.
            window: A token sees those that are fewer positions away; None for all.
            softcap: Products are limited to it by a hyperbolic tangent; None for no limit.
        """
        output = query.new_empty((*query.shape[:2], value.shape[-1]))
        joined: dict[tuple[int, int], torch.Tensor] = {}
        for number, chunk in enumerate(self._chunks):
            q = chunk.of(query)
            k, v = (
                _after_prefix(chunk, tensor, joined, which) if chunk.prefix_length else chunk.of(tensor)
                for which, tensor in enumerate((key, value))
            )
            if (kind := (number, causal, window)) not in self._masks:  # layers have the same, or two kinds in turn
                self._masks[kind] = _visible(chunk, causal, window)
            mask, is_causal = self._masks[kind]
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            attended = _attention(q, k, v, mask, is_causal, scale, softcap).transpose(1, 2)
            if chunk.start is not None:
                output[chunk.start : chunk.start + chunk.rows.numel()] = attended.flatten(0, 1)
            elif chunk.lengths is None:
                output[chunk.rows.flatten()] = attended.flatten(0, 1)
            else:
                real = torch.arange(chunk.rows.shape[1], device=query.device) < chunk.lengths[:, None]
                output[chunk.rows[real]] = attended[real]
        return output


def _after_prefix(
    chunk: _Chunk, tensor: torch.Tensor, joined: dict[tuple[int, int], torch.Tensor], which: int
) -> torch.Tensor:
    """Return the prefix and after it each span's own rows, (spans, prefix + longest, ...).

    A span by itself is written into one buffer behind its prefix, which is copied once for all its spans.
    """
    prefix = tensor[chunk.prefix_start : chunk.prefix_start + chunk.prefix_length]
    spans, longest = chunk.rows.shape
    if spans > 1 or chunk.start is None:
        return torch.cat([prefix.expand(spans, *prefix.shape), chunk.of(tensor)], 1)
    if (key := (which, chunk.prefix_start)) not in joined:  # spans of a prefix come in a row, the longest first
        joined[key] = tensor.new_empty((1, len(prefix) + longest, *tensor.shape[1:]))
        joined[key][0, : len(prefix)] = prefix
    both = joined[key][:, : len(prefix) + longest]
    both[:, len(prefix) :] = chunk.of(tensor)
    return both


_LAYOUT: ContextVar[PackedLayout] = ContextVar("layout")
"""The layout of the batch that this thread computes."""


@contextmanager
def packed(layout: PackedLayout) -> Iterator[None]:
    """Compute a batch of this layout with a model of `packed_copy`.

    Args:
        layout: What the batch's tokens see.
    """
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)


def reason_not_packable(model: Any) -> str | None:
    """Return why a model cannot compute packed batches, or None if it can.

    Args:
        model: A model of transformers.
    """
    if getattr(model, "_supports_attention_backend", False):
        return None
    return f"transformers does not let the attention of {type(model).__name__} be replaced"


def packed_copy(model: Any) -> Any:
    """Return a model that computes packed batches with the same weights, which are not copied.

    Args:
        model: A model for which `reason_not_packable` is None.
    """
    ALL_ATTENTION_FUNCTIONS.register(_NAME, _packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, lambda *args, **kwargs: None)
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.set_attn_implementation(_NAME)
    linear.use_in(twin)
    return twin


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Compute attention as transformers calls it; tensors are (1, heads, tokens, head size)."""
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return _LAYOUT.get().attend(q, k, v, scaling, causal, sliding_window, softcap)[None], None


def length_ratio(device: torch.device, prefix_length: int) -> float | None:
    """Return how many times as long as the shortest text the longest one of a kernel may be; None for one text each.

    Args:
        device: Where the model computes.
        prefix_length: Tokens of the texts' shared prefix; 0 for none.
    """
    if device.type == "cuda":
        return _GPU_LENGTH_RATIO
    return None if prefix_length else 1.0


def _similar(spans: Sequence[Span], ratio: float | None) -> Iterator[list[Span]]:
    """Yield runs of spans, the longest first, whose lengths differ by `ratio` at most; None for each by itself."""
    group: list[Span] = []
    for span in spans:
        if group and (ratio is None or group[0].length > ratio * span.length):
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _chunk(spans: Sequence[Span], device: torch.device) -> _Chunk:
    longest, shortest = spans[0].length, spans[-1].length
    starts = torch.tensor([[span.start] for span in spans])
    lengths = torch.tensor([span.length for span in spans])
    steps = torch.arange(longest)
    rows = torch.where(steps < lengths[:, None], starts + steps, 0)
    follows = all(after.start == span.start + longest for span, after in pairwise(spans))
    return _Chunk(
        rows.to(device),
        spans[0].start if longest == shortest and follows else None,
        None if longest == shortest else lengths.to(device),
        spans[0].prefix_start,
        spans[0].prefix_length,
    )


def _visible(chunk: _Chunk, causal: bool, window: int | None) -> tuple[torch.Tensor | None, bool]:
    """Return the mask of what each token sees, or None, and whether the kernel is to be a causal one."""
    own, prefix = chunk.rows.shape[1], chunk.prefix_length
    window = None if window is None or window >= own + prefix else window
    if causal and not prefix and window is None:
        return None, True  # tokens beyond a text's end come after it, so that none of its own sees them
    mask = _shape_mask(own, prefix, causal, window, chunk.rows.device)
    if causal or chunk.lengths is None:
        return mask, False
    real = torch.arange(own, device=chunk.rows.device) < chunk.lengths[:, None]
    return (real[:, None, None] if mask is None else real[:, None, None] & mask), False


def _shape_mask(own: int, prefix: int, causal: bool, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return which of `prefix` + `own` positions each of the last `own` ones sees, (own, prefix + own)."""
    if not causal and window is None:
        return None
    seen, of = torch.arange(prefix + own, device=device), torch.arange(prefix, prefix + own, device=device)[:, None]
    mask = seen <= of if causal else torch.ones((own, prefix + own), dtype=torch.bool, device=device)
    return mask if window is None else mask & ((of - seen).abs() < window)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scale: float | None,
    softcap: float | None,
) -> torch.Tensor:
    repeated = query.shape[1] // key.shape[1]
    if softcap is None:
        return functional.scaled_dot_product_attention(
            query, key, value, mask, is_causal=causal, scale=scale, enable_gqa=repeated > 1
        )
    key, value = (tensor.repeat_interleave(repeated, 1) for tensor in (key, value))
    products = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    products = torch.tanh(products / softcap) * softcap
    if causal:
        mask = _shape_mask(query.shape[2], key.shape[2] - query.shape[2], True, None, query.device)
    if mask is not None:
        products = products.masked_fill(~mask, -torch.inf)
    return products.softmax(-1, torch.float32).to(query.dtype) @ value
