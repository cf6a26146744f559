"""Loads models and tokenizers from a local folder or the hub, in the requested precision."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers.normalizers import Lowercase, Sequence
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)
from transformers.utils import logging as transformers_logging

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import linear
from evalkit.scoring.device import Precision, apply_precision
from evalkit.scoring.loading.checkpoint_check import check_loaded_weights
from evalkit.scoring.loading.fingerprint import check_download, folder_hash
from evalkit.scoring.loading.labels import CutHead, Label, cut_head
from evalkit.scoring.loading.layerwise import check_layerwise, cut_decoder, load_layerwise
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_config import (
    find_model_class,
    load_decoder_config,
    load_encoder_config,
    load_multi_vector_config,
    load_reranker_config,
    load_sparse_config,
)
from evalkit.scoring.loading.model_location import load_path, local_folder
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_multi_vector import PROJECTION, is_first_colbert
from evalkit.scoring.loading.tokenizer_loading import check_vocabulary, load_tokenizer
from evalkit.scoring.loading.tokenizer_source import TokenizerSource
from evalkit.scoring.modular_model import ModularModel

# Without it, transformers asks a service to convert a hub model that has no safetensors, and loads the result.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


@dataclass(frozen=True)
class Pretrained:
    """A model on its device in its precision, its tokenizer, and the origin of both."""

    model: Any
    tokenizer: Any
    name: str
    commit: str | None
    """The hub's commit; None for a local folder."""
    setting: str
    """The configuration key that names the model, for messages."""
    tokenizer_source: TokenizerSource
    check_s: float
    """Seconds spent on comparing the tokenizer with its file, which are not part of the loading time."""
    saved_with: str | None = None
    """The version of transformers that saved the model, as config.json states it; None if it does not."""
    weights_ignored: tuple[str, ...] = ()
    """Weights in the files that are not used for a score, such as heads of pre-training."""
    sbert_config: SbertConfig = field(default_factory=SbertConfig)
    """The settings in its files in sentence-transformers' format."""
    cut_head: CutHead | None = None
    """The last layer of a classifier with several labels, of which the model has the score's only."""

    @cached_property
    def revision(self) -> str:
        """The hub's commit, or ``sha256:...`` over the files of a local folder.

        It is computed when it is first read, since hashing all files is not part of the loading time.

        Raises:
            EvalkitError: a file from the hub does not have its checksum.
        """
        if self.commit is None:
            return f"sha256:{folder_hash(Path(load_path(self.name)))}"
        check_download(self.name, self.commit, self.setting)
        return self.commit

    @property
    def architecture(self) -> str:
        """The class of the model in transformers, and what a modular model has behind it."""
        return str(getattr(self.model, "architecture", type(self.model).__name__))

    @cached_property
    def max_tokens(self) -> int | None:
        """Tokens of the longest sequence that the model has positions for; None without a table of positions."""
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
                # RoBERTa's positions start after the padding index: 514 positions serve 512 tokens.
                return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        stated = getattr(self.model.config, "max_position_embeddings", None)
        return int(stated) if isinstance(stated, int) and stated > 0 else None

    def check_length(self, max_length: int, key: str) -> None:
        """Check that the model has positions for a sequence length.

        Args:
            max_length: Tokens of the longest sequence.
            key: The configuration key of that length, for messages.

        Raises:
            EvalkitError: it has fewer.
        """
        if self.max_tokens is not None and max_length > self.max_tokens:
            raise EvalkitError(f"{key}={max_length}: {self.name} has positions for {self.max_tokens} tokens")


def load_classifier(
    name: str,
    revision: str | None,
    device: torch.device,
    precision: Precision,
    setting: str,
    label: Label = (),
) -> Pretrained:
    """Load a reranker: a sequence classifier, cut down to one label.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        device: Where the model is to compute.
        precision: The type of its weights; the mode of fp32 products is set for the process.
        setting: The configuration key that names the model, for messages.
        label: The label that is its score; empty for its only one.

    Raises:
        EvalkitError: it cannot be found or read, its files contradict each other, it has no such label, it does not fit
            into memory, or its tokenizer has no fast version.
    """
    _, commit, sbert_config = load_reranker_config(name, revision, setting, label=label)
    auto_class = AutoModel if sbert_config.scores else AutoModelForSequenceClassification
    loaded = _load(auto_class, name, commit, device, precision, setting)
    return _with_sbert_config(_with_one_label(loaded, sbert_config, label), sbert_config)


