"""Tiny late-interaction models with random weights, in each of the three formats that hold one."""

import json
import shutil
import string
from pathlib import Path
from typing import Any

DIMENSIONS = 16
LENGTH = 64
"""Tokens of a passage."""
EXPANDED = 32
"""Tokens that each query is extended to."""


def native(bert_folder: Path, target: Path, **settings: Any) -> Path:
    """sentence-transformers' own format, as its classes save it."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    of_texts = {
        "document_length": LENGTH,
        "query_expansion": {"strategy": "fixed", "attend": False, "length": EXPANDED},
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        projection = Dense(32, DIMENSIONS, bias=False, activation_function=None, module_input_name="token_embeddings")
    parts = [
        Transformer(str(bert_folder), **of_texts | settings),
        projection,
        MultiVectorMask(list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(modules=parts, prompts={"query": "[Q] ", "document": "[D] "}, device="cpu")
    model.save_pretrained(str(target), create_model_card=False)
    return target


def pylate(native_folder: Path, target: Path, **stated: Any) -> Path:
    """PyLate's format: a Dense of its own, and prefixes, lengths and punctuation in one file."""
    shutil.copytree(native_folder, target)
    for part in ("2_MultiVectorMask", "3_Normalize"):
        shutil.rmtree(target / part)
    kinds = (("sentence_transformers.models.Transformer", ""), ("pylate.models.Dense.Dense", "1_Dense"))
    write(target / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(kinds)
    ])  # fmt: skip
    write(target / "sentence_bert_config.json", {"max_seq_length": LENGTH - 1, "do_lower_case": False})
    write(target / "1_Dense" / "config.json", {
        "in_features": 32, "out_features": DIMENSIONS, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    })  # fmt: skip
    write(target / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "4.0.2", "transformers": "4.48.2", "pytorch": "2.6.0"},
        "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ",
        "document_prefix": "[D] ", "query_length": EXPANDED, "document_length": LENGTH,
        "attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation), **stated,
    })  # fmt: skip
    return target


def first_colbert(native_folder: Path, target: Path) -> Path:
    """The format of the first ColBERT: the projection is among the transformer's weights, and there is no pooler."""
    from safetensors.torch import load_file, save_file

    target.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(native_folder / name, target)
    config = json.loads((native_folder / "config.json").read_text("utf-8"))
    write(target / "config.json", config | {"architectures": ["HF_ColBERT"]})
    stored = load_file(native_folder / "model.safetensors")
    weights = {f"bert.{name}": weight for name, weight in stored.items() if "pooler" not in name}
    weights["linear.weight"] = load_file(native_folder / "1_Dense" / "model.safetensors")["linear.weight"]
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    write(target / "artifact.metadata", {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": EXPANDED, "doc_maxlen": LENGTH,
        "mask_punctuation": True, "attend_to_mask_tokens": False,
    })  # fmt: skip
    return target


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), "utf-8")
