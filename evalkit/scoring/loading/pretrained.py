"""Models and tokenizers, loaded from a local folder or the hub in the precision that was asked for."""

import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from evalkit.errors import EvalkitError
from evalkit.scoring.device import Precision, apply_precision
from evalkit.scoring.loading.fingerprint import check_download, folder_hash
from evalkit.scoring.loading.model_config import (
    FILES,
    checked_class,
    encoder_config,
    files_beside,
    needs_code,
    not_loaded,
    reranker_config,
)
from evalkit.scoring.loading.model_files import ModelFiles, encoder_files, reranker_files
from evalkit.scoring.loading.model_place import folder_of, location
from evalkit.scoring.loading.tokenizer_source import Source, settled
from evalkit.scoring.loading.weights_check import ignored_weights

# Where a model on the hub has no safetensors, transformers would ask a service to convert it, and take what that made.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


@dataclass(frozen=True)
class Pretrained:
    """A model on its device in its precision, its tokenizer, and where both came from."""

    model: Any
    tokenizer: Any
    name: str
    commit: str | None
    """The hub's; None for a local folder."""
    setting: str
    """The configuration key that named it, for messages."""
    tokenizer_source: Source
    """Which of the files and classes the tokenizer's ids come from."""
    check_s: float
    """Seconds that went into checking the tokenizer against its file: no part of the time to load."""
    saved_with: str | None = None
    """The version of transformers that saved the model, as config.json states it."""
    weights_ignored: tuple[str, ...] = ()
    """Weights of the files that no score passes through, such as heads of pre-training."""
    files: ModelFiles = field(default_factory=ModelFiles)
    """What the files beside its weights say."""

    @cached_property
    def revision(self) -> str:
        """The hub's commit, or ``sha256:...`` over the files of a local folder.

        Every file is read for it once, when it is first asked for, so that this is no part of the time to load.

        Raises:
            EvalkitError: a file from the hub does not have the checksum that the hub stated.
        """
        if self.commit is None:
            return f"sha256:{folder_hash(Path(location(self.name)))}"
        check_download(self.name, self.commit, self.setting)
        return self.commit

    @cached_property
    def max_tokens(self) -> int | None:
        """The longest sequence the model has positions for; None where it has no table of positions."""
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
                # RoBERTa's kin count from behind the padding index: 514 positions serve 512 tokens.
                return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        stated = getattr(self.model.config, "max_position_embeddings", None)
        return int(stated) if isinstance(stated, int) and stated > 0 else None

    def check_length(self, max_length: int, key: str) -> None:
        """Check that the model has positions for `max_length` tokens; `key` is the setting, for the message.

        Raises:
            EvalkitError: it has not.
        """
        if self.max_tokens is not None and max_length > self.max_tokens:
            raise EvalkitError(f"{key}={max_length}: {self.name} has positions for {self.max_tokens} tokens")


def load_classifier(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    """Load a sequence classifier with one label. `setting` is the configuration key named in messages.

    Raises:
        EvalkitError: it cannot be found or read, it has more than one label, or its tokenizer is no fast one.
    """
    config, commit = reranker_config(name, revision, setting)
    loaded = _load(AutoModelForSequenceClassification, name, commit, device, precision, setting)
    return _with_files(loaded, files_beside(name, commit, config, setting, reranker_files))


def load_encoder(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    """Load an encoder without a head, for embeddings.

    Raises:
        EvalkitError: it cannot be found or read, or its tokenizer is no fast one.
    """
    config, commit = encoder_config(name, revision, setting)
    loaded = _load(AutoModel, name, commit, device, precision, setting)
    return _with_files(loaded, files_beside(name, commit, config, setting, encoder_files))


def _with_files(loaded: Pretrained, files: ModelFiles) -> Pretrained:
    if files.lowercase:
        lowercase(loaded.tokenizer)
    return replace(loaded, files=files)


def lowercase(tokenizer: Any) -> None:
    """Make a fast tokenizer turn texts into lower case first, as sentence-transformers does for do_lower_case."""
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])


