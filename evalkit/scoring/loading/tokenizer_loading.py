"""Loads a model's tokenizer, and checks that it has words and belongs to the model."""

import time
from typing import Any

from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.load_errors import load_error, remote_code_error
from evalkit.scoring.loading.model_location import MODEL_FILES, load_path
from evalkit.scoring.loading.tokenizer_source import TokenizerSource, choose_tokenizer


def load_tokenizer(name: str, commit: str | None, setting: str) -> tuple[Any, TokenizerSource, float]:
    """Return a tokenizer, the source of its ids, and the seconds that comparing them took.

    Args:
        name: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, it has no fast version, or its files contradict each other.
    """
    path = load_path(name, commit)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=commit, trust_remote_code=False)
    except Exception as error:  # a broken file causes errors of many types, those of tokenizers among them
        raise load_error(name, commit, setting, error) from None
    if getattr(tokenizer, "init_kwargs", {}).get("auto_map"):
        raise remote_code_error(name, setting, "tokenizer_config.json")
    if not tokenizer.is_fast:
        raise EvalkitError(f"{setting}={name}: the tokenizer has no fast version; add a tokenizer.json to the folder")
    began = time.perf_counter()
    try:
        tokenizer, source = choose_tokenizer(tokenizer, path, commit, name, setting)
    except EvalkitError:
        raise
    except Exception as error:  # as above
        raise load_error(name, commit, setting, error) from None
    return tokenizer, source, time.perf_counter() - began


def check_vocabulary(tokenizer: Any, model: Any, name: str, setting: str) -> None:
    """Check that a tokenizer has a vocabulary, and that the model has embeddings for it.

    Args:
        tokenizer: The tokenizer.
        model: The model.
        name: The model, as configured.
        setting: The configuration key that names it.

    Raises:
        EvalkitError: one of them is not so.
    """
    # transformers 5 returns a tokenizer without words if the files are missing, to which all texts are unknown tokens.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise EvalkitError(f"{setting}={name}: the tokenizer has no words; a model folder holds {MODEL_FILES}")
    tokens = _vocabulary_size(model)
    if tokens is not None and len(tokenizer) > tokens:
        raise EvalkitError(
            f"{setting}={name}: the tokenizer has {len(tokenizer)} tokens and the model {tokens}; they belong to "
            "different models"
        )


def _vocabulary_size(model: Any) -> int | None:
    """Return the number of tokens that a model has embeddings for; None if it has no table of them."""
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):
        stated = getattr(model.config, "vocab_size", None)
        return stated if isinstance(stated, int) else None
