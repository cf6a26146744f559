"""From the states of tokens to the vector of a text: right padding, pooling, and the layers behind it."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from evalkit.errors import EvalkitError
from evalkit.scoring.loading.model_files import Layer


def right_padded(tokens: Sequence[Sequence[int]], config: Any, tokenizer: Any) -> dict[str, torch.Tensor]:
    """Return ids and attention mask, (texts, longest), padded on the right whatever the tokenizer's side is.

    Padding on the left moves a text's tokens to other positions in a longer batch: its vector would depend on the
    texts beside it. The id that pads is never seen, so that a tokenizer without one does as well.
    """
    words = int(getattr(config, "vocab_size", 1))
    pads = (getattr(config, "pad_token_id", None), tokenizer.pad_token_id, 0)
    pad = next(int(pad) for pad in pads if isinstance(pad, int) and 0 <= pad < words)
    longest = max(len(ids) for ids in tokens)
    input_ids = torch.full((len(tokens), longest), pad)
    mask = torch.zeros((len(tokens), longest), dtype=torch.long)
    for row, ids in enumerate(tokens):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector a text, (texts, hidden), of fp32 states (texts, longest, hidden) that are padded on the right.

    The rules are those of sentence-transformers' Pooling: ``cls`` the first token, ``lasttoken`` the last one,
    ``mean`` and ``max`` over all, ``weightedmean`` with weights 1, 2, 3 ..., ``mean_sqrt_len_tokens`` the sum over the
    root of their number.
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


class Head:
    """The layers behind the pooling, with their weights in fp32."""

    def __init__(self, layers: Sequence[Layer], device: torch.device, where: str) -> None:
        """Read the weights; `where` begins each message.

        Raises:
            EvalkitError: weights cannot be read, or are not those that the layer's configuration states.
        """
        self._layers = [(layer, _weights(layer, device, where)) for layer in layers]

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the vectors, (texts, out), of pooled ones, (texts, in)."""
        for layer, weights in self._layers:
            if layer.kind == "Normalize":
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            elif layer.kind == "LayerNorm":
                shape = (layer.size_in,)
                vectors = torch.nn.functional.layer_norm(vectors, shape, weights["norm.weight"], weights["norm.bias"])
            else:
                out = torch.nn.functional.linear(vectors, weights["linear.weight"], weights.get("linear.bias"))
                out = _ACTIVATIONS[layer.activation](out)
                if layer.residual:
                    same = layer.size_in == layer.size_out
                    out = out + (vectors if same else vectors @ weights["residual.weight"].T)
                vectors = out
        return vectors


def _weights(layer: Layer, device: torch.device, where: str) -> dict[str, torch.Tensor]:
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
            f"{where}: {layer.path}/model.safetensors cannot be read ({first}); copy or download the whole folder"
        ) from None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != expected:
        raise EvalkitError(
            f"{where}: {layer.path}/model.safetensors holds {_shown(shapes)}, and its config.json states "
            f"{_shown(expected)}; they belong to different models"
        )
    return {name: tensor.to(device, torch.float32) for name, tensor in found.items()}


def _shown(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))[:200] or "nothing"
