"""What was asked for is what is used, or the error says what can be had."""

from typing import Any

import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import device as devices
from evalkit.scoring.device import (
    PRECISIONS,
    apply_precision,
    device_name,
    resolve_device,
    resolve_precision,
    synchronize,
)

CPU = torch.device("cpu")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_cpu_is_the_cpu() -> None:
    assert resolve_device("cpu") == CPU


@without_cuda
def test_auto_is_the_cpu_where_there_is_no_cuda() -> None:
    assert resolve_device("auto") == CPU


@without_cuda
@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_that_is_not_available_is_refused_with_advice(asked: Any) -> None:
    with pytest.raises(EvalkitError, match=rf"device={asked}: .* CUDA.*; use device=cpu with precision=fp32"):
        resolve_device(asked)


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "cuda:-1", "mps:0", "CPU", "", "cuda:0,1"])
def test_an_unknown_device_names_those_there_are(asked: Any) -> None:
    with pytest.raises(EvalkitError) as refused:
        resolve_device(asked)
    assert str(refused.value) == f"device={asked}: there is auto, cpu, cuda, cuda:N, cuda:all and mps"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_mps_without_an_apple_gpu_is_refused_with_advice() -> None:
    with pytest.raises(
        EvalkitError, match=r"device=mps is the GPU of an Apple machine, and torch sees none; use device=cpu"
    ):
        resolve_device("mps")


@pytest.mark.parametrize("asked", ["bf16", "tf32"])
def test_mps_has_fp32_and_fp16(asked: str) -> None:
    device = torch.device("mps")
    assert [resolve_precision(name, device).name for name in ("fp32", "fp16")] == ["fp32", "fp16"]
    with pytest.raises(EvalkitError, match=f"precision={asked} is not supported on device=mps; use precision=fp32 or"):
        resolve_precision(asked, device)


def test_fp32_runs_on_any_cpu() -> None:
    precision = resolve_precision("fp32", CPU)
    assert (precision.dtype, precision.tf32) == (torch.float32, False)


def test_tf32_is_no_mode_of_a_cpu() -> None:
    with pytest.raises(EvalkitError, match=r"precision=tf32 .* does not exist on a CPU; use precision=fp32, or a CUDA"):
        resolve_precision("tf32", CPU)


@pytest.mark.parametrize(
    ("asked", "unit"),
    [("bf16", "avx512_bf16"), ("bf16", "amx_bf16"), ("fp16", "avx512_fp16"), ("fp16", "amx_fp16")],
)
def test_half_precision_needs_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch, asked: Any, unit: Any) -> None:
    """/proc/cpuinfo of two processors: the same but for one flag."""
    plain = ["processor\t: 0", "model name\t: A Processor", "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni"]
    monkeypatch.setattr(devices, "cpuinfo", lambda: plain)
    with pytest.raises(EvalkitError, match=rf"precision={asked} on this CPU would be emulated.*{unit}.*precision=fp32"):
        resolve_precision(asked, CPU)
    monkeypatch.setattr(devices, "cpuinfo", lambda: [*plain[:-1], f"{plain[-1]} {unit}"])
    assert resolve_precision(asked, CPU).name == asked


def test_half_precision_on_this_machine_agrees_with_its_cpuinfo() -> None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            words = {word for line in lines if line.startswith("flags") for word in line.split()}
    except FileNotFoundError:
        pytest.skip("there is no /proc/cpuinfo")
    for asked, units in (("bf16", {"amx_bf16", "avx512_bf16"}), ("fp16", {"amx_fp16", "avx512_fp16"})):
        if words & units:
            assert resolve_precision(asked, CPU).name == asked
        else:
            with pytest.raises(EvalkitError, match=f"precision={asked} on this CPU"):
                resolve_precision(asked, CPU)


@pytest.mark.parametrize(
    ("asked", "meant"), [("fp61", "fp16"), ("bfloat16", "bf16"), ("float32", "fp32"), ("tf-32", "tf32")]
)
def test_an_unknown_precision_names_the_nearest(asked: Any, meant: Any) -> None:
    with pytest.raises(EvalkitError, match=rf"precision={asked}: no such precision; did you mean .*{meant}"):
        resolve_precision(asked, CPU)


def test_a_precision_like_no_other_names_them_all() -> None:
    with pytest.raises(EvalkitError, match="no such precision; choose from bf16, fp16, fp32, int8, tf32"):
        resolve_precision("whatever", CPU)


def test_only_tf32_lets_fp32_products_round() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        for name, mode in (("tf32", "high"), ("fp32", "highest"), ("bf16", "highest"), ("fp16", "highest")):
            apply_precision(PRECISIONS[name])
            assert torch.get_float32_matmul_precision() == mode
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_processor_has_a_name() -> None:
    assert device_name(CPU).strip()
    synchronize(CPU)  # nothing to wait for, and no error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_auto_is_the_first_cuda_device() -> None:
    device = resolve_device("auto")
    assert device == torch.device("cuda", 0)
    assert device_name(device) == torch.cuda.get_device_name(0)
    with pytest.raises(EvalkitError, match=r"device=cuda:99: there are \d+ CUDA devices, counted from 0"):
        resolve_device("cuda:99")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "int8"])
def test_a_gpu_gives_each_precision_its_capability_allows(name: Any) -> None:
    device = torch.device("cuda", 0)
    if torch.cuda.get_device_capability(device) >= PRECISIONS[name].min_capability:
        assert resolve_precision(name, device).name == name
    else:
        with pytest.raises(EvalkitError, match=f"precision={name} needs CUDA compute capability"):
            resolve_precision(name, device)
