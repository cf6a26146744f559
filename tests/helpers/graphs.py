"""Scorers of graphs in a runtime, without the cache and the process in which a trial makes a graph."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evalkit.scoring.runtime.graph_file import PreparedGraph, check_onnx, check_openvino
from evalkit.scoring.runtime.openvino_session import input_names
from evalkit.scoring.runtime.settings import runtime_of
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.spec import ScorerSpec, build_graph_scorer
from tests.helpers.scorers import MAX_LENGTH, load_scorer


def graph_scorer(
    model: Path,
    graph: Path,
    runtime: str = "onnxruntime",
    precision: str = "fp32",
    reference: tuple[float, ...] | None = None,
    deterministic: bool = False,
    max_length: int = MAX_LENGTH,
    parallel: str = "auto",
) -> Scorer:
    """Return a scorer of a graph file; a batch holds 400 tokens, as in `load_scorer`."""
    file = (
        check_openvino(graph, graph.name, "a test", input_names(str(graph), graph.name))
        if graph.suffix == ".xml"
        else check_onnx(graph, graph.name, "a test")
    )
    dynamic = precision == "int8" and runtime == "onnxruntime"
    prepared = PreparedGraph(file, None, dynamic, reference)
    spec = ScorerSpec(
        str(model),
        "cpu",
        precision,
        max_length,
        "longest_first",
        batch_tokens=max(400, max_length),
        deterministic=deterministic,
        runtime=runtime_of({"name": runtime, "parallel": parallel}),
    )
    return build_graph_scorer(spec, prepared).scorer


def torch_logits(model: Path, pairs: list[tuple[str, str]], max_length: int = MAX_LENGTH) -> npt.NDArray[np.float32]:
    """Return the logits of the packed path in fp32, (pairs,)."""
    return load_scorer(model, max_length, batch_tokens=max(400, max_length)).score(pairs).logits
