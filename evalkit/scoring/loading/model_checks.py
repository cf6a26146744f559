"""Checks of a model that need its small files only, made before any other work starts."""

from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification
from transformers.utils import cached_file

from evalkit.scoring.loading.checkpoint_check import unsupported_weights
from evalkit.scoring.loading.labels import Label
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_config import (
    find_model_class,
    load_decoder_config,
    load_encoder_config,
    load_multi_vector_config,
    load_reranker_config,
    load_sparse_config,
)
from evalkit.scoring.loading.model_location import load_path
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.weight_files import check_hub_weights
from evalkit.scoring.packed import ENCODERS


def check_classifier(
    name: str, revision: str | None, setting: str, weights: bool = True, label: Label = ()
) -> str | None:
    """Check that a model is a reranker whose weights can be read; return its commit, None for a local folder.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        weights: Whether it needs weights; a graph has its own.
        label: The label that is its score; empty for its only one.

    Raises:
        EvalkitError: it cannot be found or read, it is not a sequence classifier, or it has no such label.
    """
    commit = load_reranker_config(name, revision, setting, weights, label).commit
    if commit is not None and weights:  # the weights of a local folder were checked with its configuration
        check_hub_weights(name, commit, setting)
    return commit


def check_decoder(name: str, revision: str | None, setting: str, head: bool) -> SbertConfig:
    """Check that a model is a decoder whose weights can be read; return the settings in its other files.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        head: Whether it has to have a head with one label, else the output matrix of a language model.

    Raises:
        EvalkitError: it cannot be found or read, it is another kind of model, or its files state what evalkit does not
            compute.
    """
    _, commit, sbert_config = load_decoder_config(name, revision, setting, head)
    if commit is not None:
        check_hub_weights(name, commit, setting)
    return sbert_config


def check_encoder(name: str, revision: str | None, setting: str) -> tuple[Any, SbertConfig]:
    """Check that a model is an embedding model whose weights can be read.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Returns:
        Its configuration as transformers reads it, and the settings in its other files.

    Raises:
        EvalkitError: it cannot be found or read, or its files state what evalkit does not compute.
    """
    config, commit, sbert_config = load_encoder_config(name, revision, setting)
    if commit is not None:
        check_hub_weights(name, commit, setting)
    return config, sbert_config


def check_sparse_encoder(name: str, revision: str | None, setting: str) -> tuple[Any, SbertConfig]:
    """Check that a model is a masked language model whose weights can be read.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Returns:
        Its configuration as transformers reads it, and the settings in its other files.

    Raises:
        EvalkitError: it cannot be found or read, it is another kind of model, or its files state what evalkit does not
            compute.
    """
    config, commit, sbert_config = load_sparse_config(name, revision, setting)
    if commit is not None:
        check_hub_weights(name, commit, setting)
    return config, sbert_config


def check_multi_vector(name: str, revision: str | None, setting: str) -> SbertConfig:
    """Check that a model is one of late interaction whose weights can be read; return the settings in its other files.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, or it is another kind of model.
    """
    _, commit, sbert_config = load_multi_vector_config(name, revision, setting)
    if commit is not None:
        check_hub_weights(name, commit, setting)
    return sbert_config


def is_packable_checkpoint(name: str, commit: str | None, setting: str) -> bool:
    """Return whether the packed path supports a reranker's architecture, and its file has exactly the expected weights.

    A model for which this is False may still be right, and is worth building before other work starts. Only the names
    of weights are read, which is fast; a file that has not been downloaded yet is assumed to have the expected ones.

    Args:
        name: A local folder, or a name on the hub.
        commit: As `check_classifier` returns it, so that a push in between cannot mix two models.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, or its configuration states what transformers does not support.
    """
    config, model_class, _ = find_model_class(AutoModelForSequenceClassification, name, commit, setting)
    if model_class.__name__ not in ENCODERS:
        return False
    path = cached_file(
        load_path(name, commit), "model.safetensors", revision=commit, local_files_only=True,
        _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    if path is None:
        return True
    try:
        with safe_open(path, framework="pt") as file, torch.device("meta"):
            stored, model = set(file.keys()), model_class(config)
    except Exception as error:  # safetensors has error types of its own
        raise load_error(name, commit, setting, error) from None
    expected = set(model.state_dict())
    return stored >= expected and not unsupported_weights(stored - expected, model, embeds=False)
