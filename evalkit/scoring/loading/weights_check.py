"""What a checkpoint holds, held against what its model takes: a difference is an error, or named and harmless."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.errors import EvalkitError

_HEADS = re.compile(
    r"(cls|lm_head|predictions|sop_classifier|lm_predictions|mask_predictions|discriminator_predictions"
    r"|generator_predictions|generator_lm_head|vocab_\w+|qa_outputs)\."
)
"""Heads of pre-training: no score passes through them."""

_COMPUTES = re.compile(
    r"(position_embedding|rope|rotary|alibi|relative_att|window|adapter|lora|pruned_heads|quantization|pooling"
    r"|experts?$|norm_type|attention_type)"
)
"""Settings of a configuration that change what is computed; `_HARMLESS` are those of old files that never did."""
_HARMLESS = frozenset({"pooler_type"})
_OFF = (None, False, 0, "", "absolute", "none")


def ignored_weights(report: Mapping[str, Any], model: Any, embeds: bool, name: str, setting: str) -> tuple[str, ...]:
    """Return the weights of the files that the model rightly leaves out, by their names, sorted.

    `report` is transformers' own account of loading; `embeds` is true for an encoder whose token states alone are used.

    Raises:
        EvalkitError: weights of the model are not in the files, or the files hold weights that the model has no place
            for, position indices and heads of pre-training aside.
    """
    missing = sorted(key for key in report["missing_keys"] if not (embeds and "pooler" in key))
    if missing:
        raise EvalkitError(
            f"{setting}={name}: {_weights(missing)} {'is' if len(missing) == 1 else 'are'} not in its files "
            f"(e.g. {missing[0]}), and would be random numbers; this is another kind of model"
        )
    found = sorted(report["unexpected_keys"])
    if wrong := unplaced(found, model, embeds):
        raise EvalkitError(
            f"{setting}={name}: its files hold {_weights(wrong)} (e.g. {wrong[0]}) that "
            f"{type(model).__name__} with this config.json has no place for; they would be left out and the scores "
            "would be another model's. Mend config.json (num_hidden_layers, for one), merge adapters into the weights, "
            "or take the architecture that the files were saved by"
        )
    return tuple(found)


def unplaced(unexpected: Iterable[str], model: Any, embeds: bool) -> list[str]:
    """Return those of the weights that `model` has no place for which matter: a score would pass through them."""
    pooler = any("pooler" in key for key, _ in model.named_parameters())
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def harmless(key: str) -> bool:
        inner = key.removeprefix(prefix)
        if inner.rpartition(".")[2] == "position_ids" or _HEADS.match(inner):
            return True
        if embeds and inner.startswith("classifier."):
            return True
        return inner.startswith("pooler.") and (embeds or not pooler)

    return [key for key in unexpected if not harmless(key)]


def check_config(config: Any, stated: Mapping[str, Any], model_class: type, name: str, setting: str) -> None:
    """Check that the model's class knows what config.json asks of its computation; `stated` is that file.

    transformers keeps any key that it does not know as an attribute that nothing reads. BERT's relative positions
    (``position_embedding_type: relative_key``) have been such a key since transformers 5.

    Raises:
        EvalkitError: a setting that changes what is computed is unknown to the class.
    """
    sources = ""
    for key, value in stated.items():
        if not _COMPUTES.search(key) or key in _HARMLESS or _is_off(value):
            continue
        sources = sources or "".join(_source(kind) for kind in (model_class, type(config)))
        if not re.search(rf"\b{re.escape(key)}\b", sources):
            raise EvalkitError(
                f"{setting}={name}: config.json asks for {key}={str(value)[:60]}, which {model_class.__name__} of the "
                "transformers that is installed does not know and would leave out; the scores would be another "
                "model's. Use a version of transformers that has it, or a model without it"
            )


def _is_off(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_off(inner) for inner in value.values())
    return (isinstance(value, list | tuple) and not value) or any(value is off or value == off for off in _OFF)


def _source(kind: type) -> str:
    return "".join(
        inspect.getsource(sys.modules[base.__module__])
        for base in kind.__mro__
        if ".models." in base.__module__ and base.__module__ in sys.modules
    )


def _weights(keys: Sequence[str]) -> str:
    return "1 weight" if len(keys) == 1 else f"{len(keys)} weights"
