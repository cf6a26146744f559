"""The cores of a CPU, each at work on a batch of its own: none waits for another between two matrix products."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
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
