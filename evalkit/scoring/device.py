"""Devices and precisions: what was asked for is what is used, or the error says what can be had."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from evalkit.errors import EvalkitError, nearest

# torch looks at it once, at the first matrix product on CUDA: what runs before a deterministic scorer, as calibration
# does, would make that one an error. 32 MiB, as torch takes on Hopper anyway.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True)
class Precision:
    """A named way to compute: the type of the weights, and whether fp32 products may round to TF32."""

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
    )
}

_CPU_FLAGS = {"bf16": ("amx_bf16", "avx512_bf16"), "fp16": ("amx_fp16", "avx512_fp16")}
"""Processor features (as in /proc/cpuinfo) without which half precision is emulated, 5 to 6 times slower than fp32."""


def resolve_device(asked: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``cuda:all``.

    auto is the first CUDA device, else the CPU; of ``cuda:all`` the first one, for what runs on a single device.

    Raises:
        EvalkitError: the name is none of these, or that device is not there.
    """
    if asked == "cpu":
        return torch.device("cpu")
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+|all))?", asked)
    if not match:
        raise EvalkitError(f"device={asked}: there is auto, cpu, cuda, cuda:N and cuda:all")
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        raise EvalkitError(
            f"device={asked}: {why}; use device=cpu with precision=fp32, or install a CUDA build of torch"
        )
    index = int(match[1] or 0) if match[1] != "all" else 0
    if index >= torch.cuda.device_count():
        raise EvalkitError(f"device={asked}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return torch.device("cuda", index)


def resolve_devices(asked: str) -> list[torch.device]:
    """Return all the devices that are asked for: every CUDA device for ``cuda:all``, else the one of `resolve_device`.

    Raises:
        EvalkitError: as `resolve_device`.
    """
    first = resolve_device(asked)
    if asked != "cuda:all":
        return [first]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def named_precision(name: str) -> Precision:
    """Return the precision of this name, whether or not the device here could do it.

    Raises:
        EvalkitError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise EvalkitError(f"precision={name}: no such precision{nearest(name, PRECISIONS)}")
    return PRECISIONS[name]


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """Return the named precision if `device` does it well.

    Raises:
        EvalkitError: no such precision, or the device has no hardware for it; nothing is substituted.
    """
    precision = named_precision(asked)
    if device.type == "cpu":
        if precision.tf32:
            raise EvalkitError(
                "precision=tf32 is a mode of CUDA matrix units and does not exist on a CPU; "
                "use precision=fp32, or a CUDA device"
            )
        needed = _CPU_FLAGS.get(asked)
        if needed and not _cpu_flags() & set(needed):
            raise EvalkitError(
                f"precision={asked} on this CPU would be emulated, several times slower than fp32 (it has "
                f"none of {', '.join(needed)}); use precision=fp32, or a CUDA device"
            )
        return precision
    capability = torch.cuda.get_device_capability(device)
    if capability < precision.min_capability:
        raise EvalkitError(
            f"precision={asked} needs CUDA compute capability {_dotted(precision.min_capability)}, and "
            f"{torch.cuda.get_device_name(device)} has {_dotted(capability)}; use precision=fp32"
        )
    return precision


def apply_precision(precision: Precision) -> None:
    """Set the process-wide mode of fp32 matrix products: full for all but tf32."""
    torch.set_float32_matmul_precision("high" if precision.tf32 else "highest")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it; a clock read before that shows launches only."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the device as its maker names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    return next((set(line.split()) for line in _cpuinfo() if line.startswith(("flags", "Features"))), set())


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
