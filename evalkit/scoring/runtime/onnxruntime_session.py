"""Loads a graph into ONNX Runtime."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.scoring.runtime.graph_file import GraphFile
from evalkit.scoring.runtime.session import Feeds, first_line, is_out_of_memory

CPU = "CPUExecutionProvider"

_WARNINGS_OFF = 3
"""Errors only: the warnings are about optimizations that a graph does not need."""


def check_providers(asked: list[str]) -> None:
    """Check that the installed ONNX Runtime has execution providers.

    Args:
        asked: Their names.

    Raises:
        EvalkitError: it does not have one of them, or none is asked for.
    """
    available = onnxruntime.get_available_providers()
    if not asked:
        raise EvalkitError("runtime.providers=[]: give at least one, such as [CPUExecutionProvider]")
    if missing := [name for name in asked if name not in available]:
        raise EvalkitError(
            f"runtime.providers=[{', '.join(asked)}]: the installed onnxruntime has no {missing[0]}"
            f"{nearest(missing[0], available)}; another build of onnxruntime may have it (onnxruntime-gpu for CUDA)"
        )


class OnnxRuntimeSession:
    """A graph loaded by ONNX Runtime."""

    def __init__(self, graph: GraphFile, providers: list[str], threads: int, tf32: bool, name: str) -> None:
        """Load a graph.

        Args:
            graph: The file.
            providers: Execution providers, checked by `check_providers`.
            threads: Threads that one call uses.
            tf32: Whether CUDA may round fp32 products to TF32, which it does by default.
            name: The graph in messages.

        Raises:
            EvalkitError: ONNX Runtime cannot load the graph, or uses another provider than the first one.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it plans memory for one shape, and batches have many
        options.log_severity_level = _WARNINGS_OFF
        with_options = [(each, {"use_tf32": str(int(tf32))} if each.startswith("CUDA") else {}) for each in providers]
        try:
            self._session = onnxruntime.InferenceSession(str(graph.path), options, providers=with_options)
        except Exception as error:  # pybind's errors, of a dozen types
            raise EvalkitError(
                f"{name}: ONNX Runtime {onnxruntime.__version__} cannot load it ({first_line(error)}); a newer "
                "onnxruntime may, or reranker.graph=export, which makes a graph of the model's weights"
            ) from None
        self.providers = self._session.get_providers()
        if self.providers[0] != providers[0]:
            raise EvalkitError(
                f"runtime.providers=[{', '.join(providers)}]: ONNX Runtime could not start {providers[0]} and would "
                f"compute with {self.providers[0]}; see its requirements, or name {self.providers[0]} first"
            )
        self.inputs = graph.inputs
        self._types = {value.name: np.int32 if "int32" in value.type else np.int64
                       for value in self._session.get_inputs()}  # fmt: skip

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        """Return the logits of pairs, (pairs,).

        Raises:
            MemoryError: out of memory.
            Exception: what ONNX Runtime raises for any other reason.
        """
        try:
            (logits,) = self._session.run(
                None, {name: values.astype(self._types[name], copy=False) for name, values in feeds.items()}
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(first_line(error)) from None
            raise
        found: npt.NDArray[np.float32] = logits.reshape(-1).astype(np.float32, copy=False)
        return found

    def describe(self) -> dict[str, Any]:
        """Return the version of ONNX Runtime and the execution providers in force."""
        return {"runtime_version": onnxruntime.__version__, "providers": self.providers}
