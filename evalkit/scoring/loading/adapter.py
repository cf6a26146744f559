"""A reranker saved as a LoRA adapter beside its base: both are merged into a folder of full weights, once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.fingerprint import check_download, folder_hash
from evalkit.scoring.loading.merge_adapter import ADAPTER_WEIGHTS, merge
from evalkit.scoring.loading.model_config import is_decoder, load_config
from evalkit.scoring.loading.model_location import file_reader, load_path, local_folder
from evalkit.scoring.loading.sbert_files import ADAPTER, read_json, refuse_adapter
from evalkit.scoring.loading.weight_files import SAFETENSORS, check_hub_weights, pickle_error
from evalkit.scoring.made_files import Made, cached

MERGED = Made("merged", "merged adapters", "a folder that peft merged")
_BASE = "base_model_name_or_path"
_LAYOUT = 1
"""Counted up when merged folders change."""


@dataclass(frozen=True)
class Merged:
    """An adapter, merged into its base."""

    folder: str
    """The full model."""
    kind: str
    base: str
    """A local folder, or a name on the hub."""
    base_revision: str
    """The hub's commit, or ``sha256:...`` over the files of a local folder."""
    revision: str
    """``sha256:...`` over adapter and base; the last bits of merged weights may differ between machines."""


def merge_adapter(name: str, setting: str) -> Merged | None:
    """Merge an adapter into its base, unless that has been done before.

    Args:
        name: The model, as configured.
        setting: The configuration key that names it, for messages.

    Returns:
        The full model; None if `name` is no local folder with an adapter and without full weights.

    Raises:
        EvalkitError: the adapter is of another kind, its base or peft is not there, or their weights do not make a
            classifier together.
    """
    folder, prefix = local_folder(name), f"{setting}={name}"
    if folder is None or any((folder / file).is_file() for file in SAFETENSORS):
        return None
    read = file_reader(name, None)
    stated = read_json(read, ADAPTER, prefix)
    if stated is None:
        return None
    kind, base = str(stated.get("peft_type")), stated.get(_BASE)
    of_a_classifier = kind == "LORA" and stated.get("task_type") in ("SEQ_CLS", None)
    # peft imports the module that megatron_core names.
    if not of_a_classifier or stated.get("megatron_config") or not isinstance(base, str) or not base:
        refuse_adapter(read, prefix, without_weights=True)
    assert isinstance(base, str)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        if (folder / "adapter_model.bin").is_file():
            raise pickle_error(name, setting, f"the adapter's weights are adapter_model.bin and no {ADAPTER_WEIGHTS}")
        raise EvalkitError(f"{prefix}: {ADAPTER} states an adapter, and {ADAPTER_WEIGHTS}, its weights, is not there")
    commit = _find_base(base, stated, prefix)
    labels = _labels(folder / ADAPTER_WEIGHTS, prefix)
    if find_spec("peft") is None:
        raise EvalkitError(
            f"{prefix}: an adapter of {base}, which peft merges into it, and peft is not installed: "
            "pip install evalkit-rerank[peft]"
        )
    if commit is not None:
        check_download(base, commit, _BASE)
    base_revision = commit or f"sha256:{folder_hash(Path(load_path(base)))}"
    parts = {"adapter": folder_hash(folder), "base": base_revision}
    made_of = {"layout": _LAYOUT, **parts,
               "versions": {package: version(package) for package in ("peft", "torch", "transformers")}}  # fmt: skip
    job = partial(merge, adapter=str(folder), base=_folder_of(base, commit), labels=labels, prefix=prefix)
    merged = cached(MERGED, "merging the adapter into its base, once", made_of, job)
    revision = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Merged(str(merged), kind, base, base_revision, f"sha256:{revision}")


def _find_base(base: str, stated: Mapping[str, Any], prefix: str) -> str | None:
    """Check that the base is there and an encoder with weights that can be read; return its commit on the hub."""
    try:
        config, commit = load_config(base, stated.get("revision"), _BASE)
        refuse_adapter(file_reader(base, commit), f"{_BASE}={base}")
        if commit is not None:
            check_hub_weights(base, commit, _BASE)
    except EvalkitError as error:
        raise EvalkitError(f"{prefix}: an adapter (LORA) whose base cannot be loaded ({ADAPTER}): {error}") from None
    if is_decoder(config):
        raise EvalkitError(
            f"{prefix}: an adapter of {base}, which is a decoder, and evalkit merges adapters of encoders; merge it "
            "with peft, model.merge_and_unload().save_pretrained(PATH): reranker=decoder reranker.model=PATH"
        )
    return commit


def _folder_of(base: str, commit: str | None) -> str:
    """Return the folder with all files of the base, which may have to be downloaded."""
    where = load_path(base, commit)
    if Path(where).is_dir():
        return where
    from huggingface_hub import snapshot_download

    return snapshot_download(base, revision=commit, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"])


def _labels(path: Path, prefix: str) -> int | None:
    """Return how many labels the adapter's own head has; None if it has no head, which is the base's then."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or ["no message"])[0][:200]
        raise EvalkitError(f"{prefix}: {path.name} cannot be read ({first}); copy or download it again") from None
    # The head is saved in whole; its last matrix has a row for each label, and others as many as hidden states.
    rows = [shape[0] for name, shape in shapes.items() if len(shape) == 2 and "lora_" not in name]
    return min(rows, default=None)
