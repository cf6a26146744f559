"""Latency is what one query with its candidates really took, and memory is what this process really held."""

import math
import subprocess
import sys
from dataclasses import fields
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.boundary.process_memory import peak_resident_mb, resident_mb
from evalkit.cost.gpu import gpu_properties
from evalkit.cost.latency import measure_latency, percentile, percentile_interval
from evalkit.cost.memory import MemoryWatch, measure_memory
from evalkit.cost.throughput import estimate_price
from evalkit.scoring.flops import weights_mb
from evalkit.types import Throughput

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="there is no /proc with a process's peak memory"
)


@pytest.mark.parametrize(
    ("percent", "expected"),
    # Ten samples: the smallest that at least p percent do not exceed is number ceil(p / 10).
    [(0, 10), (1, 10), (10, 10), (11, 20), (50, 50), (51, 60), (90, 90), (90.1, 100), (99, 100), (100, 100)],
)
def test_a_percentile_is_the_nearest_rank(percent: Any, expected: Any) -> None:
    assert percentile([70, 10, 100, 30, 50, 20, 90, 40, 80, 60], percent) == expected


def test_percentiles_of_few_samples_are_samples() -> None:
    assert [percentile([7.0], p) for p in (0, 50, 99, 100)] == [7.0] * 4
    assert [percentile([2.0, 1.0], p) for p in (50, 50.1, 90, 99)] == [1.0, 2.0, 2.0, 2.0]
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_a_sample_that_enough_others_do_not_exceed(samples: Any, percent: Any) -> None:
    found = percentile(samples, percent)
    assert found in samples
    needed = percent / 100 * len(samples)
    assert sum(sample <= found for sample in samples) >= math.floor(needed)
    assert sum(sample < found for sample in samples) < max(needed, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_rise(samples: Any) -> None:
    assert min(samples) <= percentile(samples, 50) <= percentile(samples, 90) <= percentile(samples, 99) <= max(samples)


# --- how sure a percentile is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "percent", "expected"),
    [
        # All of 5 samples are above the median with probability 1/32 = 3.1 %, more than the 2.5 % of one side.
        (5, 50, (None, None)),
        (6, 50, (1, 6)),  # 1/64 = 1.6 %
        # P(at most 5 of 20 below) = 2.07 %, P(at most 6) = 5.8 %: the classic ranks 6 and 15.
        (20, 50, (6, 15)),
        # The largest of n is above percentile p with probability 1 - p^n, at least 97.5 % from n = 36, 72, 368 on.
        (35, 90, (28, None)),
        (36, 90, (29, 36)),
        (71, 95, (63, None)),
        (72, 95, (64, 72)),
        (367, 99, (359, None)),
        (368, 99, (360, 368)),
        (1, 99, (1, None)),  # one sample is below it with probability 99 %
    ],
)
def test_an_interval_ends_at_samples_and_nowhere_where_there_are_too_few(n: Any, percent: Any, expected: Any) -> None:
    assert percentile_interval([float(rank) for rank in range(n, 0, -1)], percent) == expected


@given(st.integers(1, 80), st.sampled_from([50, 90, 95, 99]))
def test_an_interval_is_as_narrow_as_the_binomial_lets_it_be(n: Any, percent: Any) -> None:
    """The chance that one end misses is at most 2.5 %, and with the next rank inwards it would be more."""
    p = percent / 100
    low, high = percentile_interval(list(range(1, n + 1)), percent)

    def at_most(k: Any) -> Any:  # of n samples below the percentile
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    def misses_below(rank: Any) -> Any:  # sample number `rank` is above the percentile
        return at_most(rank - 1)

    def misses_above(rank: Any) -> Any:
        return 1 - at_most(rank - 1)

    assert misses_below(1) > 0.025 if low is None else misses_below(low) <= 0.025 < misses_below(low + 1)
    assert misses_above(n) > 0.025 if high is None else misses_above(high) <= 0.025 < misses_above(high - 1)


