"""A model's configuration, checked before its weights are loaded: which kind of reranker or encoder is it?"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from transformers import AutoConfig
from transformers.models.auto import modeling_auto
from transformers.utils import cached_file

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading import hub
from evalkit.scoring.loading.checkpoint_check import check_config_supported
from evalkit.scoring.loading.labels import Label, check_label, label_names
from evalkit.scoring.loading.load_errors import load_error, remote_code_error
from evalkit.scoring.loading.model_folder import check_folder, parent_model
from evalkit.scoring.loading.model_location import MODEL_FILES, file_reader, load_path, local_folder, resolve_commit
from evalkit.scoring.loading.sbert_config import SbertConfig
from evalkit.scoring.loading.sbert_decoder import read_decoder_config
from evalkit.scoring.loading.sbert_encoder import read_encoder_config
from evalkit.scoring.loading.sbert_files import ReadFile, explain_missing_config
from evalkit.scoring.loading.sbert_multi_vector import read_multi_vector_config, refuse_multi_vector
from evalkit.scoring.loading.sbert_reranker import SCORE_ELSEWHERE, read_reranker_config
from evalkit.scoring.loading.sbert_sparse import read_sparse_config

_QUANTIZATION_KEYS = ("quantization_config", "compression_config", "quantization")
"""The key of transformers, of the first versions of compressed-tensors, and of MLX."""


class ModelConfig(NamedTuple):
    """What the small files of a model state."""

    config: Any
    """The configuration as transformers reads it."""
    commit: str | None
    """The hub's commit; None for a local folder."""
    sbert_config: SbertConfig
    """The settings in its files in sentence-transformers' format."""


def load_reranker_config(
    name: str, revision: str | None, setting: str, weights: bool = True, label: Label = ()
) -> ModelConfig:
    """Return what a reranker's files state, checked.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        weights: Whether a local folder has to have weights; a graph has its own.
        label: The label that is its score; empty for its only one.

    Raises:
        EvalkitError: it cannot be found or read, it is not a sequence classifier, or it has no such label.
    """
    config, commit = load_config(name, revision, setting, weights)
    sbert_config = _read_sbert_config(name, commit, config, setting, read_reranker_config)
    stated = config.architectures if isinstance(config.architectures, list | tuple) else ()
    architectures = [str(architecture) for architecture in stated]
    if not sbert_config.scores and not any("ForSequenceClassification" in kind for kind in architectures):
        raise _not_a_classifier(f"{setting}={name}", ", ".join(architectures)[:200], sbert_config)
    if is_decoder(config):
        if sbert_config.scores:
            raise EvalkitError(
                f"{setting}={name}: a modular cross-encoder (modules.json: {', '.join(sbert_config.modules)}) on "
                f"{config.model_type}, which is a decoder, and evalkit runs them on encoders; {SCORE_ELSEWHERE}"
            )
        raise EvalkitError(
            f"{setting}={name}: {config.model_type} is a decoder, whose score stands behind its last token: "
            "reranker=decoder scores with it, given the template that it was trained with (`python -m evalkit info "
            "reranker decoder`)"
        )
    check_label(label, label_names(config, sbert_config), f"{setting}={name}")
    return ModelConfig(config, commit, sbert_config)


def _not_a_classifier(prefix: str, architectures: str, sbert_config: SbertConfig) -> EvalkitError:
    problem = (
        f"{prefix}: its architecture is {architectures or 'not stated'}, and a reranker is a "
        "...ForSequenceClassification"
    )
    elsewhere = "score with it elsewhere and give the ranking: reranker=trec_run reranker.path=RUN"
    if not sbert_config.modules and "ForConditionalGeneration" in architectures:
        return EvalkitError(f"{problem}; this model scores by the words that it writes: {elsewhere}")
    if not sbert_config.modules and re.search("ForCausalLM|LMHead|DoubleHeads", architectures):
        return EvalkitError(
            f"{problem}; this is a decoder: if it is a reranker, reranker=decoder scores with it, given the template "
            "and the tokens that it was trained with (`python -m evalkit info reranker decoder`)"
        )
    if not sbert_config.modules and "ForMaskedLM" in architectures:
        return EvalkitError(
            f"{problem}; this is a masked language model, which has no score for a pair: train a classifier on it; "
            f"search with it where it is a sparse encoder (SPLADE: first_stage=splade), or {elsewhere}"
        )
    name = prefix.partition("=")[2]
    return EvalkitError(
        f"{problem}; an embedding model scores pairs as reranker=bi_encoder reranker.model={name}, and searches as "
        f"first_stage=dense first_stage.model={name}"
    )


