"""The sizes of an encoder, and what follows from them by arithmetic: FLOPs, bytes of weights and activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.boundary.process_memory import MIB
from evalkit.errors import EvalkitError


@dataclass(frozen=True)
class ModelShape:
    """The sizes of an encoder that determine the work per token."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    parameters: int

    @property
    def head_size(self) -> int:
        """Return the dimensions of one attention head."""
        return self.hidden // self.heads


def shape_of(model: Any) -> ModelShape:
    """Return the sizes of a transformers model.

    Args:
        model: A model whose configuration has `num_hidden_layers`, `hidden_size` and `num_attention_heads`.

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
    return ModelShape(
        layers=int(layers),
        hidden=int(hidden),
        feed_forward=int(getattr(config, "intermediate_size", 4 * hidden)),
        heads=int(heads),
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def forward_flops(shape: ModelShape, lengths: Sequence[int] | npt.NDArray[np.integer]) -> float:
    """Return the floating-point operations of one forward pass over pairs, without padding.

    A pair of L tokens takes layers * (L * 2 * (4 h^2 + 2 h f) + 4 L^2 h) operations, with h the hidden size and f that
    of the feed-forward: four projections and two feed-forward products at one multiplication and one addition per
    weight, and attention's two products over all pairs of tokens. Embeddings, norms, activations and the head are left
    out (under 1 %). All layers are counted in full, even where the engine computes less of the last one, so that the
    figure depends on the model and not on the engine.

    Args:
        shape: The model's sizes.
        lengths: Tokens of each pair.
    """
    tokens = np.asarray(lengths, dtype=np.float64)
    h, f = shape.hidden, shape.feed_forward
    return float(shape.layers * (tokens.sum() * 2 * (4 * h * h + 2 * h * f) + 4 * h * np.square(tokens).sum()))


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