def _with_one_label(loaded: Pretrained, sbert_config: SbertConfig, label: Label) -> Pretrained:
    """Return a reranker whose model has one output, the score."""
    prefix = f"{loaded.setting}={loaded.name}"
    if not sbert_config.scores:
        return replace(loaded, cut_head=cut_head(loaded.model, label, prefix))
    assert sbert_config.pooling is not None
    modular = ModularModel(loaded.model, sbert_config.pooling, sbert_config.layers, label, prefix)
    return replace(loaded, model=modular.eval())


def load_decoder(
    name: str,
    revision: str | None,
    device: torch.device,
    precision: Precision,
    setting: str,
    head: bool,
    layer: int | None = None,
) -> Pretrained:
    """Load a decoder, whose score is read off its last position.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        device: Where the model is to compute.
        precision: The type of its weights; the mode of fp32 products is set for the process.
        setting: The configuration key that names the model, for messages.
        head: Whether the score is that of the model's own head with one label, else it is made of tokens' logits.
        layer: The layer whose head that is, in a model with a head behind each; None for the last.

    Raises:
        EvalkitError: it cannot be found or read, it is no decoder or has no such head, it does not fit into memory, or
            its tokenizer has no fast version.
    """
    if layer is not None:
        return _load_layerwise(name, revision, device, precision, setting, layer)
    _, commit, sbert_config = load_decoder_config(name, revision, setting, head)
    auto_class = AutoModelForSequenceClassification if head else AutoModelForCausalLM
    return replace(_load(auto_class, name, commit, device, precision, setting), sbert_config=sbert_config)


def _load_layerwise(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str, layer: int
) -> Pretrained:
    stated, commit = check_layerwise(name, revision, setting, layer)
    apply_precision(precision)
    version = stated.get("transformers_version")

    def load(settings: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        return load_layerwise(load_path(name, commit), stated, commit, layer, settings, f"{setting}={name}")

    saved_with = version if isinstance(version, str) else None
    model_class = cut_decoder(stated, layer, f"{setting}={name}").model_class
    return _load_by(load, model_class, False, saved_with, name, commit, device, precision, setting)


def load_encoder(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str, sparse: bool = False
) -> Pretrained:
    """Load an encoder: without a head for embeddings, or with that of its masked language model for sparse vectors.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        device: Where the model is to compute.
        precision: The type of its weights; the mode of fp32 products is set for the process.
        setting: The configuration key that names the model, for messages.
        sparse: Whether it has vectors over its vocabulary.

    Raises:
        EvalkitError: it cannot be found or read, its files contradict each other, they lack the head, it does not fit
            into memory, or its tokenizer has no fast version.
    """
    _, commit, sbert_config = (load_sparse_config if sparse else load_encoder_config)(name, revision, setting)
    auto_class = AutoModelForMaskedLM if sparse else AutoModel
    loaded = _load(auto_class, name, commit, device, precision, setting)
    linear.use_in(loaded.model)
    return _with_sbert_config(loaded, sbert_config)


def load_multi_vector_transformer(
    name: str, revision: str | None, device: torch.device, precision: Precision, setting: str
) -> Pretrained:
    """Load the transformer of a late-interaction model, without what comes after it.

    Args:
        name: As for `load_encoder`.
        revision: As for `load_encoder`.
        device: As for `load_encoder`.
        precision: As for `load_encoder`.
        setting: As for `load_encoder`.

    Raises:
        EvalkitError: it cannot be found or read, its files contradict each other, it is another kind of model, it does
            not fit into memory, or its tokenizer has no fast version.
    """
    config, commit, sbert_config = load_multi_vector_config(name, revision, setting)
    of_others = (PROJECTION,) if is_first_colbert(config) else ()
    return replace(_load(AutoModel, name, commit, device, precision, setting, of_others), sbert_config=sbert_config)


def _with_sbert_config(loaded: Pretrained, sbert_config: SbertConfig) -> Pretrained:
    if sbert_config.lowercase:  # before the tokenizer's own normalizer, as sentence-transformers does it
        backend = loaded.tokenizer.backend_tokenizer
        backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])
    return replace(loaded, sbert_config=sbert_config)


