"""Which tokens of a passage become one between a decoder's layers, in a packed batch, and where the others are then.

The rule is that of bge-reranker-v2.5-gemma2-lightweight (`token_compress` of FlagEmbedding 1.4.2): the part with the
passage is divided from its beginning into groups of `ratio` tokens, the last of which may be smaller; the mean of a
group's hidden states takes their place. The tokens before and after the part stay as they are, and positions are
counted anew. What a pair becomes does not depend on the other pairs of its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalkit.scoring.packed_attention import Span
from evalkit.scoring.packed_decoder import Arrangement

PASSAGE = 2
"""The type of tokens of the part with the passage, as `TokenizedPrompts.batch` gives it."""


@dataclass(frozen=True)
class Merge:
    """The tokens that each token of the new arrangement is the mean of."""

    rows: npt.NDArray[np.int64]
    """Their places in the old arrangement, (new tokens, ratio)."""
    weights: npt.NDArray[np.float32]
    """Their shares, (new tokens, ratio); 0 where a token is made of fewer."""
    after: Arrangement


def merge_passages(before: Arrangement, ratio: int) -> Merge:
    """Return how each `ratio` tokens of a passage become one.

    Args:
        before: Where the tokens are; those that pairs share are none of the part with the passage.
        ratio: How many tokens become one.
    """
    places = np.arange(len(before.types))
    in_passage = before.types == PASSAGE
    begins = in_passage & ~np.concatenate([[False], in_passage[:-1]])
    begins[[span.start for span in before.spans]] |= in_passage[[span.start for span in before.spans]]
    place_in_passage = places - np.maximum.accumulate(np.where(begins, places, 0))
    first = np.flatnonzero(~in_passage | (place_in_passage % ratio == 0))
    sizes = np.diff(first, append=len(places))[:, None]
    steps = np.arange(ratio)
    rows = first[:, None] + np.where(steps < sizes, steps, 0)
    weights = np.where(steps < sizes, 1 / sizes, 0).astype(np.float32)
    new = np.cumsum(np.isin(places, first)) - 1
    return Merge(rows, weights, Arrangement(before.types[first], new[before.last], _moved(before.spans, new)))


def _moved(spans: Sequence[Span], new: npt.NDArray[np.int64]) -> tuple[Span, ...]:
    """Return spans whose tokens are at other places, some of them at the same one."""
    starts = [int(new[span.start]) for span in spans]
    ends = [int(new[span.start + span.length - 1]) + 1 for span in spans]
    return tuple(
        Span(start, end - start, int(new[span.prefix_start]) if span.prefix_length else 0, span.prefix_length)
        for span, start, end in zip(spans, starts, ends, strict=True)
    )
