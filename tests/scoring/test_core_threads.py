"""Each thread of a `CoreThreads` pool computes with one core, and the results do not depend on their number."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.scoring.core_threads import CoreThreads
from tests.helpers.scorers import PAIRS, load_scorer


@pytest.fixture(autouse=True)
def _torchs_threads() -> Iterator[None]:
    """A pool leaves torch the number of threads that it was given."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_each_thread_uses_one_core_and_torchs_setting_is_restored() -> None:
    cores, seen = CoreThreads(), []
    cores.count = 3
    before = torch.get_num_threads()

    def work(item: Any) -> Any:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.1)
        return item + 1

    try:
        assert sorted(cores.map_unordered(work, [1, 2, 3])) == [2, 3, 4]
        assert len(set(seen)) == 3
        assert {number for _, number in seen} == {1}
    finally:
        torch.set_num_threads(before)
    with ThreadPoolExecutor(1) as others:
        assert (torch.get_num_threads(), others.submit(torch.get_num_threads).result()) == (before, before)


def test_an_error_is_raised_after_the_other_threads_are_done() -> None:
    cores, ended = CoreThreads(), []
    cores.count = 2

    def work(item: Any) -> None:
        if item == 0:
            raise MemoryError
        time.sleep(0.2)
        ended.append(item)

    with pytest.raises(MemoryError):
        list(cores.map_unordered(work, [0, 1]))
    assert ended == [1]


def test_a_free_thread_takes_the_next_item_at_once() -> None:
    """One slow item and three quick ones: a second thread does the quick ones meanwhile, and they come first."""
    cores, quick_are_done = CoreThreads(), threading.Event()
    cores.count = 2

    def work(item: Any) -> Any:
        if item == 0:
            assert quick_are_done.wait(10)
        return item

    came = []
    for item in cores.map_unordered(work, iter(range(4))):
        came.append(item)
        if len(came) == 3:
            quick_are_done.set()
    assert (sorted(came[:3]), came[3]) == ([1, 2, 3], 0)


def test_time_in_which_several_cores_compute_is_counted_once(xlmr_folder: Any) -> None:
    """Two batches at the same time, each 0.2 s and more: the model's time is not above wall-clock time."""
    scorer: Any = load_scorer(xlmr_folder)
    runner, forward, both = scorer.runner, scorer.runner.model.forward, threading.Barrier(2)
    runner.core_threads.count = 2

    def slow(*inputs: Any) -> Any:
        both.wait(10)
        time.sleep(0.2)
        return forward(*inputs)

    runner.model.forward = slow
    pairs = scorer.tokenize(PAIRS)
    began = time.perf_counter()
    done = list(runner.run([pairs.batch([0]), pairs.batch([1])]))
    wall_s = time.perf_counter() - began
    assert sorted(int(row) for one in done for row in one.rows) == [0, 1]
    assert 0.2 <= sum(one.forward_s for one in done) <= wall_s


def test_repeatable_logits_do_not_depend_on_the_number_of_cores(xlmr_folder: Any) -> None:
    before, found = torch.get_num_threads(), {}
    try:
        for cores in (1, 2, 3):
            torch.set_num_threads(cores)
            found[cores] = load_scorer(xlmr_folder).score(PAIRS, repeatable=True).logits
    finally:
        torch.set_num_threads(before)
    assert found[1].tobytes() == found[2].tobytes() == found[3].tobytes()


def test_all_cores_share_a_few_batches_unless_scores_are_to_be_repeatable(xlmr_folder: Any) -> None:
    few: Any = load_scorer(xlmr_folder)
    few.runner.core_threads.count = 1000
    threads, forward = [], few.runner.model.forward

    def recorded(*inputs: Any) -> Any:
        threads.append(threading.current_thread())
        return forward(*inputs)

    few.runner.model.forward = recorded
    quick = few.score(PAIRS).logits
    assert set(threads) == {threading.main_thread()}
    few.runner.core_threads.count = 2
    np.testing.assert_allclose(quick, few.score(PAIRS, repeatable=True).logits, rtol=0, atol=1e-5)
    assert {thread.name.split("_")[0] for thread in threads[1:]} == {"MainThread", "evalkit-core"}
