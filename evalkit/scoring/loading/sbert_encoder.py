"""Reads an embedding model's files in sentence-transformers' format, and refuses what evalkit does not compute."""

from typing import Any

from evalkit.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import HeadLayer, SbertConfig
from evalkit.scoring.loading.sbert_files import (
    MODEL_CONFIG,
    Module,
    ReadFile,
    ends_in_scores,
    list_modules,
    path_in,
    read_json,
    read_modules,
    read_prompts,
    read_transformer_settings,
    refuse_adapter,
    torch_class_name,
    unreadable_file,
)
from evalkit.scoring.loading.sbert_reranker import SCORE_ELSEWHERE

POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
"""Activations of a Dense layer, by the names of their classes in torch.nn."""

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
        way = f"a modular one, which evalkit does not run yet; {SCORE_ELSEWHERE}" if len(kinds) > 1 else (
            "which scores a query with a passage and has no vectors: reranker=cross_encoder reranker.model=..."
        )  # fmt: skip
        raise EvalkitError(f"{prefix}: a cross-encoder{f' (modules.json: {listed})' if listed else ''}, {way}")
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
    size = int(getattr(config, "hidden_size", 0) or getattr(config, "dim", 0))
    pooling, pools_prompt = _read_pooling(read, modules[1].folder, size, prefix)
    layers = []
    for module in modules[2:]:
        if module.kind == "Dropout":  # has an effect in training only
            continue
        layer = _read_layer(read, module, prefix)
        if layer.kind != "Normalize":
            if layer.size_in != size:
                raise EvalkitError(
                    f"{prefix}: {module.folder} takes vectors of {layer.size_in} numbers, and what comes before it "
                    f"gives {size}"
                )
            size = layer.size_out
        layers.append(layer)
    if truncate_dim is not None and truncate_dim > size:
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} states truncate_dim={truncate_dim}, and its vectors have {size} numbers"
        )
    return SbertConfig(kinds, pooling, pools_prompt, tuple(layers), similarity, truncate_dim, prompts, default,
                       transformer.max_length, transformer.lowercase)  # fmt: skip


def _refuse_sparse(modules: list[Module], stated: dict[str, Any], prefix: str) -> None:
    kinds = [module.kind for module in modules]
    is_router = kinds == ["Router"] and stated.get("model_type") == "SparseEncoder"
    if is_router or "SpladePooling" in kinds:
        raise EvalkitError(
            f"{prefix}: a SparseEncoder (modules.json: {', '.join(kinds)}), and first_stage=dense compares one dense "
            f"vector a text; a sparse encoder is first_stage=splade first_stage.model={prefix.partition('=')[2]}"
        )


def _read_pooling(read: ReadFile, folder: str, size: int, prefix: str) -> tuple[str, bool]:
    """Return the pooling, and whether it includes the tokens of a prompt."""
    file = path_in(folder, "config.json")
    stated = read_json(read, file, prefix)
    if stated is None:
        raise EvalkitError(f"{prefix}: modules.json lists a Pooling, and {file} is not there; copy the whole folder")
    old = {
        "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
    }  # fmt: skip
    modes = stated.get("pooling_mode") or [mode for key, mode in old.items() if stated.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    unknown = [key for key in stated if key.startswith("pooling_mode_") and key not in old and stated[key]]
    if len(modes) != 1 or modes[0] not in POOLINGS or unknown:
        raise EvalkitError(
            f"{prefix}: {file} states the pooling {' and '.join(map(str, [*modes, *unknown]))[:120]}, and evalkit "
            f"pools by one of {', '.join(POOLINGS)}; {_SEARCH_ELSEWHERE}"
        )
    width = stated.get("embedding_dimension", stated.get("word_embedding_dimension"))
    if width is not None and size and width != size:
        raise EvalkitError(
            f"{prefix}: {file} states vectors of {width} numbers, and the transformer gives {size}; they belong to "
            "different models"
        )
    return str(modes[0]), bool(stated.get("include_prompt", True))


def _read_layer(read: ReadFile, module: Module, prefix: str) -> HeadLayer:
    kind, folder = module
    file = path_in(folder, "config.json")
    stated = read_json(read, file, prefix) or {}
    ends = {str(stated.get(key) or "sentence_embedding") for key in ("module_input_name", "module_output_name")}
    if kind not in ("Dense", "LayerNorm", "Normalize") or ends != {"sentence_embedding"}:
        on = "" if ends == {"sentence_embedding"} else f" on {', '.join(sorted(ends - {'sentence_embedding'}))[:120]}"
        raise EvalkitError(
            f"{prefix}: modules.json lists {kind}{on}, and behind the pooling evalkit computes Dense, LayerNorm and "
            f"Normalize on whole vectors; {_SEARCH_ELSEWHERE}"
        )
    if kind == "Normalize":
        return HeadLayer(kind, folder)
    weights = read(path_in(folder, "model.safetensors"))
    if weights is None:
        pickled = read(path_in(folder, "pytorch_model.bin")) is not None
        raise EvalkitError(
            f"{prefix}: {folder} has no model.safetensors"
            + (
                ", its weights are a pickle, which can run code when it is read; save a model that you trust again "
                "with sentence-transformers, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
                if pickled
                else f", which holds the weights of its {kind}; copy or download the whole folder"
            )
        )
    try:
        if kind == "LayerNorm":
            size = int(stated["dimension"])
            return HeadLayer(kind, folder, size, size, weights=weights)
        size_in, size_out = int(stated["in_features"]), int(stated["out_features"])
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable_file(prefix, file, error) from None
    given = stated.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = "Identity" if given is None else torch_class_name(given)
    if activation not in ACTIVATIONS:
        raise EvalkitError(
            f"{prefix}: {file} states activation_function={str(given)[:120]}, and evalkit computes "
            f"{', '.join(ACTIVATIONS)}; {_SEARCH_ELSEWHERE}"
        )
    return HeadLayer(kind, folder, size_in, size_out, bool(stated.get("bias", True)), activation,
                     bool(stated.get("use_residual")), weights)  # fmt: skip
