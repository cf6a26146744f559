"""The job that merges a LoRA adapter into its base: full weights in fp32, with the files of both.

It runs in a process of its own (`evalkit.scoring.made_files`), which is the only one that imports peft.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.loading.checkpoint_check import unsupported_weights

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "sentencepiece.bpe.model", "spm.model", "spiece.model", "vocab.json", "merges.txt", "modules.json",
    "config_sentence_transformers.json", "sentence_bert_config.json",
)  # fmt: skip
"""Files of the tokenizer, and of sentence-transformers: the adapter's where it has its own, else the base's."""
_OF_SENTENCE_TRANSFORMERS = frozenset(_FILES[-3:])


def merge(folder: Path, adapter: str, base: str, labels: int | None, prefix: str) -> None:
    """Write a full model.

    Args:
        folder: Where the files go.
        adapter: The adapter's folder.
        base: The base's folder.
        labels: How many labels the adapter's own head has; None for that of the base.
        prefix: The beginning of messages: the setting and the model.

    Raises:
        EvalkitError: weights are missing from both, or the adapter's do not fit the base.
    """
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict

    settings: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that weights are missing, which is checked below
        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                base, dtype=torch.float32, use_safetensors=True, weights_only=True, output_loading_info=True,
                ignore_mismatched_sizes=labels is not None, trust_remote_code=False, **settings,
            )  # fmt: skip
            adapted = PeftModel.from_pretrained(model, adapter, torch_device="cpu")
        except Exception as error:  # errors of many types: of files, of shapes, of names of modules
            first = (str(error).strip().splitlines() or ["no message"])[0][:200]
            raise EvalkitError(
                f"{prefix}: the adapter cannot be put into its base ({type(error).__name__}: {first}); "
                "adapter_config.json names another one than it was trained on, or a newer peft saved it"
            ) from None
    stored = load_file(Path(adapter) / ADAPTER_WEIGHTS)
    loaded = get_peft_model_state_dict(adapted)
    places = stored.keys() | {name for name in loaded if "lora_" in name}  # peft also lists a head that is the base's
    if different := sorted(name for name in places if not _same(stored, loaded, name)):
        raise EvalkitError(
            f"{prefix}: the adapter's weights are not those that its base has places for (e.g. {different[0][:120]}); "
            "adapter_config.json names another base or other target_modules than it was trained with"
        )
    replaced = {name.removeprefix("base_model.model.") for name in stored}
    if unsupported := unsupported_weights(report["unexpected_keys"], model, embeds=False):
        raise EvalkitError(f"{prefix}: {unsupported[0]} of its base has no place in {type(model).__name__}")
    lost = report["missing_keys"] | {str(key[0]) for key in report["mismatched_keys"]}
    if missing := sorted(name for name in lost if name not in replaced):
        raise EvalkitError(
            f"{prefix}: {missing[0]} is neither in the adapter (modules_to_save) nor in its base, and would be random "
            "numbers; save the adapter with its head"
        )
    adapted.merge_and_unload(safe_merge=True).save_pretrained(folder)
    _copy_files(folder, Path(adapter), Path(base))
    _keep_version(folder / "config.json", Path(base) / "config.json")


def _same(stored: dict[str, torch.Tensor], loaded: dict[str, torch.Tensor], name: str) -> bool:
    both = name in stored and name in loaded
    return both and torch.equal(stored[name].float(), loaded[name].float())


def _copy_files(folder: Path, adapter: Path, base: Path) -> None:
    own_tokenizer = (adapter / "tokenizer.json").is_file()
    for name in _FILES:
        of_tokenizer = name not in _OF_SENTENCE_TRANSFORMERS
        source = (base if of_tokenizer and not own_tokenizer else adapter) / name
        if source.is_file():
            shutil.copyfile(source, folder / name)


def _keep_version(path: Path, of_base: Path) -> None:
    """Keep the version of transformers that saved the base: it tells how its tokenizer was called in training."""
    if stated := json.loads(of_base.read_text("utf-8")).get("transformers_version"):
        written = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(written | {"transformers_version": stated}, indent=2), "utf-8")
