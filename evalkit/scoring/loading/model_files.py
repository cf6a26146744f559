"""What the files beside a model's weights say (sentence-transformers' format), or a refusal that names what is odd.

`modules.json` lists a model's parts, `1_Pooling/config.json` and the like hold their settings and weights,
`config_sentence_transformers.json` prompts, similarity and activation, `sentence_bert_config.json` length and case. The
rules are those of sentence-transformers 6.2 (its `base/model.py`, `base/modules` and `sentence_transformer/modules`).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit.errors import EvalkitError

Read = Callable[[str], Path | None]
"""Returns the file of a name relative to the model's folder, None if there is none."""

POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
"""Of a Dense layer, as torch.nn names them."""
_INCREASING = ("Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softplus", "Softsign", "ELU", "SELU", "CELU", "LeakyReLU")
"""Activations under which a larger logit is a larger score, so that ranking by logits is ranking by scores."""

_MODULES, _CONFIG, _ADAPTER = "modules.json", "config_sentence_transformers.json", "adapter_config.json"
_TRANSFORMER = tuple(
    f"sentence_{kind}config.json"
    for kind in ("bert_", "roberta_", "distilbert_", "camembert_", "albert_", "xlm-roberta_", "xlnet_")
)
_ELSEWHERE = "score with sentence-transformers and give evalkit the ranking: reranker=trec_run reranker.path=RUN"


@dataclass(frozen=True)
class Layer:
    """One layer behind the pooling: ``Dense``, ``LayerNorm`` or ``Normalize``."""

    kind: str
    path: str
    size_in: int = 0
    size_out: int = 0
    bias: bool = True
    activation: str = "Identity"
    residual: bool = False
    weights: Path | None = None


@dataclass(frozen=True)
class ModelFiles:
    """What a model's own files say of it; None, or empty, is what they do not say."""

    modules: tuple[str, ...] = ()
    pooling: str | None = None
    pools_prompt: bool = True
    """Whether the tokens of a prompt count in the pooling."""
    layers: tuple[Layer, ...] = ()
    similarity: str | None = None
    truncate_dim: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    max_length: int | None = None
    lowercase: bool = False
    """Whether texts are to be in lower case before the tokenizer sees them."""
    activation: str | None = None
    """Of a cross-encoder's logit, as torch.nn names it."""
    notes: tuple[str, ...] = ()
    """Sentences on what was found and is not followed."""

    @property
    def prompt(self) -> str:
        """Return the prompt that a cross-encoder puts before each query; empty without one."""
        return self.prompts.get(self.default_prompt_name or "", "")

    @property
    def normalize(self) -> bool | None:
        """Return whether its vectors are compared at length 1; None where the files say nothing."""
        if not self.modules:
            return None
        ends = bool(self.layers) and self.layers[-1].kind == "Normalize" and self.truncate_dim is None
        return ends or self.similarity in (None, "cosine")

    def layers_for(self, normalize: bool) -> tuple[Layer, ...]:
        """Return the layers to compute where vectors are compared at length 1, or (`normalize` False) are not."""
        against = not normalize and self.normalize is True
        last_is_normal = bool(self.layers) and self.layers[-1].kind == "Normalize"
        return self.layers[:-1] if against and last_is_normal else self.layers

    def as_settings(self) -> dict[str, Any]:
        """Return what they say, for a result."""
        return {
            "modules": list(self.modules),
            "pooling": self.pooling,
            "layers": [f"{layer.kind} {layer.size_in}x{layer.size_out} {layer.activation}" if layer.kind == "Dense"
                       else layer.kind for layer in self.layers],
            "similarity": self.similarity,
            "truncate_dim": self.truncate_dim,
            "prompts": dict(self.prompts),
            "max_length": self.max_length,
            "lowercase": self.lowercase,
        }  # fmt: skip


