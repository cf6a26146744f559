"""Reads the files of sentence-transformers' format that rerankers and embedding models share.

`modules.json` lists a model's parts, `config_sentence_transformers.json` has prompts, similarity and activation, and
`sentence_bert_config.json` the maximum length and lowercasing. The rules are those of sentence-transformers 6.2 (its
`base/model.py`, `base/modules` and `sentence_transformer/modules`).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from evalkit.boundary.errors import EvalkitError

ReadFile = Callable[[str], Path | None]
"""Returns the path of a file, given its name relative to the model's folder; None if there is none."""

MODEL_CONFIG = "config_sentence_transformers.json"
ADAPTER = "adapter_config.json"
_MODULES = "modules.json"
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}config.json"
    for kind in ("bert_", "roberta_", "distilbert_", "camembert_", "albert_", "xlm-roberta_", "xlnet_")
)

_KNOWN_KEYS = {
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "backend",
}
_LOADING_ARGUMENTS = {
    "trust_remote_code", "attn_implementation", "dtype", "torch_dtype", "add_pooling_layer", "padding_side",
    "use_safetensors", "cache_dir", "use_fast",
}  # fmt: skip
"""Arguments for transformers that evalkit sets itself, or that do not change a vector."""


class Module(NamedTuple):
    """A part of a model, as modules.json lists it."""

    kind: str
    """The name of its class in sentence-transformers."""
    folder: str
    """Relative to the model's; empty for the model's own."""


@dataclass(frozen=True)
class TransformerSettings:
    """The settings of a Transformer module."""

    max_length: int | None = None
    lowercase: bool = False


def refuse_adapter(read: ReadFile, prefix: str, without_weights: bool = False) -> None:
    """Refuse a model that has an adapter's configuration.

    transformers applies the adapter if peft is installed and ignores it otherwise, so that scores would depend on it.

    Args:
        read: Reads the model's files.
        prefix: The beginning of messages: the setting and the model.
        without_weights: Whether the folder has no full weights besides the adapter.

    Raises:
        EvalkitError: there is an adapter.
    """
    adapter = read_json(read, ADAPTER, prefix)
    if adapter is None:
        return
    base = adapter.get("base_model_name_or_path")
    kind = adapter.get("peft_type") or "an"
    what = "its folder is an adapter without the" if without_weights else "an adapter is next to its"
    raise EvalkitError(
        f"{prefix}: {what} full weights ({ADAPTER}: {kind} adapter"
        f"{f' of {str(base)[:120]}' if base else ''}), and evalkit loads full weights only; merge the adapter with "
        "peft, model.merge_and_unload().save_pretrained(PATH), and give that folder"
        + ("" if without_weights else f", or remove {ADAPTER} if it has been merged into the weights already")
    )


def explain_missing_config(read: ReadFile, prefix: str) -> None:
    """Refuse a model without a config.json with a specific message, if its other files show what it is.

    Args:
        read: Reads the model's files.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: they do.
    """
    refuse_adapter(read, prefix, without_weights=True)
    if modules := list_modules(read, prefix):
        if modules[0].kind == "Transformer" and modules[0].folder:
            raise _transformer_in_subfolder(prefix, modules[0].folder)
        raise _no_transformer_first(prefix, modules)


def read_modules(read: ReadFile, prefix: str) -> list[Module]:
    """Return the parts that modules.json lists; empty without the file.

    Args:
        read: Reads the model's files.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: the file cannot be read, or the model does not begin with a Transformer in its own folder.
    """
    modules = list_modules(read, prefix)
    if modules and modules[0].kind != "Transformer":
        raise _no_transformer_first(prefix, modules)
    if modules and modules[0].folder:
        raise _transformer_in_subfolder(prefix, modules[0].folder)
    return modules


def list_modules(read: ReadFile, prefix: str, same_as: Mapping[str, str] = MappingProxyType({})) -> list[Module]:
    """Return the parts that modules.json lists, whatever they are; empty without the file.

    Args:
        read: Reads the model's files.
        prefix: The beginning of messages: the setting and the model.
        same_as: Classes of other libraries that sentence-transformers replaces by its own: their dotted names to its.

    Raises:
        EvalkitError: the file cannot be read, or names code that comes with the model.
    """
    path = read(_MODULES)
    if path is None:
        return []
    try:
        listed = json.loads(path.read_text("utf-8"))
        parts = [(str(part["type"]), str(part["path"])) for part in listed]
        if not isinstance(listed, list) or not parts:
            raise ValueError("it lists no modules")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable_file(prefix, _MODULES, error) from None
    return [class_module(same_as.get(kind, kind), folder, prefix) for kind, folder in parts]


def class_module(kind: str, folder: str, prefix: str, file: str = _MODULES) -> Module:
    """Return a part of a model.

    Args:
        kind: The dotted name of its class.
        folder: Its folder, relative to the model's.
        prefix: The beginning of messages: the setting and the model.
        file: The file that names it.

    Raises:
        EvalkitError: the class is not one of sentence-transformers, or the folder is outside of the model's.
    """
    if not kind.startswith("sentence_transformers."):
        raise EvalkitError(
            f"{prefix}: {file} names {kind[:120]}, which is not a module of sentence-transformers itself, and "
            "evalkit runs no code that comes with a model; rank with it elsewhere and give the ranking: trec_run"
        )
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\\" in folder:
        raise EvalkitError(f"{prefix}: {file} names {folder[:120]!r}, which is outside of the model's folder")
    return Module(kind.rpartition(".")[2], "" if folder == "." else folder.rstrip("/"))


