"""Errors for models that a library could not load: one sentence with the cause and what to do."""

import json
from contextlib import suppress
from pathlib import Path

from transformers.utils import cached_file

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading import hub
from evalkit.scoring.loading.fingerprint import check_download
from evalkit.scoring.loading.model_location import MODEL_FILES, load_path, local_folder
from evalkit.scoring.loading.weight_files import check_hub_weights, pickle_error


def load_error(name: str, revision: str | None, setting: str, error: Exception) -> EvalkitError:
    """Return the error for a model that a library could not load.

    Args:
        name: The model.
        revision: A branch, a tag or a commit of the hub; None for the main branch, or for a local folder.
        setting: The configuration key that names the model.
        error: What the library raised.
    """
    at = f" at revision {revision}" if revision else ""
    if _is_new_model(name, revision):
        return EvalkitError(
            f"{setting}={name}: its model_type new is code that comes with the model, and evalkit runs none; "
            "transformers has the architecture as gte, and alibaba-nlp-community on the hub has conversions for it, "
            "such as alibaba-nlp-community/gte-multilingual-reranker-base"
        )
    if "trust_remote_code" in str(error):
        return remote_code_error(name, setting, "its configuration")
    folder = local_folder(name)
    if "use_safetensors" in str(error):
        if revision is not None and not folder:
            try:
                check_hub_weights(name, revision, setting)
            except EvalkitError as specific:
                return specific
        return pickle_error(name, setting, "the hub has its weights as a pickle, if at all, and no safetensors")
    if folder:
        return EvalkitError(
            f"{setting}={name}: the folder cannot be loaded ({_first_line(error)}); a model folder holds {MODEL_FILES}"
        )
    check_download(name, revision or "main", setting)
    revisions, revision_setting = ", ".join(hub.cached_revisions(name)), f"{setting.rpartition('.')[0]}.revision"
    cached = f"; its cache has {revisions[:300]}, which {revision_setting.lstrip('.')}=... names" if revisions else ""
    return EvalkitError(
        f"{setting}={name}: no such local folder, and the Hugging Face hub did not give it{at} "
        f"({_first_line(error)}){cached}; connect to the network, or give a local folder that holds {MODEL_FILES}: "
        f"{setting}=PATH"
    )


def _is_new_model(name: str, revision: str | None) -> bool:
    """Return whether a model is one of Alibaba-NLP's gte models in its first form."""
    with suppress(Exception):  # whatever is wrong with the file, the error at hand is about it
        path = cached_file(load_path(name, revision), "config.json", revision=revision, local_files_only=True)
        return bool(json.loads(Path(path).read_text("utf-8")).get("model_type") == "new")
    return False


def remote_code_error(name: str, setting: str, source: str) -> EvalkitError:
    """Return the error for a model with Python code of its own.

    Args:
        name: The model.
        setting: The configuration key that names it.
        source: The file that refers to the code.
    """
    return EvalkitError(
        f"{setting}={name}: {source} asks for Python code that comes with the model (auto_map), and evalkit runs none; "
        "take a model of an architecture that transformers has, or, where transformers' own class will do, give a "
        f"local folder without auto_map: {setting}=PATH"
        + (
            "; a server that runs the code can be measured too (reranker=http), and so can its run (reranker=trec_run)"
            if setting.startswith("reranker.")
            else ""
        )
    )


def _first_line(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:  # transformers reports a broken connection as a model that does not exist
        if {"TransportError", "ConnectionError"} & {kind.__name__ for kind in type(cause).__mro__}:
            error = cause
        cause = cause.__cause__ or cause.__context__
    message = str(error).strip()
    return f"{type(error).__name__}: {message.splitlines()[0][:200] if message else 'no message'}"
