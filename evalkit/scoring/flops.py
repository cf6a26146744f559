"""The sizes of an encoder, and what follows from them by arithmetic: FLOPs, bytes of weights and activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import EvalkitError

_MIB = 2**20


@dataclass(frozen=True)
class ModelShape:
    """What of an encoder's configuration decides how much work a token is."""

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
    """Read the sizes off a transformers model.

    Raises:
        EvalkitError: its configuration does not state them: it is no transformer of equal layers.
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
    """Return the floating-point operations of one forward over pairs of these lengths in tokens.

    A pair of L tokens takes layers * (L * 2 * (4 h^2 + 2 h f) + 4 L^2 h): the four projections and the two of the
    feed-forward, a multiplication and an addition each, and attention's two products over all pairs of tokens.
    Embeddings, norms, activations and the head are left out: under 1 %. All layers count whole, also where the engine
    computes less of the last one: what a model costs does not depend on who runs it.
    """
    tokens = np.asarray(lengths, dtype=np.float64)
    h, f = shape.hidden, shape.feed_forward
    return float(shape.layers * (tokens.sum() * 2 * (4 * h * h + 2 * h * f) + 4 * h * np.square(tokens).sum()))


def activation_bytes(shape: ModelShape, element_bytes: int) -> int:
    """Return the bytes that one token takes in the layers at the widest point, attention's own buffers aside.

    In the feed-forward there are alive: the layer's input, the widened states before and after the activation, and
    the narrowed ones: 2 h + 2 f values, 10 h for the usual f = 4 h.
    """
    return (2 * shape.hidden + 2 * shape.feed_forward) * element_bytes


def predicted_peak_mb(shape: ModelShape, element_bytes: int, batch_tokens: int) -> float:
    """Return the memory in MiB that weights and activations of a batch of `batch_tokens` should take at most."""
    return (shape.parameters * element_bytes + activation_bytes(shape, element_bytes) * batch_tokens) / _MIB


def weights_mb(model: Any) -> float:
    """Return the size of a torch model's parameters and buffers in MiB, shared ones counted once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / _MIB)