def _no_transformer_first(prefix: str, modules: list[Module]) -> EvalkitError:
    return EvalkitError(
        f"{prefix}: modules.json lists {', '.join(module.kind for module in modules)}, and evalkit runs models that "
        "begin with a Transformer; rank with sentence-transformers and give the ranking: trec_run"
    )


def _transformer_in_subfolder(prefix: str, folder: str) -> EvalkitError:
    return EvalkitError(
        f"{prefix}: modules.json has its transformer in {folder}, as old versions of sentence-transformers wrote it; "
        "save it again, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
    )


def ends_in_scores(read: ReadFile, modules: list[Module], prefix: str) -> bool:
    """Return whether the last module is a Dense layer whose output is a score.

    Args:
        read: Reads the model's files.
        modules: As `read_modules` returns them.
        prefix: The beginning of messages: the setting and the model.
    """
    if not modules or modules[-1].kind != "Dense":
        return False
    stated = read_json(read, path_in(modules[-1].folder, "config.json"), prefix) or {}
    return stated.get("module_output_name") == "scores"


def read_transformer_settings(
    read: ReadFile, folder: str, prefix: str, task: str, also: Collection[str] = ()
) -> TransformerSettings:
    """Return the settings of a Transformer module.

    Args:
        read: Reads the model's files.
        folder: The module's folder.
        prefix: The beginning of messages: the setting and the model.
        task: The task that evalkit runs it for: ``feature-extraction``, ``sequence-classification`` or ``fill-mask``.
        also: Further keys that whoever runs the model follows.

    Raises:
        EvalkitError: a setting has no counterpart in evalkit.
    """
    file, stated = next(
        (
            (file, stated)
            for file in _TRANSFORMER_CONFIGS
            if (stated := read_json(read, path_in(folder, file), prefix)) is not None
        ),
        ("", {}),
    )
    if (own := stated.get("transformer_task", task)) != task:
        raise EvalkitError(
            f"{prefix}: {file} states transformer_task={own!r}, and evalkit runs the transformer for {task} here; "
            "rank with sentence-transformers and give the ranking: trec_run"
        )
    text = (stated.get("modality_config") or {}).get("text")
    outputs = {"feature-extraction": "last_hidden_state", "sequence-classification": "logits", "fill-mask": "logits"}
    if text not in (None, {"method": "forward", "method_output_name": outputs[task]}):
        raise EvalkitError(f"{prefix}: {file} states modality_config.text={text!r}, which evalkit does not support")
    length = stated.get("max_seq_length")
    for key, value in stated.items():
        if key in _KNOWN_KEYS or key in also or value in (None, {}, [], False, ""):
            continue
        unsupported = value
        if key.endswith(("_args", "_kwargs")) and isinstance(value, dict):
            unsupported = {name: given for name, given in value.items() if name not in _LOADING_ARGUMENTS}
            if key in ("tokenizer_args", "processor_kwargs"):
                length = unsupported.pop("model_max_length", length)
        if unsupported:
            raise EvalkitError(
                f"{prefix}: {file} states {key}={str(unsupported)[:120]}, which evalkit does not support; rank with "
                "sentence-transformers and give the ranking: trec_run"
            )
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise EvalkitError(f"{prefix}: {file} states max_seq_length={length!r}, and it is a number of tokens")
    return TransformerSettings(length, bool(stated.get("do_lower_case")))


def read_prompts(stated: Mapping[str, Any], prefix: str) -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the name of the default one.

    Args:
        stated: The content of `MODEL_CONFIG`.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: prompts are not texts, or the default one does not exist.
    """
    prompts = stated.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise EvalkitError(f"{prefix}: {MODEL_CONFIG} states prompts that are not texts by name")
    default = stated.get("default_prompt_name")
    if default is not None and default not in prompts:
        names = ", ".join(map(repr, prompts))[:120]
        raise EvalkitError(
            f"{prefix}: {MODEL_CONFIG} names the default prompt {str(default)[:120]!r} and has no such prompt"
            f"{f' (it has {names})' if names else ''}"
        )
    return {str(name): text or "" for name, text in prompts.items()}, default


def read_json(read: ReadFile, file: str, prefix: str) -> dict[str, Any] | None:
    """Return the object in a JSON file; None without the file.

    Args:
        read: Reads the model's files.
        file: Its name, relative to the model's folder.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: it cannot be read, or holds something else.
    """
    path = read(file)
    if path is None:
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable_file(prefix, file, error) from None
    return value


def unreadable_file(prefix: str, file: str, error: Exception) -> EvalkitError:
    """Return the error for a file that cannot be read.

    Args:
        prefix: The beginning of the message: the setting and the model.
        file: Its name, relative to the model's folder.
        error: What happened.
    """
    first_line = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return EvalkitError(
        f"{prefix}: {file} cannot be read ({type(error).__name__}: {first_line}), and it states how the model is used; "
        "copy or download it again"
    )


def path_in(folder: str, file: str) -> str:
    """Return the name of a file relative to the model's folder.

    Args:
        folder: A part's folder; empty for the model's own.
        file: The name of the file in it.
    """
    return f"{folder}/{file}" if folder else file


def torch_class_name(path: object) -> str | None:
    """Return ``Tanh`` for ``torch.nn.modules.activation.Tanh``; None for a class that is not torch's.

    Args:
        path: The dotted name of a class.
    """
    match = re.fullmatch(r"torch\.nn\.(?:modules\.\w+\.)?(\w+)", str(path))
    return match[1] if match else None
