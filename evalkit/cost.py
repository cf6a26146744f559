"""Clocks and memory: how a trial's latency and footprint are read. Knows torch, and nothing of ranking."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalkit.types import CostEstimate, Ends, Latency, Memory, MemoryPass, Throughput

_MIB = 2**20


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` percent of the samples do not exceed (nearest rank).

    A latency that was really seen, where interpolation would invent one between two.
    """
    ordered = sorted(samples)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def interval(samples: Sequence[float], percent: float, confidence: float = 0.95) -> Ends:
    """Return two samples that enclose the percentile of what the samples were drawn from, with `confidence`.

    Order statistics: how many of n independent samples lie below the percentile is binomial, whatever their
    distribution, so each end is the outermost rank that leaves (1 - confidence) / 2 beyond it (Hahn and Meeker,
    Statistical Intervals, 1991, section 5.2). Nothing is assumed and nothing interpolated: where even the smallest
    or the largest sample leaves more than that, this end is None. Samples of few queries, timed again and again, are
    draws from these queries: the interval is for them.
    """
    ordered, tail = sorted(samples), (1 - confidence) / 2
    low = high = None
    for below, at_most in enumerate(_binomial_cdf(len(ordered), percent / 100)):
        # Sample number `below` + 1 is above the percentile if no more than `below` samples are under it.
        if at_most <= tail:
            low = below + 1
        # Sample number `below` + 1 is under it if more than `below` are.
        if high is None and 1 - at_most <= tail and below < len(ordered):
            high = below + 1
    return (None if low is None else ordered[low - 1]), (None if high is None else ordered[high - 1])


def _binomial_cdf(n: int, p: float) -> list[float]:
    """Return the probability of at most k successes in n, for k from 0 to n; 0 < p < 1."""
    found, total = [], 0.0
    for k in range(n + 1):
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)  # logarithms: n may be thousands
        total += math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
        found.append(min(total, 1.0))
    return found


def timed_ms(work: Callable[[], object]) -> float:
    """Return how long `work` takes in milliseconds by the clock on the wall."""
    started = time.perf_counter()
    work()
    return round((time.perf_counter() - started) * 1000, 4)  # 0.1 microseconds: finer is noise


def measure_latency(
    work: Sequence[Callable[[], object]],
    pairs_per_query: float,
    min_repetitions: int = 0,
    min_s: float = 0.0,
    between: Callable[[], None] = lambda: None,
) -> Latency:
    """Time each piece of work: one query with its candidates, as a user would wait for it.

    A piece ends when its scores are on the host: the device has finished by then. All pieces are done once, and all
    of them again until there are `min_repetitions` samples that took `min_s` seconds together. `between` runs before
    each, where no clock does.
    """
    samples: list[float] = []
    while not samples or len(samples) < min_repetitions or sum(samples) < min_s * 1000:
        for piece in work:
            between()
            samples.append(timed_ms(piece))
    return latency_of(samples, len(work), pairs_per_query)


def latency_of(samples_ms: Sequence[float], queries: int, pairs_per_query: float) -> Latency:
    """Return samples with their percentiles and how sure these are."""
    return Latency(
        samples_ms=tuple(samples_ms),
        p50_ms=percentile(samples_ms, 50),
        p90_ms=percentile(samples_ms, 90),
        p95_ms=percentile(samples_ms, 95),
        p99_ms=percentile(samples_ms, 99),
        p50_ci95_ms=interval(samples_ms, 50),
        p90_ci95_ms=interval(samples_ms, 90),
        p95_ci95_ms=interval(samples_ms, 95),
        p99_ci95_ms=interval(samples_ms, 99),
        pairs_per_query=pairs_per_query,
        queries=queries,
        repetitions=len(samples_ms),
        duration_s=sum(samples_ms) / 1000,
    )