def test_an_interval_of_thousands_of_samples_is_close_around_the_percentile() -> None:
    low, high = percentile_interval(list(range(1, 10_001)), 50)
    # Half the width is 1.96 standard deviations of a binomial, sqrt(10,000 / 4) = 50.
    assert (low, high) == pytest.approx((5000 - 98, 5000 + 98), abs=2)


# --- latency ----------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on only when a piece of work says so, in milliseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now_ms / 1000)

    def work(self, ms: Any) -> None:
        self.now_ms += ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Clock(monkeypatch)


def test_each_query_gives_one_sample(clock: Any) -> None:
    latency = measure_latency([partial(clock.work, ms) for ms in (30, 10, 40, 20)], 15.5)
    assert latency.samples_ms == pytest.approx((30, 10, 40, 20))
    assert (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms) == pytest.approx((20, 40, 40, 40))
    assert (latency.pairs_per_query, latency.queries, latency.repetitions) == (15.5, 4, 4)
    assert latency.duration_s == pytest.approx(0.1)
    assert latency.p50_ci95_ms == (None, None)  # four samples


def test_all_queries_are_timed_again_until_there_are_enough_samples(clock: Any) -> None:
    latency = measure_latency([partial(clock.work, ms) for ms in (1, 2, 3, 4)], 1, min_repetitions=10)
    assert latency.samples_ms == pytest.approx((1, 2, 3, 4) * 3)  # whole rounds: no query counts more than another
    assert (latency.queries, latency.repetitions) == (4, 12)


def test_all_queries_are_timed_again_until_they_took_long_enough(clock: Any) -> None:
    latency = measure_latency([partial(clock.work, 30), partial(clock.work, 50)], 1, min_repetitions=2, min_s=0.2)
    assert latency.samples_ms == pytest.approx((30, 50) * 3)
    assert latency.duration_s == pytest.approx(0.24)


def test_what_is_done_between_two_queries_is_in_no_sample(clock: Any) -> None:
    latency = measure_latency([partial(clock.work, 5)] * 2, 1, between=partial(clock.work, 1000))
    assert latency.samples_ms == pytest.approx((5, 5))
    assert clock.now_ms == 2010


# --- price ------------------------------------------------------------------------------------------------------------


def rate(pairs_per_s: Any, devices: Any = 1) -> Any:
    numbers = {field.name: 1.0 for field in fields(Throughput)}
    return Throughput(**numbers | {"end_to_end_pairs_per_s": pairs_per_s, "devices": devices})


def test_an_estimate_is_the_price_of_the_time(clock: Any) -> None:
    # 3.60 an hour is 0.001 a second. A million pairs at 100 a second take 10,000 s; 1,000 queries of 50 take 500 s
    # together, and 200 s one by one if each takes 200 ms on average.
    latency = measure_latency([partial(clock.work, 100), partial(clock.work, 300)], 50)
    found = estimate_price(3.6, "EUR", 50, rate(100.0), latency, "cuda:0")
    assert (found.price_per_gpu_hour, found.currency, found.depth, found.why) == (3.6, "EUR", 50, None)
    assert found.per_million_pairs == pytest.approx(10)
    assert found.per_1000_queries == pytest.approx(0.5)
    assert found.per_1000_queries_one_by_one == pytest.approx(0.2)
    assert estimate_price(3.6, "EUR", 50, rate(100.0), None, "cuda:0").per_1000_queries_one_by_one is None


def test_every_gpu_has_its_price(clock: Any) -> None:
    latency = measure_latency([partial(clock.work, 200)], 50)
    found = estimate_price(3.6, "EUR", 50, rate(400.0, devices=4), latency, "cuda:0")
    # Four GPUs, each of which does 100 pairs a second: as above.
    assert (found.per_million_pairs, found.per_1000_queries) == pytest.approx((10, 0.5))
    assert found.per_1000_queries_one_by_one == pytest.approx(0.2)  # single queries run on one


