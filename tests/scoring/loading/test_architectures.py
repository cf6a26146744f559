"""Encoders of many architectures, in every form of their weights, get the logits of their reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.graph_check import PROBE
from evalkit.scoring.spec import ScorerSpec, build_scorer
from tests.helpers.encoders import save_encoder, their_scores
from tests.helpers.scorers import PAIRS, transformers_logits

DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
           "position_biased_input": False, "position_buckets": 32, "share_att_key": True, "norm_rel_ebd": "layer_norm",
           "max_relative_positions": -1}  # fmt: skip
"""The settings of DeBERTa-v3."""
POSITIONS = {"pad_token_id": 1, "max_position_embeddings": 514}
"""Positions start after the padding index."""
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "bert": {},
    "camembert": POSITIONS,
    "deberta": DEBERTA,
    "deberta-v2": DEBERTA,
    "distilbert": {},
    "electra": {"embedding_size": 16},
    "eurobert": {"max_position_embeddings": 512, "num_key_value_heads": 2},
    "gte": {"max_position_embeddings": 512},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16, "classifier_pooling": "mean"},
    "mpnet": POSITIONS,
    "nomic_bert": {"max_position_embeddings": 512},
    "roberta": POSITIONS,
    "xlm-roberta": POSITIONS,
}
ALL_PAIRS = [*PAIRS, *PROBE]


@pytest.fixture
def make(bert_folder: Any, xlmr_folder: Any, tmp_path: Path) -> Any:
    def of(kind: str, **sizes: Any) -> Path:
        given = ARCHITECTURES[kind]
        words_of = xlmr_folder if given.get("pad_token_id") == 1 else bert_folder
        return save_encoder(kind, words_of, tmp_path / kind, **{**given, **sizes})

    return of


def scores(folder: Path, max_length: int, **more: Any) -> np.ndarray:
    spec = ScorerSpec(str(folder), "cpu", "fp32", max_length, "longest_first", **more)
    return build_scorer(spec).scorer.score(ALL_PAIRS).logits


@pytest.mark.parametrize("max_length", [24, 512], ids=["cut", "whole"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_are_those_of_transformers(make: Any, kind: str, max_length: int) -> None:
    folder = make(kind)
    theirs = transformers_logits(folder, ALL_PAIRS, "longest_first", max_length)
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(scores(folder, max_length), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_are_those_of_sentence_transformers(make: Any, sentence_transformers: Any, kind: str) -> None:
    folder = make(kind)
    for max_length in (24, 512):
        theirs = their_scores(sentence_transformers, folder, ALL_PAIRS, max_length)
        np.testing.assert_allclose(scores(folder, max_length), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_weights_in_several_files_are_read(make: Any, kind: str) -> None:
    folder = make(kind)
    whole = scores(folder, 96)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="64KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    np.testing.assert_allclose(scores(folder, 96), whole, rtol=0, atol=1e-5)
    max(folder.glob("model-*-of-*.safetensors")).unlink()
    with pytest.raises(EvalkitError, match=r"names \d+ files of weights, and 1 are not there"):
        scores(folder, 96)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["xlm-roberta", "deberta-v2", "gte"])
def test_checkpoints_in_half_precision_compute_in_the_precision_that_is_asked_for(
    make: Any, kind: str, dtype: torch.dtype
) -> None:
    folder = make(kind)
    exact = scores(folder, 96)
    AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {dtype}
    rounded = scores(folder, 96)
    theirs = transformers_logits(folder, ALL_PAIRS, "longest_first", 96)
    np.testing.assert_allclose(rounded, theirs, rtol=0, atol=1e-4)
    assert np.abs(rounded - exact).max() > 1e-4


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_head_that_the_file_does_not_hold_is_an_error(make: Any, kind: str) -> None:
    folder = make(kind)
    weights = load_file(folder / "model.safetensors")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    head = [name for name in weights if not name.startswith(f"{model.base_model_prefix}.")]
    assert head
    body = {name: weight for name, weight in weights.items() if name not in head}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvalkitError, match=r"not in its files .* and would be random numbers"):
        scores(folder, 96)


def test_gte_weights_under_the_prefix_of_new_model_are_read(make: Any) -> None:
    """A conversion of the hub's NewModel changes config.json only."""
    folder = make("gte")
    before, path = scores(folder, 96), folder / "model.safetensors"
    weights = {name.replace("gte.", "new."): weight for name, weight in load_file(path).items()}
    assert "new.encoder.layer.0.attention.qkv_proj.weight" in weights
    save_file(weights, path, metadata={"format": "pt"})
    np.testing.assert_allclose(scores(folder, 96), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("auto_map", [True, False])
def test_new_model_s_own_code_is_not_run_and_its_conversion_is_named(make: Any, auto_map: bool) -> None:
    folder = make("gte")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"model_type": "new", "architectures": ["NewForSequenceClassification"]}
    if auto_map:
        config["auto_map"] = {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(EvalkitError) as refused:
        scores(folder, 96)
    error = str(refused.value)
    assert "\n" not in error
    assert "its model_type new is code that comes with the model, and evalkit runs none; transformers has" in error
    assert "alibaba-nlp-community/gte-multilingual-reranker-base" in error
