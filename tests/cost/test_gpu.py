"""Figures of NVML are recorded in our units; where it has none, the reason is."""

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evalkit.cost.gpu import FACTS, Gpu


class NVMLError(Exception):
    pass


def unsupported(*arguments: Any) -> None:
    raise NVMLError("Not Supported")


def library(**answers: Any) -> Any:
    """A stand-in for pynvml: a machine without a GPU has none that answers."""
    module = ModuleType("pynvml")
    clocks = {(False, "sm"): 1500, (False, "mem"): 2600, (True, "sm"): 1980, (True, "mem"): 3200}
    functions = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlSystemGetDriverVersion": lambda: "570.1",
        "nvmlDeviceGetClockInfo": lambda gpu, kind: clocks[False, kind],
        "nvmlDeviceGetMaxClockInfo": lambda gpu, kind: clocks[True, kind],
        "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 700_000,
        "nvmlDeviceGetTemperature": lambda gpu, sensor: 61,
        "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: 1_234_500,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu: 0x1 | 0x4 | 0x40,
        "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [
            SimpleNamespace(pid=1, usedGpuMemory=5 * 2**20),
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=300 * 2**20),
        ],
    }
    constants = {"NVMLError": NVMLError, "NVML_CLOCK_SM": "sm", "NVML_CLOCK_MEM": "mem", "NVML_TEMPERATURE_GPU": 0}
    vars(module).update(functions | constants | answers)
    return module


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **answers: monkeypatch.setitem(sys.modules, "pynvml", library(**answers))


def test_readings_are_in_the_units_of_their_names(nvml: Any) -> None:
    nvml()
    gpu = Gpu("1-2-3-4-5")
    assert gpu.unavailable is None
    facts = gpu.facts()
    assert facts == {
        "driver": "570.1",
        "sm_clock_mhz": 1500,
        "sm_clock_max_mhz": 1980,
        "memory_clock_mhz": 2600,
        "memory_clock_max_mhz": 3200,
        "power_limit_w": 700.0,
        "temperature_c": 61,
        "clocks_held_back_by": ["software power cap", "hardware thermal slowdown"],
    }
    assert tuple(facts) == FACTS
    assert gpu.energy_j() == 1234.5
    assert gpu.process_mb() == 300


def test_a_part_of_a_gpu_is_found_under_its_own_name(nvml: Any) -> None:
    asked = []

    def handle(uuid: Any) -> Any:
        asked.append(uuid)
        if uuid.startswith("GPU"):
            raise NVMLError("Not Found")
        return uuid

    nvml(nvmlDeviceGetHandleByUUID=handle)
    assert Gpu("1-2").unavailable is None
    assert asked == ["GPU-1-2", "MIG-1-2"]


def test_what_a_gpu_does_not_report_is_none_and_the_rest_is_read(nvml: Any) -> None:
    nvml(
        nvmlDeviceGetTotalEnergyConsumption=unsupported,
        nvmlDeviceGetComputeRunningProcesses=lambda gpu: [SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)],
        nvmlDeviceGetEnforcedPowerLimit=unsupported,
        nvmlDeviceGetCurrentClocksEventReasons=unsupported,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda gpu: 0x80,
    )
    gpu = Gpu("1")
    assert (gpu.energy_j(), gpu.process_mb(), gpu.facts()["power_limit_w"]) == (None, None, None)
    assert gpu.facts()["clocks_held_back_by"] == ["hardware power brake"]  # an older driver knows the older name
    assert gpu.facts()["temperature_c"] == 61


def test_a_process_that_nvml_does_not_see_has_no_memory_of_its_own(nvml: Any) -> None:
    """In a container process ids are other ones than the driver's."""
    nvml(nvmlDeviceGetComputeRunningProcesses=lambda gpu: [SimpleNamespace(pid=-1, usedGpuMemory=2**20)])
    assert Gpu("1").process_mb() is None


@pytest.mark.parametrize(
    ("prepare", "uuid", "why"),
    [
        (lambda nvml: nvml(nvmlInit=unsupported), "1", "NVML cannot be read: Not Supported"),
        (
            lambda nvml: nvml(nvmlDeviceGetHandleByUUID=unsupported), "1", "NVML cannot be read: Not Supported",
        ),
        (lambda nvml: nvml(), None, "this version of torch does not report the UUID by which NVML finds the GPU"),
    ],
)  # fmt: skip
def test_the_reason_for_missing_readings_is_given(nvml: Any, prepare: Any, uuid: Any, why: Any) -> None:
    prepare(nvml)
    gpu = Gpu(uuid)
    assert gpu.unavailable == why
    assert (gpu.energy_j(), gpu.process_mb(), gpu.facts()) == (None, None, dict.fromkeys(FACTS))


def test_without_the_package_the_reason_has_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    assert Gpu("1").unavailable == "the package nvidia-ml-py is not installed: pip install 'evalkit-rerank[gpu]'"


def test_where_there_is_no_gpu_nothing_is_opened(nvml: Any) -> None:
    nvml(nvmlInit=unsupported)
    gpu = Gpu(None, "the reranker ran on the CPU")
    assert (gpu.unavailable, gpu.energy_j(), gpu.facts()) == ("the reranker ran on the CPU", None, dict.fromkeys(FACTS))


@pytest.mark.gpu
def test_a_real_gpu_reports_its_driver_and_its_clocks() -> None:
    import torch

    from evalkit.cost.gpu import gpu_properties

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    pytest.importorskip("pynvml")
    torch.zeros(2**24, device="cuda")
    gpu = Gpu(gpu_properties("cuda:0")["uuid"])
    assert gpu.unavailable is None
    facts = gpu.facts()
    assert facts["driver"]
    assert 0 < facts["sm_clock_mhz"] <= facts["sm_clock_max_mhz"]
    before, after = gpu.energy_j(), gpu.energy_j()
    assert before is None or after is None or 0 <= after - before < 1000
    assert (gpu.process_mb() or 61) > 60
