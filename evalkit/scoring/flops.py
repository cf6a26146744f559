"""The sizes of a model, and what follows from them by arithmetic: FLOPs, bytes of weights and activations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.process_memory import MIB


@dataclass(frozen=True)
class ModelShape:
    """The sizes of an encoder or a decoder that determine the work per token."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    parameters: int
    layer_weights: int | None = None
    """Weights in the matrices of one layer; None for 4 h^2 + 2 h f, those of BERT with h hidden and f feed-forward."""
    attention: int | None = None
    """Dimensions of all attention heads together; None for the hidden size."""
    causal: bool = False
    """Whether a token attends to those before it only."""


_IN_LAYER = re.compile(r"\blayers?\.\d+\.")
"""In the name of a weight that belongs to one of the equal layers, in most architectures."""


def shape_of(model: Any, causal: bool = False) -> ModelShape:
    """Return the sizes of a transformers model.

    Args:
        model: A model whose configuration has `num_hidden_layers`, `hidden_size` and `num_attention_heads`.
        causal: Whether it is a decoder.

    Raises:
        EvalkitError: its configuration lacks them: it is not an encoder of equal layers.
    """
    config = model.config
    try:
        layers, hidden, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    except AttributeError as error:
        raise EvalkitError(
            f"{type(model).__name__}: {error}; evalkit scores with encoders of equal layers, and this is none"
        ) from None
    matrices = sum(
        weight.numel() for name, weight in model.named_parameters() if weight.dim() == 2 and _IN_LAYER.search(name)
    )
    head_size = getattr(config, "head_dim", None)
    return ModelShape(
        layers=int(layers),
        hidden=int(hidden),
        feed_forward=int(getattr(config, "intermediate_size", 4 * hidden)),
        heads=int(heads),
        parameters=sum(weight.numel() for weight in model.parameters()),
        layer_weights=matrices // int(layers) or None,
        attention=int(heads) * int(head_size) if head_size else None,
        causal=causal,
    )


def forward_flops(shape: ModelShape, lengths: Sequence[int] | npt.NDArray[np.integer]) -> float:
    """Return the floating-point operations of one forward pass over pairs, without padding.

    A pair of L tokens takes layers * (L * 2 * w + 4 L^2 a) operations: one multiplication and one addition for each of
    the w weights in a layer's matrices, and attention's two products over all pairs of tokens, with a the dimensions of
    all heads together. In BERT w is 4 h^2 + 2 h f and a is h, with h the hidden size and f that of the feed-forward. A
    decoder needs half of attention's products. Embeddings, norms, activations and the head are left out (under 1 %).
    All layers and tokens are counted in full, even where the engine computes less of the last layer or a shared prefix
    once, so that the figure depends on the model and not on the engine.

    Args:
        shape: The model's sizes.
        lengths: Tokens of each pair.
    """
    tokens = np.asarray(lengths, dtype=np.float64)
    h, f = shape.hidden, shape.feed_forward
    weights, attention = shape.layer_weights or 4 * h * h + 2 * h * f, shape.attention or h
    products = (2 if shape.causal else 4) * attention * np.square(tokens).sum()
    return float(shape.layers * (tokens.sum() * 2 * weights + products))


def activation_bytes(shape: ModelShape, element_bytes: int) -> int:
    """Return the peak bytes of activations per token, without attention's buffers.

    The peak is in the feed-forward, which holds the layer's input, the intermediate states before and after the
    activation, and the output: 2 h + 2 f values, which is 10 h for the usual f = 4 h.

    Args:
        shape: The model's sizes.
        element_bytes: Bytes of a value.
    """
    return (2 * shape.hidden + 2 * shape.feed_forward) * element_bytes


def predicted_peak_mb(shape: ModelShape, element_bytes: int, batch_tokens: int) -> float:
    """Return the predicted peak memory in MiB of weights and activations.

    Args:
        shape: The model's sizes.
        element_bytes: Bytes of a weight and of an activation.
        batch_tokens: Tokens of a batch.
    """
    return (shape.parameters * element_bytes + activation_bytes(shape, element_bytes) * batch_tokens) / MIB


def weights_mb(model: Any) -> float:
    """Return the size of a torch model's parameters and buffers in MiB; shared tensors are counted once.

    Args:
        model: A torch module.
    """
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / MIB)
