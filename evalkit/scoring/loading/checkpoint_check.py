"""Compares a checkpoint with the model class that loads it: a difference that could change a score is an error."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.boundary.errors import EvalkitError

_PRETRAINING_HEADS = re.compile(
    r"(cls|lm_head|predictions|sop_classifier|lm_predictions|mask_predictions|discriminator_predictions"
    r"|generator_predictions|generator_lm_head|vocab_\w+|qa_outputs)\."
)
"""They are not part of the computation of a score."""

_COMPUTATION_KEYS = re.compile(
    r"(position_embedding|rope|rotary|alibi|relative_att|window|adapter|lora|pruned_heads|quantization|pooling"
    r"|experts?$|norm_type|attention_type)"
)
"""Settings of a configuration that change what is computed."""
_HARMLESS_KEYS = frozenset({"pooler_type"})
"""Settings of old files that match `_COMPUTATION_KEYS` and never changed anything."""
_OFF = (None, False, 0, "", "absolute", "none")


def check_loaded_weights(
    report: Mapping[str, Any], model: Any, embeds: bool, name: str, setting: str
) -> tuple[str, ...]:
    """Check that all weights of a model were in its files; return those of the files that it does not need, sorted.

    Args:
        report: The loading information of transformers (`output_loading_info`).
        model: The loaded model.
        embeds: Whether only the hidden states of its tokens are used.
        name: The model, as configured.
        setting: The configuration key that names it.

    Raises:
        EvalkitError: weights of the model are not in the files, or the files have weights that the model does not use
            and that are neither position indices nor heads of pre-training.
    """
    missing = sorted(key for key in report["missing_keys"] if not (embeds and "pooler" in key))
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    if missing and type(model).__name__.endswith("ForMaskedLM") and not any(key.startswith(prefix) for key in missing):
        raise EvalkitError(
            f"{setting}={name}: its files have no masked-language-model head ({missing[0]} is not there), and a sparse "
            f"encoder (SPLADE) reads its weights off one; if this is an embedding model: first_stage=dense "
            f"first_stage.model={name}"
        )
    if missing:
        raise EvalkitError(
            f"{setting}={name}: {_count(missing)} {'is' if len(missing) == 1 else 'are'} not in its files "
            f"(e.g. {missing[0]}), and would be random numbers; this is another kind of model"
        )
    unexpected = sorted(report["unexpected_keys"])
    if unsupported := unsupported_weights(unexpected, model, embeds):
        raise EvalkitError(
            f"{setting}={name}: its files hold {_count(unsupported)} (e.g. {unsupported[0]}) that "
            f"{type(model).__name__} with this config.json has no place for; they would be left out and the scores "
            "would be another model's. Correct config.json (num_hidden_layers, for one), merge adapters into the "
            "weights, or take the architecture that the files were saved by"
        )
    return tuple(unexpected)


def unsupported_weights(unexpected: Iterable[str], model: Any, embeds: bool) -> list[str]:
    """Return the unexpected weights that would be part of the computation of a score.

    Args:
        unexpected: Names of weights that are in the files and not in the model.
        model: The model; its weights are not read.
        embeds: Whether only the hidden states of its tokens are used.
    """
    has_pooler = any("pooler" in key for key, _ in model.named_parameters())
    prefix = f"{getattr(model, 'base_model_prefix', '')}."

    def harmless(key: str) -> bool:
        inner = key.removeprefix(prefix)
        if inner.rpartition(".")[2] == "position_ids" or _PRETRAINING_HEADS.match(inner):
            return True
        if embeds and inner.startswith("classifier."):
            return True
        return inner.startswith("pooler.") and (embeds or not has_pooler)

    return [key for key in unexpected if not harmless(key)]


def check_config_supported(config: Any, stated: Mapping[str, Any], model_class: type, name: str, setting: str) -> None:
    """Check that the model's class implements what config.json states about the computation.

    transformers stores a key that it does not know as an attribute that nothing reads. BERT's relative positions
    (``position_embedding_type: relative_key``) are such a key since transformers 5. The check looks for the key in the
    source code of the class and of its configuration.

    Args:
        config: The configuration, as transformers reads it.
        stated: The content of config.json.
        model_class: The model's class in transformers.
        name: The model, as configured.
        setting: The configuration key that names it.

    Raises:
        EvalkitError: the class does not know a setting that changes what is computed.
    """
    sources = ""
    for key, value in stated.items():
        if not _COMPUTATION_KEYS.search(key) or key in _HARMLESS_KEYS or _is_off(value):
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


def _count(keys: Sequence[str]) -> str:
    return "1 weight" if len(keys) == 1 else f"{len(keys)} weights"
