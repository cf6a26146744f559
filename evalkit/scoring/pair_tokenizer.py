"""Encodes (query, passage) pairs with a model's own tokenizer under a named truncation rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from evalkit.boundary.errors import EvalkitError

TRUNCATIONS = ("only_second", "longest_first")

TokenIds = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens of an encoded pair, ``before query between passage after``, and the types of all tokens."""

    before: TokenIds
    between: TokenIds
    after: TokenIds
    before_types: TokenIds
    between_types: TokenIds
    after_types: TokenIds
    query_types: TokenIds
    """The type of a query's tokens, repeated `max_length` times."""
    passage_types: TokenIds
    """The type of a passage's tokens, repeated `max_length` times."""

    @property
    def special_tokens(self) -> int:
        """Return the number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def largest_type(self) -> int:
        """Return the largest token type of a pair."""
        parts = (self.before_types, self.between_types, self.after_types, self.query_types, self.passage_types)
        return max(int(part.max(initial=0)) for part in parts)


@dataclass(frozen=True)
class TokenTypeUse:
    """Whether query and passage get different token types, and why."""

    used: bool
    reason: str


def token_type_use(tokenizer: Any, model_types: int | None, saved_with: str | None = None) -> TokenTypeUse:
    """Return whether pairs get token types: only if the model was trained with them and has more than one.

    A tokenizer whose `model_input_names` lack ``token_type_ids`` trained a model in which all tokens had type 0,
    whatever the template in tokenizer.json contains. If the files do not set `model_input_names`, the tokenizer's class
    does. The generic class, PreTrainedTokenizerFast, returned token types up to transformers 4 and returns none since
    transformers 5.

    Args:
        tokenizer: A fast tokenizer of transformers.
        model_types: The model's number of token types (`type_vocab_size`); None if it is not known.
        saved_with: The version of transformers that saved the model; None if it is not known.
    """
    if model_types is not None and model_types < 2:
        return TokenTypeUse(False, f"all 0: the model has {model_types or 'no'} token type{'s' * (not model_types)}")
    if "token_type_ids" in tokenizer.model_input_names:
        return TokenTypeUse(True, "as in the tokenizer's template for pairs")
    generic = type(tokenizer) is PreTrainedTokenizerFast and "model_input_names" not in tokenizer.init_kwargs
    if generic and str(saved_with).startswith("4."):
        version = str(saved_with)[:20]
        return TokenTypeUse(
            True, f"as in the tokenizer's template for pairs, as transformers {version} gave them in training"
        )
    return TokenTypeUse(False, "all 0: the tokenizer's model_input_names name no token_type_ids")


class PairTokenizer:
    """Encodes (query, passage) pairs exactly as the model's own tokenizer does under the same truncation rule.

    `longest_first` is the rule of Hugging Face's tokenizers: tokens are removed one by one from the longer text.
    `only_second` is FlagEmbedding's rule in `FlagReranker`: the query is cut to three quarters of `max_length`, and the
    passage gets the rest. Tokens are removed from the end, or from the beginning if the tokenizer's `truncation_side`
    is "left".
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        truncation: str,
        model_types: int | None = None,
        saved_with: str | None = None,
    ) -> None:
        """Read the template for pairs from the tokenizer.

        Args:
            tokenizer: A fast tokenizer of transformers.
            max_length: Tokens of a pair at most, special tokens included.
            truncation: One of `TRUNCATIONS`.
            model_types: The model's number of token types; None if it is not known.
            saved_with: The version of transformers that saved the model; None if it is not known.

        Raises:
            EvalkitError: the rule is unknown, `max_length` leaves no room for text, or the tokenizer does not encode
                pairs in the way a reranker needs.
        """
        check_truncation(truncation)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.token_types = token_type_use(tokenizer, model_types, saved_with)
        self.template = _read_template(tokenizer, max_length, self.token_types.used)
        largest = self.template.largest_type
        if model_types is not None and self.token_types.used and largest >= model_types:
            raise EvalkitError(
                f"the tokenizer gives tokens the type {largest} and the model has {model_types} types, from 0 to "
                f"{model_types - 1}; tokenizer.json and config.json belong to different models"
            )
        self.truncates_left = getattr(tokenizer, "truncation_side", "right") == "left"
        self.unknown_id: int | None = tokenizer.unk_token_id
        if max_length < self.template.special_tokens + 2:
            raise EvalkitError(
                f"reranker.max_length={max_length} leaves no room for text: {self.template.special_tokens} special "
                "tokens and at least one token each of query and passage are needed"
            )

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, without special tokens and without truncation.

        Args:
            texts: Queries or passages.
        """
        if not texts:
            return []
        # The backend is called directly: the wrapper warns about texts longer than the model, which are truncated later
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def describe(self) -> dict[str, Any]:
        """Return how pairs are encoded, for a result."""
        return {
            "token_types": self.token_types.reason,
            "truncation_side": "left" if self.truncates_left else "right",
        }

    def truncated_lengths(self, query_tokens: int, passage_tokens: int) -> tuple[int, int]:
        """Return how many tokens of query and passage remain after truncation.

        Args:
            query_tokens: Tokens of the whole query, without special tokens.
            passage_tokens: Tokens of the whole passage, without special tokens.
        """
        q, d = query_tokens, passage_tokens
        room = self.max_length - self.template.special_tokens
        if self.truncation == "only_second":
            # FlagEmbedding's default query_max_length is int(max_length * 3 / 4), special tokens not counted.
            q = min(q, self.max_length * 3 // 4, room)
            return q, min(d, room - q)
        if q + d <= room:
            return q, d
        # longest_first of the Rust tokenizers: a text that fills at most half of the room stays whole; otherwise both
        # are cut to half, and the longer one (the passage if they are equal) gets the odd token.
        half = room // 2
        if min(q, d) <= half:
            return (q, room - q) if q <= d else (room - d, d)
        return (half, room - half) if q <= d else (room - half, half)


def check_truncation(name: str) -> None:
    """Check the name of a truncation rule.

    Args:
        name: The value of `reranker.truncation`.

    Raises:
        EvalkitError: there is no such rule.
    """
    if name not in TRUNCATIONS:
        raise EvalkitError(f"reranker.truncation={name}: there is {', '.join(TRUNCATIONS)}")


def _read_template(tokenizer: Any, max_length: int, use_types: bool) -> PairTemplate:
    """Read the special tokens from an encoded example, so that no model's template is hard-coded here."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    example = backend.encode("a", "b")
    first = [i for i, s in enumerate(example.sequence_ids) if s == 0]
    second = [i for i, s in enumerate(example.sequence_ids) if s == 1]
    if not first or not second or first[-1] > second[0]:
        raise EvalkitError("the tokenizer does not put the query before the passage, so it is not a reranker's")
    q, q_end, d, d_end = first[0], first[-1] + 1, second[0], second[-1] + 1
    ids = np.array(example.ids, dtype=np.int32)
    types = np.array(example.type_ids, dtype=np.int32) * np.int32(use_types)
    return PairTemplate(
        ids[:q],
        ids[q_end:d],
        ids[d_end:],
        types[:q],
        types[q_end:d],
        types[d_end:],
        np.full(max_length, types[q], dtype=np.int32),
        np.full(max_length, types[d], dtype=np.int32),
    )
