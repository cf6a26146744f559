"""Splits passages into chunks, spans of their text that overlap: by tokens of the reranker, or by sentences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import regex

from evalkit.boundary.errors import EvalkitError

UNITS = ("none", "tokens", "sentences")
AGGREGATES = ("max", "first", "mean_top")
SENTENCES = 10
"""Sentences of a chunk where none are given: Nogueira et al. 2020 (see `ChunkSettings`)."""

Span = tuple[int, int]
"""Start and end of a piece of text, in characters."""


@dataclass  # not frozen: it is also a schema, and OmegaConf cannot set fields of a frozen one
class ChunkSettings:
    """How passages are split before they are scored: the configuration's group ``chunks``.

    First and best chunk (FirstP, MaxP), and chunks that overlap by half, are those of Dai and Callan 2019, Deeper text
    understanding for IR with contextual neural language modeling (150 words, each 75 words after the one before). Ten
    sentences, each chunk five after the one before, are those of Nogueira et al. 2020, Document ranking with a
    pretrained sequence-to-sequence model. The mean of the best few is the score of Akkalyoncu Yilmaz et al. 2019,
    Cross-domain modeling of sentence-level evidence for document retrieval, with equal weights.
    """

    by: str = "none"
    """What a chunk is made of: tokens (of the reranker), sentences, or none for whole passages."""
    size: int | None = None
    """Tokens or sentences of a chunk; null for three quarters of the reranker's max_length, or 10 sentences."""
    overlap: int | None = None
    """How many of them a chunk shares with the one before; null for half of size."""
    aggregate: str = "max"
    """Score of a passage: max or first of its chunks' scores, or mean_top for the mean of the best few."""
    top: int = 3
    """With aggregate=mean_top: how many of the best chunks count."""
    against_truncation: bool = True
    """Whether passages are scored whole too, untimed, to show what truncation would lose."""

    def check(self) -> None:
        """Check every setting.

        Raises:
            EvalkitError: one is out of range, or has no effect.
        """
        if self.by not in UNITS:
            raise EvalkitError(f"chunks.by={self.by}: choose from {', '.join(UNITS)}")
        unused = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        if self.by == "none" and unused:
            raise EvalkitError(
                f"chunks.{unused[0]}={getattr(self, unused[0])} has no effect on whole passages; add chunks=tokens or "
                "chunks=sentences"
            )
        if self.aggregate not in AGGREGATES:
            raise EvalkitError(f"chunks.aggregate={self.aggregate}: choose from {', '.join(AGGREGATES)}")
        if self.size is not None and self.size < 1:
            raise EvalkitError(f"chunks.size={self.size}: give how many {self.by} a chunk has, 1 or more, or null")
        if self.size is not None:
            self.shared(self.size)
        if self.top < 1:
            raise EvalkitError(f"chunks.top={self.top}: give how many of the best chunks count, 1 or more")
        if "top" in unused and self.aggregate != "mean_top":
            raise EvalkitError(
                f"chunks.top={self.top} has no effect with chunks.aggregate={self.aggregate}; add "
                "chunks.aggregate=mean_top"
            )

    def shared(self, size: int) -> int:
        """Return how many tokens or sentences two neighbours share, for chunks of `size`.

        Raises:
            EvalkitError: `overlap` is not from 0 to `size` - 1.
        """
        overlap = size // 2 if self.overlap is None else self.overlap
        if not 0 <= overlap < size:
            raise EvalkitError(
                f"chunks.overlap={overlap}: chunks have {size} {self.by}, so give 0 to {size - 1} that two neighbours "
                "share, or null for half"
            )
        return overlap


def split(text: str, units: Sequence[Span], size: int, overlap: int) -> tuple[str, ...]:
    """Return the chunks of a text, in order; the text itself if it has no more than `size` units.

    A chunk is cut before the start of a word if one of its last units, a quarter of `size`, is that; else between any
    two units, as in scripts that write no spaces.

    Args:
        text: a passage.
        units: where its tokens or sentences are, in ascending order, shape (n,).
        size: units of a chunk at most, 1 or more.
        overlap: units that a chunk shares with the one before, 0 to `size` - 1; up to a quarter of `size` more, so that
            it begins with a word.
    """
    if len(units) <= size:
        return (text,)

    def begins_word(unit: int) -> bool:
        start = units[unit][0]
        return start == 0 or text[start].isspace() or text[start - 1].isspace()

    found, first = [], 0
    while len(units) - first > size:
        end = _last(begins_word, first + size, first + size - size // 4)
        found.append(text[units[first][0] : units[end - 1][1]].strip())
        first = _last(begins_word, max(end - overlap, first + 1), max(end - overlap - size // 4, first + 1))
    return (*found, text[units[first][0] :].strip())


def _last(holds: Callable[[int], bool], highest: int, lowest: int) -> int:
    """Return the highest number from `lowest` to `highest` for which `holds`; `highest` if there is none."""
    return next((number for number in range(highest, lowest - 1, -1) if holds(number)), highest)


def aggregate(logits: Sequence[float | None], settings: ChunkSettings) -> float | None:
    """Return the score of a passage.

    Args:
        logits: of its chunks in the order of the text, one or more; None for a chunk without a score, which is left
            out.
        settings: `aggregate` and `top`.

    Returns:
        The largest, the first, or the mean of the `top` largest (of all, if there are fewer); None if no chunk has a
        score, and NaN or infinity if one has that, so that it is not hidden.
    """
    known = [logit for logit in logits if logit is not None]
    if not known:
        return None
    if broken := [logit for logit in known if not math.isfinite(logit)]:
        return broken[0]
    if settings.aggregate == "mean_top":
        return fmean(sorted(known)[-settings.top :])
    return max(known) if settings.aggregate == "max" else known[0]


_SENTENCE_END = regex.compile(
    r"""
    (?: \p{SB=STerm}                                                         # such as ! 。 ।
      | \p{SB=ATerm} (?! \p{SB=Numeric} )                                    # a full stop that is not that of 3.5
        (?! (?<= [\p{SB=Upper}\p{SB=Lower}] . ) \p{SB=Upper} )                 # nor of U.S.
        (?! [^\p{SB=OLetter}\p{SB=Upper}\p{SB=Lower}\p{SB=STerm}\p{SB=ATerm}]*+ \p{SB=Lower} )  # nor of e.g. this
    )
    \p{SB=Close}*+ \s*+ (?! [\p{SB=SContinue}\p{SB=STerm}\p{SB=ATerm}] )
    | \n [^\S\n]* \n \s*
    """,
    regex.VERBOSE,
)


def sentences(text: str) -> list[Span]:
    """Return where the sentences of a text are, the white space after each included.

    The rule is Unicode's for all languages (Unicode Standard Annex 29, rules SB6 to SB11): by marks such as . ! ? 。 ।
    and without a list of abbreviations. Of line ends, only a blank line ends a sentence, as collections wrap lines.

    Args:
        text: a passage.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return list(zip([0, *ends], ends))
