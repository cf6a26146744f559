"""Loads a graph into OpenVINO, on the CPU."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.graph_file import GraphFile
from evalkit.scoring.runtime.session import Feeds, first_line, is_out_of_memory

_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision -> the type that OpenVINO computes with; without a hint it takes bf16 where the processor has it."""


def input_names(path: str, name: str) -> list[str]:
    """Return the names of the inputs of an OpenVINO graph.

    Args:
        path: The .xml file.
        name: The graph in messages.

    Raises:
        EvalkitError: it cannot be read.
    """
    return [each.get_any_name() for each in _read(path, name).inputs]


class OpenVinoSession:
    """A graph loaded by OpenVINO; each thread has an inference request of its own."""

    def __init__(self, graph: GraphFile, streams: int, threads: int, precision: str, name: str) -> None:
        """Load a graph.

        Args:
            graph: The file, in OpenVINO's format or in ONNX.
            streams: How many calls are computed at a time.
            threads: Threads of all calls together.
            precision: A key of `evalkit.scoring.device.PRECISIONS`.
            name: The graph in messages.

        Raises:
            EvalkitError: OpenVINO cannot load the graph, or it has more than one output or fixed sizes.
        """
        model = _read(str(graph.path), name)
        if len(model.outputs) != 1:
            raise EvalkitError(f"{name} has {len(model.outputs)} outputs, and a reranker has one, the logit")
        if any(each.partial_shape.is_static for each in model.inputs):
            raise EvalkitError(f"{name} has inputs of a fixed shape; export it with dynamic axes for pairs and tokens")
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:
            raise EvalkitError(
                f"{name}: OpenVINO {openvino.__version__} cannot load it ({first_line(error)}); a newer openvino may, "
                "or reranker.graph=export, which makes a graph of the model's weights"
            ) from None
        self.inputs = graph.inputs
        self._types = {
            each.get_any_name(): np.int32 if "32" in each.element_type.get_type_name() else np.int64
            for each in self._compiled.inputs
        }
        self._own = threading.local()

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        """Return the logits of pairs, (pairs,).

        Raises:
            MemoryError: out of memory.
            Exception: what OpenVINO raises for any other reason.
        """
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        typed = {name: values.astype(self._types[name], copy=False) for name, values in feeds.items()}
        try:
            logits = self._own.request.infer(typed, share_inputs=True)[0]
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(first_line(error)) from None
            raise
        found: npt.NDArray[np.float32] = np.array(logits, dtype=np.float32).reshape(-1)  # a copy: the buffer is reused
        return found

    def describe(self) -> dict[str, Any]:
        """Return the version of OpenVINO and the type that it computes with."""
        return {
            "runtime_version": openvino.__version__.partition("-")[0],
            "computes_in": str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()),
        }


def _read(path: str, name: str) -> Any:
    try:
        return openvino.Core().read_model(path)
    except Exception as error:
        raise EvalkitError(
            f"{name}: OpenVINO {openvino.__version__} cannot read it ({first_line(error)}); it is damaged, or of a "
            "newer version"
        ) from None
