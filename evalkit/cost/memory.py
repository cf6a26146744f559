"""Memory of the host process and of the GPU: around a trial, and in a pass of its own over the longest pairs."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evalkit.boundary.process_memory import peak_resident_mb, resident_mb
from evalkit.types import Memory, MemoryPass

_MIB = 2**20


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
