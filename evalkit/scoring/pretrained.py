"""Models and tokenizers from a local folder or the hub, with an error that says what was tried."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from evalkit.errors import EvalkitError
from evalkit.scoring.device import Precision, apply_precision

_FILES = "config.json, tokenizer.json and model.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """A model on its device in its precision, its tokenizer, and where both came from."""

    model: Any
    tokenizer: Any
    name: str
    revision: str
    """The hub's commit, or ``sha256:...`` over the files of a local folder."""

    @property
    def max_tokens(self) -> int:
        """The longest sequence the model has positions for."""
        config = self.model.config
        positions = int(config.max_position_embeddings)
        # RoBERTa's positions start behind the padding index: 514 of them serve 512 tokens.
        roberta = config.model_type in {"roberta", "xlm-roberta", "camembert"}
        return positions - (int(config.pad_token_id) + 1 if roberta else 0)


def load_classifier(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    """Load a sequence classifier with one label. `setting` is the configuration key named in messages.

    Raises:
        EvalkitError: it cannot be found or read, it has more than one label, or its tokenizer is no fast one.
    """
    check_classifier(name, revision, setting)
    return _load(AutoModelForSequenceClassification, name, revision, device, precision, setting)


def check_classifier(name: str, revision: str | None, setting: str) -> None:
    """Check from its configuration alone that a model is a reranker.

    Raises:
        EvalkitError: it cannot be found or read, or it is no sequence classifier with one label.
    """
    config = read_config(name, revision, setting)
    if not any("ForSequenceClassification" in a for a in config.architectures or ()):
        raise EvalkitError(
            f"{setting}={name}: its architecture is {', '.join(config.architectures or ['not stated'])}, "
            "and a reranker is a ...ForSequenceClassification; an embedding model belongs in first_stage"
        )
    if config.num_labels != 1:
        raise EvalkitError(
            f"{setting}={name}: the model has {config.num_labels} labels, and a reranker has one; "
            "give a sequence classifier trained with num_labels=1"
        )


def load_encoder(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    """Load an encoder without a head, for embeddings.

    Raises:
        EvalkitError: it cannot be found or read, or its tokenizer is no fast one.
    """
    read_config(name, revision, setting)
    return _load(AutoModel, name, revision, device, precision, setting)


def read_config(name: str, revision: str | None, setting: str) -> Any:
    """Return the model's configuration, the one file that tells whether it is there and what it is.

    Raises:
        EvalkitError: it cannot be found or read.
    """
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").exists():
        raise EvalkitError(f"{setting}={name}: the folder has no config.json; a model folder holds {_FILES}")
    looks_local = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    if looks_local and not folder.is_dir():
        raise EvalkitError(f"{setting}={name}: there is no such folder; a model folder holds {_FILES}")
    try:
        return AutoConfig.from_pretrained(_location(name), revision=revision, trust_remote_code=False)
    except Exception as error:  # a broken file ends in any of a dozen types, JSON's and the hub's own among them
        raise _not_loaded(name, revision, setting, error) from None


def _load(
    kind: Any, name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    apply_precision(precision)
    # A local folder loads in seconds; a download from the hub keeps its progress bar.
    quiet = Path(name).expanduser().is_dir() and transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(_location(name), revision=revision, trust_remote_code=False)
        model, report = kind.from_pretrained(
            _location(name),
            revision=revision,
            trust_remote_code=False,
            dtype=precision.dtype,  # the default is what the checkpoint says, not what was asked for
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"{setting}={name} does not fit into the memory of {device}; "
            "use precision=fp16, a smaller model or another device"
        ) from None
    except Exception as error:  # as above; safetensors, tokenizers and pickle have types of their own
        raise _not_loaded(name, revision, setting, error) from None
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
    if missing := [key for key in report["missing_keys"] if "pooler" not in key or kind is not AutoModel]:
        raise EvalkitError(
            f"{setting}={name}: {len(missing)} weights are not in its files (e.g. {sorted(missing)[0]}), and "
            "would be random numbers; this is another kind of model"
        )
    # transformers 5 makes up a tokenizer without words where the files of one are missing: all texts would be unknown.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise EvalkitError(f"{setting}={name}: the tokenizer has no words; a model folder holds {_FILES}")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise EvalkitError(
            f"{setting}={name}: the tokenizer has {len(tokenizer)} tokens and the model "
            f"{model.get_input_embeddings().num_embeddings}; they belong to different models"
        )
    if not tokenizer.is_fast:
        raise EvalkitError(f"{setting}={name}: the tokenizer has no fast version; add a tokenizer.json to the folder")
    return Pretrained(_onto(model, device, setting, name), tokenizer, name, _revision(name, model.config))


def _onto(model: Any, device: torch.device, setting: str, name: str) -> Any:
    try:
        return model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"{setting}={name} does not fit into the memory of {device}; "
            "use precision=fp16, a smaller model or another device"
        ) from None


def _location(name: str) -> str:
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _revision(name: str, config: Any) -> str:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return f"sha256:{folder_hash(folder)}"
    return str(getattr(config, "_commit_hash", None) or "unknown")


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 over names and contents of the files that make a model: JSON, text, weights."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".txt", ".model", ".safetensors", ".bin"}):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _not_loaded(name: str, revision: str | None, setting: str, error: Exception) -> EvalkitError:
    at = f" at revision {revision}" if revision else ""
    if Path(name).expanduser().is_dir():
        return EvalkitError(
            f"{setting}={name}: the folder cannot be loaded ({_first_line(error)}); a model folder holds {_FILES}"
        )
    return EvalkitError(
        f"{setting}={name}: no such local folder, and the Hugging Face hub did not give it{at} "
        f"({_first_line(error)}); connect to the network, or give a local folder that holds {_FILES}: {setting}=PATH"
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no message'}"
