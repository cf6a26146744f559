"""The cores of a CPU, each at work on a batch of its own: none waits for another between two matrix products."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from queue import Empty, Full, Queue
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


class Cores:
    """Threads that compute with one core each; as many as torch takes for one product."""

    def __init__(self) -> None:
        """Count them; they start with the first work."""
        self.count = torch.get_num_threads()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        threads = ThreadPoolExecutor(self.count, "evalkit-core")
        all_there = threading.Barrier(self.count)

        def settle() -> None:
            torch.get_num_threads()  # a thread takes over the number of the process once, here, and then keeps its own
            torch.set_num_threads(1)
            all_there.wait()

        for settled in [threads.submit(settle) for _ in range(self.count)]:
            settled.result()
        torch.set_num_threads(self.count)  # for threads to come; the last one to be set counts
        return threads

    def as_done(self, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Yield what `work` makes of each item as soon as it is done; one item waits for a core that gets free.

        Where `work` raises, or nobody takes the rest, it ends once none is at work any more.
        """
        running: set[Future[T]] = set()
        try:
            for item in items:
                running.add(self._threads.submit(work, item))
                if len(running) > self.count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        finally:
            for one in running:
                one.cancel()
            wait(running)


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