def test_the_price_of_a_gpu_hour_does_not_apply_to_a_cpu() -> None:
    found = estimate_price(3.6, "EUR", 50, rate(100.0), None, "cpu")
    assert (found.per_million_pairs, found.per_1000_queries) == (None, None)
    assert found.why == "the reranker ran on the CPU, and the price is that of a GPU hour"


# --- memory -----------------------------------------------------------------------------------------------------------


@needs_proc
def test_the_resident_set_is_that_of_the_operating_system() -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    import resource

    assert resident_mb() == pytest.approx(pages * resource.getpagesize() / 2**20, rel=0.2)


def run_alone(program: str) -> Any:
    """Run `program` in a process of its own, whose memory nothing else touches; it prints a dictionary."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return eval(done.stdout)


@needs_proc
def test_the_peak_remembers_memory_that_was_given_back_and_a_new_watch_forgets_it() -> None:
    seen = run_alone(
        """
from evalkit.cost.memory import MemoryWatch
first = MemoryWatch("cpu")
start = first.read().rss_peak_mb
block = bytearray(200 * 2**20)
block[::4096] = b"x" * len(block[::4096])
first.mark_loaded()
del block
after = first.read()
second = MemoryWatch("cpu").read()
print(dict(start=start, before=after.rss_before_load_mb, loaded=after.rss_after_load_mb, peak=after.rss_peak_mb,
           second_before=second.rss_before_load_mb, second=second.rss_peak_mb))
"""
    )
    assert seen["loaded"] - seen["before"] == pytest.approx(200, abs=10)
    assert seen["peak"] - seen["start"] == pytest.approx(200, abs=10)
    assert seen["second_before"] < seen["peak"] - 150  # the block was given back
    assert seen["second"] < seen["peak"] - 150  # and the new watch does not count it


@needs_proc
def test_memory_that_is_taken_and_given_back_in_a_pause_is_not_in_the_peak() -> None:
    seen = run_alone(
        """
from evalkit.cost.memory import MemoryWatch
def take(mib):
    block = bytearray(mib * 2**20)
    block[::4096] = b"x" * len(block[::4096])
watch = MemoryWatch("cpu")
start = watch.read().rss_peak_mb
take(100)
with watch.paused():
    take(400)
paused = watch.read().rss_peak_mb
take(200)
print(dict(start=start, paused=paused, end=watch.read().rss_peak_mb))
"""
    )
    assert seen["paused"] - seen["start"] == pytest.approx(100, abs=10)
    assert seen["end"] - seen["start"] == pytest.approx(200, abs=10)


@needs_proc
def test_the_peak_of_a_large_parent_is_not_its_childs() -> None:
    """`ru_maxrss` survives exec and would show it; the figure must be the trial's own."""
    seen = run_alone(
        """
import subprocess, sys
block = bytearray(300 * 2**20)
block[::4096] = b"x" * len(block[::4096])
child = "from evalkit.cost.memory import MemoryWatch; print(MemoryWatch('cpu').read().rss_peak_mb)"
peak = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
from evalkit.boundary.process_memory import peak_resident_mb
print(dict(child=float(peak), parent=peak_resident_mb()))
"""
    )
    assert seen["parent"] > 300
    assert seen["child"] < 150


@needs_proc
def test_a_cpu_watch_has_no_figures_of_a_gpu() -> None:
    watch = MemoryWatch("cpu")
    assert watch.read().rss_after_load_mb is None  # nothing was loaded yet
    watch.mark_loaded()
    memory = watch.read()
    assert (memory.cuda_allocated_peak_mb, memory.cuda_reserved_peak_mb) == (None, None)
    before_mb, after_mb, peak_mb = memory.rss_before_load_mb, memory.rss_after_load_mb, memory.rss_peak_mb
    assert before_mb is not None
    assert after_mb is not None
    assert peak_mb is not None
    assert before_mb > 0
    assert 0 < after_mb <= peak_mb


