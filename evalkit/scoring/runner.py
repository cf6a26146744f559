"""What runs batches: the interfaces of a forward pass and of a runner, and the scored batch that a runner yields."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from evalkit.scoring.tokenized_pairs import Batch


class ForwardPass(Protocol):
    """Computes the logits of a batch on one device: packed, padded, or by CUDA graphs."""

    device: torch.device

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Return the arguments of `forward`, on the device."""

    def forward(self, *inputs: Any) -> torch.Tensor:
        """Return fp32 logits, (pairs,), on the device."""

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers, padding included."""


@dataclass(frozen=True)
class ScoredBatch:
    """The logits of a batch, and what computing them took."""

    rows: npt.NDArray[np.int64]
    """The index of each pair among all pairs of the request, (pairs,)."""
    logits: npt.NDArray[np.float32]
    """(pairs,)"""
    lengths: npt.NDArray[np.int32]
    """Tokens of each pair, (pairs,)."""
    truncated: npt.NDArray[np.bool_]
    """Whether tokens of the pair were removed, (pairs,)."""
    forward_s: float
    padded_tokens: int
    """Tokens that the model computed, padding included."""
    events: tuple[str, ...] = ()
    """Recovered failures, such as a batch that was halved; a sentence each."""


def concatenate(parts: Sequence[ScoredBatch]) -> ScoredBatch:
    """Return several scored batches as one; times and tokens are added up.

    Args:
        parts: At least one scored batch.
    """
    if len(parts) == 1:
        return parts[0]
    return ScoredBatch(
        rows=np.concatenate([part.rows for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        forward_s=sum(part.forward_s for part in parts),
        padded_tokens=sum(part.padded_tokens for part in parts),
        events=tuple(event for part in parts for event in part.events),
    )


class Runner(Protocol):
    """Scores batches on one device, on several, or on a cluster."""

    def run(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Yield the scores of all batches, in any order; a batch may come in several parts."""
