"""Finds the graph that a spec asks for, or makes it: nothing is loaded into a runtime yet."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import user_path
from evalkit.scoring.device import PRECISIONS, cpu_flags
from evalkit.scoring.loading.model_location import file_reader
from evalkit.scoring.loading.pretrained import Pretrained, load_without_weights
from evalkit.scoring.loading.weight_files import has_safetensors
from evalkit.scoring.made_files import GRAPHS, cached
from evalkit.scoring.runtime import make_graph
from evalkit.scoring.runtime.capabilities import computes_on_cpu, has_vnni
from evalkit.scoring.runtime.encoder_graph import reason_not_exportable
from evalkit.scoring.runtime.graph_check import PROBE
from evalkit.scoring.runtime.graph_file import (
    FILES,
    GraphFile,
    PreparedGraph,
    check_onnx,
    check_openvino,
    find,
    quantized_files,
    saturates,
)
from evalkit.scoring.runtime.settings import OnnxRuntime, Runtime
from evalkit.scoring.spec import ScorerSpec

EXPORT = "export"
"""Value of `reranker.graph` for a graph that evalkit makes, whatever files the model has."""

_LAYOUT = 1
"""Counted up when evalkit's own graphs change."""


def prepare_graph(spec: ScorerSpec) -> PreparedGraph:
    """Return the graph of a spec: the named file, one among the model's own files, or evalkit's export.

    Args:
        spec: A spec whose runtime computes a graph.

    Raises:
        EvalkitError: there is no such graph, it is not a reranker's, or it cannot be made.
    """
    runtime, precision = spec.runtime, spec.precision
    pretrained = load_without_weights(spec.model, spec.revision, PRECISIONS["fp32"], "reranker.model", weights=False)
    spec = replace(spec, revision=pretrained.commit)  # so that a push in between cannot mix two models
    has_weights = has_safetensors(spec.model, pretrained.commit)
    found = None if spec.graph == EXPORT else _given(spec) if spec.graph else _own_file(spec)
    if found is None:
        if not has_weights:
            raise _nothing_to_compute(spec)
        file, quantization = _made(spec, pretrained)
    else:
        file, quantization = found, "as in the file" if precision == "int8" else None
    dynamic = precision == "int8" and runtime.name == "onnxruntime"
    if dynamic and found is not None and spec.self_check and not has_vnni() and saturates(file.path):
        raise EvalkitError(
            f"{_label(spec)}: {file.source} has signed weights of 8 bits, whose sums overflow on a processor without "
            "VNNI such as this one; use reranker.graph=export, which makes weights of 7 bits, or "
            "reranker.self_check=false to measure it as it is"
        )
    reference = _reference(spec, pretrained) if spec.self_check and has_weights else None
    return PreparedGraph(file, quantization, dynamic, reference, compared=has_weights)


def _label(spec: ScorerSpec) -> str:
    return f"reranker.model={spec.model}"


def _nothing_to_compute(spec: ScorerSpec) -> EvalkitError:
    why = f"it has no graph for runtime={spec.runtime.name} at precision={spec.precision}"
    if spec.graph == EXPORT:
        why = f"reranker.graph={EXPORT} makes a graph of its weights"
    return EvalkitError(
        f"{_label(spec)}: {why}, and the model has no model.safetensors to make one of; give a file by "
        "reranker.graph=FILE, or another precision, runtime or model"
    )


def _given(spec: ScorerSpec) -> GraphFile:
    """Return the graph that `reranker.graph` names: a path, or a file of the model's."""
    assert spec.graph is not None
    suffix = ".xml" if spec.runtime.name == "openvino" else ".onnx"
    if not spec.graph.endswith((".onnx", suffix)):
        raise EvalkitError(
            f"reranker.graph={spec.graph}: runtime={spec.runtime.name} reads {suffix} files; give one, or "
            f"reranker.graph={EXPORT}"
        )
    path, source = user_path(spec.graph), spec.graph
    if not path.is_file():
        found = None
        if not path.is_absolute() and ".." not in path.parts:
            found = find([spec.graph], file_reader(spec.model, spec.revision))
        if found is None:
            raise EvalkitError(
                f"reranker.graph={spec.graph}: there is no such file, here or among the files of {spec.model}; "
                f"give one, or reranker.graph={EXPORT}"
            )
        source, path = found
    return _checked(path, f"reranker.graph={spec.graph}", source)


