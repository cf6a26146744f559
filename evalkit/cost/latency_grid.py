"""Latency as a function of depth and of length: one query with so many passages, each pair about so many tokens long.

The passages are made of real texts: as many of the slice's, one after the other, as fill the length, cut where it is
reached. Random tokens would be as fast, but a tokenizer's work is part of the latency.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from evalkit.cost.latency import summarize, time_ms
from evalkit.types import GridCell, LatencyGrid

Lengths = Callable[[Sequence[tuple[str, str]]], npt.NDArray[np.integer]]
"""Says how many tokens each (query, passage) is, special tokens included, after truncation."""
Score = Callable[[str, Sequence[str]], int]
"""Scores a query with its passages, and returns how many tokens these pairs are."""


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
    """Time every depth with every length: once to warm up, then `repetitions` times or until `cell_s` have passed.

    The cells take turns, so that a machine that slows down slows all of them. A cell that takes longer than `cell_s`
    is not done a second time: what it took to warm up is its one sample. `texts` are what passages are made of, at
    least one of which is not empty.
    """
    fitting, notes = clip_lengths(lengths, max_length)
    made = {length: make_passages(query, texts, max(depths), length, tokens_of) for length in fitting}
    cells = [_Cell(length, made[length][:depth]) for depth in sorted(set(depths)) for length in fitting]

    def once(cell: _Cell) -> None:
        cell.tokens = score(query, cell.passages)

    for cell in cells:
        took_ms = time_ms(partial(once, cell))  # a shape that the device has not seen yet
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
    """Return the lengths that the reranker can have, those above its maximum made that, and what was changed."""
    beyond = sorted({length for length in lengths if length > max_length})
    fitting = sorted({min(length, max_length) for length in lengths})
    notes = [f"length {length} is above reranker.max_length={max_length}, where pairs are cut" for length in beyond]
    return fitting, notes


def make_passages(query: str, texts: Sequence[str], count: int, length: int, tokens_of: Lengths) -> list[str]:
    """Return `count` passages that make pairs of about `length` tokens with the query: the least that reaches it.

    Passage i begins with text i and goes on with those after it, the first again after the last. Where the query
    alone is that long, a passage is one character.
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
    """Return joined texts that reach `length` tokens with the query, or that have 1,000 characters for each of them.

    A text may be of characters that a tokenizer drops.
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
