"""What torch and NVIDIA's management library (NVML) report of a GPU: driver, clocks, energy, memory of this process."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from evalkit.boundary.process_memory import MIB

FACTS = (
    "driver", "sm_clock_mhz", "sm_clock_max_mhz", "memory_clock_mhz", "memory_clock_max_mhz", "power_limit_w",
    "temperature_c", "clocks_held_back_by",
)  # fmt: skip


class Gpu:
    """One GPU as NVML sees it; a reading that this GPU does not support is None."""

    def __init__(self, uuid: str | None, unavailable: str | None = None) -> None:
        """Open a GPU.

        Args:
            uuid: the GPU's UUID as torch has it. Its number would not do: NVML ignores CUDA_VISIBLE_DEVICES.
            unavailable: why there is no GPU to open; None to open it. Afterwards, why no reading is available.
        """
        self.unavailable = unavailable
        self._nvml: Any = None
        self._handle: Any = None
        if unavailable is None:
            self._open(uuid)

    def facts(self) -> dict[str, Any]:
        """Return driver, clocks, power limit and temperature at this moment, under the names in `FACTS`."""
        if self.unavailable:
            return dict.fromkeys(FACTS)
        nvml, gpu = self._nvml, self._handle
        watts = self._read(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)
        return {
            "driver": _text(self._read(nvml.nvmlSystemGetDriverVersion)),
            "sm_clock_mhz": self._read(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM),
            "sm_clock_max_mhz": self._read(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._read(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_MEM),
            "memory_clock_max_mhz": self._read(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_MEM),
            "power_limit_w": None if watts is None else watts / 1000,
            "temperature_c": self._read(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
            "clocks_held_back_by": self._throttle_reasons(),
        }

    def energy_j(self) -> float | None:
        """Return the energy that the whole GPU has drawn since its driver was loaded, in joules (Volta and later)."""
        if self.unavailable:
            return None
        millijoules = self._read(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        return None if millijoules is None else millijoules / 1000

    def process_mb(self) -> float | None:
        """Return the GPU memory of this process in MiB; None in a container with its own process ids."""
        if self.unavailable:
            return None
        listed = self._read(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []
        used = [process.usedGpuMemory for process in listed if process.pid == os.getpid()]
        return used[0] / MIB if used and used[0] is not None else None

    def _open(self, uuid: str | None) -> None:
        try:
            pynvml = import_module("pynvml")
        except ImportError:
            self.unavailable = "the package nvidia-ml-py is not installed: pip install 'evalkit-rerank[gpu]'"
            return
        if uuid is None:
            self.unavailable = "this version of torch does not report the UUID by which NVML finds the GPU"
            return
        try:
            pynvml.nvmlInit()
            try:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            except pynvml.NVMLError:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
        except pynvml.NVMLError as error:
            self.unavailable = f"NVML cannot be read: {error}"
            return
        self._nvml = pynvml

    def _read(self, query: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return query(*arguments)
        except self._nvml.NVMLError:  # not supported on this GPU, or not permitted
            return None

    def _throttle_reasons(self) -> list[str] | None:
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            bits = self._read(getattr(self._nvml, name), self._handle) if hasattr(self._nvml, name) else None
            if bits is not None:  # older bindings and drivers have the second name only
                return [words for bit, words in _REASONS.items() if bits & bit]
        return None


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value  # older bindings give bytes


_REASONS = {
    0x2: "clocks set by an application",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""Bits of nvmlClocksEventReason in nvml.h, without idleness."""


def torch_version() -> str:
    """Return torch's version with its build, as ``2.13.0+cu130``, which the metadata of some wheels lacks."""
    import torch

    return str(torch.__version__)


def gpu_properties(device: str) -> dict[str, str | None]:
    """Return a GPU's ``compute_capability``, ``cuda`` version and ``uuid`` by torch; all None for ``cpu``."""
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