def _own_file(spec: ScorerSpec) -> GraphFile | None:
    """Return the graph among a model's own files that is for this runtime and precision, or None."""
    runtime, precision = spec.runtime, spec.precision
    names: tuple[str, ...] = FILES.get((runtime.name, precision), ())
    if isinstance(runtime, OnnxRuntime) and precision == "int8":
        names = quantized_files(cpu_flags())
    found = find(names, file_reader(spec.model, spec.revision))
    if found is None:
        return None
    name, path = found
    return _checked(path, f"{_label(spec)}: {name}", name)


def _checked(path: Path, name: str, source: str) -> GraphFile:
    if path.suffix != ".xml":
        return check_onnx(path, name, source)
    from evalkit.scoring.runtime.openvino_session import input_names

    return check_openvino(path, name, source, input_names(str(path), name))


def _made(spec: ScorerSpec, pretrained: Pretrained) -> tuple[GraphFile, str | None]:
    """Return evalkit's own graph and how it was quantized."""
    if reason := reason_not_exportable(pretrained.model):
        raise EvalkitError(
            f"{_label(spec)}: evalkit cannot make a graph of it: {reason}; give a file by reranker.graph=FILE, or use "
            "runtime=torch"
        )
    source, name = "evalkit's export", f"evalkit's export of {spec.model}"
    half = spec.precision == "fp16" and not computes_on_cpu(spec.runtime)
    made_of: dict[str, Any] = {
        "layout": _LAYOUT,
        "revision": pretrained.revision,
        "half": half,
        "versions": _versions("torch", "transformers", "onnx"),
    }
    exported = cached(
        GRAPHS, "exporting the model to ONNX, once", made_of, make_graph.export, spec.model, spec.revision, half
    )
    if spec.precision != "int8":
        return check_onnx(exported / make_graph.ONNX_FILE, name, source), None
    if spec.runtime.name == "openvino":
        made_of |= {"quantization": "int8 asymmetric", "compressed by": _versions("nncf", "openvino")}
        folder = cached(GRAPHS, "compressing the weights to int8, once", made_of, make_graph.compress, exported)
        how = f"weights int8, asymmetric per channel, by NNCF {version('nncf')}"
        return _checked(folder / make_graph.OPENVINO_FILE, name, source), how
    reduce_range = not has_vnni()
    made_of |= {"quantization": "dynamic", "reduce_range": reduce_range, "by": _versions("onnxruntime")}
    folder = cached(GRAPHS, "quantizing the graph to int8, once", made_of, make_graph.quantize, exported, reduce_range)
    bits = "7 bits, as this CPU has no VNNI" if reduce_range else "8 bits"
    by = f"onnxruntime {version('onnxruntime')}"
    how = f"weights int8 ({bits}), symmetric per channel; activations uint8 per batch; {by}"
    return check_onnx(folder / make_graph.ONNX_FILE, name, source), how


def _reference(spec: ScorerSpec, pretrained: Pretrained) -> tuple[float, ...]:
    """Return torch's logits of the probe in fp32, computed once."""
    torch_spec = replace(
        spec, device="cpu", precision="fp32", path="auto", deterministic=False, batch_tokens=None, runtime=Runtime(),
        graph=None,
    )  # fmt: skip
    made_of = {
        "probe": [list(pair) for pair in PROBE],
        "revision": pretrained.revision,
        "max_length": spec.max_length,
        "truncation": spec.truncation,
        "versions": _versions("torch", "transformers"),
    }
    label = "scoring eight pairs with torch in fp32, once, to compare the graph with"
    folder = cached(GRAPHS, label, made_of, make_graph.reference_logits, torch_spec, list(PROBE))
    return tuple(float(logit) for logit in np.load(folder / make_graph.LOGITS_FILE))


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
