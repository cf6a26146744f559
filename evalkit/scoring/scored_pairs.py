"""The logits of a request, collected from its scored batches."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalkit.scoring.flops import ModelShape, forward_flops
from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.tokenized_pairs import TextStatistics


@dataclass(frozen=True)
class ScoredPairs:
    """Logits of pairs in the order of the request, and what computing them took."""

    logits: npt.NDArray[np.float32]
    """(pairs,)"""
    truncated_pairs: int
    """Pairs that were truncated, whether they were computed or known before."""
    tokens: int
    """Tokens of the pairs that were computed."""
    padded_tokens: int
    """Tokens that the model computed, padding included."""
    tokenize_s: float
    """Time of tokenization, which runs in parallel with the model."""
    forward_s: float
    """Time of the model: between CUDA events, or wall-clock time on a CPU."""
    computed_pairs: int
    events: tuple[str, ...]
    """Recovered failures, such as a batch that was halved; a sentence each."""
    flops: float | None
    """Floating-point operations of the pairs that were computed, by `forward_flops`; None where not all layers compute
    the same tokens."""
    text_statistics: TextStatistics
    """Over the texts of all pairs."""


class ScoreCollector:
    """Collects scored batches."""

    def __init__(self, logits: npt.NDArray[np.float32]) -> None:
        """Start with the logits that are known.

        Args:
            logits: (pairs,); NaN for pairs that are to be computed. It is changed in place.
        """
        self.logits = logits
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._padded_tokens = 0
        self._forward_s = 0.0
        self._events: tuple[str, ...] = ()

    def add(self, scored: ScoredBatch) -> None:
        """Add a scored batch.

        Args:
            scored: The logits of some of the pairs.
        """
        self.logits[scored.rows] = scored.logits
        self._lengths.append(scored.lengths)
        self._padded_tokens += scored.padded_tokens
        self._forward_s += scored.forward_s
        self._events += scored.events

    def result(
        self, shape: ModelShape | None, truncated_pairs: int, tokenize_s: float, text_statistics: TextStatistics
    ) -> ScoredPairs:
        """Return all that was collected.

        Args:
            shape: The model's sizes, for FLOPs; None where not all layers compute the same tokens.
            truncated_pairs: See `ScoredPairs`.
            tokenize_s: See `ScoredPairs`.
            text_statistics: See `ScoredPairs`.
        """
        lengths = np.concatenate([np.zeros(0, dtype=np.int32), *self._lengths])
        return ScoredPairs(
            self.logits,
            truncated_pairs,
            tokens=int(lengths.sum()),
            padded_tokens=self._padded_tokens,
            tokenize_s=tokenize_s,
            forward_s=self._forward_s,
            computed_pairs=len(lengths),
            events=self._events,
            flops=None if shape is None else forward_flops(shape, lengths),
            text_statistics=text_statistics,
        )
