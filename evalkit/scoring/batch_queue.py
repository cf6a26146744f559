"""A queue that deals batches to worker threads and takes back those of a worker that failed."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from evalkit.scoring.runner import ScoredBatch
from evalkit.scoring.tokenized_pairs import Batch


class BatchQueue:
    """Deals batches to threads. A batch is pending until it is finished or given back."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        """Start with no batch dealt.

        Args:
            batches: Iterated by one thread at a time.
        """
        self._batches = batches
        self._returned: deque[Batch] = deque()
        self._pending = 0
        self._exhausted = False
        self._reported = 0
        self._changed = threading.Condition()
        self.failures: list[str] = []

    def next(self) -> Batch | None:
        """Return a batch, or None if there are no more; blocks while a pending batch may still be given back."""
        with self._changed:
            while True:
                if self._returned:
                    self._pending += 1
                    return self._returned.popleft()
                if not self._exhausted:
                    batch = next(self._batches, None)
                    if batch is not None:
                        self._pending += 1
                        return batch
                    self._exhausted = True
                if not self._pending:
                    return None
                self._changed.wait()

    def finish(self) -> None:
        """Count a batch as done."""
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()

    def give_back(self, batch: Batch, reason: str) -> None:
        """Return a batch to the queue, for another worker.

        Args:
            batch: A batch that was not scored.
            reason: How the worker failed.
        """
        with self._changed:
            self._pending -= 1
            self._returned.append(batch)
            self.failures.append(reason)
            self._changed.notify_all()

    def stop(self) -> None:
        """Discard the remaining batches and release threads that wait for one."""
        with self._changed:
            self._exhausted, self._pending = True, 0
            self._returned.clear()
            self._changed.notify_all()

    def add_failures(self, scored: ScoredBatch) -> ScoredBatch:
        """Return a scored batch with the failures since the last call among its events.

        Args:
            scored: A scored batch.
        """
        with self._changed:
            new, self._reported = self.failures[self._reported :], len(self.failures)
        return replace(scored, events=(*scored.events, *new)) if new else scored
