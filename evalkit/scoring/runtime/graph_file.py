"""A graph of a model as a file: where it is, which files belong to it, and whether evalkit can score with it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper

from evalkit.boundary.errors import EvalkitError

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs that evalkit can give to a graph; the first one is required."""

_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Domains of operators that a runtime brings itself: the ONNX standard's, and ONNX Runtime's own."""

_INT_TYPES = (TensorProto.INT64, TensorProto.INT32)
_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)

_INTEGER_PRODUCTS = ("MatMulInteger", "QLinearMatMul", "QAttention", "DynamicQuantizeMatMul", "QGemm")
"""Operators whose second input is a matrix of 8-bit weights."""

FILES = {
    ("onnxruntime", "fp32"): ("onnx/model.onnx", "model.onnx"),
    ("onnxruntime", "fp16"): ("onnx/model_fp16.onnx", "model_fp16.onnx"),
    ("openvino", "fp32"): ("openvino/openvino_model.xml", "openvino_model.xml"),
    ("openvino", "int8"): ("openvino/openvino_model_qint8_quantized.xml", "openvino_model_qint8_quantized.xml"),
}
"""(runtime, precision) -> where sentence-transformers, Xenova and onnx-community put a model's graph."""


def quantized_files(cpu_flags: set[str]) -> tuple[str, ...]:
    """Return where an int8 graph for ONNX Runtime may be, those that were made for this processor first.

    Args:
        cpu_flags: Features of the processor, as in /proc/cpuinfo.
    """
    made_for = [
        (bool(cpu_flags & {"avx512_vnni", "avx_vnni", "amx_int8"}), "model_qint8_avx512_vnni.onnx"),
        ("avx512f" in cpu_flags, "model_qint8_avx512.onnx"),
        ("avx2" in cpu_flags, "model_quint8_avx2.onnx"),
        ("avx2" in cpu_flags, "model_qint8_avx2.onnx"),
        ("asimddp" in cpu_flags, "model_qint8_arm64.onnx"),
        (True, "model_int8.onnx"),
        (True, "model_quantized.onnx"),
    ]
    names = [name for fits, name in made_for if fits]
    return tuple(f"onnx/{name}" for name in names) + tuple(names)


@dataclass(frozen=True)
class GraphFile:
    """A graph that has been checked."""

    path: Path
    inputs: tuple[str, ...]
    """In the order of the graph."""
    sha256: str
    """Over the graph and the files with its weights, in hexadecimal."""
    bytes: int
    """Size of all files."""
    source: str
    """Where it came from: the file's name in the model's folder, the user's path, or ``evalkit's export``."""
    opset: int | None
    """Version of the ONNX operators; None for OpenVINO's format."""


@dataclass(frozen=True)
class PreparedGraph:
    """A graph for one runtime and precision, and what its scores are compared with."""

    file: GraphFile
    quantization: str | None
    """How its weights were made of fp32 ones; None if they were not quantized."""
    batch_dependent: bool
    """Whether a pair's score depends on the others of its batch."""
    reference_logits: tuple[float, ...] | None
    """torch's logits in fp32 for `graph_check.PROBE`; None without a self-check, and where there are no weights."""
    compared: bool = True
    """Whether there are weights of the model to compare the graph with."""


def find(names: Sequence[str], read_file: Callable[[str], Path | None]) -> tuple[str, Path] | None:
    """Return name and path of the first of several files that a model has, with the files of its weights fetched.

    Args:
        names: File names relative to the model's folder.
        read_file: As `loading.model_location.file_reader` returns it.

    Raises:
        EvalkitError: a graph names a file outside of its folder, or one that the model does not have.
    """
    for name in names:
        if (path := read_file(name)) is None:
            continue
        for other in companions(path, name):
            place = (PurePosixPath(name).parent / other).as_posix()
            if read_file(place) is None:
                raise EvalkitError(
                    f"{name} has its weights in {place}, which is not there; copy or download the whole folder"
                )
        return name, path
    return None


def companions(path: Path, name: str) -> list[str]:
    """Return the names of the files with a graph's weights, relative to its folder.

    Args:
        path: The graph.
        name: Its name in messages.

    Raises:
        EvalkitError: the graph cannot be read, or it names a file outside of its folder.
    """
    return [f"{path.stem}.bin"] if path.suffix == ".xml" else _weight_files(read_onnx(path, name), name)


def _weight_files(model: onnx.ModelProto, name: str) -> list[str]:
    found = dict.fromkeys(
        str(external_data_helper.ExternalDataInfo(tensor).location)
        for tensor in _tensors(model)
        if external_data_helper.uses_external_data(tensor)
    )
    for place in found:
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts or "\\" in place or not place:
            raise EvalkitError(f"{name} reads its weights from {place[:80]!r}, which is not in its own folder: refused")
    return list(found)


def read_onnx(path: Path, name: str) -> onnx.ModelProto:
    """Return an ONNX graph without the weights that are in other files.

    Args:
        path: The file.
        name: Its name in messages.

    Raises:
        EvalkitError: it is not an ONNX file.
    """
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors, and those of the file system
        raise EvalkitError(
            f"{name} cannot be read as an ONNX file ({type(error).__name__}): it is damaged, or not downloaded as a "
            "whole; copy or download it again"
        ) from None