def estimate(
    price_per_gpu_hour: float, currency: str, depth: int, throughput: Throughput, latency: Latency | None, device: str
) -> CostEstimate:
    """Return what reranking costs on GPUs that are paid by the hour and always busy; single queries run on one."""
    if not device.startswith("cuda"):
        why = "the reranker ran on the CPU, and the price is that of a GPU hour"
        return CostEstimate(price_per_gpu_hour, currency, depth, None, None, None, why)
    per_gpu_s = price_per_gpu_hour / 3600
    per_pair = per_gpu_s * throughput.devices / throughput.end_to_end_pairs_per_s
    return CostEstimate(
        price_per_gpu_hour,
        currency,
        depth,
        per_1000_queries=per_pair * 1000 * depth,
        per_1000_queries_one_by_one=per_gpu_s * 1000 * latency.duration_s / latency.repetitions if latency else None,
        per_million_pairs=per_pair * 1e6,
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
        allocated, reserved = _cuda_peaks(self.device)
        return Memory(self._before, self._after, peak_resident_mb(), allocated, reserved)


def measure_memory(device: str, work: Callable[[], tuple[int, int]]) -> MemoryPass:
    """Return the memory of a piece of work, every peak forgotten just before; it returns its pairs and tokens.

    The device's own figure is read after the work: torch gives nothing back to the driver in between, so it is the
    peak, unless another process gave something back.
    """
    _reset_peaks(device)
    before, allocated_before = resident_mb(), _cuda_allocated(device)
    pairs, tokens = work()
    allocated, reserved = _cuda_peaks(device)
    used, total = _cuda_device(device)
    return MemoryPass(
        pairs=pairs,
        tokens=tokens,
        rss_before_mb=before,
        rss_after_mb=resident_mb(),
        rss_peak_mb=peak_resident_mb(),
        cuda_allocated_before_mb=allocated_before,
        cuda_allocated_peak_mb=allocated,
        cuda_reserved_peak_mb=reserved,
        cuda_device_mb=used,
        cuda_device_total_mb=total,
    )


def weights_mb(model: Any) -> float:
    """Return the size of a torch model's parameters and buffers in MiB, shared ones counted once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / _MIB)


def resident_mb() -> float | None:
    """Return the resident set of this process in MiB, or None where there is no /proc."""
    return _status("VmRSS")


def peak_resident_mb() -> float | None:
    """Return the peak resident set in MiB since the last reset, or None where there is no /proc.

    VmHWM, not ``ru_maxrss``: that one survives exec and would show the peak of whoever started this process.
    """
    return _status("VmHWM")


def torch_version() -> str:
    """Return torch's version with its build, as ``2.13.0+cu130``, which the metadata of some wheels leaves out."""
    import torch

    return str(torch.__version__)


def gpu_facts(device: str) -> dict[str, str | None]:
    """Return what torch knows of a GPU: its compute capability, the CUDA version, and the UUID that NVML finds it by.

    All None for ``cpu``.
    """
    if not device.startswith("cuda"):
        return {"compute_capability": None, "cuda": None, "uuid": None}
    import torch

    known = torch.cuda.get_device_properties(device)
    uuid = getattr(known, "uuid", None)
    return {
        "compute_capability": f"{known.major}.{known.minor}",
        "cuda": torch.version.cuda,
        "uuid": None if uuid is None else str(uuid),
    }


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

        # Else there are no peaks yet, and to reset them is an error.
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()  # what an embedding first stage left behind is not the reranker's
            torch.cuda.reset_peak_memory_stats(device)


def _cuda_peaks(device: str) -> tuple[float | None, float | None]:
    if not device.startswith("cuda"):
        return None, None
    import torch

    return torch.cuda.max_memory_allocated(device) / _MIB, torch.cuda.max_memory_reserved(device) / _MIB


def _cuda_allocated(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.memory_allocated(device) / _MIB


def _cuda_device(device: str) -> tuple[float | None, float | None]:
    if not device.startswith("cuda"):
        return None, None
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / _MIB, total / _MIB
