"""Reads the files in sentence-transformers' format of a decoder that reranks: which tokens make its score."""

from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_files import ReadFile, list_modules, path_in, read_json, refuse_adapter


def read_decoder_config(read: ReadFile, config: Any, prefix: str) -> SbertConfig:
    """Return the settings in a decoder's files; its template is a setting of evalkit, not one of theirs.

    Args:
        read: Reads the model's files.
        config: Its configuration, as transformers reads it.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: a file cannot be read, or the model is of another kind.
    """
    refuse_adapter(read, prefix)
    modules = list_modules(read, prefix)
    kinds = tuple(module.kind for module in modules)
    pooled = next((kind for kind in kinds if kind in ("Pooling", "MultiVectorPooling")), None)
    if pooled is not None:
        raise EvalkitError(
            f"{prefix}: modules.json lists {', '.join(kinds)}, which makes it an embedding model: reranker=bi_encoder"
        )
    score = next((module for module in modules if module.kind == "LogitScore"), None)
    stated = (read_json(read, path_in(score.folder, "config.json"), prefix) or {}) if score else {}
    keys = ("true_token_id", "false_token_id")
    tokens = tuple(value for key in keys if isinstance(value := stated.get(key), int))
    return SbertConfig(kinds, score_tokens=tokens)