def check_onnx(path: Path, name: str, source: str) -> GraphFile:
    """Check an ONNX graph.

    Args:
        path: The file.
        name: Its name in messages.
        source: As in `GraphFile`.

    Raises:
        EvalkitError: it has other inputs or outputs, fixed sizes, operators of other libraries, or files are missing.
    """
    model = read_onnx(path, name)
    others = _weight_files(model, name)
    for other in others:
        if not (path.parent / other).is_file():
            raise EvalkitError(
                f"{name} has its weights in {other}, which is not in {path.parent}; copy or download both"
            )
    own = {function.domain for function in model.functions}
    if custom := sorted({node.domain for node in _nodes(model)} - own - set(_DOMAINS)):
        raise EvalkitError(
            f"{name} has operators of {custom[0]!r}, which neither ONNX nor ONNX Runtime has: loading them would run "
            "code of another library, which evalkit does not; export the model without them, or use runtime=torch"
        )
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    _check_inputs(inputs, name)
    _check_output(list(model.graph.output), name)
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), None)
    files = [path, *(path.parent / other for other in others)]
    return GraphFile(path, tuple(value.name for value in inputs), *_digest(files), source, opset)


def check_openvino(path: Path, name: str, source: str, inputs: Sequence[str]) -> GraphFile:
    """Return an OpenVINO graph whose inputs have been read by OpenVINO.

    Args:
        path: The .xml file.
        name: Its name in messages.
        source: As in `GraphFile`.
        inputs: The names of its inputs.

    Raises:
        EvalkitError: the weights are missing, or it has other inputs.
    """
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise EvalkitError(f"{name} has its weights in {weights.name}, which is not next to it; copy or download both")
    check_input_names(inputs, name)
    return GraphFile(path, tuple(inputs), *_digest([path, weights]), source, None)


def check_input_names(names: Sequence[str], name: str) -> None:
    """Check that evalkit can give a graph the inputs that it has.

    Args:
        names: The names of the inputs.
        name: The graph's name in messages.

    Raises:
        EvalkitError: it has others, or no ``input_ids``.
    """
    if "input_ids" not in names or set(names) - set(INPUTS):
        raise EvalkitError(
            f"{name} has the inputs {', '.join(names)[:200] or 'none'}, and a reranker has input_ids and perhaps "
            "attention_mask and token_type_ids; export a sequence classifier"
        )


def saturates(path: Path) -> bool:
    """Return whether a quantized graph has signed 8-bit weights beyond 7 bits.

    A processor without VNNI adds two products of an unsigned and a signed byte in 16 bits, which overflow silently for
    such weights (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Args:
        path: An ONNX file.
    """
    model = onnx.load(path)
    products = {node.input[1] for node in _nodes(model) if node.op_type in _INTEGER_PRODUCTS}
    return any(
        tensor.name in products and np.abs(onnx.numpy_helper.to_array(tensor).astype(np.int16)).max(initial=0) > 64
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT8
    )


def _check_inputs(inputs: Sequence[onnx.ValueInfoProto], name: str) -> None:
    check_input_names([value.name for value in inputs], name)
    for value in inputs:
        kind, sizes = value.type.tensor_type.elem_type, _sizes(value)
        if kind not in _INT_TYPES or len(sizes) != 2:
            raise EvalkitError(
                f"{name}: its input {value.name} is {_type_name(kind)} with {len(sizes)} dimensions, and it must be "
                "int64 (pairs, tokens)"
            )
        if any(sizes):
            raise EvalkitError(
                f"{name}: its input {value.name} has the fixed shape ({', '.join(map(str, sizes))}); export it with "
                "dynamic axes for pairs and tokens"
            )


def _check_output(outputs: Sequence[onnx.ValueInfoProto], name: str) -> None:
    if len(outputs) != 1:
        raise EvalkitError(
            f"{name} has {len(outputs)} outputs ({', '.join(value.name for value in outputs)[:120]}), and a reranker "
            "has one, the logit; export a sequence classifier with one label"
        )
    kind, sizes = outputs[0].type.tensor_type.elem_type, _sizes(outputs[0])
    if kind not in _FLOAT_TYPES or len(sizes) > 2 or (len(sizes) == 2 and sizes[1] not in (1, 0)):
        shape = ", ".join(str(size or "?") for size in sizes)
        raise EvalkitError(
            f"{name}: its output {outputs[0].name} is {_type_name(kind)} ({shape}), and a reranker's is one logit a "
            "pair, (pairs, 1); export a sequence classifier with one label"
        )


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """Return the fixed size of each dimension, 0 for one that is dynamic."""
    return [int(size.dim_value) for size in value.type.tensor_type.shape.dim]


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes of a model, those of its functions, conditions and loops included."""
    places: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while places:
        for node in places.pop().node:
            yield node
            for attribute in node.attribute:
                places += (attribute.g, *attribute.graphs)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model that may have its values in another file."""
    yield from model.graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from inner.initializer


def _digest(files: Sequence[Path]) -> tuple[str, int]:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest(), sum(path.stat().st_size for path in files)
