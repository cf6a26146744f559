"""What a model is by its configuration and the files beside it: checked, and refused by name, before it is loaded."""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import cached_file

from evalkit.errors import EvalkitError
from evalkit.scoring.loading import hub, weight_files
from evalkit.scoring.loading.fingerprint import check_download
from evalkit.scoring.loading.model_files import (
    ModelFiles,
    Read,
    encoder_files,
    explain_absent_config,
    refuse_adapter,
    reranker_files,
)
from evalkit.scoring.loading.model_place import commit_of, folder_of, location
from evalkit.scoring.loading.weights_check import check_config, unplaced
from evalkit.scoring.packed import ENCODERS

FILES = "config.json, tokenizer.json and model.safetensors"


def check_classifier(name: str, revision: str | None, setting: str) -> str | None:
    """Check from its configuration alone that a model is a reranker; return its commit, None for a local folder.

    Raises:
        EvalkitError: it cannot be found or read, or it is no sequence classifier with one label.
    """
    _, commit = reranker_config(name, revision, setting)
    _check_weights(name, commit, setting)
    return commit


def check_encoder(name: str, revision: str | None, setting: str) -> tuple[Any, ModelFiles]:
    """Check from its small files alone that a model gives embeddings; return its configuration and what they say.

    Raises:
        EvalkitError: it cannot be found or read, or its files state what evalkit does not do.
    """
    config, commit = encoder_config(name, revision, setting)
    _check_weights(name, commit, setting)
    return config, files_beside(name, commit, config, setting, encoder_files)


