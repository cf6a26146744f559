"""What a runtime does not have is refused with what it has."""

import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import device as devices
from evalkit.scoring.runtime.capabilities import has_vnni, resolve_runtime_device, resolve_runtime_precision
from evalkit.scoring.runtime.settings import OnnxRuntime, OpenVino, Runtime, check_runtime, runtime_of

CPU = torch.device("cpu")


def cpu_with(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(devices, "cpuinfo", lambda: [f"flags : fpu avx2 {' '.join(flags)}"])


@pytest.mark.parametrize(
    ("runtime", "precision", "sentence"),
    [
        (OnnxRuntime(), "fp16", "precision=fp16 with runtime=onnxruntime: it has no kernels on this CPU.* use "
                                "precision=fp32 or precision=int8, or runtime=torch"),
        (OnnxRuntime(), "bf16", "precision=bf16 with runtime=onnxruntime"),
        (OnnxRuntime(), "tf32", "precision=tf32 with runtime=onnxruntime: it is a mode of CUDA"),
        (OpenVino(), "bf16", "precision=bf16 with runtime=openvino"),
        (Runtime(), "int8", "precision=int8: torch computes in .*; use runtime=onnxruntime or runtime=openvino"),
        (OpenVino(), "int4", "precision=int4: no such precision"),
        (OnnxRuntime(providers=["CUDAExecutionProvider"]), "int8", "precision=int8 with runtime=onnxruntime: it"),
    ],
)  # fmt: skip
def test_a_precision_that_a_runtime_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, precision: str, sentence: str
) -> None:
    cpu_with(monkeypatch)
    with pytest.raises(EvalkitError, match=sentence):
        resolve_runtime_precision(precision, CPU, runtime)


def test_openvino_has_bf16_where_the_processor_has_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_with(monkeypatch, "amx_bf16")
    assert resolve_runtime_precision("bf16", CPU, OpenVino()).name == "bf16"


@pytest.mark.parametrize(("flag", "expected"), [("avx_vnni", True), ("avx512_vnni", True), ("avx512f", False)])
def test_vnni_is_read_from_the_processor(monkeypatch: pytest.MonkeyPatch, flag: str, expected: bool) -> None:
    cpu_with(monkeypatch, flag)
    assert has_vnni() is expected


def test_a_runtime_of_the_cpu_takes_the_cpu_for_auto_and_refuses_a_gpu() -> None:
    assert resolve_runtime_device("auto", OpenVino()) == CPU
    with pytest.raises(
        EvalkitError, match=r"device=cuda: runtime=onnxruntime computes on the CPU here; use device=cpu"
    ):
        resolve_runtime_device("cuda", OnnxRuntime())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "tensorrt"}, "runtime=tensorrt: no such runtime; choose from onnxruntime, openvino, torch"),
        ({"name": "torch", "providers": []}, "runtime.providers: torch has no such setting"),
        (
            {"name": "openvino", "paralel": "auto"},
            "runtime.paralel: openvino has no such setting; did you mean parallel",
        ),
    ],
)
def test_an_unknown_runtime_or_setting_is_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(EvalkitError, match=sentence):
        runtime_of(given)


@pytest.mark.parametrize(
    ("runtime", "sentence"),
    [
        (Runtime(threads=0), "runtime.threads=0: give a number of 1 or more"),
        (OpenVino(parallel="cores"), "runtime.parallel=cores: no such value; did you mean threads, batches"),
    ],
)
def test_an_invalid_value_is_refused(runtime: Runtime, sentence: str) -> None:
    with pytest.raises(EvalkitError, match=sentence):
        check_runtime(runtime)


def test_a_runtime_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.scoring.runtime import settings

    monkeypatch.setattr(settings, "find_spec", lambda module: None if module == "openvino" else object())
    with pytest.raises(EvalkitError, match=r"runtime=openvino needs openvino, not installed here: pip install "
                                           r"'evalkit-rerank\[openvino\]', or use runtime=torch"):  # fmt: skip
        check_runtime(OpenVino())
    check_runtime(OnnxRuntime())
