"""Folders of tiny encoders with a classifier, random weights and the tokenizer of another model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, AutoTokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_NAMED_OTHERWISE: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "funnel": {},
}


_TYPED = ("bert", "electra", "albert", "rembert")
"""Types whose published rerankers distinguish queries and passages by token types."""


def encoder_config(kind: str, words_of: Path, labels: int = 1, **sizes: Any) -> Any:
    """Return the configuration of a tiny model of the type `kind`, as transformers names it."""
    words = len(AutoTokenizer.from_pretrained(words_of))
    general = {"num_labels": labels, **_NAMED_OTHERWISE.get(kind, SIZES), "vocab_size": words, "pad_token_id": 0}
    return CONFIG_MAPPING[kind](**{**general, **sizes})


def save_encoder(kind: str, words_of: Path, folder: Path, labels: int = 1, **sizes: Any) -> Path:
    """Save a classifier of the type `kind`, with the tokenizer of the model in `words_of`."""
    config = encoder_config(kind, words_of, labels, **sizes)
    random_classifier(config).save_pretrained(folder)
    shutil.copy(words_of / "tokenizer.json", folder)
    words = json.loads((words_of / "tokenizer_config.json").read_text("utf-8"))
    if kind not in _TYPED:  # the generic class gives no token types
        words["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(words), "utf-8")
    return folder


def random_classifier(config: Any) -> Any:
    """Return a classifier whose logits differ well beyond rounding."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForSequenceClassification.from_config(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)
    return model.eval()


def their_scores(sentence_transformers: Any, folder: Path, pairs: list[tuple[str, str]], max_length: int) -> np.ndarray:
    """Return what sentence-transformers' CrossEncoder gives before its activation: (pairs,) or (pairs, labels)."""
    model = sentence_transformers.CrossEncoder(
        str(folder), max_length=max_length, device="cpu", model_kwargs={"dtype": torch.float32}
    )
    found: np.ndarray = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return found
