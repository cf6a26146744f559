"""Work done ahead in a thread, a few items in front of whoever takes them."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], by: int) -> Iterator[T]:
    """Yield `items` in their order, up to `by` of them made before they are asked for.

    What making an item raises is raised here. If nobody takes the rest, the thread ends with the item it is at.
    """
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(by)
    stopped = threading.Event()

    def put(item: tuple[bool, T | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # whatever it is, it belongs to whoever waits for the items
            put((False, error))

    thread = threading.Thread(target=work, name="evalkit-ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                more, item = queue.get(timeout=1)
            except Empty:
                if not thread.is_alive() and queue.empty():
                    raise RuntimeError("the thread that works ahead ended without a word") from None
                continue
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
