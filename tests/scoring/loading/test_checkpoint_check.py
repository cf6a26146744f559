"""Weights that a model does not use, and settings that its class does not support, are errors unless harmless."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.model_checks import is_packable_checkpoint
from evalkit.scoring.loading.pretrained import load_classifier, load_encoder

CPU = torch.device("cpu")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def add(folder: Path, **weights: Any) -> None:
    path = folder / "model.safetensors"
    save_file(
        load_file(path) | {key.replace("__", "."): value for key, value in weights.items()}, path, {"format": "pt"}
    )


def load(folder: Path, encoder: bool = False) -> Any:
    setting = "first_stage.model" if encoder else "reranker.model"
    return (load_encoder if encoder else load_classifier)(str(folder), None, CPU, PRECISIONS["fp32"], setting)


def refusal(folder: Path, encoder: bool = False) -> str:
    with pytest.raises(EvalkitError) as refused:
        load(folder, encoder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("encoder", [False, True])
def test_layers_beyond_the_configuration_are_refused(bert: Any, encoder: Any) -> None:
    edit(bert / "config.json", num_hidden_layers=1)
    sentence = refusal(bert, encoder)
    assert "its files hold 16 weights (e.g. bert.encoder.layer.1.attention.output.LayerNorm.bias)" in sentence
    assert "Correct config.json (num_hidden_layers, for one)" in sentence


def test_layers_beyond_the_configuration_are_refused_before_any_other_work(bert: Any) -> None:
    edit(bert / "config.json", num_hidden_layers=1)
    with pytest.raises(EvalkitError, match="its files hold 16 weights"):
        CrossEncoder(str(bert), 64, truncation="longest_first", device="cpu", precision="fp32").check()


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize(
    "key",
    ["bert__encoder__layer__0__attention__self__query__lora_A__weight",
     "bert__encoder__layer__0__adapters__down__weight",
     "bert__encoder__layer__0__attention__self__distance_embedding__weight", "dense__weight", "linear__weight"],
)  # fmt: skip
def test_weights_of_adapters_and_of_other_heads_are_refused(bert: Any, key: Any, encoder: Any) -> None:
    add(bert, **{key: torch.zeros(2, 2)})
    assert f"its files hold 1 weight (e.g. {key.replace('__', '.')})" in refusal(bert, encoder)


def test_position_indices_and_heads_of_pre_training_are_harmless(bert: Any) -> None:
    add(bert, bert__embeddings__position_ids=torch.arange(512), cls__predictions__bias=torch.zeros(3))
    assert load(bert).weights_ignored == ("cls.predictions.bias",)


@pytest.mark.parametrize(("key", "packable"), [("bert.embeddings.position_ids", True), ("bert.more", False)])
def test_a_checkpoint_with_unused_weights_is_packable_if_they_are_harmless(bert: Any, key: Any, packable: Any) -> None:
    add(bert, **{key: torch.zeros(2)})
    assert is_packable_checkpoint(str(bert), None, "reranker.model") is packable


def test_an_unused_pooler_is_harmless(xlmr: Any) -> None:
    """RoBERTa's classifier reads the first token itself; old checkpoints have a pooler all the same."""
    add(xlmr, roberta__pooler__dense__weight=torch.zeros(32, 32))
    assert load(xlmr).weights_ignored == ("roberta.pooler.dense.weight",)


def test_a_classifier_serves_as_an_encoder_without_its_head(bert: Any) -> None:
    assert load(bert, encoder=True).weights_ignored == ("classifier.bias", "classifier.weight")


@pytest.mark.parametrize(
    ("key", "value"),
    [("position_embedding_type", "relative_key"), ("position_embedding_type", "relative_key_query"),
     ("adapters", {"adapters": {"mine": "x"}}), ("attention_window", 256), ("classifier_pooling", "mean")],
)  # fmt: skip
@pytest.mark.parametrize("encoder", [False, True])
def test_a_setting_that_the_class_does_not_support_is_refused(bert: Any, key: Any, value: Any, encoder: Any) -> None:
    edit(bert / "config.json", **{key: value})
    assert f"config.json asks for {key}={str(value)[:60]}, which Bert" in refusal(bert, encoder)


def test_an_unknown_setting_is_refused_before_any_other_work(bert: Any) -> None:
    edit(bert / "config.json", position_embedding_type="relative_key")
    with pytest.raises(EvalkitError, match="asks for position_embedding_type=relative_key"):
        CrossEncoder(str(bert), 64, truncation="longest_first", device="cpu", precision="fp32").check()


@pytest.mark.parametrize(
    ("key", "value"),
    [("position_embedding_type", "absolute"), ("adapters", {"adapters": {}, "config_map": {}}), ("pruned_heads", {}),
     ("gradient_checkpointing", True), ("pooler_type", "first_token_transform"), ("quantization_config", None)],
)  # fmt: skip
def test_settings_of_old_configurations_without_effect_are_ignored(bert: Any, key: Any, value: Any) -> None:
    edit(bert / "config.json", **{key: value})
    assert load(bert).weights_ignored == ()


@pytest.mark.shared
def test_the_folder_of_a_public_bug_report_is_refused(shared: Path) -> None:
    assert "its files hold 16 weights" in refusal(shared / "cases" / "models" / "weights-beyond-config")
