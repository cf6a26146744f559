"""Threads that use one CPU core each, so that cores need not wait for each other between matrix products."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


class CoreThreads:
    """A pool of threads in which torch uses one core; as many threads as torch's own setting in this process."""

    def __init__(self) -> None:
        """Read torch's number of threads; the pool starts when it is first used."""
        self.count = torch.get_num_threads()

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(self.count, "evalkit-core")
        all_started = threading.Barrier(self.count)

        def use_one_core() -> None:
            torch.get_num_threads()  # a thread copies the process's setting once, here, and has its own from then on
            torch.set_num_threads(1)
            all_started.wait()

        for started in [executor.submit(use_one_core) for _ in range(self.count)]:
            started.result()
        torch.set_num_threads(self.count)  # the last call is the setting of threads that start later
        return executor

    def map_unordered(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Yield `function` of each item, in the order in which they are finished.

        One item is taken in advance, for the next core that becomes free. If `function` raises, or the consumer stops
        early, this returns once no thread is running any more.

        Args:
            function: Called in the threads of the pool.
            items: Iterated in the calling thread.
        """
        running: set[Future[T]] = set()
        try:
            for item in items:
                running.add(self._executor.submit(function, item))
                if len(running) > self.count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in running:
                future.cancel()
            wait(running)
