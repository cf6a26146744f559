"""Tokenizing pairs: each distinct text once, then put together from its ids under a named truncation rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from evalkit.errors import EvalkitError

TRUNCATIONS = ("only_second", "longest_first")


Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around a pair, ``before q between d after``, and all token types."""

    before: Ids
    between: Ids
    after: Ids
    before_types: Ids
    between_types: Ids
    after_types: Ids
    query_types: Ids
    """The type of a query's tokens, as often as a pair may be long."""
    passage_types: Ids

    @property
    def size(self) -> int:
        """Return the number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def largest_type(self) -> int:
        """Return the largest token type of a pair."""
        parts = (self.before_types, self.between_types, self.after_types, self.query_types, self.passage_types)
        return max(int(part.max(initial=0)) for part in parts)


@dataclass(frozen=True)
class TokenTypes:
    """Whether tokens of query and passage have types of their own, and what says so."""

    used: bool
    why: str


def token_types(tokenizer: Any, types: int | None, trained_with: str | None = None) -> TokenTypes:
    """Return whether pairs get token types: where the tokenizer gave them in training, and the model has several.

    A tokenizer whose `model_input_names` leave token types out trained a model whose tokens were all of type 0,
    whatever the template in tokenizer.json says. Where the files do not state `model_input_names`, the tokenizer's
    class does, and the class of no model in particular (PreTrainedTokenizerFast) gave token types up to transformers 4
    and gives none from 5 on: `trained_with` is the version that saved the model, None if that is unknown.
    """
    if types is not None and types < 2:
        return TokenTypes(False, f"all 0: the model has {types or 'no'} token type{'s' * (not types)}")
    if "token_type_ids" in tokenizer.model_input_names:
        return TokenTypes(True, "as in the tokenizer's template for pairs")
    of_no_model = type(tokenizer) is PreTrainedTokenizerFast and "model_input_names" not in tokenizer.init_kwargs
    if of_no_model and str(trained_with).startswith("4."):
        why = (
            f"as in the tokenizer's template for pairs, as transformers {str(trained_with)[:20]} gave them in training"
        )
        return TokenTypes(True, why)
    return TokenTypes(False, "all 0: the tokenizer's model_input_names name no token_type_ids")


class PairTokenizer:
    """Turns (query, passage) into ids, as the model's own tokenizer would with the same truncation rule.

    `longest_first` is Hugging Face's rule: tokens go one by one from the longer of the two. `only_second` is
    FlagReranker's: the query is cut to three quarters of `max_length` first, then the passage takes all the rest. What
    is cut goes from the end, or from the beginning where the tokenizer's `truncation_side` is left, as in both.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        truncation: str,
        types: int | None = None,
        trained_with: str | None = None,
    ) -> None:
        """Read the frame off the tokenizer; `types` and `trained_with` are as in `token_types`.

        Raises:
            EvalkitError: there is no such rule, `max_length` leaves no room for text, or the tokenizer does not put
                pairs together as a reranker's does.
        """
        check_truncation(truncation)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.types = token_types(tokenizer, types, trained_with)
        self.frame = _frame(tokenizer, max_length, self.types.used)
        if types is not None and self.types.used and (most := self.frame.largest_type) >= types:
            raise EvalkitError(
                f"the tokenizer gives tokens the type {most} and the model has {types} types, from 0 to {types - 1}; "
                "tokenizer.json and config.json belong to different models"
            )
        self.cuts_left = getattr(tokenizer, "truncation_side", "right") == "left"
        self.unknown_id: int | None = tokenizer.unk_token_id
        if max_length < self.frame.size + 2:
            raise EvalkitError(
                f"reranker.max_length={max_length} leaves no room for text: {self.frame.size} special tokens and "
                "at least one token each of query and passage are needed"
            )

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, without special tokens and uncut."""
        if not texts:
            return []
        # The backend is asked directly: the wrapper would warn of texts beyond the model's length, which are cut later.
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def kept(self, q: int, d: int) -> tuple[int, int]:
        """Return how many tokens are left of a query of `q` and a passage of `d` tokens."""
        room = self.max_length - self.frame.size
        if self.truncation == "only_second":
            # FlagEmbedding's default query_max_length is int(max_length * 3 / 4), special tokens not counted.
            q = min(q, self.max_length * 3 // 4, room)
            return q, min(d, room - q)
        if q + d <= room:
            return q, d
        # The Rust tokenizers' longest_first: if the shorter side fills no more than half of the room it stays whole;
        # else both are cut to half, and the longer one (the passage, if equal) gets the odd token.
        half = room // 2
        if min(q, d) <= half:
            return (q, room - q) if q <= d else (room - d, d)
        return (half, room - half) if q <= d else (room - half, half)


def check_truncation(name: str) -> None:
    """Check the name of a truncation rule.

    Raises:
        EvalkitError: there is no such rule.
    """
    if name not in TRUNCATIONS:
        raise EvalkitError(f"reranker.truncation={name}: there is {', '.join(TRUNCATIONS)}")


def _frame(tokenizer: Any, max_length: int, typed: bool) -> Frame:
    """Read the special tokens off a probe pair, so that no model's template is written down here."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    probe = backend.encode("a", "b")
    first = [i for i, s in enumerate(probe.sequence_ids) if s == 0]
    second = [i for i, s in enumerate(probe.sequence_ids) if s == 1]
    if not first or not second or first[-1] > second[0]:
        raise EvalkitError("the tokenizer does not put a query before its passage, so it is none of a reranker's")
    q, q_end, d, d_end = first[0], first[-1] + 1, second[0], second[-1] + 1
    ids, types = np.array(probe.ids, dtype=np.int32), np.array(probe.type_ids, dtype=np.int32) * np.int32(typed)
    return Frame(
        ids[:q],
        ids[q_end:d],
        ids[d_end:],
        types[:q],
        types[q_end:d],
        types[d_end:],
        np.full(max_length, types[q], dtype=np.int32),
        np.full(max_length, types[d], dtype=np.int32),
    )
