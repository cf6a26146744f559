"""From hidden states to the embedding of a text: padding, pooling, and the layers after it."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import HeadLayer


def pad_right(tokens: Sequence[Sequence[int]], config: Any, tokenizer: Any) -> dict[str, torch.Tensor]:
    """Return ids and attention mask, padded on the right even if the tokenizer's padding side is left.

    Padding on the left shifts a text's positions in a batch with a longer text, so that its embedding would depend on
    the batch. The padding id is masked, so that any valid id serves if the model has none.

    Args:
        tokens: The ids of each text, special tokens included.
        config: The configuration of a transformers model.
        tokenizer: Its tokenizer.

    Returns:
        `input_ids` and `attention_mask`, each (texts, tokens of the longest text).
    """
    vocabulary = int(getattr(config, "vocab_size", 1))
    candidates = (getattr(config, "pad_token_id", None), tokenizer.pad_token_id, 0)
    pad = next(int(pad) for pad in candidates if isinstance(pad, int) and 0 <= pad < vocabulary)
    longest = max(len(ids) for ids in tokens)
    input_ids = torch.full((len(tokens), longest), pad)
    mask = torch.zeros((len(tokens), longest), dtype=torch.long)
    for row, ids in enumerate(tokens):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def pool_states(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector for each text, (texts, hidden), by the rules of sentence-transformers' Pooling.

    Args:
        states: Hidden states of the last layer in fp32, (texts, tokens, hidden), padded on the right.
        mask: 1 for tokens and 0 for padding, (texts, tokens).
        pooling: ``cls``: the first token; ``lasttoken``: the last one; ``mean`` and ``max``: over all tokens;
            ``weightedmean``: with weights 1, 2, 3, ...; ``mean_sqrt_len_tokens``: the sum, divided by the square root
            of the number of tokens.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "weightedmean":
        weights = weights * torch.arange(1, mask.shape[1] + 1, device=states.device).view(1, -1, 1)
    count = weights.sum(1)
    return (states * weights).sum(1) / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)


_ACTIVATIONS = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "Sigmoid": torch.sigmoid,
    "SiLU": torch.nn.functional.silu,
}


class EmbeddingHead:
    """The layers after the pooling, with their weights in fp32."""

    def __init__(self, layers: Sequence[HeadLayer], device: torch.device, prefix: str) -> None:
        """Read the weights.

        Args:
            layers: The layers, in order.
            device: Where they compute.
            prefix: The beginning of messages: the setting and the model.

        Raises:
            EvalkitError: weights cannot be read, or their shapes are not those of the layer's configuration.
        """
        self._layers = [(layer, _load_weights(layer, device, prefix)) for layer in layers]

    def weights(self) -> list[torch.Tensor]:
        """Return the weights of all layers."""
        return [weight for _, weights in self._layers for weight in weights.values()]

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of texts, (texts, size of the last layer).

        Args:
            vectors: Pooled vectors, (texts, hidden).
        """
        for layer, weights in self._layers:
            if layer.kind == "Normalize":
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            elif layer.kind == "LayerNorm":
                shape = (layer.size_in,)
                vectors = torch.nn.functional.layer_norm(vectors, shape, weights["norm.weight"], weights["norm.bias"])
            else:
                output = torch.nn.functional.linear(vectors, weights["linear.weight"], weights.get("linear.bias"))
                output = _ACTIVATIONS[layer.activation](output)
                if layer.residual:
                    same = layer.size_in == layer.size_out
                    output = output + (vectors if same else vectors @ weights["residual.weight"].T)
                vectors = output
        return vectors


def _load_weights(layer: HeadLayer, device: torch.device, prefix: str) -> dict[str, torch.Tensor]:
    if layer.weights is None:
        return {}
    expected: dict[str, tuple[int, ...]]
    if layer.kind == "LayerNorm":
        expected = {"norm.weight": (layer.size_in,), "norm.bias": (layer.size_in,)}
    else:
        expected = {"linear.weight": (layer.size_out, layer.size_in)}
        if layer.bias:
            expected["linear.bias"] = (layer.size_out,)
        if layer.residual and layer.size_in != layer.size_out:
            expected["residual.weight"] = (layer.size_out, layer.size_in)
    try:
        found = load_file(layer.weights)
    except (OSError, ValueError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0][:200]
        raise EvalkitError(
            f"{prefix}: {layer.path}/model.safetensors cannot be read ({first}); copy or download the whole folder"
        ) from None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != expected:
        raise EvalkitError(
            f"{prefix}: {layer.path}/model.safetensors holds {_format_shapes(shapes)}, and its config.json states "
            f"{_format_shapes(expected)}; they belong to different models"
        )
    return {name: tensor.to(device, torch.float32) for name, tensor in found.items()}


def _format_shapes(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))[:200] or "nothing"
