"""Queries under load: clients that wait for their answers (closed loop), and arrivals at a rate (open loop).

Clients that wait ask a slow reranker less often. Queries at a rate arrive whether or not earlier ones are answered, and
count from the moment at which they were to arrive: a delay of the measurement itself would otherwise hide those that
had to wait (coordinated omission).
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError

Ask = Callable[[int], object]
"""Scores the candidates of a query, given its number."""
Advance = Callable[[int], None]

MOST_THREADS = 256
"""Queries at a rate that are handed to a reranker at once; the others wait for one of these threads."""
_FAILURES_IN_A_ROW = 5
"""After which a client gives up: a server that refuses everything would be asked without a pause."""
_FEW = 20
"""Arrivals from which on a queue can be said to grow."""


@dataclass(frozen=True)
class Asked:
    """One query under load; times are seconds since the level began."""

    arrived_s: float
    """When its client sent it, or when it was to arrive."""
    began_s: float | None = None
    """When it was handed to the reranker; None if it was given up before."""
    ended_s: float | None = None
    error: str | None = None
    """Why it has no answer, if it was begun."""


def closed_loop(
    ask: Ask, queries: int, clients: int, seconds: float, at_once: bool, advance: Advance = lambda n: None
) -> list[Asked]:
    """Let clients ask for so many seconds, each again as soon as it has its answer; each asks once at least.

    Args:
        ask: scores a query's candidates, which are computed anew each time.
        queries: number of different queries; they are asked in turn, 0 to `queries` - 1.
        clients: how many ask at the same time.
        seconds: how long clients go on asking.
        at_once: whether several threads may call `ask` at the same time. Otherwise the calling thread makes all calls,
            in the order in which the queries arrive.
        advance: called with 1 after each query.

    Returns:
        The queries in the order of their arrival.
    """
    line = _Line(ask, queries, advance)

    def client() -> None:
        failed_in_a_row = 0
        try:
            while True:
                job = line.enter(line.now_s(), hand_over=not at_once)
                if at_once:
                    line.serve(job)
                if not line.wait_for(job):
                    return
                failed_in_a_row = failed_in_a_row + 1 if job.error is not None else 0
                if line.now_s() >= seconds or failed_in_a_row == _FAILURES_IN_A_ROW:
                    return
        finally:
            line.leave()

    line.run([client] * clients, None if at_once else partial(line.work, clients))
    return line.asked()


def arrivals_s(rate: float, seconds: float, seed: int) -> list[float]:
    """Return when queries arrive: a Poisson process, as of many users who know nothing of one another.

    The gaps are exponential, drawn by `seed`, and scaled so that their mean is exactly that of the rate: a sample of a
    few seconds would otherwise be off by as much as what is measured.

    Args:
        rate: queries a second.
        seconds: how long queries arrive; there are two at least.
        seed: of the gaps.

    Returns:
        Seconds since the first arrival, which is at 0, ascending.
    """
    drawn = random.Random(seed)  # noqa: S311
    gaps = [drawn.expovariate(1.0) for _ in range(max(round(rate * seconds), 2) - 1)]
    scale = len(gaps) / rate / sum(gaps)
    return list(itertools.accumulate((gap * scale for gap in gaps), initial=0.0))


def open_loop(
    ask: Ask,
    queries: int,
    arrivals: Sequence[float],
    seconds: float,
    at_once: bool,
    advance: Advance = lambda n: None,
) -> list[Asked]:
    """Let queries arrive at given times, whether or not earlier ones are answered.

    What has not begun `seconds` after the last arrival is given up. Arrivals end early where the queue is seen to grow
    without bound (`is_growing`), and what waits is given up then.

    Args:
        ask: scores a query's candidates, which are computed anew each time.
        queries: number of different queries; they are asked in turn, 0 to `queries` - 1.
        arrivals: seconds since the beginning, ascending.
        seconds: for which they were drawn.
        at_once: whether several threads may call `ask` at the same time. Otherwise the calling thread makes all calls,
            in the order in which the queries arrive.
        advance: called with 1 after each query.

    Returns:
        The queries in the order of their arrival, up to the last that arrived.
    """
    line = _Line(ask, queries, advance)
    workers = min(MOST_THREADS, len(arrivals)) if at_once else 1

    def dispatch() -> None:
        try:
            for number, at_s in enumerate(arrivals):
                if line.stopped_before(at_s):
                    return
                line.enter(at_s, hand_over=True)
                if is_growing(number + 1, line.begun, line.now_s(), seconds):
                    line.close()
                    return
            line.close(line.now_s() + seconds)
        finally:
            line.leave(workers)

    work = partial(line.work, 1)
    if at_once:
        line.run([work] * workers, dispatch)
    else:
        line.run([dispatch], work)
    return line.asked()


def is_growing(arrived: int, begun: int, now_s: float, seconds: float) -> bool:
    """Return whether a queue grows without bound: after half of the time, more than half of the queries wait in it.

    Args:
        arrived: queries so far.
        begun: those of them that the reranker was given.
        now_s: seconds since the beginning.
        seconds: how long queries arrive.
    """
    return arrived >= _FEW and now_s >= seconds / 2 and arrived - begun > arrived / 2


@dataclass(eq=False)  # changed by the threads that work on it, and compared by identity
class _Job:
    query: int
    arrived_s: float
    began_s: float | None = None
    ended_s: float | None = None
    error: str | None = None
    done: Event = field(default_factory=Event)


class _Line:
    """Queries in the order of their arrival, and the threads that ask and answer."""

    def __init__(self, ask: Ask, queries: int, advance: Advance) -> None:
        self._ask, self._queries, self._advance = ask, queries, advance
        self._numbers = itertools.count()
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs: list[_Job] = []
        self._lock, self._stop = Lock(), Event()
        self._closes_s = math.inf
        self._failures: list[BaseException] = []
        self._started = time.perf_counter()
        self.begun = 0

    def now_s(self) -> float:
        """Return the seconds since the beginning."""
        return time.perf_counter() - self._started

    def enter(self, arrived_s: float, hand_over: bool) -> _Job:
        """Let the next query arrive; with `hand_over`, for those who `work`."""
        with self._lock:
            job = _Job(next(self._numbers) % self._queries, arrived_s)
            self._jobs.append(job)
            if hand_over:
                self._waiting.put(job)  # within the lock: in the order of arrival
        return job

    def leave(self, times: int = 1) -> None:
        """Say that nothing more comes from the caller, to as many of those who `work`."""
        for _ in range(times):
            self._waiting.put(None)

    def close(self, at_s: float = 0.0) -> None:
        """Give up what has not begun at that time."""
        self._closes_s = at_s

    def work(self, senders: int) -> None:
        """Answer what arrives, one after the other, until so many senders have left."""
        while senders and not self._stop.is_set():
            job = self._waiting.get()
            if job is None:
                senders -= 1
            elif self.now_s() < self._closes_s:
                self.serve(job)

    def serve(self, job: _Job) -> None:
        """Answer a query in the calling thread."""
        with self._lock:
            self.begun += 1
        job.began_s = self.now_s()
        try:
            self._ask(job.query)
        except EvalkitError as error:
            job.error = redaction.text(str(error))
        job.ended_s = self.now_s()
        job.done.set()
        with self._lock:
            self._advance(1)

    def wait_for(self, job: _Job) -> bool:
        """Wait for an answer; return False if there will be none, as everything has been broken off."""
        while not job.done.wait(0.2):
            if self._stop.is_set():
                return False
        return not self._stop.is_set()

    def stopped_before(self, at_s: float) -> bool:
        """Wait until a time; return True if everything has been broken off."""
        return self._stop.wait(max(at_s - self.now_s(), 0.0))

    def run(self, clients: Sequence[Callable[[], None]], here: Callable[[], None] | None) -> None:
        """Run functions in threads of their own, and one in the calling thread, which loaded the model.

        The threads are daemons: after Ctrl-C nobody waits for a request that is still under way.

        Raises:
            BaseException: what any of them raised first.
        """
        all_started = Event()

        def guarded(job: Callable[[], None]) -> None:
            try:
                all_started.wait()  # else the first query would wait until there are threads
                job()
            except BaseException as error:  # raised again in the calling thread
                self._failures.append(error)
                self._stop.set()
                self.leave(len(clients))

        threads = [Thread(target=guarded, args=(job,), name="evalkit-load", daemon=True) for job in clients]
        try:
            for thread in threads:
                thread.start()
            self._started = time.perf_counter()
            all_started.set()
            if here is not None:
                here()
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()
            all_started.set()
            self.leave(len(clients))
        if self._failures:
            raise self._failures[0]

    def asked(self) -> list[Asked]:
        """Return all queries in the order of their arrival."""
        return [Asked(job.arrived_s, job.began_s, job.ended_s, job.error) for job in self._jobs]
