"""Reads a sparse encoder's files in sentence-transformers' format, and refuses what evalkit does not compute.

A SPLADE model is a transformer with its masked-language-model head and a SpladePooling. A model with inference-free
queries is a Router: its passages take these two, its queries a SparseStaticEmbedding, which is a weight for each token.
"""

from dataclasses import replace
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_files import (
    MODEL_CONFIG,
    Module,
    ReadFile,
    class_module,
    list_modules,
    path_in,
    read_json,
    read_prompts,
    read_transformer_settings,
    refuse_adapter,
    unreadable_file,
)

POOLINGS = ("max", "sum")
ACTIVATIONS = ("relu", "log1p_relu")
"""What log(1 + x) is applied to: relu(logit), or log(1 + relu(logit)) as in OpenSearch's models of version 3."""

_ROUTER, _IDF = "router_config.json", "idf.json"
_NAVER = "model_args.json"
"""The file in which the authors of SPLADE state how a model was trained (github.com/naver/splade)."""
_SEARCH_ELSEWHERE = "search with sentence-transformers and give the ranking: first_stage=trec_run first_stage.path=RUN"


def read_sparse_config(read: ReadFile, config: Any, prefix: str) -> SbertConfig:
    """Return the settings in a sparse encoder's files; without modules.json those of SPLADE, max over log(1 + relu).

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a file cannot be read, or states what evalkit does not compute.
    """
    refuse_adapter(read, prefix)
    modules, stated = list_modules(read, prefix), read_json(read, MODEL_CONFIG, prefix) or {}
    kinds = tuple(module.kind for module in modules)
    listed, name = ", ".join(kinds), prefix.partition("=")[2]
    if not modules and read(_IDF) is not None:
        raise EvalkitError(
            f"{prefix}: it has {_IDF}, token weights for queries that no model computes, and no modules.json, which "
            "states how queries and passages are encoded; take a revision that has it, such as main"
        )
    own = read_json(read, _NAVER, prefix) or {}
    if not modules and (own.get("splade_doc") or own.get("model_q")):
        raise EvalkitError(
            f"{prefix}: {_NAVER} states that queries are encoded otherwise than passages (splade_doc or model_q), and "
            f"evalkit reads how from modules.json, which is not there; {_SEARCH_ELSEWHERE}"
        )
    if "Pooling" in kinds:
        raise EvalkitError(
            f"{prefix}: an embedding model with dense vectors (modules.json: {listed}): first_stage=dense "
            f"first_stage.model={name}"
        )
    if stated.get("model_type") == "CrossEncoder":
        raise EvalkitError(f"{prefix}: a cross-encoder: reranker=cross_encoder reranker.model={name}")
    if stated.get("similarity_fn_name") not in (None, "dot"):
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states similarity_fn_name={stated['similarity_fn_name']!r}, and evalkit "
            f"compares sparse vectors by dot product; {_SEARCH_ELSEWHERE}"
        )
    most = stated.get("max_active_dims")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise EvalkitError(f"{prefix}: {MODEL_CONFIG} states max_active_dims={most!r}, and it is a number of tokens")
    prompts, default = read_prompts(stated, prefix)
    found = SbertConfig(kinds, "max", activation="relu", top_tokens=most, prompts=prompts, default_prompt_name=default)
    if not modules:
        return found
    query: list[Module] = []
    if kinds == ("Router",):
        query, modules = _read_routes(read, modules[0].folder, prefix)
        kinds = tuple(module.kind for module in modules)
    of_query = [module.kind for module in query]
    is_known = kinds in (("Transformer", "SpladePooling"), ("MLMTransformer", "SpladePooling"))
    if not is_known or of_query not in ([], ["SparseStaticEmbedding"], ["IDF"]):
        routes = f" (queries: {', '.join(of_query)}; passages: {', '.join(kinds)})" if query else ""
        raise EvalkitError(
            f"{prefix}: modules.json lists {listed}{routes}, and evalkit computes a masked language model with "
            f"SpladePooling, for queries also a SparseStaticEmbedding; {_SEARCH_ELSEWHERE}"
        )
    if modules[0].folder:
        raise EvalkitError(
            f"{prefix}: its transformer is in {modules[0].folder}, and evalkit loads one from the model's own folder; "
            f"{_SEARCH_ELSEWHERE}"
        )
    transformer = read_transformer_settings(read, "", prefix, "fill-mask")
    pooling, activation = _read_pooling(read, modules[1].folder, prefix)
    return replace(
        found,
        pooling=pooling,
        activation=activation,
        max_length=transformer.max_length,
        lowercase=transformer.lowercase,
        **(_query_files(read, query[0].folder, prefix) if query else {}),
    )


def _read_routes(read: ReadFile, folder: str, prefix: str) -> tuple[list[Module], list[Module]]:
    """Return the modules that queries pass through, and those of passages."""
    file = path_in(folder, _ROUTER)
    stated = read_json(read, file, prefix)
    if stated is None:
        raise EvalkitError(f"{prefix}: modules.json lists a Router, and {file} is not there; copy the whole folder")
    try:
        types = {str(part): str(kind) for part, kind in stated["types"].items()}
        routes = {
            str(route): [
                class_module(types[part], path_in(folder, part) if part else folder, prefix, file) for part in parts
            ]
            for route, parts in stated["structure"].items()
        }
        mapped = stated.get("parameters", {}).get("route_mappings")
    except (LookupError, TypeError, AttributeError) as error:
        raise unreadable_file(prefix, file, error) from None
    if set(routes) != {"query", "document"} or mapped:
        raise EvalkitError(
            f"{prefix}: {file} has the routes {', '.join(routes)[:120]}{' and route_mappings' if mapped else ''}, and "
            f"evalkit follows the two routes query and document; {_SEARCH_ELSEWHERE}"
        )
    return routes["query"], routes["document"]


def _read_pooling(read: ReadFile, folder: str, prefix: str) -> tuple[str, str]:
    """Return the pooling and the activation of a SpladePooling."""
    file = path_in(folder, "config.json")
    stated = read_json(read, file, prefix)
    if stated is None:
        raise EvalkitError(
            f"{prefix}: modules.json lists a SpladePooling, and {file} is not there; copy the whole folder"
        )
    pooling, activation = stated.get("pooling_strategy", "max"), stated.get("activation_function", "relu")
    if pooling not in POOLINGS or activation not in ACTIVATIONS:
        raise EvalkitError(
            f"{prefix}: {file} states pooling_strategy={str(pooling)[:80]} and activation_function="
            f"{str(activation)[:80]}, and evalkit computes {' or '.join(POOLINGS)} over {' or '.join(ACTIVATIONS)}; "
            f"{_SEARCH_ELSEWHERE}"
        )
    return pooling, activation


def _query_files(read: ReadFile, folder: str, prefix: str) -> dict[str, Any]:
    """Return the files of a SparseStaticEmbedding: its weights and its tokenizer."""
    found = {
        field: read(path_in(folder, file))
        for field, file in (("query_weights", "model.safetensors"), ("query_tokenizer", "tokenizer.json"))
    }
    if None in found.values():
        raise EvalkitError(
            f"{prefix}: {folder} has no model.safetensors or no tokenizer.json, which queries are encoded by; copy or "
            "download the whole folder"
        )
    return found
