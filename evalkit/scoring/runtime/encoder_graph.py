"""Writes the ONNX graph of a packable encoder: the same computation as the packed path, over pairs of equal length.

There is no attention mask, as a batch has no padding. Query, key and value are one matrix product, and the last layer
computes the first token of each pair only, which is all that the head reads. The operators are those of the ONNX
standard, so that every runtime can fuse them in its own way.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import torch
from onnx import TensorProto, helper

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.packed import ENCODERS, reason_not_packable

OPSET = 20
"""The first with Gelu as one operator (https://onnx.ai/onnx/operators/onnx__Gelu.html)."""
_IR_VERSION = 10
"""That of onnx 1.16 and later; runtimes refuse files that are newer than themselves."""

HEAD_PREFIX = "head."
"""Beginning of the names of the head's nodes, which are not quantized."""

WORDS = "words"
"""The name of the table of word embeddings, which is the only one that is quantized."""

_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
}
"""transformers' name of an activation -> operator and attributes."""


def reason_not_exportable(model: Any) -> str | None:
    """Return why evalkit cannot write the graph of a model, or None if it can.

    Args:
        model: A sequence classifier of transformers; it needs no weights.
    """
    name = type(model).__name__
    if name not in ENCODERS:
        return f"{name} is none of {', '.join(ENCODERS)}"
    if reason := reason_not_packable(model):
        return reason
    activation = str(model.config.hidden_act)
    return None if activation in _ACTIVATIONS else f"its activation {activation} is none of {', '.join(_ACTIVATIONS)}"


def write_encoder_graph(model: Any, path: Path, half: bool = False) -> None:
    """Write the graph of a reranker, with its weights in a second file, ``PATH.data``.

    The graph has the inputs ``input_ids`` and, where the model has several token types, ``token_type_ids``, both
    (pairs, tokens) int64, and the output ``logits``, (pairs, 1) fp32.

    Args:
        model: A sequence classifier in fp32 on the CPU for which `reason_not_exportable` is None.
        path: The file.
        half: Whether weights and states are fp16; the head stays fp32.

    Raises:
        EvalkitError: the model's architecture is not supported.
    """
    if reason := reason_not_exportable(model):
        raise EvalkitError(f"there is no ONNX graph for this model: {reason}; give one by reranker.graph=FILE")
    with _Weights(path.with_name(f"{path.name}.data")) as weights:
        graph = _Graph(weights, TensorProto.FLOAT16 if half else TensorProto.FLOAT)
        uses_types = _encoder(graph, model)
    pairs = ["pairs", "tokens"]
    names = ["input_ids", "token_type_ids"] if uses_types else ["input_ids"]
    proto = helper.make_graph(
        graph.nodes,
        "reranker",
        [helper.make_tensor_value_info(name, TensorProto.INT64, pairs) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["pairs", 1])],
        weights.tensors,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(proto, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="evalkit"), path)
    onnx.checker.check_model(str(path))


def _encoder(graph: "_Graph", model: Any) -> bool:
    """Add the nodes of a model; return whether it has token types."""
    config, base = model.config, getattr(model, ENCODERS[type(model).__name__])
    embeddings, layers = base.embeddings, base.encoder.layer
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    activation, attributes = _ACTIVATIONS[str(config.hidden_act)]
    uses_types = int(config.type_vocab_size) > 1
    words = graph.op("Gather", graph.weight(embeddings.word_embeddings.weight, WORDS), "input_ids")
    type_table = embeddings.token_type_embeddings.weight
    types = (
        graph.op("Gather", graph.weight(type_table, "types"), "token_type_ids")
        if uses_types
        else graph.weight(type_table[0], "types")
    )
    x = graph.op("Add", graph.op("Add", words, types), _positions(graph, config, embeddings))
    x = graph.norm(x, embeddings.LayerNorm, "embeddings.norm")
    for number, layer in enumerate(layers):
        name, own = f"layer{number}", layer.attention.self
        if number < len(layers) - 1:
            query, key, value = graph.linear_parts(x, [own.query, own.key, own.value], f"{name}.qkv")
        else:
            first = graph.op("Slice", x, graph.ints([0]), graph.ints([1]), graph.ints([1]))
            key, value = graph.linear_parts(x, [own.key, own.value], f"{name}.kv")
            query, x = graph.linear(first, own.query, f"{name}.q"), first
        attended = graph.attention(query, key, value, heads, hidden)
        attention, output = layer.attention.output, layer.output
        x = graph.op("Add", graph.linear(attended, attention.dense, f"{name}.out"), x)
        x = graph.norm(x, attention.LayerNorm, f"{name}.out_norm")
        up = graph.op(activation, graph.linear(x, layer.intermediate.dense, f"{name}.up"), **attributes)
        x = graph.op("Add", graph.linear(up, output.dense, f"{name}.down"), x)
        x = graph.norm(x, output.LayerNorm, f"{name}.down_norm")
    x = graph.op("Cast", graph.op("Squeeze", x, graph.ints([1])), to=TensorProto.FLOAT)
    graph.dtype = TensorProto.FLOAT
    # BERT has the first layer of the head in its pooler.
    dense, out = (
        (base.pooler.dense, model.classifier)
        if base.pooler is not None
        else (model.classifier.dense, model.classifier.out_proj)
    )
    x = graph.op("Tanh", graph.linear(x, dense, f"{HEAD_PREFIX}dense"))
    graph.nodes.append(helper.make_node("Identity", [graph.linear(x, out, f"{HEAD_PREFIX}out")], ["logits"]))
    return uses_types