def is_decoder(config: Any) -> bool:
    """Return whether a model generates from left to right, or has a part that does.

    Args:
        config: The model's configuration, as transformers reads it.
    """
    # Families of encoders have a masked language model; those with only a causal one generate from left to right.
    has_causal = config.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    has_masked = config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    stated = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    return bool(stated or (has_causal and not has_masked))


def load_decoder_config(name: str, revision: str | None, setting: str, head: bool) -> ModelConfig:
    """Return what the files of a decoder that reranks state, checked.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        head: Whether it has to have a head with one label, else the output matrix of a language model.

    Raises:
        EvalkitError: it cannot be found or read, it is another kind of model, or its files state what evalkit does not
            compute.
    """
    config, commit = load_config(name, revision, setting)
    sbert_config = _read_sbert_config(name, commit, config, setting, read_decoder_config)
    prefix = f"{setting}={name}"
    stated = ", ".join(str(kind) for kind in config.architectures or ())[:200]
    if not is_decoder(config) or getattr(config, "is_encoder_decoder", False):
        encoder = "ForSequenceClassification" in stated
        raise EvalkitError(
            f"{prefix}: its architecture is {stated or config.model_type}, which is no decoder; "
            + (f"reranker=cross_encoder reranker.model={name}" if encoder else "an embedding model is "
               f"reranker=bi_encoder reranker.model={name}")
        )  # fmt: skip
    if head and "ForSequenceClassification" not in stated:
        raise EvalkitError(
            f"{prefix}: reranker.yes_word is not set, so the score is that of the model's own head, and its "
            f"architecture is {stated}, which has none; set reranker.yes_word (and no_word) as the model's authors do"
        )
    if head and config.num_labels != 1:
        raise EvalkitError(f"{prefix}: its head has {config.num_labels} labels, and the score is that of a head with 1")
    if not head and stated and not re.search("ForCausalLM|LMHead", stated):
        raise EvalkitError(
            f"{prefix}: its architecture is {stated}, and the logit of reranker.yes_word is a language model's "
            "(...ForCausalLM); for a classifier's own head set reranker.yes_word=null and reranker.no_word=null"
        )
    return ModelConfig(config, commit, sbert_config)


