"""Tokenized pairs, and the batches that are assembled from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evalkit.scoring.batching import plan_batches
from evalkit.scoring.pair_tokenizer import PairTokenizer, TokenIds


@dataclass(frozen=True)
class Batch:
    """Pairs that go through the model together; their ids are concatenated without padding."""

    rows: npt.NDArray[np.int64]
    """The index of each pair among all pairs of the request, (pairs,)."""
    ids: TokenIds
    """(tokens,)"""
    type_ids: TokenIds
    """(tokens,)"""
    lengths: TokenIds
    """Tokens of each pair, (pairs,); their sum is the length of `ids`."""
    truncated: npt.NDArray[np.bool_]
    """Whether tokens of the pair were removed, (pairs,)."""

    def halves(self) -> "tuple[Batch, Batch]":
        """Return two batches: the first and the second half of the pairs."""
        pair = len(self.rows) // 2
        token = int(self.lengths[:pair].sum())
        parts = ((slice(pair), slice(token)), (slice(pair, None), slice(token, None)))
        first, second = (
            Batch(self.rows[pairs], self.ids[tokens], self.type_ids[tokens], self.lengths[pairs], self.truncated[pairs])
            for pairs, tokens in parts
        )
        return first, second


@dataclass(frozen=True)
class TextStatistics:
    """What tokenization shows about the texts of a run; it does not depend on the model's weights."""

    longest_pair_tokens: int
    """Tokens of the longest pair before truncation, special tokens included; 0 without pairs."""
    unknown_query_share: float
    """Share of unknown tokens (``[UNK]``) in the distinct queries, before truncation."""
    unknown_passage_share: float
    """Share of unknown tokens in the distinct passages, before truncation."""


class Tokenized(Protocol):
    """Pairs as token ids, for an encoder or for a decoder."""

    @property
    def lengths(self) -> TokenIds:
        """Tokens of each pair after truncation, special tokens included, (pairs,)."""

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """Whether tokens of the pair were removed, (pairs,)."""

    def __len__(self) -> int:
        """Return the number of pairs."""

    def plan(self, budget_tokens: int, padded: bool, at_a_time: int) -> Iterator[list[int]]:
        """Yield the rows of each batch.

        Args:
            budget_tokens: Tokens of a batch at most.
            padded: Whether padding counts towards the budget.
            at_a_time: How many batches are computed at once.
        """

    def batch(self, rows: Sequence[int], request_rows: npt.NDArray[np.int64] | None = None) -> Batch:
        """Return some of the pairs as a batch.

        Args:
            rows: Indices of the pairs, in the order of the batch.
            request_rows: The index of each of these pairs among all pairs of the request, (pairs,); None if these are
                all pairs.
        """


class PairCache(Protocol):
    """Tokenizes many pairs, each distinct text once."""

    def windows(self, pairs: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
        """Yield the rows of pairs that are tokenized together.

        Args:
            pairs: (query, passage) texts.
            first: Pairs of the first window: few, since the model has to wait for it.
            size: Pairs of each other window.
        """

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> Tokenized:
        """Return pairs as token ids.

        Args:
            pairs: (query, passage) texts.
        """

    def statistics(self) -> TextStatistics:
        """Return the statistics of all texts tokenized so far."""


@dataclass(frozen=True)
class TokenizedPairs:
    """Pairs as token ids. A text that occurs in many pairs is stored once."""

    text_ids: Sequence[TokenIds]
    """The ids of each distinct text, without truncation and without special tokens."""
    query_index: npt.NDArray[np.int64]
    """The index in `text_ids` of each pair's query, (pairs,)."""
    passage_index: npt.NDArray[np.int64]
    """The index in `text_ids` of each pair's passage, (pairs,)."""
    query_lengths: TokenIds
    """Tokens of each query after truncation, (pairs,)."""
    passage_lengths: TokenIds
    """Tokens of each passage after truncation, (pairs,)."""
    lengths: TokenIds
    """Tokens of each pair after truncation, special tokens included, (pairs,)."""
    truncated: npt.NDArray[np.bool_]
    """Whether tokens of the pair were removed, (pairs,)."""
    tokenizer: PairTokenizer

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.lengths)

    def plan(self, budget_tokens: int, padded: bool, at_a_time: int) -> Iterator[list[int]]:
        """Yield the rows of each batch, as `plan_batches` groups them.

        Args:
            budget_tokens: Tokens of a batch at most.
            padded: Whether padding counts towards the budget.
            at_a_time: How many batches are computed at once.
        """
        return plan_batches(self.lengths.tolist(), budget_tokens, padded, at_a_time)

    def batch(self, rows: Sequence[int], request_rows: npt.NDArray[np.int64] | None = None) -> Batch:
        """Return some of the pairs as a batch.

        Args:
            rows: Indices of the pairs, in the order of the batch.
            request_rows: The index of each of these `TokenizedPairs` among all pairs of the request, (pairs,); None if
                these are all pairs.
        """
        ids: list[TokenIds] = []
        types: list[TokenIds] = []
        template, left = self.tokenizer.template, self.tokenizer.truncates_left
        for row in rows:
            q, d = int(self.query_lengths[row]), int(self.passage_lengths[row])
            query, passage = self.text_ids[self.query_index[row]], self.text_ids[self.passage_index[row]]
            ids += (
                template.before,
                query[len(query) - q :] if left else query[:q],
                template.between,
                passage[len(passage) - d :] if left else passage[:d],
                template.after,
            )
            types += (
                template.before_types,
                template.query_types[:q],
                template.between_types,
                template.passage_types[:d],
                template.after_types,
            )
        chosen = np.asarray(rows, dtype=np.int64)
        return Batch(
            rows=chosen if request_rows is None else request_rows[chosen],
            ids=np.concatenate(ids),
            type_ids=np.concatenate(types),
            lengths=self.lengths[chosen],
            truncated=self.truncated[chosen],
        )
