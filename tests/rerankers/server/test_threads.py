"""Jobs in threads: each runs once, in whatever order they end, and the first error ends them."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from threading import Event

import pytest

from evalkit.rerankers.server.threads import as_they_end


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_each_job_runs_once(threads: int) -> None:
    lock, ran = threading.Lock(), Counter[int]()

    def numbered(number: int) -> Callable[[Event], int]:
        def job(stop: Event) -> int:
            with lock:
                ran[number] += 1
            return number

        return job

    found = list(as_they_end([numbered(number) for number in range(500)], threads))
    assert sorted(found) == [(number, number) for number in range(500)]
    assert set(ran.values()) == {1}


def test_no_more_run_at_a_time_than_there_are_threads() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    gate = threading.Barrier(4)

    def job(stop: Event) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        gate.wait(10)  # passes only if four are under way
        with lock:
            under_way -= 1

    list(as_they_end([job] * 40, 4))
    assert most == 4


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_has_begun_without_having_been_dealt_with_than_there_are_threads(threads: int) -> None:
    """However slow the caller is, such as a disk that stores each answer."""
    lock, begun = threading.Lock(), 0

    def job(stop: Event) -> None:
        nonlocal begun
        with lock:
            begun += 1

    most = 0
    for dealt_with, _ in enumerate(as_they_end([job] * 40, threads)):
        time.sleep(0.002)
        most = max(most, begun - dealt_with)
    assert begun == 40
    assert 1 <= most <= threads


def test_threads_that_wait_for_the_caller_end_when_it_does_not_come_back() -> None:
    answers = as_they_end([lambda stop: None] * 40, 4)
    next(answers)
    threads = [one for one in threading.enumerate() if one.name == "evalkit-request"]
    answers.close()
    for one in threads:
        one.join(10)
        assert not one.is_alive()


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_error_ends_all(threads: int) -> None:
    began, stopped = Counter[str](), threading.Event()

    def good(stop: Event) -> None:
        began["good"] += 1
        if stop.wait(10):
            stopped.set()

    def bad(stop: Event) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(as_they_end([bad, *[good] * 100], threads))
    assert began["good"] <= threads
    assert began["good"] == 0 or stopped.wait(10)
