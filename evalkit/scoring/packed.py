"""The forward of XLM-RoBERTa, RoBERTa and BERT over packed pairs, written out: the same logits, less work.

What it saves changes no score: nothing is padded; query, key and value are one product; of the last layer only each
pair's first token is computed, which is all that the head reads, and on a CPU not even keys and values of the others.
The head runs in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers.activations import GELUActivation

from evalkit.scoring.attention import Kernel, Segments, choose
from evalkit.scoring.device import Precision
from evalkit.scoring.token_table import Batch

ENCODERS = {
    "XLMRobertaForSequenceClassification": "roberta",
    "RobertaForSequenceClassification": "roberta",
    "BertForSequenceClassification": "bert",
}
"""Architecture -> the attribute of the model that holds its encoder."""


def why_not(model: Any) -> str | None:
    """Return why a model cannot take the packed path, or None if it can."""
    name = type(model).__name__
    if name not in ENCODERS:
        return f"{name} is none of {', '.join(ENCODERS)}"
    config = model.config
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        return f"its positions are {config.position_embedding_type}, not absolute"
    if config.is_decoder or getattr(config, "add_cross_attention", False):
        return "it is a decoder"
    return None


_Affine = tuple[torch.Tensor, torch.Tensor]
"""A weight and a bias."""


@dataclass(frozen=True)
class _Layer:
    """One layer's weights: plain tensors, so that a compiled function serves all layers."""

    qkv: _Affine
    out: _Affine
    out_norm: _Affine
    up: _Affine
    down: _Affine
    down_norm: _Affine


