"""Reads a cross-encoder's files in sentence-transformers' format, and refuses what evalkit does not compute."""

from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import HeadLayer, SbertConfig
from evalkit.scoring.loading.sbert_files import (
    MODEL_CONFIG,
    Module,
    ReadFile,
    ends_in_scores,
    read_json,
    read_modules,
    read_prompts,
    read_transformer_settings,
    refuse_adapter,
    torch_class_name,
)
from evalkit.scoring.loading.sbert_layers import hidden_size, read_layers, read_pooling

SCORE_ELSEWHERE = "score with sentence-transformers and give evalkit the ranking: reranker=trec_run reranker.path=RUN"
"""The last part of messages about models that evalkit cannot score with."""

_INCREASING = ("Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softplus", "Softsign", "ELU", "SELU", "CELU", "LeakyReLU")
"""Increasing activations, under which ranking by logits is ranking by scores."""


def read_reranker_config(read: ReadFile, config: Any, prefix: str) -> SbertConfig:
    """Return the settings in a cross-encoder's files.

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a file cannot be read, or states what evalkit does not compute.
    """
    refuse_adapter(read, prefix)
    modules, stated = read_modules(read, prefix), read_json(read, MODEL_CONFIG, prefix) or {}
    kinds = tuple(module.kind for module in modules)
    architectures = [str(architecture) for architecture in getattr(config, "architectures", None) or ()]
    is_classifier = any("ForSequenceClassification" in architecture for architecture in architectures)
    own = str(stated.get("model_type") or "SentenceTransformer")
    listed = ", ".join(kinds)
    if "LogitScore" in kinds:
        raise EvalkitError(
            f"{prefix}: a reranker that reads its score off a language model's next token (modules.json: {listed}), "
            f"and evalkit scores with encoders that have a classifier; {SCORE_ELSEWHERE}"
        )
    scores = ends_in_scores(read, modules, prefix)
    modular = (own == "CrossEncoder" and len(kinds) > 1) or scores
    if modular and (own != "CrossEncoder" or not scores or kinds[1] != "Pooling"):
        raise EvalkitError(
            f"{prefix}: a {own} whose modules.json lists {listed}, and evalkit scores with a CrossEncoder that has a "
            f"classifier, or a Transformer, a Pooling and layers of which the last is a Dense that gives scores; "
            f"{SCORE_ELSEWHERE}"
        )
    if own in ("SparseEncoder", "MultiVectorEncoder") and not is_classifier:
        raise EvalkitError(f"{prefix}: a {own} ({listed}), which is no cross-encoder; {SCORE_ELSEWHERE}")
    activation, notes = _activation_in_model_config(config), []
    if own != "CrossEncoder" or not kinds:
        # As sentence-transformers' CrossEncoder does: of another kind of model it loads the transformer only.
        if is_classifier and kinds:
            notes.append(
                f"modules.json describes a {own} ({listed}), and its transformer alone was used, which is a classifier"
            )
        if is_classifier and (default := stated.get("default_prompt_name")):
            notes.append(
                f"{MODEL_CONFIG} names a default prompt ({default!r}) which was not used, since "
                f"{'there is no modules.json' if not kinds else f'it is of a {own}'}; reranker.prompt sets one"
            )
        return SbertConfig(
            kinds, activation=_increasing_activation(activation, "config.json", prefix), notes=tuple(notes)
        )
    task = "feature-extraction" if modular else "sequence-classification"
    transformer = read_transformer_settings(read, modules[0].folder, prefix, task)
    if stated.get("keep_in_fp32_modules"):
        notes.append(
            f"{MODEL_CONFIG} has keep_in_fp32_modules, which is not followed: all of the model is in one precision"
        )
    prompts, default = read_prompts(stated, prefix)
    if default is None and (others := [name for name, prompt in prompts.items() if prompt]):
        notes.append(
            f"{MODEL_CONFIG} has prompts ({', '.join(map(repr, others))[:120]}) and names no default one: none was "
            "used; reranker.prompt sets one"
        )
    pooling, layers = _read_head(read, modules, config, prefix) if modular else (None, ())
    return SbertConfig(
        kinds,
        pooling,
        layers=layers,
        scores=modular,
        prompts=prompts,
        default_prompt_name=default,
        max_length=transformer.max_length,
        lowercase=transformer.lowercase,
        activation=_increasing_activation(stated.get("activation_fn") or activation, MODEL_CONFIG, prefix),
        notes=tuple(notes),
    )


def _read_head(read: ReadFile, modules: list[Module], config: Any, prefix: str) -> tuple[str, tuple[HeadLayer, ...]]:
    """Return the pooling and the layers of a modular cross-encoder."""
    size = hidden_size(config)
    pooling, pools_prompt = read_pooling(read, modules[1].folder, size, prefix, SCORE_ELSEWHERE)
    if not pools_prompt:
        raise EvalkitError(
            f"{prefix}: its own files leave the prompt's tokens out of the pooling (include_prompt=false), which "
            f"evalkit does not support; {SCORE_ELSEWHERE}"
        )
    return pooling, read_layers(read, modules[2:], size, prefix, SCORE_ELSEWHERE, scores=True)


def _activation_in_model_config(config: Any) -> object:
    """Return the activation in config.json, where sentence-transformers before version 6 stored it."""
    settings = getattr(config, "sentence_transformers", None)
    activation = settings.get("activation_fn") if isinstance(settings, dict) else None
    return activation or getattr(config, "sbert_ce_default_activation_function", None)


def _increasing_activation(path: object, file: str, prefix: str) -> str | None:
    if path is None:
        return None
    name = torch_class_name(path)
    if name not in _INCREASING:
        raise EvalkitError(
            f"{prefix}: {file} states the activation {str(path)[:120]} for its scores, which need not keep the order "
            f"of the logits that evalkit ranks by ({', '.join(_INCREASING)} do); {SCORE_ELSEWHERE}"
        )
    return name
