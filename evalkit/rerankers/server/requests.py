"""Pairs as requests of one query and some of its passages, and the count of what requests take."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from evalkit.rerankers.server.protocols import Answer


@dataclass(frozen=True)
class Batch:
    """A query with some of its passages: one request."""

    query: str
    docs: tuple[str, ...]
    rows: tuple[int, ...]
    """Which of the texts these are."""


def batches(texts: Sequence[tuple[str, str]], rows: Sequence[int], size: int) -> list[Batch]:
    """Return requests for the given rows, in their order.

    Args:
        texts: query and passage of each pair.
        rows: numbers of the pairs that are scored.
        size: most passages of a request.
    """
    found = []
    for query, group in groupby(rows, key=lambda row: texts[row][0]):
        of_query = list(group)
        for start in range(0, len(of_query), size):
            part = tuple(of_query[start : start + size])
            found.append(Batch(query, tuple(texts[row][1] for row in part), part))
    return found


class Billed:
    """What a server says that some requests took."""

    def __init__(self) -> None:
        self.calls = 0.0
        self.tokens: int | None = 0

    def add(self, answer: Answer) -> None:
        """Add a request; one without a count of tokens leaves the sum unknown."""
        self.calls += 1 if answer.billed_calls is None else answer.billed_calls
        self.tokens = None if self.tokens is None or answer.tokens is None else self.tokens + answer.tokens
