"""Runs jobs in a few threads, and yields what each returns as soon as it is there.

The threads are daemons: after Ctrl-C, or when one job has failed, nobody waits for a request that is still under way.
A thread begins no other job until what its last one returned has been taken and dealt with, so that a process which is
killed loses the answers of as many requests as it has threads and no more, however slow the disk is.
"""

from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def as_they_end(jobs: Sequence[Callable[[Event], T]], threads: int) -> Generator[tuple[int, T], None, None]:
    """Yield (number of the job, what it returned), in the order in which the jobs end; closing it ends the others.

    Args:
        jobs: each gets an event that is set when it need not go on.
        threads: how many run, or have returned what was not dealt with, at a time. A single job, or one thread, runs
            in the caller's thread.

    Raises:
        BaseException: whatever a job raises first; jobs that have not begun are then left out.
    """
    stop, free = Event(), Semaphore(threads)
    try:
        if min(threads, len(jobs)) <= 1:
            for number, job in enumerate(jobs):
                yield number, job(stop)
            return
        numbers, ended = iter(range(len(jobs))), SimpleQueue[tuple[int, T | None, BaseException | None]]()

        def work() -> None:
            for number in numbers:  # next() of a range's iterator is atomic
                free.acquire()
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
            free.release()  # only now: the caller has come back for the next, having dealt with this one
    finally:
        stop.set()
        free.release(threads)  # those that wait end too