@needs_proc
def test_a_memory_pass_sees_its_own_peak_and_not_that_of_before() -> None:
    seen = run_alone(
        """
from evalkit.cost.memory import measure_memory
block = bytearray(300 * 2**20)
block[::4096] = b"x" * len(block[::4096])
del block
def work():
    block = bytearray(100 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    return 7, 70
seen = measure_memory("cpu", work)
print(dict(pairs=seen.pairs, tokens=seen.tokens, before=seen.rss_before_mb, after=seen.rss_after_mb,
           peak=seen.rss_peak_mb, cuda=seen.cuda_device_mb))
"""
    )
    assert (seen["pairs"], seen["tokens"], seen["cuda"]) == (7, 70, None)
    assert seen["peak"] - seen["before"] == pytest.approx(100, abs=10)
    assert seen["after"] - seen["before"] == pytest.approx(0, abs=10)


def test_weights_are_counted_once_however_often_they_are_used() -> None:
    from torch import nn

    one = nn.Linear(512, 512, bias=False)  # 512 x 512 x 4 bytes are 1 MiB
    second = nn.Linear(512, 512, bias=False).half()
    two = nn.Sequential(one, second)
    two.register_buffer("positions", second.weight.detach().clone())
    assert weights_mb(one) == 1.0
    assert weights_mb(two) == 1.0 + 0.5 + 0.5
    second.weight = one.weight
    assert weights_mb(two) == 1.0 + 0.5


def test_a_cpu_has_no_facts_of_a_gpu() -> None:
    assert gpu_properties("cpu") == {"compute_capability": None, "cuda": None, "uuid": None}


def test_without_proc_memory_is_not_known_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any, *args: Any, **kwargs: Any) -> None:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    memory = MemoryWatch("cpu").read()
    assert (resident_mb(), peak_resident_mb(), memory.rss_before_load_mb, memory.rss_peak_mb) == (None,) * 4
    own = measure_memory("cpu", lambda: (1, 2))
    assert (own.rss_before_mb, own.rss_after_mb, own.rss_peak_mb) == (None, None, None)


@pytest.mark.gpu
def test_a_gpu_watch_sees_the_peak_of_what_was_allocated() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    torch.zeros(1, device="cuda")
    watch = MemoryWatch("cuda:0")
    before = torch.cuda.memory_allocated() / 2**20
    block = torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
    del block
    memory = watch.read()
    allocated_mb, reserved_mb = memory.cuda_allocated_peak_mb, memory.cuda_reserved_peak_mb
    assert allocated_mb is not None
    assert reserved_mb is not None
    assert allocated_mb - before == pytest.approx(64, abs=1)
    assert reserved_mb >= allocated_mb


@pytest.mark.gpu
def test_a_memory_pass_on_a_gpu_distinguishes_tensors_allocator_and_device() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    tensor = torch.zeros(32 * 2**20, dtype=torch.uint8, device="cuda")

    def work() -> Any:
        torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
        return 1, 2

    before = torch.cuda.memory_allocated() / 2**20
    seen = measure_memory("cuda:0", work)
    assert seen.cuda_allocated_before_mb == pytest.approx(before)
    found = (
        seen.cuda_allocated_peak_mb, seen.cuda_reserved_peak_mb, seen.cuda_device_mb, seen.cuda_device_total_mb
    )  # fmt: skip
    known = [value for value in found if value is not None]
    assert len(known) == 4
    assert known[0] - before == pytest.approx(64, abs=1)
    assert known[0] <= known[1] < known[2] < known[3]
    facts = gpu_properties("cuda:0")
    assert str(facts["uuid"]).count("-") == 4
    assert facts["cuda"] == torch.version.cuda
    del tensor
