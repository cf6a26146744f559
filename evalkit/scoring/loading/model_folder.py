"""Checks the files of a local model folder before anything opens them."""

import json
import os
from contextlib import suppress
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading import hub
from evalkit.scoring.loading.load_errors import load_error
from evalkit.scoring.loading.model_location import MODEL_FILES, file_reader
from evalkit.scoring.loading.sbert_files import explain_missing_config, refuse_adapter
from evalkit.scoring.loading.weight_files import SAFETENSORS, explain_other_weights, pickle_error, pickle_files


def check_folder(folder: Path, name: str, setting: str, weights: bool = True) -> None:
    """Check that a folder has a configuration, and weights that can be read safely.

    Args:
        folder: The model's folder.
        name: The model, as configured.
        setting: The configuration key that names it, for messages.
        weights: Whether it needs weights; a graph has its own.

    Raises:
        EvalkitError: there is no config.json, an entry is a pipe or a device, or the weights are in another format, a
            pickle for instance, which can run code when it is read.
    """
    for path in folder.iterdir():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise EvalkitError(
                f"{setting}={name}: {path.name} is a pipe or a device; a model folder holds {MODEL_FILES}"
            )
    names = [path.name for path in folder.iterdir()] + [f"onnx/{path.name}" for path in folder.glob("onnx/*.onnx")]
    other_weights = explain_other_weights(names)
    if not (folder / "config.json").exists():
        explain_missing_config(file_reader(name, None), f"{setting}={name}")
        if (folder / "snapshots").is_dir() and folder.name.startswith("models--"):
            raise EvalkitError(
                f"{setting}={name}: this is a folder of the hub's cache, which holds a model in each of its "
                f"snapshots/COMMIT; give the model's name: {setting}={hub.cached_name(folder / 'snapshots' / 'any')}"
            )
        raise EvalkitError(
            f"{setting}={name}: the folder has no config.json; "
            + (f"{other_weights}, or a" if other_weights else "a")
            + f" model folder holds {MODEL_FILES}"
        )
    if not SAFETENSORS & set(names):
        refuse_adapter(file_reader(name, None), f"{setting}={name}", without_weights=True)
    if not weights:
        return
    if other_weights:
        raise EvalkitError(f"{setting}={name}: {other_weights}: {setting}=PATH")
    pickles = pickle_files(names)
    if pickles and not any(folder.glob("*.safetensors")):
        raise pickle_error(name, setting, f"the folder has {pickles[0]} and no safetensors")
    _check_shards(folder, name, setting)


def _check_shards(folder: Path, name: str, setting: str) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.exists() or (folder / "model.safetensors").exists():
        return
    try:
        shards = {str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise load_error(name, None, setting, error) from None
    if others := sorted(shard for shard in shards if not shard.endswith(".safetensors")):
        raise pickle_error(name, setting, f"{index.name} names {others[0][:80]!r}")
    if missing := hub.missing_shards(folder):
        raise EvalkitError(
            f"{setting}={name}: {index.name} names {len(shards)} files of weights, and {len(missing)} are not there "
            f"(e.g. {missing[0][:80]}); copy or download the whole folder"
        )


def parent_model(folder: Path) -> Path | None:
    """Return the parent folder if its modules.json lists `folder` as one of a model's parts, else None.

    Args:
        folder: A local folder.
    """
    absolute = Path(os.path.abspath(folder))
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        listed = json.loads((absolute.parent / "modules.json").read_text("utf-8"))
        if any(str(part["path"]).strip("/") == absolute.name for part in listed):
            return absolute.parent
    return None
