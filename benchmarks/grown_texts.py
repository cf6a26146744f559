"""As many passages as asked, from few: real sentences in new company, with a vocabulary that grows as in real text."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.first_stage.analysis import select_analysis

MS_MARCO_TERMS, MS_MARCO_VOCABULARY = 352_316_036, 2_660_824
"""All 8.8 million passages of MS MARCO, stemmed and without stopwords: `total_terms` and `unique_terms` of the index
msmarco-v1-passage, https://github.com/castorini/pyserini/blob/master/pyserini/prebuilt_index_info.py"""
RARE = 2
"""A word that the real passages have at most this often may give way to a new one in a grown text."""
_WORD, _WORD_APART, _SENTENCE_END = (re.compile(p) for p in (r"[^\W_]+", r"([^\W_]+)", r"(?<=[.!?])\s+"))


def read(folder: Path) -> tuple[list[str], list[str]]:
    """Return the texts of a BEIR folder's corpus.jsonl, titles in front, and those of its queries.jsonl.

    Raises:
        EvalkitError: a file cannot be read, or holds no text.
    """
    texts = []
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl"):
        try:
            with path.open(encoding="utf-8") as lines:  # str.splitlines would cut at U+0085 and U+2028 inside a text
                records = [json.loads(line) for line in lines]
            texts.append([f"{record.get('title', '')} {record['text']}".strip() for record in records])
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise EvalkitError(f"--texts {folder}: cannot read {path.name}: {error!r}") from None
        if not any(texts[-1]):
            raise EvalkitError(f"--texts {folder}: {path.name} holds no text")
    return texts[0], texts[1]


@dataclass(frozen=True)
class Heaps:
    """Heaps' law: how many distinct tokens a text of so many has."""

    tokens: int
    distinct: int
    exponent: float

    @classmethod
    def through(cls, passages: Sequence[str]) -> "Heaps":
        """Return the law through these passages and the whole of MS MARCO."""
        counts = Counter(token for text in passages for token in select_analysis("words", "en").tokens(text))
        tokens, distinct = counts.total(), len(counts)
        return cls(tokens, distinct, math.log(MS_MARCO_VOCABULARY / distinct) / math.log(MS_MARCO_TERMS / tokens))

    def vocabulary(self, tokens: int) -> float:
        """Return the distinct tokens to be expected among so many."""
        return self.distinct * (tokens / self.tokens) ** self.exponent


def grow(passages: Sequence[str], seed: int = 0) -> Iterator[str]:
    """Yield passages without end: real sentences in new company, with a vocabulary that grows as in real text.

    A passage has as many sentences as a real one drawn at random, each a real sentence drawn at random. Left at that,
    new words would soon run out. So the vocabulary follows Heaps' law, V = V0 * (n / n0) ** h, through two real
    points: these passages (n0 tokens, V0 distinct) and the whole of MS MARCO. Where a sentence has a rare word and
    the vocabulary is behind the law, a new word stands there, put together from halves of two rare ones; where it is
    not behind, a word comes back that stood in such a place before, the likelier the more often it did (Simon's
    process, https://doi.org/10.1093/biomet/42.3-4.425), so that frequencies fall off as in real text.
    """
    draw = random.Random(seed)
    law = Heaps.through(passages)
    tokens = select_analysis("words", "en").tokens
    counts = Counter(word.lower() for text in passages for word in _WORD.findall(text))
    rare = [word for word, count in counts.items() if count <= RARE]
    rare_words = frozenset(rare)
    split = [_SENTENCE_END.split(text) for text in passages]
    lengths = [len(sentences) for sentences in split]
    sentences = [_pieces(sentence, rare_words) for text in split for sentence in text]
    tokens_of = [-1] * len(sentences)  # counted when a sentence is drawn for the first time
    vocabulary: set[str] = set()
    placed: list[str] = []
    seen = 0

    def fill(word: str) -> str:
        if placed and len(vocabulary) >= law.vocabulary(seen):
            again = draw.choice(placed)
        else:
            again, number = word, ""
            while not (stem := tokens(again)) or stem[0] in vocabulary:
                left, right = draw.choice(rare), draw.choice(rare)
                again = left[: (len(left) + 1) // 2] + right[len(right) // 2 :] + number
                number = str(len(vocabulary))  # few rare words have few halves: then a number makes a new one
            vocabulary.update(stem)
        placed.append(again)
        return again

    while True:
        passage = []
        for _ in range(draw.choice(lengths)):
            row = draw.randrange(len(sentences))
            pieces = sentences[row]
            if tokens_of[row] < 0:
                known = tokens(" ".join(pieces[::2]))
                vocabulary.update(known)
                tokens_of[row] = len(known) + len(pieces) // 2
            seen += tokens_of[row]
            passage.append("".join(fill(piece) if i % 2 else piece for i, piece in enumerate(pieces)))
        yield " ".join(passage)


def _pieces(sentence: str, rare: frozenset[str]) -> tuple[str, ...]:
    """Return the sentence as text, rare word, text, rare word, ..., text."""
    pieces, text = [], ""
    for piece in _WORD_APART.split(" ".join(sentence.split())):
        if piece.lower() in rare:
            pieces += [text, piece]
            text = ""
        else:
            text += piece
    return (*pieces, text)
