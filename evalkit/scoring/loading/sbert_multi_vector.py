"""Reads the files of a late-interaction model, a vector a token, and refuses what is no such model.

Three formats hold one, all of which sentence-transformers 6.2 loads: its own, PyLate's, and the format of the first
ColBERT (``HF_ColBERT``), whose projection is among the transformer's weights.
"""

from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_files import (
    MODEL_CONFIG,
    Module,
    ReadFile,
    list_modules,
    path_in,
    read_json,
    read_prompts,
    read_transformer_settings,
    refuse_adapter,
    torch_class_name,
)

PROJECTION = "linear.weight"
"""The name of the projection among the weights of ``HF_ColBERT``."""

_PYLATE_DENSE = "pylate.models.Dense.Dense"
_SAME_AS = {_PYLATE_DENSE: "sentence_transformers.base.modules.dense.Dense"}
_PYLATE_KEYS = (
    "query_prefix", "document_prefix", "query_length", "document_length", "do_query_expansion",
    "attend_to_expansion_tokens", "skiplist_words",
)  # fmt: skip
_LENGTHS = ("query_length", "document_length", "query_expansion")
_PARTS = (
    "Transformer", "Dense", "LayerNorm", "Normalize", "Dropout", "MultiVectorMask", "HierarchicalTokenPooling",
)  # fmt: skip
_SIMILARITIES = ("maxsim", "meanmaxsim")
_ELSEWHERE = "rank with it elsewhere and give the ranking: reranker=trec_run reranker.path=RUN"


def refuse_multi_vector(read: ReadFile, config: Any, prefix: str) -> None:
    """Refuse a late-interaction model where another kind of model is asked for.

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of the message: the setting and the model.

    Raises:
        EvalkitError: it is one.
    """
    stated = read_json(read, MODEL_CONFIG, prefix) or {}
    if _is_classifier(config) or not (kind := _kind(config, stated)):
        return
    raise EvalkitError(
        f"{prefix}: a {kind}, a late-interaction model with a vector for each token, which neither has one vector a "
        f"text nor scores a pair by a classifier: reranker=late_interaction reranker.model={prefix.partition('=')[2]}"
    )


def read_multi_vector_config(read: ReadFile, config: Any, prefix: str) -> SbertConfig:
    """Return the settings in a late-interaction model's files.

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a file cannot be read, or the model is of another kind.
    """
    refuse_adapter(read, prefix)
    stated = read_json(read, MODEL_CONFIG, prefix) or {}
    modules = list_modules(read, prefix, _SAME_AS)
    kinds = tuple(module.kind for module in modules)
    if not _kind(config, stated):
        raise _other_kind(config, stated, kinds, prefix)
    prompts, default = read_prompts(stated, prefix)
    similarity = stated.get("similarity_fn_name")
    # PyLate states cosine for what it computes as MaxSim, as sentence-transformers does when it loads such a model.
    if similarity is not None and str(similarity).lower() not in (*_SIMILARITIES, "cosine"):
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states similarity_fn_name={str(similarity)[:80]!r}, and late interaction is one "
            f"of {', '.join(_SIMILARITIES)}; {_ELSEWHERE}"
        )
    if not modules:
        if not is_first_colbert(config):
            raise EvalkitError(f"{prefix}: it has no modules.json, which lists its parts; copy the whole folder")
        if read("model.safetensors") is None:
            raise EvalkitError(
                f"{prefix}: its projection ({PROJECTION}) is read from model.safetensors, which is not there; save the "
                "model again with sentence-transformers, MultiVectorEncoder(OLD).save_pretrained(PATH)"
            )
        return SbertConfig(prompts=prompts, default_prompt_name=default)
    others = [kind for kind in kinds if kind not in _PARTS]
    if kinds[0] != "Transformer" or modules[0].folder or others:
        raise EvalkitError(
            f"{prefix}: modules.json lists {', '.join(kinds)[:200]}, and evalkit runs late-interaction models that are "
            f"a Transformer in the model's own folder and then {', '.join(_PARTS[1:])}; {_ELSEWHERE}"
        )
    transformer = read_transformer_settings(read, "", prefix, "feature-extraction", _LENGTHS)
    for module in modules:
        if module.kind in ("Dense", "LayerNorm"):
            _check_layer(read, module, prefix)
    return SbertConfig(kinds, similarity=similarity, prompts=prompts, default_prompt_name=default,
                       max_length=transformer.max_length, lowercase=transformer.lowercase)  # fmt: skip


def is_first_colbert(config: Any) -> bool:
    """Return whether a model has its projection among the weights of its transformer.

    Args:
        config: Its configuration, as transformers reads it.
    """
    return "HF_ColBERT" in (getattr(config, "architectures", None) or ())


def _is_classifier(config: Any) -> bool:
    return any("ForSequenceClassification" in str(kind) for kind in getattr(config, "architectures", None) or ())


def _kind(config: Any, stated: dict[str, Any]) -> str | None:
    """Return the name of the format of a late-interaction model; None for another kind of model."""
    own = stated.get("model_type")
    if own == "MultiVectorEncoder":
        return "MultiVectorEncoder"
    if own == "ColBERT" or (own is None and any(key in stated for key in _PYLATE_KEYS)):
        return "ColBERT model of PyLate"
    return "ColBERT model" if own is None and is_first_colbert(config) else None


def _other_kind(config: Any, stated: dict[str, Any], kinds: tuple[str, ...], prefix: str) -> EvalkitError:
    name, own = prefix.partition("=")[2], stated.get("model_type")
    listed = f" (modules.json: {', '.join(kinds)[:200]})" if kinds else ""
    if own == "CrossEncoder" or "LogitScore" in kinds or (_is_classifier(config) and not kinds):
        found = "a cross-encoder, which has a score for a pair and no vectors", "reranker=cross_encoder reranker"
    elif own == "SparseEncoder" or "SpladePooling" in kinds:
        found = "a sparse encoder, whose vectors are weights of words", "first_stage=splade first_stage"
    elif "Pooling" in kinds:
        found = "an embedding model, which has one vector a text", "reranker=bi_encoder reranker"
    else:
        return EvalkitError(
            f"{prefix}: nothing in its files makes it a late-interaction model{listed}: {MODEL_CONFIG} with "
            "model_type MultiVectorEncoder or ColBERT, or the architecture HF_ColBERT; its projection to small vectors "
            f"would be random numbers. An embedding model is reranker=bi_encoder reranker.model={name}"
        )
    return EvalkitError(
        f"{prefix}: {found[0]}{listed}, and late interaction compares a vector for each token: {found[1]}.model={name}"
    )


def _check_layer(read: ReadFile, module: Module, prefix: str) -> None:
    kind, folder = module
    if read(path_in(folder, "model.safetensors")) is None:
        raise EvalkitError(
            f"{prefix}: {folder or 'its folder'} has no model.safetensors with the weights of its {kind}; a pickle can "
            "run code when it is read: save a model that you trust again with sentence-transformers, "
            "MultiVectorEncoder(OLD).save_pretrained(PATH), and give that folder"
        )
    stated = (read_json(read, path_in(folder, "config.json"), prefix) or {}).get("activation_function")
    if stated is not None and torch_class_name(stated) is None:
        raise EvalkitError(
            f"{prefix}: {path_in(folder, 'config.json')} states activation_function={str(stated)[:120]}, which is code "
            f"outside of torch, and evalkit runs none; {_ELSEWHERE}"
        )
