"""Reads what comes behind the transformer in sentence-transformers' format: a pooling, and layers on whole vectors."""

from collections.abc import Sequence
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.sbert_config import HeadLayer
from evalkit.scoring.loading.sbert_files import (
    Module,
    ReadFile,
    path_in,
    read_json,
    torch_class_name,
    unreadable_file,
)

POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
"""Activations of a Dense layer, by the names of their classes in torch.nn."""


def hidden_size(config: Any) -> int:
    """Return the numbers in a state of a transformer; 0 if its configuration does not state them.

    Args:
        config: Its configuration.
    """
    return int(getattr(config, "hidden_size", 0) or getattr(config, "dim", 0))


def output_size(layers: Sequence[HeadLayer], size: int) -> int:
    """Return the numbers in a vector behind all layers.

    Args:
        layers: As `read_layers` returns them.
        size: Numbers in a vector before them.
    """
    return next((layer.size_out for layer in reversed(layers) if layer.kind != "Normalize"), size)


def read_layers(
    read: ReadFile, modules: Sequence[Module], size: int, prefix: str, elsewhere: str, scores: bool = False
) -> tuple[HeadLayer, ...]:
    """Return the layers behind the pooling.

    Args:
        read: Reads the model's files.
        modules: The modules behind the Pooling.
        size: Numbers in a pooled vector.
        prefix: The beginning of messages: the setting and the model.
        elsewhere: The last part of messages: what to do with a model that evalkit cannot compute.
        scores: Whether the last module gives scores instead of vectors.

    Raises:
        EvalkitError: a file cannot be read, layers do not fit each other, or evalkit does not compute one.
    """
    layers = []
    for place, module in enumerate(modules):
        if module.kind == "Dropout":  # has an effect in training only
            continue
        layer = _read_layer(read, module, prefix, elsewhere, last=scores and place == len(modules) - 1)
        if layer.kind != "Normalize":
            if layer.size_in != size:
                raise EvalkitError(
                    f"{prefix}: {module.folder} takes vectors of {layer.size_in} numbers, and what comes before it "
                    f"gives {size}"
                )
            size = layer.size_out
        layers.append(layer)
    return tuple(layers)


def read_pooling(read: ReadFile, folder: str, size: int, prefix: str, elsewhere: str) -> tuple[str, bool]:
    """Return the pooling, and whether it includes the tokens of a prompt.

    Args:
        read: Reads the model's files.
        folder: The folder of the Pooling module.
        size: Numbers in a state of the transformer; 0 if unknown.
        prefix: The beginning of messages: the setting and the model.
        elsewhere: The last part of messages: what to do with a model that evalkit cannot compute.

    Raises:
        EvalkitError: its file cannot be read, or states what evalkit does not compute.
    """
    file = path_in(folder, "config.json")
    stated = read_json(read, file, prefix)
    if stated is None:
        raise EvalkitError(f"{prefix}: modules.json lists a Pooling, and {file} is not there; copy the whole folder")
    old = {
        "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
    }  # fmt: skip
    modes = stated.get("pooling_mode") or [mode for key, mode in old.items() if stated.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    unknown = [key for key in stated if key.startswith("pooling_mode_") and key not in old and stated[key]]
    if len(modes) != 1 or modes[0] not in POOLINGS or unknown:
        raise EvalkitError(
            f"{prefix}: {file} states the pooling {' and '.join(map(str, [*modes, *unknown]))[:120]}, and evalkit "
            f"pools by one of {', '.join(POOLINGS)}; {elsewhere}"
        )
    width = stated.get("embedding_dimension", stated.get("word_embedding_dimension"))
    if width is not None and size and width != size:
        raise EvalkitError(
            f"{prefix}: {file} states vectors of {width} numbers, and the transformer gives {size}; they belong to "
            "different models"
        )
    return str(modes[0]), bool(stated.get("include_prompt", True))


def _read_layer(read: ReadFile, module: Module, prefix: str, elsewhere: str, last: bool) -> HeadLayer:
    kind, folder = module
    file = path_in(folder, "config.json")
    stated = read_json(read, file, prefix) or {}
    source = str(stated.get("module_input_name") or "sentence_embedding")
    ends = {source, str(stated.get("module_output_name") or source)} - ({"scores"} if last else set())
    if kind not in ("Dense", "LayerNorm", "Normalize") or ends != {"sentence_embedding"}:
        on = "" if ends == {"sentence_embedding"} else f" on {', '.join(sorted(ends - {'sentence_embedding'}))[:120]}"
        raise EvalkitError(
            f"{prefix}: modules.json lists {kind}{on}, and behind the pooling evalkit computes Dense, LayerNorm and "
            f"Normalize on whole vectors; {elsewhere}"
        )
    if kind == "Normalize":
        return HeadLayer(kind, folder)
    weights = read(path_in(folder, "model.safetensors"))
    if weights is None:
        pickled = read(path_in(folder, "pytorch_model.bin")) is not None
        raise EvalkitError(
            f"{prefix}: {folder} has no model.safetensors"
            + (
                ", its weights are a pickle, which can run code when it is read; save a model that you trust again "
                "with sentence-transformers, SentenceTransformer(OLD).save_pretrained(PATH), and give that folder"
                if pickled
                else f", which holds the weights of its {kind}; copy or download the whole folder"
            )
        )
    try:
        if kind == "LayerNorm":
            size = int(stated["dimension"])
            return HeadLayer(kind, folder, size, size, weights=weights)
        size_in, size_out = int(stated["in_features"]), int(stated["out_features"])
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable_file(prefix, file, error) from None
    given = stated.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = "Identity" if given is None else torch_class_name(given)
    if activation not in ACTIVATIONS:
        raise EvalkitError(
            f"{prefix}: {file} states activation_function={str(given)[:120]}, and evalkit computes "
            f"{', '.join(ACTIVATIONS)}; {elsewhere}"
        )
    return HeadLayer(kind, folder, size_in, size_out, bool(stated.get("bias", True)), activation,
                     bool(stated.get("use_residual")), weights)  # fmt: skip
