"""Tokenized pairs: each distinct text once as ids, and for each pair which two texts and how much of each is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalkit.scoring.tokenize import PairTokenizer

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """Pairs that go through the model together, their ids one behind the other without padding."""

    rows: npt.NDArray[np.int64]
    """Where the pairs stand among those that were asked for, (pairs,)."""
    ids: Ids
    """(tokens,)"""
    type_ids: Ids
    """(tokens,)"""
    lengths: Ids
    """Tokens of each pair, (pairs,); their sum is the length of `ids`."""
    cut: npt.NDArray[np.bool_]
    """Whether anything of the pair was cut off, (pairs,)."""

    def halves(self) -> "tuple[Batch, Batch]":
        """Return the two batches of the first and of the second half of the pairs."""
        middle = len(self.rows) // 2
        token = int(self.lengths[:middle].sum())
        return self._part(slice(middle), slice(token)), self._part(slice(middle, None), slice(token, None))

    def _part(self, pairs: slice, tokens: slice) -> "Batch":
        return Batch(self.rows[pairs], self.ids[tokens], self.type_ids[tokens], self.lengths[pairs], self.cut[pairs])


@dataclass(frozen=True)
class TokenizedPairs:
    """Pairs as ids. A text that occurs in many pairs is held once."""

    texts: Sequence[Ids]
    """The ids of each distinct text, uncut and without special tokens."""
    query: npt.NDArray[np.int64]
    """Where in `texts` each pair's query stands, (pairs,)."""
    passage: npt.NDArray[np.int64]
    query_kept: Ids
    """How many tokens of the query are left under the truncation rule, (pairs,)."""
    passage_kept: Ids
    lengths: Ids
    """Tokens of each pair, special tokens included, (pairs,)."""
    cut: npt.NDArray[np.bool_]
    """Whether anything of the pair was cut off, (pairs,)."""
    pairs: PairTokenizer

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.lengths)

    @property
    def truncated(self) -> int:
        """Return the number of pairs of which something was cut off."""
        return int(self.cut.sum())

    def batch(self, rows: Sequence[int], places: npt.NDArray[np.int64] | None = None) -> Batch:
        """Put the pairs at `rows` together; `places` says where each pair stands among all, if not at its row."""
        ids: list[Ids] = []
        types: list[Ids] = []
        frame, left = self.pairs.frame, self.pairs.cuts_left
        for row in rows:
            q, d = int(self.query_kept[row]), int(self.passage_kept[row])
            query, passage = self.texts[self.query[row]], self.texts[self.passage[row]]
            ids += (
                frame.before,
                query[len(query) - q :] if left else query[:q],
                frame.between,
                passage[len(passage) - d :] if left else passage[:d],
                frame.after,
            )
            types += (
                frame.before_types,
                frame.query_types[:q],
                frame.between_types,
                frame.passage_types[:d],
                frame.after_types,
            )
        chosen = np.asarray(rows, dtype=np.int64)
        return Batch(
            rows=chosen if places is None else places[chosen],
            ids=np.concatenate(ids),
            type_ids=np.concatenate(types),
            lengths=self.lengths[chosen],
            cut=self.cut[chosen],
        )


@dataclass(frozen=True)
class TextFacts:
    """What tokenization shows of all texts of a run: nothing of it depends on the model."""

    longest_pair_tokens: int
    """Tokens of the longest pair, special tokens included, nothing cut; 0 without pairs."""
    unknown_query_share: float
    """Share of the tokens of the distinct queries that the vocabulary does not know, uncut."""
    unknown_passage_share: float


class TokenTable:
    """Ids of the texts met so far, so that a passage in many pairs is tokenized once."""

    def __init__(self, pairs: PairTokenizer) -> None:
        """Start empty; `pairs` tokenizes and holds the truncation rule."""
        self._pairs = pairs
        self._places: dict[str, int] = {}
        self._ids: list[Ids] = []
        self._queries: set[int] = set()
        self._passages: set[int] = set()
        self._longest = 0

    def facts(self) -> TextFacts:
        """Return what the texts met so far show."""
        return TextFacts(self._longest, self._unknown_share(self._queries), self._unknown_share(self._passages))

    def _unknown_share(self, places: set[int]) -> float:
        if self._pairs.unknown_id is None or not places:
            return 0.0
        ids = np.concatenate([self._ids[place] for place in places])
        return float(np.mean(ids == self._pairs.unknown_id)) if len(ids) else 0.0

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> TokenizedPairs:
        """Return (query, passage) pairs as ids."""
        new = [text for text in dict.fromkeys(text for pair in texts for text in pair) if text not in self._places]
        for text, ids in zip(new, self._pairs.encode(new), strict=True):
            self._places[text] = len(self._ids)
            self._ids.append(ids)
        places = np.array([(self._places[q], self._places[d]) for q, d in texts], dtype=np.int64).reshape(-1, 2)
        whole = np.array([(len(self._ids[q]), len(self._ids[d])) for q, d in places], dtype=np.int32).reshape(-1, 2)
        self._queries.update(places[:, 0].tolist())
        self._passages.update(places[:, 1].tolist())
        if len(whole):
            self._longest = max(self._longest, int(whole.sum(axis=1).max()) + self._pairs.frame.size)
        kept = np.array([self._pairs.kept(int(q), int(d)) for q, d in whole], dtype=np.int32).reshape(-1, 2)
        return TokenizedPairs(
            texts=self._ids,
            query=places[:, 0],
            passage=places[:, 1],
            query_kept=kept[:, 0],
            passage_kept=kept[:, 1],
            lengths=kept.sum(axis=1, dtype=np.int32) + np.int32(self._pairs.frame.size),
            cut=np.any(kept < whole, axis=1),
            pairs=self._pairs,
        )