def _load(
    auto_class: Any,
    name: str,
    commit: str | None,
    device: torch.device,
    precision: Precision,
    setting: str,
    of_others: Collection[str] = (),
) -> Pretrained:
    """Load a model and its tokenizer; `of_others` names weights in the same file that another part reads."""
    apply_precision(precision)
    config, model_class, saved_with = find_model_class(auto_class, name, commit, setting)

    def load(settings: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        model, report = auto_class.from_pretrained(
            load_path(name, commit), config=config, revision=commit, output_loading_info=True, **settings
        )
        return model, {**report, "unexpected_keys": set(report["unexpected_keys"]) - set(of_others)}

    return _load_by(load, model_class, auto_class is AutoModel, saved_with, name, commit, device, precision, setting)


def _load_by(
    load: Callable[[Mapping[str, Any]], tuple[Any, Mapping[str, Any]]],
    model_class: Any,
    embeds: bool,
    saved_with: str | None,
    name: str,
    commit: str | None,
    device: torch.device,
    precision: Precision,
    setting: str,
) -> Pretrained:
    """Load model and tokenizer; `load` returns a model and transformers' loading information, given its arguments."""
    # A local folder loads in seconds; a download from the hub keeps its progress bar. transformers' table of missing
    # and unexpected weights is not logged, since `check_loaded_weights` evaluates it.
    quiet, verbosity = local_folder(name) is not None, transformers_logging.get_verbosity()
    quiet = quiet and transformers_logging.is_progress_bar_enabled()
    if quiet:
        transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        tokenizer, source, check_s = load_tokenizer(name, commit, setting)
        model, report = load(
            {
                "trust_remote_code": False,
                "dtype": precision.dtype,  # the default is that of the checkpoint
                "attn_implementation": _attention_implementation(model_class),
                "use_safetensors": True,  # a pickle can run code when it is read
                "weights_only": True,
            }
        )
    except torch.OutOfMemoryError:
        raise _does_not_fit(name, device, setting) from None
    except EvalkitError:
        raise
    except Exception as error:  # a broken file causes errors of many types, safetensors' own among them
        raise load_error(name, commit, setting, error) from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        if quiet:
            transformers_logging.enable_progress_bar()
    ignored = check_loaded_weights(report, model, embeds, name, setting)
    check_vocabulary(tokenizer, model, name, setting)
    try:
        model = model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError:
        raise _does_not_fit(name, device, setting) from None
    return Pretrained(model, tokenizer, name, commit, setting, source, check_s, saved_with, ignored)


def _attention_implementation(model_class: Any) -> str:
    """Return transformers' name of the attention to use; some architectures implement the eager one only."""
    return "sdpa" if model_class._supports_sdpa else "eager"


def _does_not_fit(name: str, device: torch.device, setting: str) -> EvalkitError:
    return EvalkitError(
        f"{setting}={name} does not fit into the memory of {device}; "
        "use precision=fp16, a smaller model or another device"
    )


def load_without_weights(
    name: str, revision: str | None, precision: Precision, setting: str, weights: bool = True, label: Label = ()
) -> Pretrained:
    """Load a reranker's tokenizer, and its model on torch's meta device: it has shapes and cannot compute.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        precision: The type of the weights.
        setting: The configuration key that names the model, for messages.
        weights: Whether a local folder has to have weights all the same, which another process will load.
        label: The label that is its score; empty for its only one.

    Raises:
        EvalkitError: it cannot be found or read, it is not a reranker, or its tokenizer has no fast version.
    """
    _, commit, sbert_config = load_reranker_config(name, revision, setting, weights, label)
    auto_class = AutoModel if sbert_config.scores else AutoModelForSequenceClassification
    config, model_class, saved_with = find_model_class(auto_class, name, commit, setting, weights)
    try:
        tokenizer, source, check_s = load_tokenizer(name, commit, setting)
        with torch.device("meta"):
            model = auto_class.from_config(
                config,
                dtype=precision.dtype,
                attn_implementation=_attention_implementation(model_class),
                trust_remote_code=False,
            )
    except EvalkitError:
        raise
    except Exception as error:  # as in `_load`
        raise load_error(name, commit, setting, error) from None
    check_vocabulary(tokenizer, model, name, setting)
    pretrained = Pretrained(model.eval(), tokenizer, name, commit, setting, source, check_s, saved_with)
    return _with_sbert_config(_with_one_label(pretrained, sbert_config, label), sbert_config)