def _positions(graph: "_Graph", config: Any, embeddings: Any) -> str:
    """Return the position embeddings, (1 or pairs, tokens, hidden)."""
    table = graph.weight(embeddings.position_embeddings.weight, "positions")
    if not hasattr(embeddings, "padding_idx"):
        tokens = graph.op("Slice", graph.op("Shape", "input_ids"), graph.ints([1]), graph.ints([2]))
        return graph.op(
            "Unsqueeze", graph.op("Slice", table, graph.ints([0]), tokens, graph.ints([0])), graph.ints([0])
        )
    # RoBERTa's positions start after the padding index, and padding tokens, which a text may contain literally, do not
    # advance them.
    pad = graph.ints(int(config.pad_token_id))
    real = graph.op("Cast", graph.op("Not", graph.op("Equal", "input_ids", pad)), to=TensorProto.INT64)
    counted = graph.op("Mul", graph.op("CumSum", real, graph.ints(1)), real)
    return graph.op("Gather", table, graph.op("Add", counted, pad))


class _Weights:
    """Tensors whose values are in a file next to the graph: a protobuf message ends at 2 GiB."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tensors: list[TensorProto] = []

    def __enter__(self) -> "_Weights":
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, name: str, values: npt.NDArray[Any]) -> None:
        """Add a tensor; a small one is stored in the graph itself, where shape inference can read it."""
        if values.nbytes < 1024:
            self.tensors.append(onnx.numpy_helper.from_array(values, name))
            return
        self._file.seek(-self._file.tell() % 4096, 1)  # aligned, so that runtimes can map it
        tensor = TensorProto(name=name, dims=values.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        place = {"location": self._path.name, "offset": self._file.tell(), "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(np.ascontiguousarray(values).data)
        self.tensors.append(tensor)


class _Graph:
    """Nodes under construction; methods return the name of a node's output."""

    def __init__(self, weights: _Weights, dtype: int) -> None:
        self._weights = weights
        self.dtype = dtype
        """ONNX's number of the type of weights and states."""
        self.nodes: list[onnx.NodeProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        (output,) = self._node(kind, inputs, 1, name, attributes)
        return output

    def _node(self, kind: str, inputs: Any, outputs: int, name: str, attributes: dict[str, Any]) -> list[str]:
        name = name or f"{kind.lower()}{len(self.nodes)}"
        results = [f"{name}:{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), results, name, **attributes))
        return results

    def weight(self, tensor: torch.Tensor, name: str) -> str:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(self.dtype))
        self._weights.add(name, tensor.detach().numpy().astype(dtype, copy=False))
        return name

    def ints(self, values: int | list[int]) -> str:
        name = f"ints{len(self._weights.tensors)}"
        self._weights.add(name, np.array(values, dtype=np.int64))
        return name

    def linear(self, x: str, module: Any, name: str) -> str:
        return self._affine(x, module.weight, module.bias, name)

    def linear_parts(self, x: str, modules: list[Any], name: str) -> list[str]:
        """Return the results of several layers with the same input, computed as one."""
        weight, bias = (torch.cat([getattr(module, key) for module in modules]) for key in ("weight", "bias"))
        together = self._affine(x, weight, bias, name)
        return self._node("Split", [together], len(modules), "", {"axis": -1, "num_outputs": len(modules)})

    def _affine(self, x: str, weight: torch.Tensor, bias: torch.Tensor, name: str) -> str:
        product = self.op("MatMul", x, self.weight(weight.T, f"{name}.weight"), name=name)
        return self.op("Add", product, self.weight(bias, f"{name}.bias"))

    def norm(self, x: str, module: Any, name: str) -> str:
        weights = self.weight(module.weight, f"{name}.weight"), self.weight(module.bias, f"{name}.bias")
        return self.op("LayerNormalization", x, *weights, axis=-1, epsilon=float(module.eps))

    def attention(self, query: str, key: str, value: str, heads: int, hidden: int) -> str:
        """Return attention over all tokens of a pair, (pairs, query's tokens, hidden)."""
        shape = self.ints([0, -1, heads, hidden // heads])  # 0 keeps a dimension, -1 is what is left
        split = [self.op("Reshape", states, shape) for states in (query, key, value)]
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        query, key, value = (self.op("Transpose", part, perm=order) for part, order in zip(split, orders, strict=True))
        scale = self.weight(torch.tensor((hidden // heads) ** -0.5), f"scale{len(self.nodes)}")
        weights = self.op("Softmax", self.op("Mul", self.op("MatMul", query, key), scale), axis=-1)
        joined = self.op("Transpose", self.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.op("Reshape", joined, self.ints([0, -1, hidden]))
