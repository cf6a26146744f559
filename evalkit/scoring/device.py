"""Devices and precisions: the one that was requested is used, or an error names those that are available."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.boundary.errors import EvalkitError, nearest

# torch reads this once, at the first matrix product on CUDA. It is set at import, since a product before the first
# deterministic scorer (the reference workload's, say) would make that scorer fail. 32 MiB are torch's default on Hopper
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True)
class Precision:
    """A named numeric mode: the type of the weights, and whether fp32 matrix products may use TF32."""

    name: str
    dtype: torch.dtype
    tf32: bool = False
    min_capability: tuple[int, int] = (0, 0)
    """The first CUDA compute capability with matrix units for it (NVIDIA's CUDA programming guide)."""


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", torch.float32),
        Precision("tf32", torch.float32, tf32=True, min_capability=(8, 0)),
        Precision("bf16", torch.bfloat16, min_capability=(8, 0)),
        Precision("fp16", torch.float16, min_capability=(7, 0)),
        Precision("int8", torch.int8),
    )
}

CPU_FLAGS = {"bf16": ("amx_bf16", "avx512_bf16"), "fp16": ("amx_fp16", "avx512_fp16")}
"""Processor features (as in /proc/cpuinfo) without which half precision is emulated, 5 to 6 times slower than fp32."""


def resolve_device(requested: str) -> torch.device:
    """Return the device of a name.

    Args:
        requested: ``cpu``; ``cuda`` or ``cuda:N``; ``mps`` for the GPU of an Apple machine; ``auto`` for the first CUDA
            device, or the CPU if there is none; or ``cuda:all``, of which the first device is returned, for work that
            runs on one.

    Raises:
        EvalkitError: there is no such name, or that device is not available.
    """
    if requested == "cpu":
        return torch.device("cpu")
    if requested == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if requested == "mps":
        if not torch.backends.mps.is_available():
            raise EvalkitError("device=mps is the GPU of an Apple machine, and torch sees none; use device=cpu")
        return torch.device("mps")
    match = re.fullmatch(r"cuda(?::(\d+|all))?", requested)
    if not match:
        raise EvalkitError(f"device={requested}: there is auto, cpu, cuda, cuda:N, cuda:all and mps")
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        raise EvalkitError(
            f"device={requested}: {why}; use device=cpu with precision=fp32, or install a CUDA build of torch"
        )
    index = int(match[1] or 0) if match[1] != "all" else 0
    if index >= torch.cuda.device_count():
        raise EvalkitError(f"device={requested}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return torch.device("cuda", index)


def resolve_devices(requested: str) -> list[torch.device]:
    """Return the devices of a name: every CUDA device for ``cuda:all``, else the one of `resolve_device`.

    Args:
        requested: As for `resolve_device`.

    Raises:
        EvalkitError: as for `resolve_device`.
    """
    first = resolve_device(requested)
    if requested != "cuda:all":
        return [first]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def named_precision(name: str) -> Precision:
    """Return a precision, whether or not a device on this machine supports it.

    Args:
        name: A key of `PRECISIONS`.

    Raises:
        EvalkitError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise EvalkitError(f"precision={name}: no such precision{nearest(name, PRECISIONS)}")
    return PRECISIONS[name]


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return a precision that torch supports on a device in hardware; there is no fallback to another one.

    Args:
        name: A key of `PRECISIONS`.
        device: Where the model is to compute.

    Raises:
        EvalkitError: there is no such precision, or the device has no hardware for it.
    """
    precision = named_precision(name)
    if precision.dtype == torch.int8:
        raise EvalkitError(
            "precision=int8: torch computes in fp32, tf32, bf16 and fp16 here; use runtime=onnxruntime or "
            "runtime=openvino"
        )
    if device.type == "cpu":
        if precision.tf32:
            raise EvalkitError(
                "precision=tf32 is a mode of CUDA matrix units and does not exist on a CPU; "
                "use precision=fp32, or a CUDA device"
            )
        needed = CPU_FLAGS.get(name)
        if needed and not cpu_flags() & set(needed):
            raise EvalkitError(
                f"precision={name} on this CPU would be emulated, several times slower than fp32 (it has "
                f"none of {', '.join(needed)}); use precision=fp32, or a CUDA device"
            )
        return precision
    if device.type == "mps":
        if name not in ("fp32", "fp16"):
            raise EvalkitError(f"precision={name} is not supported on device=mps; use precision=fp32 or precision=fp16")
        return precision
    capability = torch.cuda.get_device_capability(device)
    if capability < precision.min_capability:
        needed_version, version = (".".join(map(str, each)) for each in (precision.min_capability, capability))
        raise EvalkitError(
            f"precision={name} needs CUDA compute capability {needed_version}, and "
            f"{torch.cuda.get_device_name(device)} has {version}; use precision=fp32"
        )
    return precision


def apply_precision(precision: Precision) -> None:
    """Set how torch computes fp32 matrix products in this process: with TF32 for tf32, else in full.

    Args:
        precision: The precision of the model.
    """
    torch.set_float32_matmul_precision("high" if precision.tf32 else "highest")


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all work, so that a clock read afterwards includes it.

    Args:
        device: A CUDA device, ``mps``, or the CPU, where there is nothing to wait for.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """Return the vendor's name of a device, such as "NVIDIA H100 80GB HBM3".

    Args:
        device: A CUDA device, ``mps``, or the CPU.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"GPU of {platform.machine()} by Metal"
    for line in cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Return the features of the processor, as /proc/cpuinfo names them; empty where there is none."""
    return next((set(line.split()) for line in cpuinfo() if line.startswith(("flags", "Features"))), set())


def cpuinfo() -> list[str]:
    """Return the lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
