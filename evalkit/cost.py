"""Clocks and memory: how a trial's latency and footprint are read. Knows torch, and nothing of ranking."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from evalkit.types import Latency, Memory

_MIB = 2**20


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` percent of the samples do not exceed (nearest rank).

    A latency that was really seen, where interpolation would invent one between two.
    """
    ordered = sorted(samples)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def measure_latency(work: Iterable[Callable[[], int]]) -> Latency:
    """Time each piece of work: one query with its candidates, as a user would wait for it.

    A piece returns how many pairs it scored, once its scores are on the host: the device has finished by then.
    """
    samples, pairs = [], []
    for piece in work:
        started = time.perf_counter()
        pairs.append(piece())
        samples.append((time.perf_counter() - started) * 1000)
    return Latency(
        tuple(samples),
        percentile(samples, 50),
        percentile(samples, 90),
        percentile(samples, 99),
        sum(pairs) / len(pairs),
    )


class MemoryWatch:
    """Reads the memory of this process around the loading of a reranker and its work."""

    def __init__(self, device: str) -> None:
        """Start to watch; `device` is the reranker's, ``cpu`` or ``cuda:N``."""
        self.device = device
        self._before = resident_mb()
        self._after: float | None = None
        _reset_peaks(device)

    def loaded(self) -> None:
        """Note that the model has been loaded."""
        self._after = resident_mb()

    def read(self) -> Memory:
        """Return what was seen so far."""
        allocated = reserved = None
        if self.device.startswith("cuda"):
            import torch

            allocated = torch.cuda.max_memory_allocated(self.device) / _MIB
            reserved = torch.cuda.max_memory_reserved(self.device) / _MIB
        return Memory(self._before, self._after, peak_resident_mb(), allocated, reserved)


def resident_mb() -> float | None:
    """Return the resident set of this process in MiB, or None where there is no /proc."""
    return _status("VmRSS")


def peak_resident_mb() -> float | None:
    """Return the peak resident set in MiB since the last reset, or None where there is no /proc.

    VmHWM, not ``ru_maxrss``: that one survives exec and would show the peak of whoever started this process.
    """
    return _status("VmHWM")


def _status(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def _reset_peaks(device: str) -> None:
    with suppress(OSError):  # where it cannot be written, the peak covers the process from its start: an upper bound
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): 5 resets VmHWM
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()  # what an embedding first stage left behind is not the reranker's
        torch.cuda.reset_peak_memory_stats(device)