def reranker_files(read: Read, config: Any, where: str) -> ModelFiles:
    """Return what the files say of a cross-encoder; `config` is transformers', `where` begins each message.

    Raises:
        EvalkitError: a file cannot be read, or states what evalkit does not do.
    """
    refuse_adapter(read, where)
    modules, stated = _modules(read, where), _json(read, _CONFIG, where) or {}
    kinds = tuple(kind for kind, _ in modules)
    architectures = [str(architecture) for architecture in getattr(config, "architectures", None) or ()]
    of_classifier = any("ForSequenceClassification" in architecture for architecture in architectures)
    own = str(stated.get("model_type") or "SentenceTransformer")
    shown = ", ".join(kinds)
    if "LogitScore" in kinds:
        raise EvalkitError(
            f"{where}: a reranker that reads its score off a language model's next token (modules.json: {shown}), and "
            f"evalkit scores with encoders that have a classifier; {_ELSEWHERE}"
        )
    if (own == "CrossEncoder" and len(kinds) > 1) or _ends_in_scores(read, modules, where):
        raise EvalkitError(
            f"{where}: a modular cross-encoder (modules.json: {shown}), whose score comes from layers behind the "
            f"transformer, and evalkit does not run these yet; {_ELSEWHERE}"
        )
    if own in ("SparseEncoder", "MultiVectorEncoder") and not of_classifier:
        raise EvalkitError(f"{where}: a {own} ({shown}), which is no cross-encoder; {_ELSEWHERE}")
    activation, notes = _old_activation(config), []
    if own != "CrossEncoder" or not kinds:
        # As sentence-transformers' CrossEncoder does: of another kind of model it takes the transformer alone.
        if of_classifier and kinds:
            notes.append(
                f"modules.json describes a {own} ({shown}), and its transformer alone was used, which is a classifier"
            )
        if of_classifier and (default := stated.get("default_prompt_name")):
            notes.append(
                f"{_CONFIG} names a default prompt ({default!r}) which was not used, since "
                f"{'there is no modules.json' if not kinds else f'it is of a {own}'}; reranker.prompt sets one"
            )
        return ModelFiles(kinds, activation=_increasing(activation, "config.json", where), notes=tuple(notes))
    transformer = _transformer(read, modules[0][1], where, "sequence-classification")
    if stated.get("keep_in_fp32_modules"):
        notes.append(f"{_CONFIG} has keep_in_fp32_modules, which is not followed: all of the model is in one precision")
    prompts, default = _prompts(stated, where)
    if default is None and (others := [name for name, prompt in prompts.items() if prompt]):
        notes.append(
            f"{_CONFIG} has prompts ({', '.join(map(repr, others))[:120]}) and names no default one: none was used; "
            "reranker.prompt sets one"
        )
    return ModelFiles(
        kinds,
        prompts=prompts,
        default_prompt_name=default,
        max_length=transformer.max_length,
        lowercase=transformer.lowercase,
        activation=_increasing(stated.get("activation_fn") or activation, _CONFIG, where),
        notes=tuple(notes),
    )