def load_encoder_config(name: str, revision: str | None, setting: str) -> ModelConfig:
    """Return what an embedding model's files state, checked.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, or its files state what evalkit does not compute.
    """
    config, commit = load_config(name, revision, setting)
    sbert_config = _read_sbert_config(name, commit, config, setting, read_encoder_config)
    if getattr(config, "is_encoder_decoder", False):
        raise EvalkitError(
            f"{setting}={name}: {config.model_type} is an encoder with a decoder, and evalkit embeds with models that "
            "are one or the other; search with it elsewhere and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    folder = local_folder(name)
    if folder and not sbert_config.modules and (parts := sorted(folder.glob("[0-9]*_*/config.json"))):
        raise EvalkitError(
            f"{setting}={name}: the folder has {parts[0].parent.name} and no modules.json, which states how its parts "
            "belong together; copy or download the whole folder"
        )
    return ModelConfig(config, commit, sbert_config)


def load_sparse_config(name: str, revision: str | None, setting: str) -> ModelConfig:
    """Return what a sparse encoder's files state, checked.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, it is not a masked language model, or its files state what evalkit
            does not compute.
    """
    config, commit = load_config(name, revision, setting)
    sbert_config = _read_sbert_config(name, commit, config, setting, read_sparse_config)
    stated = [str(kind) for kind in config.architectures or ()]
    if config.model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise EvalkitError(
            f"{setting}={name}: transformers has no masked language model of the type {config.model_type}, and a "
            "sparse encoder (SPLADE) is one; search with this model elsewhere and give the ranking: "
            "first_stage=trec_run first_stage.path=RUN"
        )
    if stated and not any(re.search("ForMaskedLM|ForPreTraining", kind) for kind in stated):
        reranks = any("ForSequenceClassification" in kind for kind in stated)
        other = "a reranker is reranker=cross_encoder reranker" if reranks else (
            "an embedding model is first_stage=dense first_stage"
        )  # fmt: skip
        raise EvalkitError(
            f"{setting}={name}: its architecture is {', '.join(stated)[:200]}, and a sparse encoder (SPLADE) is a "
            f"...ForMaskedLM; {other}.model={name}"
        )
    return ModelConfig(config, commit, sbert_config)


def load_multi_vector_config(name: str, revision: str | None, setting: str) -> ModelConfig:
    """Return what a late-interaction model's files state, checked.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: it cannot be found or read, or it is another kind of model.
    """
    config, commit = load_config(name, revision, setting)
    return ModelConfig(config, commit, _read_sbert_config(name, commit, config, setting, read_multi_vector_config))


def _read_sbert_config(
    name: str, commit: str | None, config: Any, setting: str, read: Callable[[ReadFile, Any, str], SbertConfig]
) -> SbertConfig:
    """Return the settings in a model's files in sentence-transformers' format, as `read` finds them."""
    folder, prefix = local_folder(name), f"{setting}={name}"
    if folder and (parent := parent_model(folder)):
        raise EvalkitError(
            f"{prefix}: this is one part of the model in {parent.name}, whose modules.json names it; save that model "
            "again with sentence-transformers, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
        )
    try:
        files = file_reader(name, commit)
        if read is not read_multi_vector_config:
            refuse_multi_vector(files, config, prefix)
        sbert_config = read(files, config, prefix)
    except EvalkitError:
        raise
    except Exception as error:  # huggingface_hub raises errors of many types
        raise load_error(name, commit, setting, error) from None
    if commit is None:
        return sbert_config
    return replace(sbert_config, notes=(*sbert_config.notes, *hub.offline_notes(name, commit)))


def find_model_class(
    auto_class: Any, name: str, commit: str | None, setting: str, weights: bool = True
) -> tuple[Any, type, str | None]:
    """Return a model's configuration, its class in transformers, and the version of transformers that saved it.

    Args:
        auto_class: AutoModel or AutoModelForSequenceClassification.
        name: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.
        setting: The configuration key that names the model, for messages.
        weights: Whether a local folder has to have weights.

    Raises:
        EvalkitError: it cannot be found or read, or its configuration states what the class does not support.
    """
    config, _ = load_config(name, commit, setting, weights)
    try:
        model_class = auto_class._model_mapping[type(config)]
    except KeyError as error:
        raise load_error(name, commit, setting, error) from None
    if isinstance(model_class, tuple):
        by_name = {candidate.__name__: candidate for candidate in model_class}
        model_class = next((by_name[key] for key in config.architectures or () if key in by_name), model_class[0])
    stated = json.loads(Path(cached_file(load_path(name, commit), "config.json", revision=commit)).read_text("utf-8"))
    check_config_supported(config, stated, model_class, name, setting)
    saved_with = stated.get("transformers_version")
    return config, model_class, saved_with if isinstance(saved_with, str) else None


def load_config(name: str, revision: str | None, setting: str, weights: bool = True) -> tuple[Any, str | None]:
    """Return the configuration of a model of any kind, and the commit on the hub, None for a local folder.

    Args:
        name: A local folder, or a name on the hub.
        revision: A branch, a tag or a commit; None for the main branch.
        setting: The configuration key that names the model, for messages.
        weights: Whether a local folder has to have weights.

    Raises:
        EvalkitError: it cannot be found or read, it needs code of its own, or its weights are quantised.
    """
    folder = local_folder(name)
    if folder:
        check_folder(folder, name, setting, weights)
    looks_like_path = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    if looks_like_path and not folder:
        raise EvalkitError(f"{setting}={name}: there is no such folder; a model folder holds {MODEL_FILES}")
    try:
        commit = resolve_commit(name, revision)
        config = AutoConfig.from_pretrained(load_path(name, commit), revision=commit, trust_remote_code=False)
    except Exception as error:  # a broken file causes errors of many types, JSON's and huggingface_hub's among them
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            with suppress(EntryNotFoundError):  # the hub has the model, but no config.json
                explain_missing_config(lambda file: hub.fetch_latest(name, revision, file), f"{setting}={name}")
        raise load_error(name, revision, setting, error) from None
    if getattr(config, "auto_map", None):
        raise remote_code_error(name, setting, "config.json")
    _refuse_quantized(config, name, setting)
    return config, commit


def _refuse_quantized(config: Any, name: str, setting: str) -> None:
    for key in _QUANTIZATION_KEYS:
        if not (stated := getattr(config, key, None)):
            continue
        settings = stated if isinstance(stated, dict) else getattr(stated, "__dict__", {})
        method = str(settings.get("quant_method", key))[:80]
        raise EvalkitError(
            f"{setting}={name}: its weights are quantised ({method}), and evalkit computes in the precision that "
            "precision= names, with no kernels for these; give the checkpoint that it was made of"
        )
