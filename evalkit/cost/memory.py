"""Memory of the host process and of the GPU: around a trial, and in a pass of its own over the longest pairs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from evalkit.boundary.process_memory import MIB, peak_resident_mb, resident_mb
from evalkit.types import Memory, MemoryPass, Pair


class MemoryWatch:
    """The memory of this process from before a reranker is loaded to the end of its work."""

    def __init__(self, device: str) -> None:
        """Reset all peaks and start to watch; `device` is the reranker's, ``cpu``, ``mps`` or ``cuda:N``."""
        self.device = device
        self._before = resident_mb()
        self._after: float | None = None
        self._peak_before_pause: float | None = None
        _reset_peaks(device)

    def mark_loaded(self) -> None:
        """Record the resident set now that the model has been loaded."""
        self._after = resident_mb()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what the block takes out of the peak of the resident set."""
        self._peak_before_pause = self._peak()
        yield
        _reset_resident_peak()

    def read(self) -> Memory:
        """Return the memory before and after loading, and the peaks until now."""
        allocated, reserved = _cuda_peaks(self.device)
        return Memory(
            self._before, self._after, self._peak(), allocated, reserved, mps_driver_mb=_mps_driver(self.device)
        )

    def _peak(self) -> float | None:
        peaks = (self._peak_before_pause, peak_resident_mb())
        return max((one for one in peaks if one is not None), default=None)


def measure_memory(device: str, work: Callable[[], tuple[int, int]]) -> MemoryPass:
    """Return the memory of a piece of work, with every peak reset just before it.

    The memory in use of the whole device is read after the work: torch returns nothing to the driver in between, so it
    is the peak, unless another process freed memory.

    Args:
        device: ``cpu`` or ``cuda:N``.
        work: does the work, and returns how many pairs it scored and how many tokens these have.
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
        mps_driver_mb=_mps_driver(device),
    )


def longest_pairs(
    pairs: Sequence[Pair],
    sample: Sequence[Pair],
    queries: Mapping[str, str],
    docs: Mapping[str, str],
    *,
    count: int,
    tokens: int | None,
    sample_tokens: int,
    max_length: int | None,
) -> list[Pair]:
    """Return the longest pairs, longest first: as many as have about `tokens` tokens together.

    Length is measured in bytes of UTF-8, which follow tokens across scripts more closely than characters do.
    Tokenizing all pairs again would take as long as scoring them on a fast device.

    Args:
        pairs: the pairs to choose from.
        sample: those pairs whose number of tokens is known.
        queries: query_id -> text.
        docs: doc_id -> text.
        count: how many pairs to return where `tokens` is None.
        tokens: the number of tokens to reach; None where the batch size is unknown.
        sample_tokens: tokens of `sample` together.
        max_length: tokens at which a pair is truncated; None for no limit.
    """
    query_bytes = {query_id: _utf8_bytes(queries[query_id]) for query_id in {pair.query_id for pair in pairs}}
    doc_bytes = {doc_id: _utf8_bytes(docs[doc_id]) for doc_id in {pair.doc_id for pair in pairs}}
    size = {pair: query_bytes[pair.query_id] + doc_bytes[pair.doc_id] for pair in pairs}
    longest_first = sorted(pairs, key=lambda pair: -size[pair])
    if tokens is None:
        return longest_first[:count]
    tokens_per_byte = sample_tokens / max(sum(size[pair] for pair in sample), 1)
    chosen: list[Pair] = []
    total = 0.0
    for pair in longest_first:
        if total >= tokens:
            break
        chosen.append(pair)
        total += min(size[pair] * tokens_per_byte, float("inf") if max_length is None else max_length)
    return chosen


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", errors="surrogatepass"))


def _reset_resident_peak() -> None:
    with suppress(OSError):  # where it is not writable, the peak is that since the process began: an upper bound
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): 5 resets VmHWM


def _reset_peaks(device: str) -> None:
    _reset_resident_peak()
    if device.startswith("cuda"):
        import torch

        # Before CUDA is initialised there are no peaks, and resetting them is an error.
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()  # blocks that an embedding first stage left cached
            torch.cuda.reset_peak_memory_stats(device)


def _cuda_peaks(device: str) -> tuple[float | None, float | None]:
    if not device.startswith("cuda"):
        return None, None
    import torch

    return torch.cuda.max_memory_allocated(device) / MIB, torch.cuda.max_memory_reserved(device) / MIB


def _cuda_allocated(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.memory_allocated(device) / MIB


def _cuda_device(device: str) -> tuple[float | None, float | None]:
    if not device.startswith("cuda"):
        return None, None
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / MIB, total / MIB


def _mps_driver(device: str) -> float | None:
    if device != "mps":
        return None
    import torch

    return torch.mps.driver_allocated_memory() / MIB
