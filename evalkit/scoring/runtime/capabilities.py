"""Which device and which precisions a runtime has: the one that was requested is used, or an error names the others."""

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device import CPU_FLAGS, Precision, cpu_flags, named_precision, resolve_device, resolve_precision
from evalkit.scoring.runtime.settings import GraphRuntime, OnnxRuntime, Runtime

_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""Features of a processor that adds products of bytes in 32 bits, VNNI's and its counterpart on ARM."""


def has_vnni() -> bool:
    """Return whether the processor multiplies bytes without the risk of overflow; see `graph_file.saturates`."""
    return bool(cpu_flags() & _VNNI)


def computes_on_cpu(runtime: Runtime) -> bool:
    """Return whether a runtime computes on the CPU whatever the device is that torch would use.

    Args:
        runtime: The settings.
    """
    if isinstance(runtime, OnnxRuntime):
        return runtime.providers[0] in ("CPUExecutionProvider", "DnnlExecutionProvider", "OpenVINOExecutionProvider")
    return isinstance(runtime, GraphRuntime)


def resolve_runtime_device(requested: str, runtime: Runtime) -> torch.device:
    """Return the device of a name; ``auto`` is the CPU for a runtime that computes there.

    Args:
        requested: As for `evalkit.scoring.device.resolve_device`.
        runtime: The settings.

    Raises:
        EvalkitError: the runtime does not compute on it, or it is not available.
    """
    if not computes_on_cpu(runtime):
        return resolve_device(requested)
    if requested not in ("auto", "cpu"):
        way = ", or runtime.providers=[CUDAExecutionProvider]" if isinstance(runtime, OnnxRuntime) else ""
        raise EvalkitError(
            f"device={requested}: runtime={runtime.name} computes on the CPU here; use device=cpu, runtime=torch{way}"
        )
    return torch.device("cpu")


def resolve_runtime_precision(name: str, device: torch.device, runtime: Runtime) -> Precision:
    """Return a precision that a runtime supports in hardware; there is no fallback to another one.

    Args:
        name: A key of `evalkit.scoring.device.PRECISIONS`.
        device: Where the runtime computes.
        runtime: The settings.

    Raises:
        EvalkitError: there is no such precision, or the runtime does not have it on this device.
    """
    precision = named_precision(name)
    if not isinstance(runtime, GraphRuntime):
        return resolve_precision(name, device)
    if isinstance(runtime, OnnxRuntime) and not computes_on_cpu(runtime):
        possible: tuple[str, ...] = ("fp32", "tf32", "fp16")
    elif isinstance(runtime, OnnxRuntime):
        possible = ("fp32", "int8")
    else:
        possible = ("fp32", "int8", *(half for half, needed in CPU_FLAGS.items() if cpu_flags() & set(needed)))
    if name in possible:
        return precision
    why = {
        "tf32": "is a mode of CUDA matrix units",
        "fp16": "has no kernels on this CPU, where weights would be converted back to fp32",
        "bf16": "has no kernels on this CPU, where weights would be converted back to fp32",
    }.get(name, "is not supported")
    raise EvalkitError(
        f"precision={name} with runtime={runtime.name}: it {why}; use precision={' or precision='.join(possible)}"
        + ("" if name == "int8" else ", or runtime=torch where its device has it")
    )
