"""Folders of sparse encoders as sentence-transformers writes them, and the vectors that evalkit computes with them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from evalkit.first_stage.sparse_index import to_matrix
from evalkit.scoring.device import resolve_precision
from evalkit.scoring.loading.pretrained import load_encoder
from evalkit.scoring.sparse_embedding import TokenWeights, encode_sparse, sparse_encoder

CPU = torch.device("cpu")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def splade_folder(source: Path, target: Path, pooling: Mapping[str, Any] | None = None, **stated: Any) -> Path:
    """A copy of a masked language model with the files of a SparseEncoder."""
    shutil.copytree(source, target)
    kinds = (("MLMTransformer", ""), ("SpladePooling", "1_SpladePooling"))
    write_json(target / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.sparse_encoder.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ])  # fmt: skip
    write_json(target / "1_SpladePooling" / "config.json", {
        "pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None, **(pooling or {})
    })  # fmt: skip
    write_json(target / "config_sentence_transformers.json", {
        "model_type": "SparseEncoder", "similarity_fn_name": "dot", "prompts": {}, "default_prompt_name": None, **stated
    })  # fmt: skip
    return target


def inference_free_folder(source: Path, target: Path, activation: str = "relu") -> Path:
    """The same, with token weights for queries: the layout of OpenSearch's models on the hub."""
    splade_folder(source, target, {"activation_function": activation})
    module = "sentence_transformers.sparse_encoder.models"
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    write_json(target / "modules.json", [router])
    write_json(target / "router_config.json", {
        "types": {"query_0_IDF": f"{module}.SparseStaticEmbedding", "": f"{module}.MLMTransformer",
                  "1_SpladePooling": f"{module}.SpladePooling"},
        "structure": {"query": ["query_0_IDF"], "document": ["", "1_SpladePooling"]},
        "parameters": {"default_route": "document", "allow_empty_key": True},
    })  # fmt: skip
    write_json(target / "query_0_IDF" / "config.json", {"frozen": True})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, target / "query_0_IDF")
    vocabulary = json.loads((source / "config.json").read_text("utf-8"))["vocab_size"]
    weights = torch.rand(vocabulary, generator=torch.Generator().manual_seed(5))
    save_file({"weight": weights}, target / "query_0_IDF" / "model.safetensors")
    return target


def vectors(
    folder: Path, texts: Sequence[str], max_length: int = 512, batch_tokens: int = 4096, top_tokens: int | None = None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of passages as evalkit computes them, (texts, vocabulary)."""
    model = load_encoder(str(folder), None, CPU, resolve_precision("fp32", CPU), "first_stage.model", sparse=True)
    encoder = sparse_encoder(model, max_length, batch_tokens, CPU)
    with torch.inference_mode():
        found, _ = encode_sparse(encoder, "", texts, "texts", top_tokens, "")
    dense: np.ndarray[Any, np.dtype[np.float32]] = to_matrix(found).toarray()
    return dense


def query_vectors(folder: Path, texts: Sequence[str], max_length: int = 512) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of queries by token weights, as evalkit computes them, (texts, vocabulary)."""
    model = load_encoder(str(folder), None, CPU, resolve_precision("fp32", CPU), "first_stage.model", sparse=True)
    weights = TokenWeights(model.sbert_config, model.model.config.vocab_size, max_length, "")
    dense: np.ndarray[Any, np.dtype[np.float32]] = to_matrix(
        encode_sparse(weights, "", texts, "texts", None, "")[0]
    ).toarray()
    return dense
