"""Loads a prepared graph into its runtime."""

from typing import TYPE_CHECKING, Any

import torch

from evalkit.scoring.runtime.graph_model import GraphModel
from evalkit.scoring.runtime.session import Session
from evalkit.scoring.runtime.settings import GraphRuntime, OnnxRuntime

if TYPE_CHECKING:
    from evalkit.scoring.runtime.graph_file import PreparedGraph


def load_graph(
    graph: "PreparedGraph", runtime: GraphRuntime, precision: str, deterministic: bool
) -> tuple[GraphModel, dict[str, Any]]:
    """Return the forward pass of a graph, and the settings in force.

    Args:
        graph: The graph.
        runtime: The runtime that computes it.
        precision: A key of `evalkit.scoring.device.PRECISIONS`.
        deterministic: Whether each pair is computed alone if its score depends on the others of its batch.

    Raises:
        EvalkitError: the runtime cannot load it.
    """
    threads = torch.get_num_threads()
    streams = threads if shares_batches(runtime) else 1
    session: Session
    if isinstance(runtime, OnnxRuntime):
        from evalkit.scoring.runtime.onnxruntime_session import OnnxRuntimeSession

        session = OnnxRuntimeSession(
            graph.file, runtime.providers, threads // streams, precision == "tf32", graph.file.source
        )
    else:
        from evalkit.scoring.runtime.openvino_session import OpenVinoSession

        session = OpenVinoSession(graph.file, streams, threads, precision, graph.file.source)
    model = GraphModel(session, pair_by_pair=deterministic and graph.batch_dependent)
    return model, session.describe()


def shares_batches(runtime: GraphRuntime) -> bool:
    """Return whether each thread computes a batch of its own.

    ``auto`` does, as it is faster where both were measured (`benchmarks/runtimes.py`).

    Args:
        runtime: The settings.
    """
    return runtime.parallel != "threads"
