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
    batch_a_thread = runtime.parallel != "threads"  # faster where both were measured (`benchmarks/runtimes.py`)
    streams = threads if batch_a_thread else 1
    session: Session
    if isinstance(runtime, OnnxRuntime):
        from evalkit.scoring.runtime.onnxruntime_session import OnnxRuntimeSession

        session = OnnxRuntimeSession(
            graph.file, runtime.providers, threads // streams, precision == "tf32", graph.file.source
        )
    else:
        from evalkit.scoring.runtime.openvino_session import OpenVinoSession

        session = OpenVinoSession(graph.file, streams, threads, precision, graph.file.source)
    facts = session.describe()
    name = f"{runtime.name} {facts['runtime_version']}"
    return GraphModel(session, name, deterministic and graph.batch_dependent, batch_a_thread), facts
