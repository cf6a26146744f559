"""Which of a model's files hold its weights, and what to say where none is a model.safetensors."""

import re
from collections.abc import Collection

_SAVE = ".from_pretrained(NAME).save_pretrained(PATH) of model and tokenizer, and give that folder"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHERS = (
    (
        re.compile(r"\.gguf$"),
        "GGUF, llama.cpp's format of quantised weights",
        "take the checkpoint that it was made of",
    ),
    (re.compile(r"\.onnx(_data)?$"), "ONNX, an exported graph", "take the checkpoint that it was exported from"),
    (re.compile(r"openvino_.*\.(xml|bin)$"), "OpenVINO, an exported graph", "take the checkpoint it was exported from"),
    (re.compile(r"tf_model.*\.h5$"), "TensorFlow's", f"convert them with transformers 4, from_tf=True, {_SAVE}"),
    (re.compile(r"flax_model.*\.msgpack$"), "Flax's", f"convert them with transformers 4, from_flax=True, {_SAVE}"),
)


def pickles(names: Collection[str]) -> list[str]:
    """Return the pickles among a model's top-level files."""
    own = (name for name in names if "/" not in name and name.endswith(_PICKLES))
    return sorted(name for name in own if not re.match(r"openvino_|training_args|optimizer|scheduler|rng_state", name))


def what_instead(names: Collection[str]) -> str | None:
    """Return which weights a model has instead of ``model.safetensors``, and the way out; None if that is there.

    Also None where nothing can be told, and for pickles, whose message is another one. `names` are relative to the
    model's folder.
    """
    top = sorted(name for name in names if "/" not in name)
    if "model.safetensors" in top or "model.safetensors.index.json" in top:
        return None
    tensors = [name for name in top if name.endswith(".safetensors") and name != "adapter_model.safetensors"]
    for name in tensors:
        if found := re.fullmatch(r"model\.([\w-]+?)(-\d+-of-\d+)?\.safetensors", name):
            return (
                f"its weights are a variant ({name}), and evalkit reads model.safetensors; load it with transformers, "
                f"variant={found[1]!r}, save it with save_pretrained(PATH) and give that folder"
            )
        if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name):
            return (
                f"its weights are in parts ({name} ...), and model.safetensors.index.json, which lists them, is not "
                "there; copy or download the whole folder"
            )
    if tensors:
        return (
            f"its weights are {tensors[0][:80]}, and evalkit reads model.safetensors; where that is what it is, rename "
            "it, else load it with what wrote it and save it with transformers' save_pretrained(PATH)"
        )
    if pickles(names):
        return None
    for pattern, what, way in _OTHERS:
        if found_names := sorted(name for name in names if pattern.search(name.rpartition("/")[2])):
            return f"its weights are {found_names[0][:80]} alone ({what}), and evalkit reads model.safetensors; {way}"
    return None
