"""Checks that the settings of a reranker go together with a runtime that computes a graph."""

from collections.abc import Mapping
from typing import Any, Protocol

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.capabilities import resolve_runtime_device, resolve_runtime_precision
from evalkit.scoring.runtime.settings import OnnxRuntime, Runtime


class RerankerSettings(Protocol):
    """The settings of a cross-encoder that a runtime may not support."""

    device: str
    precision: str
    path: str
    compile: bool
    cuda_graphs: bool
    label: Any
    executor: Mapping[str, Any] | None


def check_graph_settings(runtime: Runtime, reranker: RerankerSettings) -> None:
    """Check that a runtime has a reranker's device and precision, and that nothing is set which only torch has.

    Args:
        runtime: The settings of a runtime that computes a graph.
        reranker: The settings of the reranker.

    Raises:
        EvalkitError: one of them is not available.
    """
    if isinstance(runtime, OnnxRuntime):
        from evalkit.scoring.runtime.onnxruntime_session import check_providers

        check_providers(runtime.providers)
    device = resolve_runtime_device(reranker.device, runtime)
    resolve_runtime_precision(reranker.precision, device, runtime)
    of_torch = {
        "path": reranker.path != "auto",
        "compile": reranker.compile,
        "cuda_graphs": reranker.cuda_graphs,
        "label": reranker.label is not None,
    }
    off = {"path": "auto", "compile": "false", "cuda_graphs": "false", "label": "null"}
    for key, is_set in of_torch.items():
        if is_set:
            value = str(getattr(reranker, key)).lower()
            raise EvalkitError(
                f"reranker.{key}={value}: this is a setting of torch, and the trial has runtime={runtime.name}; use "
                f"reranker.{key}={off[key]}, or runtime=torch"
            )
    if reranker.executor is not None and reranker.executor["name"] != "local":
        raise EvalkitError(
            f"executor={reranker.executor['name']}: its workers compute with torch, and the trial has "
            f"runtime={runtime.name}; use executor=local, or runtime=torch"
        )