class PackedModel:
    """A cross-encoder over packed batches; its weights are those of the transformers model it was made from."""

    def __init__(self, model: Any, device: torch.device, precision: Precision, compiled: bool = False) -> None:
        """Take over the weights of a model that `why_not` has nothing against.

        The model's own query, key and value become views of the fused weights: it goes on working, and nothing is
        held twice. With `compiled` all but attention and the matrix products is fused by torch.compile.
        """
        base = getattr(model, ENCODERS[type(model).__name__])
        self.device = device
        self._heads = int(model.config.num_attention_heads)
        self.kernel: Kernel = choose(device, precision, int(model.config.hidden_size) // self._heads)
        self._embeddings = base.embeddings
        # RoBERTa counts positions from behind the padding index, over tokens that are not padding themselves.
        self._pad = int(model.config.pad_token_id) if hasattr(base.embeddings, "padding_idx") else None
        self._takes_types = int(model.config.type_vocab_size) > 1
        self._layers = [_taken_over(layer) for layer in base.encoder.layer]
        first = base.encoder.layer[0]
        self._activation = first.intermediate.intermediate_act_fn
        if device.type == "cpu" and not compiled and isinstance(self._activation, GELUActivation):
            # Fresh memory is dear on a CPU: its pages come from the system one by one, which took 4 % of the time.
            self._activation = torch.ops.aten.gelu_
        self._eps = float(first.output.LayerNorm.eps)
        self._head = _head_of(model, base)
        self._after_attention: Callable[..., torch.Tensor] = (
            torch.compile(_after_attention, dynamic=True) if compiled else _after_attention
        )

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, Segments]:
        """Return ids, positions and token types, (3, tokens) int32 on the device, and where the pairs begin."""
        values = self.values(batch, len(batch.ids), len(batch.lengths)).to(self.device, non_blocking=True)
        return views(values, len(batch.ids), batch.lengths)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers."""
        return len(batch.ids)

    def values(self, batch: Batch, tokens: int, pairs: int) -> torch.Tensor:
        """Return ids, positions, token types and starts one behind the other, (3 tokens + pairs + 1,) int32, here.

        `tokens` and `pairs` may be more than the batch has. Pairs that are not there are then one token long each, and
        so no kernel meets an empty one; tokens behind them belong to none.
        """
        lengths = np.ones(pairs, dtype=np.int32)
        lengths[: len(batch.lengths)] = batch.lengths
        starts = np.zeros(pairs + 1, dtype=np.int32)
        np.cumsum(lengths, out=starts[1:])
        there = len(batch.ids)
        # One buffer and one copy: pinned memory comes out of a cache, and is not reused before the copy is done.
        host = torch.zeros(3 * tokens + len(starts), dtype=torch.int32, pin_memory=self.device.type == "cuda")
        values = host.numpy()
        values[:there] = batch.ids
        values[tokens : tokens + there] = self._positions(batch, starts[: len(batch.lengths) + 1])
        values[2 * tokens : 2 * tokens + there] = batch.type_ids if self._takes_types else 0
        values[3 * tokens :] = starts
        return host

    def forward(self, inputs: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Return the fp32 logits of a packed batch, (pairs,), on the device."""
        ids, positions, types = inputs
        embeddings = self._embeddings
        x = embeddings.word_embeddings(ids) + embeddings.token_type_embeddings(types)
        x = embeddings.LayerNorm(x + embeddings.position_embeddings(positions))
        for layer in self._layers[:-1]:
            qkv = functional.linear(x, *layer.qkv).view(len(x), 3, self._heads, -1)
            x = self._rest(layer, x, self.kernel.attend(qkv[:, 0], qkv[:, 1], qkv[:, 2], segments, False))
        return self._head_logits(self._last(self._layers[-1], x, segments))

    def _last(self, layer: _Layer, x: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Return the first token of each pair, (pairs, hidden), after the last layer."""
        weight, bias = layer.qkv
        hidden = x.shape[1]
        first = x[segments.starts[:-1]]
        query = functional.linear(first, weight[:hidden], bias[:hidden]).view(len(first), self._heads, -1)
        if self.kernel.over_states is not None:
            # q (K x + b) = (K^T q) x + q b: the last is the same for all tokens, and softmax does not see it. What is
            # mixed with weights that sum to 1 may be mixed before V is applied. So one token of a pair pays for both.
            key, value = weight[hidden:].view(2, self._heads, -1, hidden)
            asking = torch.einsum("phs,hsd->phd", query, key)
            mixed = self.kernel.over_states(asking, x, segments, query.shape[-1] ** -0.5)
            mixed = torch.einsum("phd,hsd->phs", mixed, value) + bias[2 * hidden :].view(self._heads, -1)
            return self._rest(layer, first, mixed)
        kv = functional.linear(x, weight[hidden:], bias[hidden:]).view(len(x), 2, self._heads, -1)
        return self._rest(layer, first, self.kernel.attend(query, kv[:, 0], kv[:, 1], segments, True))

    def _rest(self, layer: _Layer, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        return self._after_attention(
            x, mixed.flatten(1), layer.out, layer.out_norm, layer.up, layer.down, layer.down_norm, self._activation,
            self._eps,
        )  # fmt: skip

    def _head_logits(self, x: torch.Tensor) -> torch.Tensor:
        dense, bias, out, out_bias = self._head
        return functional.linear(torch.tanh(functional.linear(x.float(), dense, bias)), out, out_bias).flatten()

    def _positions(self, batch: Batch, starts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        begin = np.repeat(starts[:-1], batch.lengths)
        if self._pad is None:
            return np.arange(len(batch.ids), dtype=np.int32) - begin
        real = batch.ids != self._pad  # a text that spells "<pad>" out has the padding token in its middle
        counted = np.concatenate([[0], np.cumsum(real, dtype=np.int32)])
        positions: npt.NDArray[np.int32] = np.where(real, counted[1:] - counted[begin] + self._pad, self._pad)
        return positions


def views(values: torch.Tensor, tokens: int, lengths: npt.NDArray[np.int32]) -> tuple[torch.Tensor, Segments]:
    """Return the arguments of `PackedModel.forward` as views of `PackedModel.values` on the device."""
    return values[: 3 * tokens].view(3, tokens), Segments(lengths, values[3 * tokens :])


def _after_attention(
    x: torch.Tensor,
    mixed: torch.Tensor,
    out: _Affine,
    out_norm: _Affine,
    up: _Affine,
    down: _Affine,
    down_norm: _Affine,
    activation: Any,
    eps: float,
) -> torch.Tensor:
    """Return what a layer makes of its input and of attention's result, token by token."""
    shape = x.shape[1:]
    x = functional.layer_norm(functional.linear(mixed, *out).add_(x), shape, *out_norm, eps)
    widened = activation(functional.linear(x, *up))
    return functional.layer_norm(functional.linear(widened, *down).add_(x), shape, *down_norm, eps)


def _taken_over(layer: Any) -> _Layer:
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([part.weight.data for part in parts])
    bias = torch.cat([part.bias.data for part in parts])
    for part, own, own_bias in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight.data, part.bias.data = own, own_bias
    return _Layer(
        qkv=(weight, bias),
        out=_affine(layer.attention.output.dense),
        out_norm=_affine(layer.attention.output.LayerNorm),
        up=_affine(layer.intermediate.dense),
        down=_affine(layer.output.dense),
        down_norm=_affine(layer.output.LayerNorm),
    )


def _affine(module: Any) -> _Affine:
    return module.weight.data, module.bias.data


def _head_of(model: Any, base: Any) -> tuple[torch.Tensor, ...]:
    """Return the head's two layers as fp32 weights and biases; BERT keeps the first of them in its pooler."""
    dense, out = (base.pooler.dense, model.classifier) if base.pooler is not None else (
        model.classifier.dense, model.classifier.out_proj
    )  # fmt: skip
    return tuple(value.detach().float() for value in (dense.weight, dense.bias, out.weight, out.bias))
