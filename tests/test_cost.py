"""Latency is what one query with its candidates really took, and memory is what this process really held."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.cost import MemoryWatch, measure_latency, peak_resident_mb, percentile, resident_mb

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="there is no /proc that tells a process's peak memory"
)


@pytest.mark.parametrize(
    ("percent", "expected"),
    # Ten samples: the smallest that at least p percent do not exceed is number ceil(p / 10).
    [(0, 10), (1, 10), (10, 10), (11, 20), (50, 50), (51, 60), (90, 90), (90.1, 100), (99, 100), (100, 100)],
)
def test_a_percentile_is_the_nearest_rank(percent, expected):
    assert percentile([70, 10, 100, 30, 50, 20, 90, 40, 80, 60], percent) == expected


def test_percentiles_of_few_samples_are_samples():
    assert [percentile([7.0], p) for p in (0, 50, 99, 100)] == [7.0] * 4
    assert [percentile([2.0, 1.0], p) for p in (50, 50.1, 90, 99)] == [1.0, 2.0, 2.0, 2.0]
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_a_sample_that_enough_others_do_not_exceed(samples, percent):
    found = percentile(samples, percent)
    assert found in samples
    needed = percent / 100 * len(samples)
    assert sum(sample <= found for sample in samples) >= math.floor(needed)
    assert sum(sample < found for sample in samples) < max(needed, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_rise(samples):
    assert min(samples) <= percentile(samples, 50) <= percentile(samples, 90) <= percentile(samples, 99) <= max(samples)


def test_each_query_gives_one_sample_and_its_pairs_are_counted():
    worked = []

    def piece(pairs: int):
        def work() -> int:
            worked.append(pairs)
            return pairs

        return work

    latency = measure_latency(map(piece, [20, 20, 5, 15]))
    assert worked == [20, 20, 5, 15]
    assert len(latency.samples_ms) == 4
    assert latency.pairs_per_query == 15
    assert latency.p50_ms == sorted(latency.samples_ms)[1]
    assert latency.p90_ms == latency.p99_ms == max(latency.samples_ms)


def test_a_sample_is_in_milliseconds_and_covers_its_own_piece_only():
    def waiting() -> int:
        time.sleep(0.02)
        return 1

    slow, fast = measure_latency([waiting, lambda: 1]).samples_ms
    assert slow >= 20
    assert fast < slow


@needs_proc
def test_the_resident_set_is_what_the_system_says():
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    import resource

    assert resident_mb() == pytest.approx(pages * resource.getpagesize() / 2**20, rel=0.2)


def run_alone(program: str) -> dict[str, float]:
    """Run `program` in a process of its own, whose memory nothing else touches; it prints a dictionary."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return eval(done.stdout)


@needs_proc
def test_the_peak_remembers_memory_that_was_given_back_and_a_new_watch_forgets_it():
    seen = run_alone(
        """
from evalkit.cost import MemoryWatch
first = MemoryWatch("cpu")
start = first.read().rss_peak_mb
block = bytearray(200 * 2**20)
block[::4096] = b"x" * len(block[::4096])
first.loaded()
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
def test_the_peak_of_a_large_parent_is_not_its_childs():
    """`ru_maxrss` survives exec and would show it; the figure must be the trial's own."""
    seen = run_alone(
        """
import subprocess, sys
block = bytearray(300 * 2**20)
block[::4096] = b"x" * len(block[::4096])
child = "from evalkit.cost import MemoryWatch; print(MemoryWatch('cpu').read().rss_peak_mb)"
peak = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
from evalkit.cost import peak_resident_mb
print(dict(child=float(peak), parent=peak_resident_mb()))
"""
    )
    assert seen["parent"] > 300
    assert seen["child"] < 150


@needs_proc
def test_a_cpu_watch_tells_nothing_of_a_gpu():
    watch = MemoryWatch("cpu")
    assert watch.read().rss_after_load_mb is None  # nothing was loaded yet
    watch.loaded()
    memory = watch.read()
    assert (memory.cuda_allocated_peak_mb, memory.cuda_reserved_peak_mb) == (None, None)
    assert memory.rss_before_load_mb > 0
    assert 0 < memory.rss_after_load_mb <= memory.rss_peak_mb


def test_without_proc_memory_is_not_known_and_nothing_fails(monkeypatch):
    def missing(self, *args, **kwargs):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    memory = MemoryWatch("cpu").read()
    assert (resident_mb(), peak_resident_mb(), memory.rss_before_load_mb, memory.rss_peak_mb) == (None,) * 4


@pytest.mark.gpu
def test_a_gpu_watch_sees_the_peak_of_what_was_allocated():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    torch.zeros(1, device="cuda")
    watch = MemoryWatch("cuda:0")
    before = torch.cuda.memory_allocated() / 2**20
    block = torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
    del block
    memory = watch.read()
    assert memory.cuda_allocated_peak_mb - before == pytest.approx(64, abs=1)
    assert memory.cuda_reserved_peak_mb >= memory.cuda_allocated_peak_mb
