"""Tokenizing pairs: each distinct text once, then put together from its ids under a named truncation rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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


class PairTokenizer:
    """Turns (query, passage) into ids, as the model's own tokenizer would with the same truncation rule.

    `longest_first` is Hugging Face's rule: tokens go one by one from the longer of the two. `only_second` is
    FlagReranker's: the query is cut to three quarters of `max_length` first, then the passage takes all the rest.
    """

    def __init__(self, tokenizer: Any, max_length: int, truncation: str) -> None:
        check_truncation(truncation)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.frame = _frame(tokenizer, max_length)
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


def _frame(tokenizer: Any, max_length: int) -> Frame:
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
    ids, types = np.array(probe.ids, dtype=np.int32), np.array(probe.type_ids, dtype=np.int32)
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