def encoder_files(read: Read, config: Any, where: str) -> ModelFiles:
    """Return what the files say of an embedding model; `config` is transformers', `where` begins each message.

    Raises:
        EvalkitError: a file cannot be read, or states what evalkit does not do.
    """
    refuse_adapter(read, where)
    modules, stated = _modules(read, where), _json(read, _CONFIG, where) or {}
    kinds = tuple(kind for kind, _ in modules)
    shown, own = ", ".join(kinds), str(stated.get("model_type") or "SentenceTransformer")
    if own == "CrossEncoder" or "LogitScore" in kinds or _ends_in_scores(read, modules, where):
        way = f"a modular one, which evalkit does not run yet; {_ELSEWHERE}" if len(kinds) > 1 else (
            "which scores a query with a passage and has no vectors: reranker=cross_encoder reranker.model=..."
        )  # fmt: skip
        raise EvalkitError(f"{where}: a cross-encoder{f' (modules.json: {shown})' if shown else ''}, {way}")
    if own != "SentenceTransformer":
        raise EvalkitError(
            f"{where}: a {own}{f' (modules.json: {shown})' if shown else ''}, and first_stage=dense compares one dense "
            "vector a text; search with sentence-transformers and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    similarity = stated.get("similarity_fn_name")
    if similarity not in (None, "cosine", "dot", "euclidean", "manhattan"):
        raise EvalkitError(f"{where}: {_CONFIG} states similarity_fn_name={similarity!r}, which evalkit does not know")
    truncate_dim = stated.get("truncate_dim")
    if truncate_dim is not None and (not isinstance(truncate_dim, int) or truncate_dim < 1):
        raise EvalkitError(f"{where}: {_CONFIG} states truncate_dim={truncate_dim!r}, and it is a number of dimensions")
    prompts, default = _prompts(stated, where)
    if not modules:
        return ModelFiles(similarity=similarity, truncate_dim=truncate_dim, prompts=prompts,
                          default_prompt_name=default)  # fmt: skip
    if "Pooling" not in kinds[1:2]:
        raise EvalkitError(
            f"{where}: modules.json lists {shown}, and evalkit embeds with a Transformer, a Pooling and then Dense, "
            "LayerNorm or Normalize; search with sentence-transformers and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    transformer = _transformer(read, modules[0][1], where, "feature-extraction")
    size = int(getattr(config, "hidden_size", 0) or getattr(config, "dim", 0))
    pooling, pools_prompt = _pooling(read, modules[1][1], size, where)
    layers = []
    for kind, path in modules[2:]:
        if kind == "Dropout":  # which does nothing but in training
            continue
        layer = _layer(read, kind, path, where)
        if layer.kind != "Normalize":
            if layer.size_in != size:
                raise EvalkitError(
                    f"{where}: {path} takes vectors of {layer.size_in} numbers, and what comes before it gives {size}"
                )
            size = layer.size_out
        layers.append(layer)
    if truncate_dim is not None and truncate_dim > size:
        raise EvalkitError(
            f"{where}: {_CONFIG} states truncate_dim={truncate_dim}, and its vectors have {size} numbers"
        )
    return ModelFiles(kinds, pooling, pools_prompt, tuple(layers), similarity, truncate_dim, prompts, default,
                      transformer.max_length, transformer.lowercase)  # fmt: skip


def refuse_adapter(read: Read, where: str, alone: bool = False) -> None:
    """Refuse a model with an adapter's configuration beside its weights, or with nothing else (`alone`).

    Whether it is applied would depend on what is installed: transformers does it with peft and not without.

    Raises:
        EvalkitError: there is one.
    """
    adapter = _json(read, _ADAPTER, where)
    if adapter is None:
        return
    base = adapter.get("base_model_name_or_path")
    kind = adapter.get("peft_type") or "an"
    what = "its folder is an adapter without" if alone else "an adapter lies beside"
    raise EvalkitError(
        f"{where}: {what} {'the ' if alone else 'its '}full weights ({_ADAPTER}: {kind} adapter"
        f"{f' of {str(base)[:120]}' if base else ''}), and evalkit loads full weights only; merge the adapter with "
        "peft, model.merge_and_unload().save_pretrained(PATH), and give that folder"
        + ("" if alone else f", or take {_ADAPTER} away if the weights have it in them")
    )


def explain_absent_config(read: Read, where: str) -> None:
    """Refuse a model without a config.json by what it is, where its other files tell that.

    Raises:
        EvalkitError: they do.
    """
    refuse_adapter(read, where, alone=True)
    if modules := _modules(read, where, anywhere=True):
        kinds = ", ".join(kind for kind, _ in modules)
        if modules[0][0] == "Transformer" and modules[0][1]:
            raise EvalkitError(_in_subfolder(where, modules[0][1]))
        raise EvalkitError(
            f"{where}: modules.json lists {kinds}, and evalkit runs models that begin with a Transformer; rank with "
            "sentence-transformers and give the ranking: trec_run"
        )


def _in_subfolder(where: str, path: str) -> str:
    return (
        f"{where}: modules.json has its transformer in {path}, as old versions of sentence-transformers wrote it; save "
        "it anew, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
    )


def _json(read: Read, file: str, where: str) -> dict[str, Any] | None:
    path = read(file)
    if path is None:
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise EvalkitError(_unreadable(where, file, error)) from None
    return value


def _unreadable(where: str, file: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return (
        f"{where}: {file} cannot be read ({type(error).__name__}: {first}), and it says how the model is used; copy or "
        "download it again"
    )


def _modules(read: Read, where: str, anywhere: bool = False) -> list[tuple[str, str]]:
    """Return class and folder of each part that modules.json lists, () without the file."""
    path = read(_MODULES)
    if path is None:
        return []
    try:
        listed = json.loads(path.read_text("utf-8"))
        found = [(str(part["type"]), str(part["path"])) for part in listed]
        if not isinstance(listed, list) or not found:
            raise ValueError("it lists no modules")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EvalkitError(_unreadable(where, _MODULES, error)) from None
    modules = []
    for kind, folder in found:
        if not kind.startswith("sentence_transformers."):
            raise EvalkitError(
                f"{where}: modules.json names {kind[:120]}, which is none of sentence-transformers' own modules, and "
                "evalkit runs no code that comes with a model; rank with it elsewhere and give the ranking: trec_run"
            )
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\\" in folder:
            raise EvalkitError(f"{where}: modules.json names {folder[:120]!r}, which is outside of the model's folder")
        modules.append((kind.rpartition(".")[2], "" if folder == "." else folder.rstrip("/")))
    if anywhere:
        return modules
    if modules[0][0] != "Transformer":
        kinds = ", ".join(kind for kind, _ in modules)
        raise EvalkitError(
            f"{where}: modules.json lists {kinds}, and evalkit runs models that begin with a Transformer; rank with "
            "sentence-transformers and give the ranking: trec_run"
        )
    if modules[0][1]:
        raise EvalkitError(_in_subfolder(where, modules[0][1]))
    return modules


def _ends_in_scores(read: Read, modules: list[tuple[str, str]], where: str) -> bool:
    if not modules or modules[-1][0] != "Dense":
        return False
    return (_json(read, _inside(modules[-1][1], "config.json"), where) or {}).get("module_output_name") == "scores"


def _inside(folder: str, file: str) -> str:
    return f"{folder}/{file}" if folder else file


@dataclass(frozen=True)
class _Transformer:
    max_length: int | None = None
    lowercase: bool = False


_UNDERSTOOD = {
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "backend",
}
_LOADING = {
    "trust_remote_code", "attn_implementation", "dtype", "torch_dtype", "add_pooling_layer", "padding_side",
    "use_safetensors", "cache_dir", "use_fast",
}  # fmt: skip
"""Of the arguments that a file gives transformers: those that evalkit sets itself, or that change no vector."""


def _transformer(read: Read, folder: str, where: str, task: str) -> _Transformer:
    file, stated = next(
        ((file, stated) for file in _TRANSFORMER if (stated := _json(read, _inside(folder, file), where)) is not None),
        ("", {}),
    )
    if (own := stated.get("transformer_task", task)) != task:
        raise EvalkitError(
            f"{where}: {file} states transformer_task={own!r}, and evalkit runs the transformer for {task} here; "
            "rank with sentence-transformers and give the ranking: trec_run"
        )
    text = (stated.get("modality_config") or {}).get("text")
    outputs = {"feature-extraction": "last_hidden_state", "sequence-classification": "logits"}
    if text not in (None, {"method": "forward", "method_output_name": outputs[task]}):
        raise EvalkitError(f"{where}: {file} states modality_config.text={text!r}, which evalkit does not do")
    length = stated.get("max_seq_length")
    for key, value in stated.items():
        if key in _UNDERSTOOD or value in (None, {}, [], False, ""):
            continue
        others = value
        if key.endswith(("_args", "_kwargs")) and isinstance(value, dict):
            others = {name: given for name, given in value.items() if name not in _LOADING}
            if key in ("tokenizer_args", "processor_kwargs"):
                length = others.pop("model_max_length", length)
        if others:
            raise EvalkitError(
                f"{where}: {file} states {key}={str(others)[:120]}, which evalkit does not do; rank with "
                "sentence-transformers and give the ranking: trec_run"
            )
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise EvalkitError(f"{where}: {file} states max_seq_length={length!r}, and it is a number of tokens")
    return _Transformer(length, bool(stated.get("do_lower_case")))


def _pooling(read: Read, folder: str, size: int, where: str) -> tuple[str, bool]:
    file = _inside(folder, "config.json")
    stated = _json(read, file, where)
    if stated is None:
        raise EvalkitError(f"{where}: modules.json lists a Pooling, and {file} is not there; copy the whole folder")
    old = {
        "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
    }  # fmt: skip
    modes = stated.get("pooling_mode") or [mode for key, mode in old.items() if stated.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    strange = [key for key in stated if key.startswith("pooling_mode_") and key not in old and stated[key]]
    if len(modes) != 1 or modes[0] not in POOLINGS or strange:
        raise EvalkitError(
            f"{where}: {file} states the pooling {' and '.join(map(str, [*modes, *strange]))[:120]}, and evalkit pools "
            f"by one of {', '.join(POOLINGS)}; search with sentence-transformers and give the ranking: "
            "first_stage=trec_run first_stage.path=RUN"
        )
    width = stated.get("embedding_dimension", stated.get("word_embedding_dimension"))
    if width is not None and size and width != size:
        raise EvalkitError(
            f"{where}: {file} states vectors of {width} numbers, and the transformer gives {size}; they belong to "
            "different models"
        )
    return str(modes[0]), bool(stated.get("include_prompt", True))


def _layer(read: Read, kind: str, folder: str, where: str) -> Layer:
    file = _inside(folder, "config.json")
    stated = _json(read, file, where) or {}
    ends = {str(stated.get(key) or "sentence_embedding") for key in ("module_input_name", "module_output_name")}
    if kind not in ("Dense", "LayerNorm", "Normalize") or ends != {"sentence_embedding"}:
        on = "" if ends == {"sentence_embedding"} else f" on {', '.join(sorted(ends - {'sentence_embedding'}))[:120]}"
        raise EvalkitError(
            f"{where}: modules.json lists {kind}{on}, and behind the pooling evalkit computes Dense, LayerNorm and "
            "Normalize on whole vectors; search with sentence-transformers and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    if kind == "Normalize":
        return Layer(kind, folder)
    weights = read(_inside(folder, "model.safetensors"))
    if weights is None:
        pickled = read(_inside(folder, "pytorch_model.bin")) is not None
        raise EvalkitError(
            f"{where}: {folder} has no model.safetensors"
            + (
                ", its weights are a pickle, which can run code when it is read; save a model that you trust anew with "
                "sentence-transformers, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
                if pickled
                else f", which holds the weights of its {kind}; copy or download the whole folder"
            )
        )
    try:
        if kind == "LayerNorm":
            size = int(stated["dimension"])
            return Layer(kind, folder, size, size, weights=weights)
        size_in, size_out = int(stated["in_features"]), int(stated["out_features"])
    except (LookupError, TypeError, ValueError) as error:
        raise EvalkitError(_unreadable(where, file, error)) from None
    given = stated.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = "Identity" if given is None else _torch_name(given)
    if activation not in ACTIVATIONS:
        raise EvalkitError(
            f"{where}: {file} states activation_function={str(given)[:120]}, and evalkit computes "
            f"{', '.join(ACTIVATIONS)}; search with sentence-transformers and give the ranking: first_stage=trec_run "
            "first_stage.path=RUN"
        )
    return Layer(kind, folder, size_in, size_out, bool(stated.get("bias", True)), activation,
                 bool(stated.get("use_residual")), weights)  # fmt: skip


def _torch_name(path: object) -> str | None:
    """Return ``Tanh`` of ``torch.nn.modules.activation.Tanh``; None for what is not torch's."""
    found = re.fullmatch(r"torch\.nn\.(?:modules\.\w+\.)?(\w+)", str(path))
    return found[1] if found else None


def _old_activation(config: Any) -> object:
    inside = getattr(config, "sentence_transformers", None)
    found = inside.get("activation_fn") if isinstance(inside, dict) else None
    return found or getattr(config, "sbert_ce_default_activation_function", None)


def _increasing(path: object, file: str, where: str) -> str | None:
    if path is None:
        return None
    name = _torch_name(path)
    if name not in _INCREASING:
        raise EvalkitError(
            f"{where}: {file} states the activation {str(path)[:120]} for its scores, which need not keep the order of "
            f"the logits that evalkit ranks by ({', '.join(_INCREASING)} do); {_ELSEWHERE}"
        )
    return name


def _prompts(stated: Mapping[str, Any], where: str) -> tuple[dict[str, str], str | None]:
    prompts = stated.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise EvalkitError(f"{where}: {_CONFIG} states prompts that are not texts by name")
    default = stated.get("default_prompt_name")
    if default is not None and default not in prompts:
        there = ", ".join(map(repr, prompts))[:120]
        raise EvalkitError(
            f"{where}: {_CONFIG} names the default prompt {str(default)[:120]!r} and has no such prompt"
            f"{f' (it has {there})' if there else ''}"
        )
    return {str(name): text or "" for name, text in prompts.items()}, default
