"""Runs jobs in a few threads, and yields what each returns as soon as it is there.

The threads are daemons: after Ctrl-C, or when one job has failed, nobody waits for a request that is still under way.
"""

from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def as_they_end(jobs: Sequence[Callable[[Event], T]], threads: int) -> Generator[tuple[int, T], None, None]:
    """Yield (number of the job, what it returned), in the order in which the jobs end; closing it ends the others.

    Args:
        jobs: each gets an event that is set when it need not go on.
        threads: how many run at a time. A single job, or one thread, runs in the caller's thread.

    Raises:
        BaseException: whatever a job raises first; jobs that have not begun are then left out.
    """
    stop = Event()
    try:
        if min(threads, len(jobs)) <= 1:
            for number, job in enumerate(jobs):
                yield number, job(stop)
            return
        numbers, ended = iter(range(len(jobs))), SimpleQueue[tuple[int, T | None, BaseException | None]]()

        def work() -> None:
            for number in numbers:  # next() of a range's iterator is atomic
                if stop.is_set():
                    return
                try:
                    ended.put((number, jobs[number](stop), None))
                except BaseException as error:
                    ended.put((number, None, error))

        for _ in range(min(threads, len(jobs))):
            Thread(target=work, name="evalkit-request", daemon=True).start()
        for _ in jobs:
            number, value, error = ended.get()
            if error is not None:
                raise error
            yield number, value  # type: ignore[misc]  # a job's own value, None included
    finally:
        stop.set()