def is_proven(name: str, commit: str | None, setting: str) -> bool:
    """Return whether a reranker is one of the architectures that evalkit computes itself, with all of its weights.

    `commit` is what `check_classifier` returned: the hub is asked once, and no push in between can mix two models.
    Names and shapes alone are looked at, so that it is cheap. What is not proven may well be right, and is worth a try
    before any other work. Files that are not on this machine yet are taken to be what their architecture says.

    Raises:
        EvalkitError: it cannot be found or read, or its configuration asks for what transformers does not know.
    """
    config, model_class, _ = checked_class(AutoModelForSequenceClassification, name, commit, setting)
    if model_class.__name__ not in ENCODERS:
        return False
    path = cached_file(
        location(name, commit), "model.safetensors", revision=commit, local_files_only=True,
        _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    if path is None:
        return True
    try:
        with safe_open(path, framework="pt") as file, torch.device("meta"):
            held, model = set(file.keys()), model_class(config)
    except Exception as error:  # as above
        raise not_loaded(name, commit, setting, error) from None
    expected = set(model.state_dict())
    return held >= expected and not unplaced(held - expected, model, embeds=False)


def reranker_config(name: str, revision: str | None, setting: str) -> tuple[Any, str | None]:
    """Return a reranker's configuration, and the commit of the hub that it is of, None for a local folder.

    Raises:
        EvalkitError: it cannot be found or read, or it is no sequence classifier with one label.
    """
    config, commit = _config(name, revision, setting)
    files = files_beside(name, commit, config, setting, reranker_files)
    stated = config.architectures if isinstance(config.architectures, list | tuple) else ()
    architectures = [str(architecture) for architecture in stated]
    if not any("ForSequenceClassification" in architecture for architecture in architectures):
        raise _no_classifier(f"{setting}={name}", ", ".join(architectures)[:200], files)
    if _is_decoder(config):
        raise EvalkitError(
            f"{setting}={name}: {config.model_type} is a decoder, whose score stands behind its last token, and "
            "evalkit scores with encoders; give a cross-encoder such as BAAI/bge-reranker-v2-m3, or score with this "
            "one elsewhere and give the ranking: reranker=trec_run reranker.path=RUN"
        )
    if config.num_labels != 1:
        raise EvalkitError(
            f"{setting}={name}: the model has {config.num_labels} labels, and a reranker has one; "
            "give a sequence classifier trained with num_labels=1"
        )
    return config, commit


def _no_classifier(where: str, architectures: str, files: ModelFiles) -> EvalkitError:
    said = (
        f"{where}: its architecture is {architectures or 'not stated'}, and a reranker is a "
        "...ForSequenceClassification"
    )
    elsewhere = "score with it elsewhere and give the ranking: reranker=trec_run reranker.path=RUN"
    if not files.modules and re.search("ForCausalLM|LMHead|ForConditionalGeneration|DoubleHeads", architectures):
        return EvalkitError(f"{said}; this is a decoder, which scores by the words that it writes: {elsewhere}")
    if not files.modules and "ForMaskedLM" in architectures:
        return EvalkitError(
            f"{said}; this is a masked language model, which has no score for a pair: train a classifier on it, or "
            f"where it is a sparse encoder (SPLADE), {elsewhere}"
        )
    return EvalkitError(f"{said}; an embedding model belongs in first_stage")


def _is_decoder(config: Any) -> bool:
    from transformers.models.auto import modeling_auto as auto

    # Encoders have a masked language model; a family that has only a causal one generates from left to right.
    generates = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masks = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    said = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    return bool(said or (generates and not masks))


def encoder_config(name: str, revision: str | None, setting: str) -> tuple[Any, str | None]:
    """Return an embedding model's configuration, and the commit of the hub that it is of, None for a local folder.

    Raises:
        EvalkitError: it cannot be found or read, or its files state what evalkit does not do.
    """
    config, commit = _config(name, revision, setting)
    files = files_beside(name, commit, config, setting, encoder_files)
    if getattr(config, "is_encoder_decoder", False):
        raise EvalkitError(
            f"{setting}={name}: {config.model_type} is an encoder with a decoder, and evalkit embeds with models that "
            "are one or the other; search with it elsewhere and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    folder = folder_of(name)
    if folder and not files.modules and (parts := sorted(folder.glob("[0-9]*_*/config.json"))):
        raise EvalkitError(
            f"{setting}={name}: the folder has {parts[0].parent.name} and no modules.json, which says how its parts "
            "belong together; copy or download the whole folder"
        )
    return config, commit


def files_beside(
    name: str, commit: str | None, config: Any, setting: str, files_of: Callable[[Read, Any, str], ModelFiles]
) -> ModelFiles:
    """Return what the files beside the weights say, read by `files_of`.

    Raises:
        EvalkitError: as `files_of`, or a file cannot be had.
    """
    folder, where = folder_of(name), f"{setting}={name}"
    if folder and (whole := _whole(folder)):
        raise EvalkitError(
            f"{where}: this is one part of the model in {whole.name}, whose modules.json names it; save that model "
            "anew with sentence-transformers, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
        )
    try:
        files = files_of(_reader(name, commit), config, where)
    except EvalkitError:
        raise
    except Exception as error:  # the hub's own, of any of its kinds
        raise not_loaded(name, commit, setting, error) from None
    return files if commit is None else replace(files, notes=(*files.notes, *hub.notes(name, commit)))


def _reader(name: str, commit: str | None) -> Read:
    if commit is not None:
        return hub.reader(name, commit)
    folder = Path(location(name))
    return lambda file: path if (path := folder / file).is_file() else None


def _whole(folder: Path) -> Path | None:
    """Return the folder above, where its modules.json names `folder` as the place of one of its parts."""
    above = Path(os.path.abspath(folder)).parent
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        listed = json.loads((above / "modules.json").read_text("utf-8"))
        if any(str(part["path"]).strip("/") == Path(os.path.abspath(folder)).name for part in listed):
            return above
    return None


def _config(name: str, revision: str | None, setting: str) -> tuple[Any, str | None]:
    """Return the configuration and the commit of the hub that it is of, None for a local folder."""
    folder = folder_of(name)
    if folder:
        _check_files(folder, name, setting)
    looks_local = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    if looks_local and not folder:
        raise EvalkitError(f"{setting}={name}: there is no such folder; a model folder holds {FILES}")
    try:
        commit = commit_of(name, revision)
        config = AutoConfig.from_pretrained(location(name, commit), revision=commit, trust_remote_code=False)
    except Exception as error:  # a broken file ends in any of a dozen types, JSON's and the hub's own among them
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            with suppress(EntryNotFoundError):  # the hub has the model, and no config.json
                explain_absent_config(lambda file: hub.fetch_any(name, revision, file), f"{setting}={name}")
        raise not_loaded(name, revision, setting, error) from None
    if getattr(config, "auto_map", None):
        raise needs_code(name, setting, "config.json")
    # transformers' own key, and those of compressed-tensors' first versions and of MLX
    keys = ("quantization_config", "compression_config", "quantization")
    if quantised := next(((key, value) for key in keys if (value := getattr(config, key, None))), None):
        stated = quantised[1] if isinstance(quantised[1], dict) else getattr(quantised[1], "__dict__", {})
        method = str(stated.get("quant_method", quantised[0]))[:80]
        raise EvalkitError(
            f"{setting}={name}: its weights are quantised ({method}), and evalkit computes in the precision that "
            "precision= names, with no kernels for these; give the checkpoint that it was made of"
        )
    return config, commit


def _check_files(folder: Path, name: str, setting: str) -> None:
    """Check the files of a local folder before anything opens them.

    Raises:
        EvalkitError: config.json is not there, an entry is a pipe or a device, or the weights are there as a pickle
            only, which can run code when it is read.
    """
    for path in folder.iterdir():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise EvalkitError(f"{setting}={name}: {path.name} is a pipe or a device; a model folder holds {FILES}")
    names = [path.name for path in folder.iterdir()] + [f"onnx/{path.name}" for path in folder.glob("onnx/*.onnx")]
    instead = weight_files.what_instead(names)
    if not (folder / "config.json").exists():
        explain_absent_config(_reader(name, None), f"{setting}={name}")
        if (folder / "snapshots").is_dir() and folder.name.startswith("models--"):
            raise EvalkitError(
                f"{setting}={name}: this is a folder of the hub's cache, which holds a model in each of its "
                f"snapshots/COMMIT; give the model's name: {setting}={hub.cached_name(folder / 'snapshots' / 'any')}"
            )
        raise EvalkitError(
            f"{setting}={name}: the folder has no config.json; "
            + (f"{instead}, or a" if instead else "a")
            + f" model folder holds {FILES}"
        )
    if not {"model.safetensors", "model.safetensors.index.json"} & set(names):
        refuse_adapter(_reader(name, None), f"{setting}={name}", alone=True)
    if instead:
        raise EvalkitError(f"{setting}={name}: {instead}: {setting}=PATH")
    pickles = weight_files.pickles(names)
    if pickles and not any(folder.glob("*.safetensors")):
        raise _pickled(name, setting, f"the folder has {pickles[0]} and no safetensors")
    index = folder / "model.safetensors.index.json"
    if index.exists() and not (folder / "model.safetensors").exists():
        try:
            shards = {str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise not_loaded(name, None, setting, error) from None
        if others := sorted(shard for shard in shards if not shard.endswith(".safetensors")):
            raise _pickled(name, setting, f"{index.name} names {others[0][:80]!r}")
        if absent := hub.missing_shards(folder):
            raise EvalkitError(
                f"{setting}={name}: {index.name} names {len(shards)} files of weights, and {len(absent)} are not there "
                f"(e.g. {absent[0][:80]}); copy or download the whole folder"
            )


def _check_weights(name: str, commit: str | None, setting: str) -> None:
    """Check by the names of a hub model's files that it has weights which can be read, as far as that can be known.

    Raises:
        EvalkitError: it has them in another format, or a download was interrupted and the hub cannot be asked.
    """
    if commit is None:
        return  # `_check_files` has looked
    names, folder = hub.listing(name, commit), hub.local(name, commit)
    if names is None:
        return
    if instead := weight_files.what_instead(names):
        raise EvalkitError(f"{setting}={name}: {instead}: {setting}=PATH")
    whole = {"model.safetensors", "model.safetensors.index.json"} & set(names)
    if pickles := [] if whole else weight_files.pickles(names):
        raise _pickled(name, setting, f"the hub has its weights as a pickle ({pickles[0]}) and no safetensors")
    if folder and (absent := hub.missing_shards(folder) or ([] if whole else ["model.safetensors"])):
        begun = ", since its download was interrupted" if hub.was_interrupted(name) else ""
        raise EvalkitError(
            f"{setting}={name}: the hub's cache has its config.json and not its weights ({absent[0]}){begun}, and the "
            f"hub cannot be asked for them; connect to the network, or give a local folder that holds {FILES}: "
            f"{setting}=PATH"
        )


def checked_class(kind: Any, name: str, commit: str | None, setting: str) -> tuple[Any, type, str | None]:
    """Return a model's configuration, the class of transformers that it takes, and the version that saved it."""
    config, _ = _config(name, commit, setting)
    try:
        model_class = kind._model_mapping[type(config)]
    except KeyError as error:
        raise not_loaded(name, commit, setting, error) from None
    if isinstance(model_class, tuple):
        named = {one.__name__: one for one in model_class}
        model_class = next((named[key] for key in config.architectures or () if key in named), model_class[0])
    stated = json.loads(Path(cached_file(location(name, commit), "config.json", revision=commit)).read_text("utf-8"))
    check_config(config, stated, model_class, name, setting)
    saved_with = stated.get("transformers_version")
    return config, model_class, saved_with if isinstance(saved_with, str) else None


def not_loaded(name: str, revision: str | None, setting: str, error: Exception) -> EvalkitError:
    """Return the sentence for a model that a library could not load: what is wrong, and the way out."""
    at = f" at revision {revision}" if revision else ""
    if "trust_remote_code" in str(error):
        return needs_code(name, setting, "its configuration")
    if "use_safetensors" in str(error) and not folder_of(name):
        try:
            _check_weights(name, revision, setting)
        except EvalkitError as found:
            return found
    if "use_safetensors" in str(error):
        return _pickled(name, setting, "the hub has its weights as a pickle, if at all, and no safetensors")
    if folder_of(name):
        return EvalkitError(
            f"{setting}={name}: the folder cannot be loaded ({_first_line(error)}); a model folder holds {FILES}"
        )
    check_download(name, revision or "main", setting)
    cached = ", ".join(hub.cached_revisions(name))
    there = f"; its cache has {cached[:300]}, which {_sibling(setting, 'revision')}=... names" if cached else ""
    return EvalkitError(
        f"{setting}={name}: no such local folder, and the Hugging Face hub did not give it{at} "
        f"({_first_line(error)}){there}; connect to the network, or give a local folder that holds {FILES}: "
        f"{setting}=PATH"
    )


def _sibling(setting: str, key: str) -> str:
    return f"{setting.rpartition('.')[0]}.{key}".lstrip(".")


def needs_code(name: str, setting: str, where: str) -> EvalkitError:
    """Return the sentence for a model that comes with code of its own; `where` is the file that asks for it."""
    return EvalkitError(
        f"{setting}={name}: {where} asks for Python code that comes with the model (auto_map), and evalkit runs none; "
        "take a model of an architecture that transformers has, or, where transformers' own class will do, give a "
        f"local folder without auto_map: {setting}=PATH"
    )


def _pickled(name: str, setting: str, what: str) -> EvalkitError:
    return EvalkitError(
        f"{setting}={name}: {what}, and a pickle can run code when it is read; convert a model that you trust with "
        "transformers, .from_pretrained(NAME).save_pretrained(PATH) of model and tokenizer, and give the folder: "
        f"{setting}=PATH"
    )


def _first_line(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:  # transformers tells of a broken connection as of a model that is not there
        if {"TransportError", "ConnectionError"} & {kind.__name__ for kind in type(cause).__mro__}:
            error = cause
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no message'}"
