"""Which of a model's files hold its weights, and what to do if there is no model.safetensors."""

import re
from collections.abc import Collection
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading import hub
from evalkit.scoring.loading.model_location import MODEL_FILES, load_path

SAFETENSORS = frozenset({"model.safetensors", "model.safetensors.index.json"})

_SAVE = ".from_pretrained(NAME).save_pretrained(PATH) of model and tokenizer, and give that folder"
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHER_FORMATS = (
    (
        re.compile(r"\.gguf$"),
        "GGUF, llama.cpp's format of quantised weights",
        "take the checkpoint that it was made of",
    ),
    (
        re.compile(r"\.onnx(_data)?$"),
        "ONNX, an exported graph",
        "use runtime=onnxruntime, or take the checkpoint that it was exported from",
    ),
    (
        re.compile(r"openvino_.*\.(xml|bin)$"),
        "OpenVINO, an exported graph",
        "use runtime=openvino, or take the checkpoint that it was exported from",
    ),
    (re.compile(r"tf_model.*\.h5$"), "TensorFlow's", f"convert them with transformers 4, from_tf=True, {_SAVE}"),
    (re.compile(r"flax_model.*\.msgpack$"), "Flax's", f"convert them with transformers 4, from_flax=True, {_SAVE}"),
)


def has_safetensors(name: str, commit: str | None) -> bool:
    """Return whether a model has weights that evalkit reads; True where the names of a hub model's files are unknown.

    Args:
        name: A local folder, or a name on the hub.
        commit: The hub's commit; None for a local folder.
    """
    if commit is None:
        return any((Path(load_path(name)) / file).is_file() for file in SAFETENSORS)
    names = hub.list_files(name, commit)
    return names is None or bool(SAFETENSORS & set(names))


def pickle_files(names: Collection[str]) -> list[str]:
    """Return the pickles with weights among a model's top-level files.

    Args:
        names: File names, relative to the model's folder.
    """
    pickles = (name for name in names if "/" not in name and name.endswith(_PICKLE_SUFFIXES))
    other = r"openvino_|training_args|optimizer|scheduler|rng_state"
    return sorted(name for name in pickles if not re.match(other, name))


def explain_other_weights(names: Collection[str]) -> str | None:
    """Return which weights a model has instead of ``model.safetensors``, and how to convert them.

    Args:
        names: File names, relative to the model's folder.

    Returns:
        Part of a message; None if there is a model.safetensors, if no known weights are found, and for pickles, which
        have a message of their own (`pickle_error`).
    """
    top = sorted(name for name in names if "/" not in name)
    if SAFETENSORS & set(top):
        return None
    tensors = [name for name in top if name.endswith(".safetensors") and name != "adapter_model.safetensors"]
    for name in tensors:
        if match := re.fullmatch(r"model\.([\w-]+?)(-\d+-of-\d+)?\.safetensors", name):
            return (
                f"its weights are a variant ({name}), and evalkit reads model.safetensors; load it with transformers, "
                f"variant={match[1]!r}, save it with save_pretrained(PATH) and give that folder"
            )
        if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name):
            return (
                f"its weights are in parts ({name} ...), and model.safetensors.index.json, which lists them, is not "
                "there; copy or download the whole folder"
            )
    if tensors:
        return (
            f"its weights are {tensors[0][:80]}, and evalkit reads model.safetensors; if that is what it is, rename "
            "it, else load it with the library that saved it and save it with transformers' save_pretrained(PATH)"
        )
    if pickle_files(names):
        return None
    for pattern, what, way in _OTHER_FORMATS:
        if found := sorted(name for name in names if pattern.search(name.rpartition("/")[2])):
            return f"its weights are {found[0][:80]} alone ({what}), and evalkit reads model.safetensors; {way}"
    return None


def check_hub_weights(name: str, commit: str, setting: str) -> None:
    """Check by the names of a hub model's files that its weights can be read; skipped if the names are not known.

    Args:
        name: The model's name on the hub.
        commit: The hub's commit.
        setting: The configuration key that names the model, for messages.

    Raises:
        EvalkitError: the weights are in another format, or a download was interrupted and the hub does not answer.
    """
    names, snapshot = hub.list_files(name, commit), hub.usable_snapshot(name, commit)
    if names is None:
        return
    if other := explain_other_weights(names):
        raise EvalkitError(f"{setting}={name}: {other}: {setting}=PATH")
    safetensors = SAFETENSORS & set(names)
    if pickles := [] if safetensors else pickle_files(names):
        problem = f"the hub has its weights as a pickle ({pickles[0]}) and no safetensors"
        raise pickle_error(name, setting, problem, hub.proposed_conversion(name))
    if snapshot and (missing := hub.missing_shards(snapshot) or ([] if safetensors else ["model.safetensors"])):
        begun = ", since its download was interrupted" if hub.was_interrupted(name) else ""
        raise EvalkitError(
            f"{setting}={name}: the hub's cache has its config.json and not its weights ({missing[0]}){begun}, and the "
            f"hub cannot be asked for them; connect to the network, or give a local folder that holds {MODEL_FILES}: "
            f"{setting}=PATH"
        )


def pickle_error(name: str, setting: str, problem: str, offered: str | None = None) -> EvalkitError:
    """Return the error for weights in a pickle.

    Args:
        name: The model.
        setting: The configuration key that names it.
        problem: What was found.
        offered: The revision on the hub that has safetensors, if there is one.
    """
    in_between = (
        f"a pull request of the hub's conversion service has safetensors, which you can look at on the hub and use: "
        f"{setting.rpartition('.')[0]}.revision={offered}; or "
        if offered
        else ""
    )
    return EvalkitError(
        f"{setting}={name}: {problem}, and a pickle can run code when it is read; {in_between}convert a model that you "
        "trust with transformers, .from_pretrained(NAME).save_pretrained(PATH) of model and tokenizer, and give the "
        f"folder: {setting}=PATH"
    )
