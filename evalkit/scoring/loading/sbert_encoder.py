"""Reads an embedding model's files in sentence-transformers' format, and refuses what evalkit does not compute."""

from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_files import (
    MODEL_CONFIG,
    Module,
    ReadFile,
    ends_in_scores,
    list_modules,
    read_json,
    read_modules,
    read_prompts,
    read_transformer_settings,
    refuse_adapter,
)
from evalkit.scoring.loading.sbert_layers import hidden_size, output_size, read_layers, read_pooling

_SEARCH_ELSEWHERE = "search with sentence-transformers and give the ranking: first_stage=trec_run first_stage.path=RUN"


def read_encoder_config(read: ReadFile, config: Any, prefix: str) -> SbertConfig:
    """Return the settings in an embedding model's files.

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a file cannot be read, or states what evalkit does not compute.
    """
    refuse_adapter(read, prefix)
    stated = read_json(read, MODEL_CONFIG, prefix) or {}
    _refuse_sparse(list_modules(read, prefix), stated, prefix)
    modules = read_modules(read, prefix)
    kinds = tuple(module.kind for module in modules)
    listed, own = ", ".join(kinds), str(stated.get("model_type") or "SentenceTransformer")
    if own == "CrossEncoder" or "LogitScore" in kinds or ends_in_scores(read, modules, prefix):
        raise EvalkitError(
            f"{prefix}: a cross-encoder{f' (modules.json: {listed})' if listed else ''}, which scores a query with a "
            f"passage and has no vectors: reranker=cross_encoder reranker.model={prefix.partition('=')[2]}"
        )
    if own != "SentenceTransformer":
        raise EvalkitError(
            f"{prefix}: a {own}{f' (modules.json: {listed})' if listed else ''}, and first_stage=dense compares one "
            f"dense vector a text; {_SEARCH_ELSEWHERE}"
        )
    similarity = stated.get("similarity_fn_name")
    if similarity not in (None, "cosine", "dot", "euclidean", "manhattan"):
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states similarity_fn_name={similarity!r}, which evalkit does not know"
        )
    truncate_dim = stated.get("truncate_dim")
    if truncate_dim is not None and (not isinstance(truncate_dim, int) or truncate_dim < 1):
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states truncate_dim={truncate_dim!r}, and it is a number of dimensions"
        )
    prompts, default = read_prompts(stated, prefix)
    if not modules:
        is_masked_lm = any("ForMaskedLM" in str(kind) for kind in getattr(config, "architectures", None) or ())
        return SbertConfig(similarity=similarity, truncate_dim=truncate_dim, prompts=prompts,
                           default_prompt_name=default, is_masked_lm=is_masked_lm)  # fmt: skip
    if "Pooling" not in kinds[1:2]:
        raise EvalkitError(
            f"{prefix}: modules.json lists {listed}, and evalkit embeds with a Transformer, a Pooling and then Dense, "
            f"LayerNorm or Normalize; {_SEARCH_ELSEWHERE}"
        )
    transformer = read_transformer_settings(read, modules[0].folder, prefix, "feature-extraction")
    size = hidden_size(config)
    pooling, pools_prompt = read_pooling(read, modules[1].folder, size, prefix, _SEARCH_ELSEWHERE)
    layers = read_layers(read, modules[2:], size, prefix, _SEARCH_ELSEWHERE)
    size = output_size(layers, size)
    if truncate_dim is not None and truncate_dim > size:
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states truncate_dim={truncate_dim}, and its vectors have {size} numbers"
        )
    return SbertConfig(kinds, pooling, pools_prompt, layers, similarity, truncate_dim, prompts, default,
                       transformer.max_length, transformer.lowercase)  # fmt: skip


def _refuse_sparse(modules: list[Module], stated: dict[str, Any], prefix: str) -> None:
    kinds = [module.kind for module in modules]
    is_router = kinds == ["Router"] and stated.get("model_type") == "SparseEncoder"
    if is_router or "SpladePooling" in kinds:
        raise EvalkitError(
            f"{prefix}: a SparseEncoder (modules.json: {', '.join(kinds)}), and first_stage=dense compares one dense "
            f"vector a text; a sparse encoder is first_stage=splade first_stage.model={prefix.partition('=')[2]}"
        )
