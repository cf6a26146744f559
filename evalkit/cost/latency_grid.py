"""Latency of one query by the number of its passages (depth) and the tokens of its pairs (length).

The passages are built from texts of the slice: concatenated until they fill the length, and cut there. The model would
take as long for random tokens, but tokenization is part of the latency.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from evalkit.cost.latency import summarize, time_ms
from evalkit.types import GridCell, LatencyGrid

Lengths = Callable[[Sequence[tuple[str, str]]], npt.NDArray[np.integer]]
"""Returns the tokens of each (query, passage) after truncation, special tokens included, shape (n,)."""
Score = Callable[[str, Sequence[str]], int]
"""Scores a query with its passages, and returns the number of tokens of these pairs."""


@dataclass
class _Cell:
    length: int
    passages: Sequence[str]
    tokens: int = 0
    samples_ms: list[float] = field(default_factory=list)


def measure(
    query: str,
    texts: Sequence[str],
    depths: Sequence[int],
    lengths: Sequence[int],
    max_length: int,
    tokens_of: Lengths,
    score: Score,
    repetitions: int,
    cell_s: float,
) -> LatencyGrid:
    """Time every depth with every length: once to warm up, then several times.

    The cells are timed in turn, so that a machine that slows down affects all of them. A cell that takes longer than
    `cell_s` is not timed again: its warm-up is its only sample.

    Args:
        query: the query of all pairs.
        texts: what passages are built from; at least one is not empty.
        depths: numbers of passages.
        lengths: tokens of a pair; those above `max_length` are reduced to it.
        max_length: tokens at which the reranker truncates a pair.
        tokens_of: counts the tokens of pairs.
        score: the work that is timed.
        repetitions: samples of each cell,
        cell_s: or as many as begin within so many seconds.
    """
    fitting, notes = clip_lengths(lengths, max_length)
    made = {length: make_passages(query, texts, max(depths), length, tokens_of) for length in fitting}
    cells = [_Cell(length, made[length][:depth]) for depth in sorted(set(depths)) for length in fitting]

    def once(cell: _Cell) -> None:
        cell.tokens = score(query, cell.passages)

    for cell in cells:
        took_ms = time_ms(partial(once, cell))  # warm-up: the first run of a shape is slower
        if took_ms > cell_s * 1000:
            cell.samples_ms.append(took_ms)
            notes.append(
                f"depth {len(cell.passages)} at length {cell.length} was timed once: it took more than {cell_s:g} s"
            )
    for _ in range(repetitions):
        for cell in cells:
            if not cell.samples_ms or sum(cell.samples_ms) < cell_s * 1000:
                cell.samples_ms.append(time_ms(partial(once, cell)))
    return LatencyGrid(tuple(map(_finished, cells)), tuple(notes))


def _finished(cell: _Cell) -> GridCell:
    depth = len(cell.passages)
    return GridCell(depth, cell.length, cell.tokens / depth, summarize(cell.samples_ms, 1, depth))


def clip_lengths(lengths: Sequence[int], max_length: int) -> tuple[list[int], list[str]]:
    """Return ascending lengths with `max_length` as their upper limit, and a note for each that was changed.

    Args:
        lengths: tokens of a pair, in any order.
        max_length: tokens at which the reranker truncates a pair.

    Returns:
        The lengths, ascending and without repetitions, and the notes.
    """
    beyond = sorted({length for length in lengths if length > max_length})
    fitting = sorted({min(length, max_length) for length in lengths})
    notes = [
        f"length {length} is above reranker.max_length={max_length}, where pairs are truncated" for length in beyond
    ]
    return fitting, notes


def make_passages(query: str, texts: Sequence[str], count: int, length: int, tokens_of: Lengths) -> list[str]:
    """Return `count` passages, each the shortest that gives a pair of at least `length` tokens with the query.

    Passage i consists of text i and the texts after it, cyclically. Where the query alone has `length` tokens,
    a passage is one character.

    Args:
        query: the query of all pairs.
        texts: what passages are built from; at least one is not empty.
        count: number of passages.
        length: tokens of a pair, special tokens included.
        tokens_of: counts the tokens of (query, passage) pairs.
    """
    sources = [text.strip() for text in texts if text.strip()]
    whole = _long_enough(query, sources, count, length, tokens_of)
    low, high = np.zeros(count, dtype=np.int64), np.array([len(text) for text in whole])
    while (between := np.flatnonzero(high - low > 1)).size:  # bisection, all passages at once
        middle = (low[between] + high[between]) // 2
        reached = tokens_of([(query, whole[i][:end]) for i, end in zip(between, middle)]) >= length
        high[between] = np.where(reached, middle, high[between])
        low[between] = np.where(reached, low[between], middle)
    return [text[:end] for text, end in zip(whole, high.tolist())]


def _long_enough(query: str, texts: Sequence[str], count: int, length: int, tokens_of: Lengths) -> list[str]:
    """Return joined texts that reach `length` tokens with the query, or have 1,000 characters for each token.

    The limit is for texts of characters that the tokenizer drops.
    """
    characters = 4 * length
    while True:
        whole = [_joined(texts, start, characters) for start in range(count)]
        if (tokens_of([(query, text) for text in whole]) >= length).all() or characters > 1000 * length:
            return whole
        characters *= 2


def _joined(texts: Sequence[str], start: int, characters: int) -> str:
    parts: list[str] = []
    size = 0
    while size < characters:
        text = texts[(start + len(parts)) % len(texts)]
        parts.append(text)
        size += len(text) + 1
    return " ".join(parts)
