"""Caches the token ids of texts, so that a passage that occurs in many pairs is tokenized once."""

from collections.abc import Iterator, Sequence

import numpy as np

from evalkit.scoring.batching import length_sorted_windows
from evalkit.scoring.pair_tokenizer import PairTokenizer, TokenIds
from evalkit.scoring.tokenized_pairs import TextStatistics, TokenizedPairs


class TokenCache:
    """The token ids of all texts that it has tokenized."""

    def __init__(self, tokenizer: PairTokenizer) -> None:
        """Start with an empty cache.

        Args:
            tokenizer: Encodes the texts, and defines the truncation rule.
        """
        self._tokenizer = tokenizer
        self._index: dict[str, int] = {}
        self._ids: list[TokenIds] = []
        self._queries: set[int] = set()
        self._passages: set[int] = set()
        self._longest = 0

    def windows(self, pairs: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
        """Yield the rows of pairs that are tokenized together, the longest first.

        Args:
            pairs: (query, passage) texts.
            first: Pairs of the first window.
            size: Pairs of each other window.
        """
        return length_sorted_windows(pairs, first, size)

    def statistics(self) -> TextStatistics:
        """Return the statistics of all texts tokenized so far."""
        return TextStatistics(self._longest, self._unknown_share(self._queries), self._unknown_share(self._passages))

    def _unknown_share(self, indices: set[int]) -> float:
        if self._tokenizer.unknown_id is None or not indices:
            return 0.0
        ids = np.concatenate([self._ids[index] for index in indices])
        return float(np.mean(ids == self._tokenizer.unknown_id)) if len(ids) else 0.0

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> TokenizedPairs:
        """Return pairs as token ids.

        Args:
            pairs: (query, passage) texts.
        """
        new = [text for text in dict.fromkeys(text for pair in pairs for text in pair) if text not in self._index]
        for text, ids in zip(new, self._tokenizer.encode(new), strict=True):
            self._index[text] = len(self._ids)
            self._ids.append(ids)
        index = np.array([(self._index[q], self._index[d]) for q, d in pairs], dtype=np.int64).reshape(-1, 2)
        whole = np.array([(len(self._ids[q]), len(self._ids[d])) for q, d in index], dtype=np.int32).reshape(-1, 2)
        self._queries.update(index[:, 0].tolist())
        self._passages.update(index[:, 1].tolist())
        special_tokens = self._tokenizer.template.special_tokens
        if len(whole):
            self._longest = max(self._longest, int(whole.sum(axis=1).max()) + special_tokens)
        remaining = [self._tokenizer.truncated_lengths(int(q), int(d)) for q, d in whole]
        lengths = np.array(remaining, dtype=np.int32).reshape(-1, 2)
        return TokenizedPairs(
            text_ids=self._ids,
            query_index=index[:, 0],
            passage_index=index[:, 1],
            query_lengths=lengths[:, 0],
            passage_lengths=lengths[:, 1],
            lengths=lengths.sum(axis=1, dtype=np.int32) + np.int32(special_tokens),
            truncated=np.any(lengths < whole, axis=1),
            tokenizer=self._tokenizer,
        )