def _load(
    kind: Any, name: str, commit: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    apply_precision(precision)
    config, model_class, saved_with = checked_class(kind, name, commit, setting)
    # A local folder loads in seconds; a download from the hub keeps its progress bar. The table of weights that
    # transformers would log is an error or a fact of the result here.
    quiet, verbosity = folder_of(name) is not None, transformers_logging.get_verbosity()
    quiet = quiet and transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        tokenizer, source, check_s = _tokenizer(name, commit, setting)
        model, report = kind.from_pretrained(
            location(name, commit),
            config=config,
            revision=commit,
            trust_remote_code=False,
            dtype=precision.dtype,  # the default is what the checkpoint says, not what was asked for
            attn_implementation=_attention(model_class),
            output_loading_info=True,
            use_safetensors=True,  # a pickle can run code when it is read
            weights_only=True,
        )
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"{setting}={name} does not fit into the memory of {device}; "
            "use precision=fp16, a smaller model or another device"
        ) from None
    except EvalkitError:
        raise
    except Exception as error:  # as above; safetensors has types of its own
        raise not_loaded(name, commit, setting, error) from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        if quiet:
            transformers_logging.enable_progress_bar()
    ignored = ignored_weights(report, model, kind is AutoModel, name, setting)
    _check_fit(tokenizer, model, name, setting)
    return Pretrained(
        _onto(model, device, setting, name), tokenizer, name, commit, setting, source, check_s, saved_with, ignored
    )


def _attention(model_class: Any) -> str:
    """Return how transformers is to compute attention: some architectures have the plain way only."""
    return "sdpa" if model_class._supports_sdpa else "eager"


def load_skeleton(name: str, revision: str | None, precision: Precision, setting: str) -> Pretrained:
    """Load configuration and tokenizer of a reranker; its model has shapes and no numbers. `setting` is for messages.

    Raises:
        EvalkitError: it cannot be found or read, it is no reranker, or its tokenizer is no fast one.
    """
    _, commit = reranker_config(name, revision, setting)
    config, model_class, saved_with = checked_class(AutoModelForSequenceClassification, name, commit, setting)
    files = files_beside(name, commit, config, setting, reranker_files)
    try:
        tokenizer, source, check_s = _tokenizer(name, commit, setting)
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(
                config, dtype=precision.dtype, attn_implementation=_attention(model_class), trust_remote_code=False
            )
    except EvalkitError:
        raise
    except Exception as error:  # as above
        raise not_loaded(name, commit, setting, error) from None
    _check_fit(tokenizer, model, name, setting)
    skeleton = Pretrained(model.eval(), tokenizer, name, commit, setting, source, check_s, saved_with)
    return _with_files(skeleton, files)


def _tokenizer(name: str, revision: str | None, setting: str) -> tuple[Any, Source, float]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(location(name, revision), revision=revision, trust_remote_code=False)
    except Exception as error:  # as above; tokenizers has types of its own
        raise not_loaded(name, revision, setting, error) from None
    if getattr(tokenizer, "init_kwargs", {}).get("auto_map"):
        raise needs_code(name, setting, "tokenizer_config.json")
    if not tokenizer.is_fast:
        raise EvalkitError(f"{setting}={name}: the tokenizer has no fast version; add a tokenizer.json to the folder")
    began = time.perf_counter()
    try:
        tokenizer, source = settled(tokenizer, location(name, revision), revision, name, setting)
    except EvalkitError:
        raise
    except Exception as error:  # as above
        raise not_loaded(name, revision, setting, error) from None
    return tokenizer, source, time.perf_counter() - began


def _check_fit(tokenizer: Any, model: Any, name: str, setting: str) -> None:
    """Check that a tokenizer has words, that they are the model's, and that it is a fast one."""
    # transformers 5 makes up a tokenizer without words where the files of one are missing: all texts would be unknown.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise EvalkitError(f"{setting}={name}: the tokenizer has no words; a model folder holds {FILES}")
    tokens = _vocabulary_size(model)
    if tokens is not None and len(tokenizer) > tokens:
        raise EvalkitError(
            f"{setting}={name}: the tokenizer has {len(tokenizer)} tokens and the model {tokens}; they belong to "
            "different models"
        )


def _vocabulary_size(model: Any) -> int | None:
    """Return how many tokens a model has embeddings for; None where it has no such table."""
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):
        stated = getattr(model.config, "vocab_size", None)
        return stated if isinstance(stated, int) else None


def _onto(model: Any, device: torch.device, setting: str, name: str) -> Any:
    try:
        return model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise EvalkitError(
            f"{setting}={name} does not fit into the memory of {device}; "
            "use precision=fp16, a smaller model or another device"
        ) from None
