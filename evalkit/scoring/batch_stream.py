"""Turns texts into batches, window by window: tokenized, sorted by length, and grouped by a token budget."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from evalkit.scoring.tokenized_pairs import Batch, PairCache

_FIRST_WINDOW, _WINDOW = 1024, 8192
"""Pairs that are tokenized together; the model has to wait for the first window."""


class BatchStream:
    """The batches of a request, and what tokenizing them took."""

    def __init__(
        self,
        cache: PairCache,
        pairs: Sequence[tuple[str, str]],
        budget_tokens: int,
        padded: bool,
        wanted: npt.NDArray[np.bool_],
        at_a_time: int = 1,
    ) -> None:
        """Prepare the stream; `batches` does the work.

        Args:
            cache: Tokenizes the texts.
            pairs: (query, passage) texts.
            budget_tokens: Tokens of a batch at most.
            padded: Whether padding counts towards the budget.
            wanted: Whether each pair is to be scored, (pairs,). The others are planned as well, but left out of their
                batches, so that the batches do not depend on which scores are already known.
            at_a_time: How many batches are computed at once; the batches depend on it.
        """
        self._cache = cache
        self._pairs = pairs
        self._budget_tokens = budget_tokens
        self._padded = padded
        self._wanted = wanted
        self._at_a_time = at_a_time
        self.truncated_pairs = 0
        self.tokenize_s = 0.0

    def batches(self) -> Iterator[Batch]:
        """Yield the batches that have pairs to score."""
        for window in self._cache.windows(self._pairs, _FIRST_WINDOW, _WINDOW):
            began = time.perf_counter()
            tokenized = self._cache.tokenize([self._pairs[row] for row in window])
            self.truncated_pairs += int(tokenized.truncated.sum())
            self.tokenize_s += time.perf_counter() - began
            request_rows = np.array(window, dtype=np.int64)
            for planned in tokenized.plan(self._budget_tokens, self._padded, self._at_a_time):
                began = time.perf_counter()
                rows = [row for row in planned if self._wanted[request_rows[row]]]
                batch = tokenized.batch(rows, request_rows) if rows else None
                self.tokenize_s += time.perf_counter() - began
                if batch is not None:
                    yield batch
