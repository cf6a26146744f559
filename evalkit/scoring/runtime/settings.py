"""The settings of a runtime, and the checks of them before anything is loaded; nothing here needs a runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any

from evalkit.boundary.errors import EvalkitError, nearest

PARALLEL = ("auto", "batches", "threads")


@dataclass  # not frozen: it is the configuration's schema too, and OmegaConf sets no field of a frozen one
class Runtime:
    """The configuration's group ``runtime``: what computes the forward pass of the reranker."""

    name: str = "torch"
    """The runtime: torch, onnxruntime or openvino."""
    threads: int | None = None
    """CPU threads; null for torch's own choice, which is the number of cores."""


@dataclass
class GraphRuntime(Runtime):
    """A runtime that computes a graph of the model."""

    parallel: str = "auto"
    """What the threads share: batches (each thread computes one), threads (all compute one batch), or auto: batches."""


@dataclass
class OnnxRuntime(GraphRuntime):
    """ONNX Runtime."""

    name: str = "onnxruntime"
    """The runtime: onnxruntime."""
    providers: list[str] = field(default_factory=lambda: ["CPUExecutionProvider"])
    """Execution providers in order of preference, as ONNX Runtime names them."""


@dataclass
class OpenVino(GraphRuntime):
    """OpenVINO, on the CPU."""

    name: str = "openvino"
    """The runtime: openvino."""


RUNTIMES: dict[str, type[Runtime]] = {"torch": Runtime, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
"""Name -> its settings."""

_PACKAGES = {"onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
"""Runtime, which is also the name of its extra -> the modules that it needs."""


def runtime_of(settings: Mapping[str, Any] | None) -> Runtime:
    """Return the settings in the configuration's group ``runtime``.

    Args:
        settings: The group, with its ``name``; None for torch.

    Raises:
        EvalkitError: there is no such runtime, or it has no such setting.
    """
    given = dict(settings or {"name": "torch"})
    name = str(given.get("name", "torch"))
    if name not in RUNTIMES:
        raise EvalkitError(f"runtime={name}: no such runtime{nearest(name, RUNTIMES)}")
    known = [each.name for each in fields(RUNTIMES[name])]
    if unknown := sorted(given.keys() - set(known)):
        raise EvalkitError(f"runtime.{unknown[0]}: {name} has no such setting{nearest(unknown[0], known)}")
    return RUNTIMES[name](**given)


def check_runtime(runtime: Runtime) -> None:
    """Check that a runtime is installed and that its values are valid.

    Args:
        runtime: The settings.

    Raises:
        EvalkitError: it is not, or one is not.
    """
    if runtime.threads is not None and runtime.threads < 1:
        raise EvalkitError(f"runtime.threads={runtime.threads}: give a number of 1 or more, or null for every core")
    if not isinstance(runtime, GraphRuntime):
        return
    if runtime.parallel not in PARALLEL:
        raise EvalkitError(f"runtime.parallel={runtime.parallel}: no such value{nearest(runtime.parallel, PARALLEL)}")
    if missing := [module for module in _PACKAGES[runtime.name] if find_spec(module) is None]:
        raise EvalkitError(
            f"runtime={runtime.name} needs {' and '.join(missing)}, not installed here: "
            f"pip install 'evalkit-rerank[{runtime.name}]', or use runtime=torch"
        )
