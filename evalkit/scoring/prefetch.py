"""Prefetching: a thread computes the next items of an iterator while earlier ones are in use."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

_THREAD_NAME = "evalkit-prefetch"


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items` in order, computing up to `depth` of them in advance.

    If the consumer stops early, the thread ends after its current item.

    Args:
        items: Iterated in a thread of its own.
        depth: Items that wait in the queue at most.

    Raises:
        BaseException: what `items` raised.
        RuntimeError: the thread ended without a result or an exception.
    """
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    stopped = threading.Event()

    def put(item: tuple[bool, T | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # re-raised in the consumer's thread
            put((False, error))

    thread = threading.Thread(target=produce, name=_THREAD_NAME, daemon=True)
    thread.start()
    try:
        while True:
            try:
                more, item = queue.get(timeout=1)
            except Empty:
                if not thread.is_alive() and queue.empty():
                    raise RuntimeError("the prefetching thread ended without a result or an exception") from None
                continue
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
