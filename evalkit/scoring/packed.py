"""The forward pass of XLM-RoBERTa, RoBERTa and BERT over packed pairs: the logits of the padded one with less work.

There is no padding. Query, key and value are one matrix product. The last layer computes the first token of each pair
only, which is all that the head reads; on a CPU it also skips keys and values. The head runs in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers.activations import GELUActivation

from evalkit.scoring import linear
from evalkit.scoring.attention import Kernel, Segments, choose_kernel
from evalkit.scoring.device import Precision
from evalkit.scoring.tokenized_pairs import Batch

ENCODERS = {
    "XLMRobertaForSequenceClassification": "roberta",
    "RobertaForSequenceClassification": "roberta",
    "CamembertForSequenceClassification": "roberta",
    "BertForSequenceClassification": "bert",
}
"""Architecture -> the attribute of the model that holds its encoder."""


def reason_not_packable(model: Any) -> str | None:
    """Return why the packed forward pass does not support a model, or None if it does.

    Args:
        model: A sequence classifier of transformers, of one of `ENCODERS`.
    """
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
    """The weights of a layer, as plain tensors, so that one compiled function serves all layers."""

    qkv: _Affine
    out: _Affine
    out_norm: _Affine
    up: _Affine
    down: _Affine
    down_norm: _Affine


class PackedModel:
    """A cross-encoder over packed batches; it shares its weights with a transformers model."""

    def __init__(self, model: Any, device: torch.device, precision: Precision, compiled: bool = False) -> None:
        """Fuse the weights of query, key and value; those of the model become views of the fused ones.

        Args:
            model: A sequence classifier for which `reason_not_packable` is None. It can still be used.
            device: Where the model is.
            precision: The precision of the model.
            compiled: Whether torch.compile fuses what is not attention or a matrix product.
        """
        base = getattr(model, ENCODERS[type(model).__name__])
        self.device = device
        self._heads = int(model.config.num_attention_heads)
        self.kernel: Kernel = choose_kernel(device, precision, int(model.config.hidden_size) // self._heads)
        self._embeddings = base.embeddings
        # RoBERTa's positions start after the padding index, and padding tokens do not advance them.
        self._pad = int(model.config.pad_token_id) if hasattr(base.embeddings, "padding_idx") else None
        self._use_types = int(model.config.type_vocab_size) > 1
        self._layers = [_fuse_layer(layer) for layer in base.encoder.layer]
        first = base.encoder.layer[0]
        self._activation = first.intermediate.intermediate_act_fn
        if device.type == "cpu" and not compiled and isinstance(self._activation, GELUActivation):
            # In place: page faults of newly allocated memory took 4 % of the time on a CPU.
            self._activation = torch.ops.aten.gelu_
        self._eps = float(first.output.LayerNorm.eps)
        self._linear = functional.linear if compiled else linear.product_for(device, precision.dtype)
        # BERT has the first layer of the head in its pooler.
        dense, out = (base.pooler.dense, model.classifier) if base.pooler is not None else (
            model.classifier.dense, model.classifier.out_proj
        )  # fmt: skip
        self._head = tuple(weight.detach().float() for weight in (*_affine(dense), *_affine(out)))
        self._after_attention: Callable[..., torch.Tensor] = (
            torch.compile(_after_attention, dynamic=True) if compiled else _after_attention
        )

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, Segments]:
        """Return ids, positions and token types, (3, tokens) int32 on the device, and the boundaries of the pairs.

        Args:
            batch: The pairs.
        """
        buffer = self.host_buffer(batch, len(batch.ids), len(batch.lengths)).to(self.device, non_blocking=True)
        return split_buffer(buffer, len(batch.ids), batch.lengths)

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers.

        Args:
            batch: The pairs.
        """
        return len(batch.ids)

    def host_buffer(self, batch: Batch, tokens: int, pairs: int) -> torch.Tensor:
        """Return ids, positions, token types and `Segments.starts` in one buffer, (3 tokens + pairs + 1,) int32.

        Args:
            batch: The pairs.
            tokens: Tokens in the buffer, at least those of the batch; the rest is 0.
            pairs: Pairs in the buffer, at least those of the batch. The others are one token long each, since kernels
                may not support empty ones.

        Returns:
            The buffer on the host, in pinned memory if the device is a GPU.
        """
        lengths = np.ones(pairs, dtype=np.int32)
        lengths[: len(batch.lengths)] = batch.lengths
        starts = np.zeros(pairs + 1, dtype=np.int32)
        np.cumsum(lengths, out=starts[1:])
        used = len(batch.ids)
        # One buffer is one copy. torch caches pinned memory, and does not reuse it before the copy is done.
        buffer = torch.zeros(3 * tokens + len(starts), dtype=torch.int32, pin_memory=self.device.type == "cuda")
        values = buffer.numpy()
        values[:used] = batch.ids
        values[tokens : tokens + used] = self._positions(batch, starts[: len(batch.lengths) + 1])
        values[2 * tokens : 2 * tokens + used] = batch.type_ids if self._use_types else 0
        values[3 * tokens :] = starts
        return buffer

    def forward(self, inputs: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Return the fp32 logits of a packed batch, (pairs,), on the device.

        Args:
            inputs: Ids, positions and token types, (3, tokens).
            segments: The boundaries of the pairs.
        """
        ids, positions, types = inputs
        embeddings = self._embeddings
        x = embeddings.word_embeddings(ids) + embeddings.token_type_embeddings(types)
        x = embeddings.LayerNorm(x + embeddings.position_embeddings(positions))
        for layer in self._layers[:-1]:
            qkv = self._linear(x, *layer.qkv).view(len(x), 3, self._heads, -1)
            x = self._finish_layer(layer, x, self.kernel.attend(qkv[:, 0], qkv[:, 1], qkv[:, 2], segments, False))
        return self._head_logits(self._last_layer(self._layers[-1], x, segments))

    def _last_layer(self, layer: _Layer, x: torch.Tensor, segments: Segments) -> torch.Tensor:
        """Return the state of each pair's first token, (pairs, hidden), after the last layer."""
        weight, bias = layer.qkv
        hidden = x.shape[1]
        first = x[segments.starts[:-1]]
        query = self._linear(first, weight[:hidden], bias[:hidden]).view(len(first), self._heads, -1)
        if self.kernel.attend_states is not None:
            # q (K x + b) = (K^T q) x + q b, and q b is the same for all tokens, so that softmax cancels it. Attention's
            # weights sum to 1, so V can be applied after the weighted sum. Both products are for one token per pair.
            key, value = weight[hidden:].view(2, self._heads, -1, hidden)
            state_query = torch.einsum("phs,hsd->phd", query, key)
            attended = self.kernel.attend_states(state_query, x, segments, query.shape[-1] ** -0.5)
            attended = torch.einsum("phd,hsd->phs", attended, value) + bias[2 * hidden :].view(self._heads, -1)
            return self._finish_layer(layer, first, attended)
        kv = self._linear(x, weight[hidden:], bias[hidden:]).view(len(x), 2, self._heads, -1)
        return self._finish_layer(layer, first, self.kernel.attend(query, kv[:, 0], kv[:, 1], segments, True))

    def _finish_layer(self, layer: _Layer, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        return self._after_attention(
            x, attended.flatten(1), layer.out, layer.out_norm, layer.up, layer.down, layer.down_norm, self._linear,
            self._activation, self._eps,
        )  # fmt: skip

    def _head_logits(self, x: torch.Tensor) -> torch.Tensor:
        dense, bias, out, out_bias = self._head
        return functional.linear(torch.tanh(functional.linear(x.float(), dense, bias)), out, out_bias).flatten()

    def _positions(self, batch: Batch, starts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        begin = np.repeat(starts[:-1], batch.lengths)
        if self._pad is None:
            return np.arange(len(batch.ids), dtype=np.int32) - begin
        real = batch.ids != self._pad  # a text that contains "<pad>" literally has padding tokens in its middle
        counted = np.concatenate([[0], np.cumsum(real, dtype=np.int32)])
        positions: npt.NDArray[np.int32] = np.where(real, counted[1:] - counted[begin] + self._pad, self._pad)
        return positions


def split_buffer(buffer: torch.Tensor, tokens: int, lengths: npt.NDArray[np.int32]) -> tuple[torch.Tensor, Segments]:
    """Return the arguments of `PackedModel.forward` as views of one buffer.

    Args:
        buffer: `PackedModel.host_buffer`, copied to the device.
        tokens: Tokens in the buffer.
        lengths: Tokens of each pair, on the host.
    """
    return buffer[: 3 * tokens].view(3, tokens), Segments(lengths, buffer[3 * tokens :])


def _after_attention(
    x: torch.Tensor,
    attended: torch.Tensor,
    out: _Affine,
    out_norm: _Affine,
    up: _Affine,
    down: _Affine,
    down_norm: _Affine,
    product: linear.Linear,
    activation: Any,
    eps: float,
) -> torch.Tensor:
    """Return a layer's output from its input and its attention output, (tokens, hidden)."""
    shape = x.shape[1:]
    x = functional.layer_norm(product(attended, *out).add_(x), shape, *out_norm, eps)
    intermediate = activation(product(x, *up))
    return functional.layer_norm(product(intermediate, *down).add_(x), shape, *down_norm, eps)


def _fuse_layer(layer: Any) -> _Layer:
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
