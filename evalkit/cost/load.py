"""Latency and throughput while several queries are under way: by clients (closed loop) and at a rate (open loop).

Clients wait for their answers, so that a slow reranker is asked less often. Queries at a rate arrive whether or not
earlier ones are answered, and their latency counts from the moment at which they were to arrive: a delay of the
measurement itself would otherwise hide those that had to wait (coordinated omission).
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
from evalkit.boundary.progress import stage
from evalkit.cost.latency import percentile, percentile_interval
from evalkit.cost.protocol import CostProtocol
from evalkit.types import Load, LoadLevel

Ask = Callable[[int], object]
"""Scores the candidates of a query, given its number."""
Advance = Callable[[int], None]

RISE, KEPT_UP = 0.05, 0.95
"""Throughput that rises by less with more clients is saturated; so is a rate of which a smaller share is answered."""
_MOST_THREADS = 256
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


def measure(protocol: CostProtocol, ask: Ask, queries: int, pairs_per_query: float, at_once: bool) -> Load:
    """Measure every number of clients and every rate of a protocol.

    Args:
        protocol: gives `clients`, `rates`, `load_s` and `seed`.
        ask: scores a query's candidates, which are computed anew each time.
        queries: number of different queries; they are asked in turn, 0 to `queries` - 1.
        pairs_per_query: mean number of candidates, for the result.
        at_once: whether several threads may call `ask` at the same time. Otherwise the calling thread makes all calls,
            in the order in which the queries arrive.

    Returns:
        The levels, and where throughput stops rising.

    Raises:
        EvalkitError: no query at all was answered.
    """
    levels: list[LoadLevel] = []
    notes: list[str] = []
    errors: list[str] = []

    def add(name: str, level: LoadLevel, asked: Sequence[Asked]) -> None:
        levels.append(level)
        if failed := [one.error for one in asked if one.error is not None]:
            errors.append(failed[0])
            notes.append(f"{name}: {len(failed):,} of {len(asked):,} queries failed, the first one because {failed[0]}")

    for clients in sorted(protocol.clients):
        name = "1 client" if clients == 1 else f"{clients} clients"
        with stage(f"load: {name}", unit="queries") as advance:
            asked = closed_loop(ask, queries, clients, protocol.load_s, at_once, advance)
        add(name, closed_level(clients, asked), asked)
    for rate in sorted(protocol.rates):
        name = f"{rate:g} queries/s"
        arrivals = arrivals_s(rate, protocol.load_s, protocol.seed)
        with stage(f"load: {name}", len(arrivals), "queries") as advance:
            asked = open_loop(ask, queries, arrivals, protocol.load_s, at_once, advance)
        if len(asked) < len(arrivals):
            notes.append(
                f"{name}: stopped after {asked[-1].arrived_s:.1f} s, as more than half of the queries were waiting"
            )
        if at_once and most_under_way(asked) >= _MOST_THREADS:
            notes.append(f"{name}: {_MOST_THREADS} queries were under way at once, and further ones waited here")
        add(name, open_level(rate, asked), asked)
    if not any(level.answered for level in levels):
        raise EvalkitError(f"no query was answered under load (protocol.clients, protocol.rates): {errors[0]}")
    return Load(
        at_once=at_once,
        queries=queries,
        pairs_per_query=pairs_per_query,
        levels=tuple(levels),
        saturates_at_clients=saturating_clients(levels),
        saturates_at_per_s=saturating_rate(levels),
        notes=tuple(notes),
    )


# --- figures


def closed_level(clients: int, asked: Sequence[Asked]) -> LoadLevel:
    """Return the figures of a closed loop: throughput is that from the first query to the last answer.

    Args:
        clients: how many there were.
        asked: one or more queries.
    """
    ends = [one.ended_s for one in asked if one.ended_s is not None]
    answered = len(_answered(asked))
    seconds = max(ends) - min(one.arrived_s for one in asked)
    return _level("closed", asked, seconds, answered / seconds if seconds else 0.0, clients=clients)


def open_level(rate: float, asked: Sequence[Asked]) -> LoadLevel:
    """Return the figures of an open loop.

    Throughput is that between the first answer and the last, as the arrivals have their rate between the first and the
    last: then the latency of the last answer, which comes after all arrivals, makes it no smaller.

    Args:
        rate: queries a second that were to arrive.
        asked: one or more queries.
    """
    ends = sorted(one.ended_s for one in asked if one.ended_s is not None)
    of_answers = sorted(one.ended_s for one in _answered(asked) if one.ended_s is not None)
    seconds = (ends[-1] if ends else max(one.arrived_s for one in asked)) - min(one.arrived_s for one in asked)
    between = of_answers[-1] - of_answers[0] if of_answers else 0.0
    per_s = (len(of_answers) - 1) / between if between else len(of_answers) / seconds if seconds else 0.0
    return _level("open", asked, seconds, per_s, rate=rate)


def _level(
    kind: str,
    asked: Sequence[Asked],
    seconds: float,
    per_s: float,
    clients: int | None = None,
    rate: float | None = None,
) -> LoadLevel:
    answered = _answered(asked)
    unanswered = sum(one.began_s is None for one in asked)
    took_ms = [(one.ended_s - one.arrived_s) * 1000 for one in answered if one.ended_s is not None]
    waited_ms = [(one.began_s - one.arrived_s) * 1000 for one in answered if one.began_s is not None]
    samples = [*took_ms, *[math.inf] * unanswered]  # those that were given up came last, and waited longest

    def of(percent: float) -> float | None:
        value = percentile(samples, percent) if took_ms else math.inf
        return round(value, 4) if math.isfinite(value) else None

    def interval(percent: float) -> tuple[float | None, float | None]:
        if clients != 1 or not took_ms:
            return (None, None)
        low, high = percentile_interval(took_ms, percent)
        return (None if low is None else round(low, 4)), (None if high is None else round(high, 4))

    return LoadLevel(
        kind=kind,
        clients=clients,
        rate_per_s=rate,
        answered=len(answered),
        failed=sum(one.error is not None for one in asked),
        unanswered=unanswered,
        seconds=seconds,
        queries_per_s=per_s,
        p50_ms=of(50),
        p90_ms=of(90),
        p99_ms=of(99),
        p50_ci95_ms=interval(50),
        p90_ci95_ms=interval(90),
        p99_ci95_ms=interval(99),
        waiting_share=sum(waited_ms) / sum(took_ms) if sum(took_ms) else None,
    )


def _answered(asked: Sequence[Asked]) -> list[Asked]:
    return [one for one in asked if one.ended_s is not None and one.error is None]


def saturating_clients(levels: Sequence[LoadLevel]) -> int | None:
    """Return the smallest number of clients of which no larger one has a throughput that is 5 % higher.

    Args:
        levels: closed loops, and others, which are left out.

    Returns:
        None if throughput still rises up to the largest number, or there are fewer than two.
    """
    closed = sorted((level.clients, level.queries_per_s) for level in levels if level.clients is not None)
    for place, (clients, per_s) in enumerate(closed[:-1]):
        if all(more < per_s * (1 + RISE) for _, more in closed[place + 1 :]):
            return clients
    return None


def saturating_rate(levels: Sequence[LoadLevel]) -> float | None:
    """Return the lowest rate of which fewer than 95 % were answered in time, or None.

    Args:
        levels: open loops, and others, which are left out.
    """
    rates = [
        level.rate_per_s
        for level in levels
        if level.rate_per_s is not None and (level.unanswered or level.queries_per_s < KEPT_UP * level.rate_per_s)
    ]
    return min(rates, default=None)


def most_under_way(asked: Sequence[Asked]) -> int:
    """Return how many queries were begun and not yet ended at the same time, at most."""
    steps = [(at_s, step) for one in asked for at_s, step in ((one.ended_s, -1), (one.began_s, 1)) if at_s is not None]
    return max(itertools.accumulate((step for _, step in sorted(steps)), initial=0))


# --- the two loops


def closed_loop(
    ask: Ask, queries: int, clients: int, seconds: float, at_once: bool, advance: Advance = lambda n: None
) -> list[Asked]:
    """Let clients ask for so many seconds, each again as soon as it has its answer; each asks once at least.

    Args:
        ask: as for `measure`.
        queries: as for `measure`.
        clients: how many ask at the same time.
        seconds: how long clients go on asking.
        at_once: as for `measure`.
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
        ask: as for `measure`.
        queries: as for `measure`.
        arrivals: seconds since the beginning, ascending.
        seconds: for which they were drawn.
        at_once: as for `measure`.
        advance: called with 1 after each query.

    Returns:
        The queries in the order of their arrival, up to the last that arrived.
    """
    line = _Line(ask, queries, advance)
    workers = min(_MOST_THREADS, len(arrivals)) if at_once else 1

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
