"""A MiniCPM with a head behind each layer is loaded without its own code, and cut after the layer that is asked for."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaModel

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.decoder import Decoder
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.self_check import check_scores_agree
from tests.helpers.decoders import BGE, FACTORS, decoder_scorer, make_decoder, make_layerwise, write_json
from tests.helpers.scorers import PAIRS

PROMPT = Prompt(BGE.template, None, None, None, 4)
ASKED: dict[str, Any] = {"template": list(BGE.template), "max_length": 300, "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_layerwise(tmp_path / "layerwise")


def as_llama(folder: Path) -> LlamaModel:
    """The same model as a Llama, its three factors multiplied into the weights."""
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    weights = {key.removeprefix("model."): weight for key, weight in load_file(folder / "model.safetensors").items()}
    residual = FACTORS["scale_depth"] / math.sqrt(stated["num_hidden_layers"])
    for key, weight in weights.items():
        if key == "embed_tokens.weight":
            weight *= FACTORS["scale_emb"]
        if key.endswith(("o_proj.weight", "down_proj.weight")):
            weight *= residual
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
             "vocab_size", "head_dim", "rms_norm_eps")  # fmt: skip
    model = LlamaModel(LlamaConfig(**{name: stated[name] for name in names})).eval()
    model.load_state_dict({key: weight for key, weight in weights.items() if "lm_head" not in key})
    return model


@pytest.mark.parametrize("layer", [2, 4, 6])
def test_the_score_is_that_of_the_head_behind_the_layer(folder: Path, layer: int) -> None:
    scorer = decoder_scorer(folder, replace(PROMPT, layer=layer), max_length=300, tokens=2000)
    llama, head = as_llama(folder), load_file(folder / "model.safetensors")[f"lm_head.{layer - 2}.linear_head.weight"]
    tokenized = scorer.tokenize(PAIRS)
    expected = []
    for row in range(len(PAIRS)):
        ids = torch.from_numpy(tokenized.batch([row]).ids).long()[None]
        with torch.no_grad():
            states = llama(ids, output_hidden_states=True)
            # The last of them is normed already.
            cut = states.last_hidden_state if layer == 6 else llama.norm(states.hidden_states[layer])
            expected.append(float(cut[0, -1] @ head[0]))
    np.testing.assert_allclose(scorer.score(PAIRS).logits, expected, atol=1e-4)


def test_only_the_layers_that_are_needed_are_loaded_and_all_ways_agree(folder: Path) -> None:
    scorer = decoder_scorer(folder, PROMPT, max_length=300, tokens=2000)
    assert len(scorer.model.model.layers) == 4
    assert scorer.path == "packed"
    checked = check_scores_agree(scorer, scorer.pretrained, "fp32")
    assert 0 < checked.largest_difference < 1e-4


def test_the_result_states_the_layer(folder: Path) -> None:
    reranker = Decoder(str(folder), **ASKED, cutoff_layer=4)
    reranker.check()
    reranker.load()
    assert reranker.describe()["score"] == "the model's head behind layer 4, at the last token"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cutoff_layer": 1}, "reranker.cutoff_layer=1: reranker.model="),
        ({"cutoff_layer": 7}, "has heads behind the layers 2 to 6"),
        ({"cutoff_layer": 4, "yes_word": "Yes"}, "asks for a token's logit; set one of them"),
        ({}, "it has a head behind each layer; name the one that scores, as reranker.cutoff_layer=28"),
    ],
)
def test_layers_that_are_not_there_are_refused(folder: Path, settings: Any, words: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        Decoder(str(folder), **ASKED, **settings).check()
    assert words in str(caught.value)


def test_other_models_have_no_layer_to_cut_after(tmp_path: Path) -> None:
    llama = make_decoder(tmp_path / "llama", "llama")
    with pytest.raises(EvalkitError, match="needs a model with a head behind each layer"):
        Decoder(str(llama), **ASKED, cutoff_layer=2).check()


def test_other_heads_are_refused(folder: Path) -> None:
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", {**stated, "head_type": "raw"})
    with pytest.raises(EvalkitError, match="head_type=raw"):
        Decoder(str(folder), **ASKED, cutoff_layer=4).check()


def test_a_head_that_the_files_do_not_hold_is_an_error(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.2.linear_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EvalkitError, match=r"lm_head\.2\.linear_head\.weight, the head of reranker\.cutoff_layer"):
        Decoder(str(folder), **ASKED, cutoff_layer=4).load()


def test_a_layer_that_the_files_do_not_hold_is_an_error(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EvalkitError, match="would be random numbers"):
        Decoder(str(folder), **ASKED, cutoff_layer=4).load()
