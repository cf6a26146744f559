"""Prefetching keeps order and exceptions, and stops with its consumer."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from evalkit.scoring.prefetch import prefetch


def test_items_keep_their_order_and_exceptions_reach_the_consumer() -> None:
    assert list(prefetch(iter(range(20)), 3)) == list(range(20))

    def broken() -> Any:
        yield 1
        raise ValueError("the third")

    taken = prefetch(broken(), 3)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="the third"):
        next(taken)


def test_prefetching_ends_when_its_consumer_stops() -> None:
    made, before = [], set(threading.enumerate())

    def numbers() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    source: Any = prefetch(numbers(), 2)
    assert next(source) == 0
    source.close()
    assert len(made) < 10
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "evalkit-prefetch"]
