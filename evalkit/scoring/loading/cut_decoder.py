"""What transformers makes of a decoder with a head behind each of its upper layers, up to one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.boundary.errors import EvalkitError


@dataclass(frozen=True)
class CutDecoder:
    """The classes and weights to load, without the layers behind the one that scores."""

    config: Any
    """The configuration in transformers, of as many layers as are computed."""
    model_class: Any
    """The class in transformers of the decoder without a head."""
    head: str
    """The name of the head's weight in the files, (1, hidden)."""
    softcap: float | None = None
    """The limit of scores by a hyperbolic tangent; None for none."""
    merges: bool = False
    """Whether the model was trained to have tokens of the passage merged between its layers."""


def check_layer(stated: Mapping[str, Any], layer: int, first: int, step: int, prefix: str) -> None:
    """Check that there is a head behind a layer.

    Args:
        stated: The content of config.json.
        layer: The layer, counted from 1.
        first: The first layer with a head.
        step: Layers from one head to the next.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: there is none.
    """
    layers = int(stated["num_hidden_layers"])
    if layer not in range(first, layers + 1, step):
        which = "the layers" if step == 1 else f"every {step} layers of those from"
        raise EvalkitError(f"reranker.cutoff_layer={layer}: {prefix} has heads behind {which} {first} to {layers}")


def rope_theta(stated: Mapping[str, Any]) -> float | None:
    """Return the base of a model's rotary positions; None where they are scaled.

    Args:
        stated: The content of config.json, as transformers before or since version 5 writes it.
    """
    rope = stated.get("rope_parameters") or {}
    if stated.get("rope_scaling") or rope.get("rope_type", "default") != "default":
        return None
    return float(rope.get("rope_theta") or stated.get("rope_theta") or 10000.0)


def settings_up_to(layer: int, stated: Mapping[str, Any], names: Sequence[str], theta: float) -> dict[str, Any]:
    """Return the arguments of a configuration in transformers that all kinds of these models have.

    Args:
        layer: The layer that scores, counted from 1.
        stated: The content of config.json.
        names: The settings that transformers has under the same names; those that are not stated are left out.
        theta: As `rope_theta` returns it.
    """
    return {
        **{key: stated[key] for key in names if stated.get(key) is not None},
        "num_hidden_layers": layer,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "tie_word_embeddings": False,
        "use_cache": False,
    }
