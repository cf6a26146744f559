"""Encodes (query, passage) pairs as a decoder's prompts: the template stays whole, and the passage is cut."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.batching import length_sorted_windows, plan_batches, plan_shared_batches, query_windows
from evalkit.scoring.pair_tokenizer import TokenIds
from evalkit.scoring.prompt import Prompt, Slot
from evalkit.scoring.tokenized_pairs import Batch, TextStatistics

_Piece = str | Slot

_JOINED_TOKENS = 4
"""A query may take so many tokens more within its part than by itself, as tokens can span both."""


class PromptTokenizer:
    """Encodes pairs as the parts of a template, each tokenized by itself and without special tokens being added.

    A query longer than three quarters of `max_length` is cut to that, as in FlagEmbedding's rerankers; the part with
    the passage is then cut to what remains, from its end. The template is never cut.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, max_length: int, share_prefix: bool = True) -> None:
        """Tokenize what is the same for all pairs.

        Args:
            tokenizer: A fast tokenizer of transformers.
            prompt: The template, as `check_prompt` accepts it.
            max_length: Tokens of a prompt at most, the template included.
            share_prefix: Whether pairs of a query are put into one batch, which computes their common tokens once.

        Raises:
            EvalkitError: `max_length` leaves no room for text.
        """
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.max_length = max_length
        self.share_prefix = share_prefix
        self.unknown_id: int | None = tokenizer.unk_token_id
        parts = prompt.pieces()
        of_passage = next(number for number, part in enumerate(parts) if Slot.PASSAGE in part)
        self._before, self._part, self._after = parts[:of_passage], parts[of_passage], parts[of_passage + 1 :]
        self.template_tokens = sum(len(self._ids(part, "", "")) for part in parts)
        self.query_limit = min(max_length * 3 // 4, max_length - self.template_tokens - _JOINED_TOKENS - 1)
        if self.query_limit < 1:
            raise EvalkitError(
                f"reranker.max_length={max_length} leaves no room for text: the template alone takes "
                f"{self.template_tokens} tokens"
            )

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text; special tokens are recognized, and none are added.

        Args:
            texts: Texts of any kind.
        """
        if not texts:
            return []
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def cut_query(self, query: str) -> tuple[str, bool]:
        """Return a query, cut to its limit, and whether it was cut.

        Args:
            query: The text of a query.
        """
        if len(query.encode()) <= self.query_limit:  # a token is at least one byte
            return query, False
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encoding = backend.encode(query, add_special_tokens=False)
        if len(encoding.ids) <= self.query_limit:
            return query, False
        return query[: encoding.offsets[self.query_limit - 1][1]], True

    def head(self, query: str) -> TokenIds:
        """Return the ids of the parts before the one with the passage.

        Args:
            query: The text of a query, cut to its limit.
        """
        return self._join([self._ids(part, query, "") for part in self._before])

    def tail(self, query: str) -> TokenIds:
        """Return the ids of the parts after the one with the passage.

        Args:
            query: The text of a query, cut to its limit.
        """
        return self._join([self._ids(part, query, "") for part in self._after])

    def part_text(self, query: str, passage: str) -> str:
        """Return the text of the part with the passage.

        Args:
            query: The text of a query, cut to its limit.
            passage: The text of a passage.
        """
        return _filled(self._part, query, passage)

    def part_start(self, query: str) -> str:
        """Return the text of the part with the passage up to the passage.

        Args:
            query: The text of a query, cut to its limit.
        """
        return _filled(self._part[: self._part.index(Slot.PASSAGE)], query, "")

    def describe(self) -> dict[str, Any]:
        """Return how pairs are encoded, for a result."""
        return {
            "template": list(self.prompt.template),
            "instruction": self.prompt.instruction,
            "score": self.prompt.describe(),
            "template_tokens": self.template_tokens,
            "share_prefix": self.share_prefix,
        }

    def _ids(self, part: Sequence[_Piece], query: str, passage: str) -> TokenIds:
        return self.encode([_filled(part, query, passage)])[0]

    @staticmethod
    def _join(parts: Sequence[TokenIds]) -> TokenIds:
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts])


def _filled(part: Sequence[_Piece], query: str, passage: str) -> str:
    texts = {Slot.QUERY: query, Slot.PASSAGE: passage}
    return "".join(piece if isinstance(piece, str) else texts[piece] for piece in part)


@dataclass(frozen=True)
class _Asked:
    """What all pairs of a query have in common."""

    query: str
    """Cut to its limit."""
    cut: bool
    head: TokenIds
    tail: TokenIds
    start: TokenIds
    """The part with the passage up to the passage, tokenized without it."""


class PromptCache:
    """Encodes many pairs; the parts around the passage are tokenized once for each query."""

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        """Start with an empty cache.

        Args:
            tokenizer: Encodes the parts.
        """
        self._tokenizer = tokenizer
        self._asked: dict[str, _Asked] = {}
        self._longest = 0
        self._unknown_of_queries: dict[str, tuple[int, int]] = {}
        self._unknown_of_passages: dict[str, tuple[int, int]] = {}

    def windows(self, pairs: Sequence[tuple[str, str]], first: int, size: int) -> Iterator[list[int]]:
        """Yield the rows of pairs that are tokenized together.

        Args:
            pairs: (query, passage) texts.
            first: Pairs of the first window.
            size: Pairs of each other window.
        """
        windows = query_windows if self._tokenizer.share_prefix else length_sorted_windows
        return windows(pairs, first, size)

    def statistics(self) -> TextStatistics:
        """Return the statistics of all texts tokenized so far."""
        return TextStatistics(
            self._longest, _share(self._unknown_of_queries.values()), _share(self._unknown_of_passages.values())
        )

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> "TokenizedPrompts":
        """Return pairs as token ids.

        Args:
            pairs: (query, passage) texts.
        """
        asked = [self._of_query(query) for query, _ in pairs]
        texts = [self._tokenizer.part_text(of.query, passage) for of, (_, passage) in zip(asked, pairs, strict=True)]
        distinct = list(dict.fromkeys(texts))
        bodies = dict(zip(distinct, self._tokenizer.encode(distinct), strict=True))
        prompts = [self._prompt(of, bodies[text]) for of, text in zip(asked, texts, strict=True)]
        self._count_unknown(pairs, asked, [bodies[text] for text in texts])
        return TokenizedPrompts(prompts, self._tokenizer.share_prefix)

    def _of_query(self, query: str) -> _Asked:
        if query not in self._asked:
            tokenizer = self._tokenizer
            text, cut = tokenizer.cut_query(query)
            start = tokenizer.encode([tokenizer.part_start(text)])[0]
            self._asked[query] = _Asked(text, cut, tokenizer.head(text), tokenizer.tail(text), start)
        return self._asked[query]

    def _prompt(self, of: _Asked, body: TokenIds) -> "_TokenizedPrompt":
        room = self._tokenizer.max_length - len(of.head) - len(of.tail)
        self._longest = max(self._longest, len(of.head) + len(body) + len(of.tail))
        # Tokens may span the border to the passage; those before it are the same for all passages.
        same = _common_prefix(of.start, body[:room])
        if self._tokenizer.prompt.merges():  # the first tokens of the part are merged with the passage's own
            same = 0
        ids = np.concatenate([of.head, body[:room], of.tail])
        prefix = min(len(of.head) + same, len(ids) - 1)  # the score is read off a token of the pair's own
        part = len(of.head), len(of.head) + len(body[:room])
        return _TokenizedPrompt(ids, prefix, part, of.cut or len(body) > room)

    def _count_unknown(
        self, pairs: Sequence[tuple[str, str]], asked: Sequence[_Asked], bodies: Sequence[TokenIds]
    ) -> None:
        unknown = self._tokenizer.unknown_id
        if unknown is None:
            return
        for (query, passage), of, body in zip(pairs, asked, bodies, strict=True):
            if query not in self._unknown_of_queries:
                ids = np.concatenate([of.head, of.start, of.tail])
                self._unknown_of_queries[query] = int((ids == unknown).sum()), len(ids)
            if passage not in self._unknown_of_passages:
                own = body[_common_prefix(of.start, body) :]
                self._unknown_of_passages[passage] = int((own == unknown).sum()), len(own)


@dataclass(frozen=True)
class _TokenizedPrompt:
    ids: TokenIds
    prefix: int
    """Tokens before the passage."""
    part: tuple[int, int]
    """Where the part with the passage begins and ends."""
    truncated: bool


class TokenizedPrompts:
    """Pairs as token ids, and which of them begin with the same ones."""

    def __init__(self, prompts: Sequence[_TokenizedPrompt], share_prefix: bool) -> None:
        """Group the pairs by what stands before the passage.

        Args:
            prompts: The prompt of each pair.
            share_prefix: As for `PromptTokenizer`.
        """
        self._ids = [prompt.ids for prompt in prompts]
        self._parts = [prompt.part for prompt in prompts]
        self._share_prefix = share_prefix
        self.prefix_lengths = np.array([prompt.prefix for prompt in prompts], dtype=np.int32)
        """Tokens of each prompt before the passage, (pairs,)."""
        self.lengths: npt.NDArray[np.int32] = np.array([len(ids) for ids in self._ids], dtype=np.int32)
        """Tokens of each prompt after truncation, (pairs,)."""
        self.truncated = np.array([prompt.truncated for prompt in prompts], dtype=np.bool_)
        """Whether tokens of the pair were removed, (pairs,)."""
        groups: dict[bytes, int] = {}
        self._groups = [groups.setdefault(prompt.ids[: prompt.prefix].tobytes(), len(groups)) for prompt in prompts]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._ids)

    def plan(self, budget_tokens: int, padded: bool, at_a_time: int) -> Iterator[list[int]]:
        """Yield the rows of each batch.

        Args:
            budget_tokens: Tokens of a batch at most.
            padded: Whether padding counts towards the budget.
            at_a_time: How many batches are computed at once.
        """
        lengths = self.lengths.tolist()
        if padded or not self._share_prefix:
            return plan_batches(lengths, budget_tokens, padded, at_a_time)
        return plan_shared_batches(lengths, self.prefix_lengths.tolist(), self._groups, budget_tokens, at_a_time)

    def batch(self, rows: Sequence[int], request_rows: npt.NDArray[np.int64] | None = None) -> Batch:
        """Return some of the pairs as a batch.

        Type 0 marks the tokens that pairs of a query may share, type 2 others of the part with the passage, and type 1
        the rest.

        Args:
            rows: Indices of the pairs, in the order of the batch.
            request_rows: The index of each of these pairs among all pairs of the request, (pairs,); None if these are
                all pairs.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        shared = self.prefix_lengths * np.int32(self._share_prefix)
        types = [_types(len(self._ids[row]), int(shared[row]), self._parts[row]) for row in rows]
        return Batch(
            rows=chosen if request_rows is None else request_rows[chosen],
            ids=np.concatenate([self._ids[row] for row in rows]),
            type_ids=np.concatenate(types),
            lengths=self.lengths[chosen],
            truncated=self.truncated[chosen],
        )


def _types(length: int, shared: int, part: tuple[int, int]) -> TokenIds:
    types = np.ones(length, dtype=np.int32)
    types[slice(*part)] = 2
    types[:shared] = 0
    return types


def _common_prefix(left: TokenIds, right: TokenIds) -> int:
    length = min(len(left), len(right))
    different = np.flatnonzero(left[:length] != right[:length])
    return int(different[0]) if len(different) else length


def _share(counts: Iterable[tuple[int, int]]) -> float:
    counted = list(counts)
    return sum(unknown for unknown, _ in counted) / max(sum(tokens for _, tokens in counted), 1)
