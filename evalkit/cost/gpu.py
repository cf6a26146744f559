"""What torch and NVIDIA's management library (NVML) report of a GPU: driver, clocks, energy, memory of this process."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

_MIB = 2**20

FACTS = (
    "driver", "sm_clock_mhz", "sm_clock_max_mhz", "memory_clock_mhz", "memory_clock_max_mhz", "power_limit_w",
    "temperature_c", "clocks_held_back_by",
)  # fmt: skip


class Gpu:
    """One GPU as NVML sees it. A reading that cannot be had is None; `why` says why none can."""

    def __init__(self, uuid: str | None, why: str | None = None) -> None:
        """Open the GPU of this UUID, as torch gives it; numbers would not do: CUDA_VISIBLE_DEVICES hides from NVML.

        `why` tells that there is no GPU to open.
        """
        self.why = why
        self._nvml: Any = None
        self._handle: Any = None
        if why is None:
            self._open(uuid)

    def facts(self) -> dict[str, Any]:
        """Return driver, clocks, limit of power and temperature at this moment, under the names of `FACTS`."""
        if self.why:
            return dict.fromkeys(FACTS)
        nvml, gpu = self._nvml, self._handle
        watts = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)
        return {
            "driver": _text(self._ask(nvml.nvmlSystemGetDriverVersion)),
            "sm_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_SM),
            "sm_clock_max_mhz": self._ask(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, gpu, nvml.NVML_CLOCK_MEM),
            "memory_clock_max_mhz": self._ask(nvml.nvmlDeviceGetMaxClockInfo, gpu, nvml.NVML_CLOCK_MEM),
            "power_limit_w": None if watts is None else watts / 1000,
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, gpu, nvml.NVML_TEMPERATURE_GPU),
            "clocks_held_back_by": self._held_back_by(),
        }

    def energy_j(self) -> float | None:
        """Return what the whole GPU has drawn since its driver was loaded, in joules (Volta and later)."""
        if self.why:
            return None
        millijoules = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        return None if millijoules is None else millijoules / 1000

    def process_mb(self) -> float | None:
        """Return the GPU memory of this process in MiB; None in a container whose process ids are its own."""
        if self.why:
            return None
        listed = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []
        used = [one.usedGpuMemory for one in listed if one.pid == os.getpid()]
        return used[0] / _MIB if used and used[0] is not None else None

    def _open(self, uuid: str | None) -> None:
        try:
            pynvml = import_module("pynvml")
        except ImportError:
            self.why = "the package nvidia-ml-py is not installed: pip install 'evalkit-rerank[gpu]'"
            return
        if uuid is None:
            self.why = "this torch does not tell the UUID that NVML finds the GPU by"
            return
        try:
            pynvml.nvmlInit()
            try:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            except pynvml.NVMLError:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
        except pynvml.NVMLError as error:
            self.why = f"NVML cannot be read: {error}"
            return
        self._nvml = pynvml

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:  # not supported on this GPU, or not permitted
            return None

    def _held_back_by(self) -> list[str] | None:
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            bits = self._ask(getattr(self._nvml, name), self._handle) if hasattr(self._nvml, name) else None
            if bits is not None:  # the second name is that of older bindings and drivers
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
"""nvmlClocksEventReason bits of nvml.h, idleness left out."""


def torch_version() -> str:
    """Return torch's version with its build, as ``2.13.0+cu130``, which the metadata of some wheels leaves out."""
    import torch

    return str(torch.__version__)


def gpu_properties(device: str) -> dict[str, str | None]:
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
