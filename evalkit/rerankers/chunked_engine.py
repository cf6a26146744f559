"""The engine of a reranker over chunks, through which tokens and memory of all chunks are measured."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from evalkit.rerankers.base import Engine, EngineFacts


@dataclass(frozen=True)
class ChunkedEngine:
    """The engine of a reranker over chunks: a pair has the tokens of all its chunks."""

    engine: Engine
    chunks: Callable[[Sequence[str]], Sequence[Sequence[str]]]
    """Returns the chunks of each passage that are scored."""

    @property
    def facts(self) -> EngineFacts:
        """Return those of the engine; a pair of any length is scored in full."""
        return replace(self.engine.facts, max_length=sys.maxsize)

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> "_TokenizedChunks":
        """Return (query, passage) texts as ids, each chunk with its query."""
        chunks = self.chunks([passage for _, passage in texts])
        pairs = [(query, chunk) for (query, _), found in zip(texts, chunks, strict=True) for chunk in found]
        return _TokenizedChunks(self.engine.tokenize(pairs), [len(found) for found in chunks])

    def weights_mb(self) -> float:
        """Return the size of parameters and buffers in MiB."""
        return self.engine.weights_mb()

    def predicted_peak_mb(self, batch_tokens: int) -> float:
        """Return weights and activations in MiB for a batch of `batch_tokens`."""
        return self.engine.predicted_peak_mb(batch_tokens)


class _TokenizedChunks:
    """Tokenized pairs of queries and chunks, seen as pairs of queries and passages."""

    def __init__(self, tokenized: Any, counts: Sequence[int]) -> None:
        self._tokenized = tokenized
        ends = list(accumulate(counts, initial=0))
        self._rows = [range(start, end) for start, end in pairwise(ends)]
        self.lengths = [sum(int(tokenized.lengths[row]) for row in rows) for rows in self._rows]
        """Tokens of each pair: of all its chunks, the query counted with each."""

    def batch(self, rows: Sequence[int]) -> Any:
        """Return the model's input for the chunks of some of the pairs."""
        return self._tokenized.batch([chunk for row in rows for chunk in self._rows[row]])
