"""A Gemma 2 with a head behind each layer is loaded without its own code, cut after a layer, and read by head 0."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, Gemma2Model

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.decoder import Decoder
from evalkit.scoring.prompt import Prompt
from tests.helpers.decoders import BGE, decoder_scorer, make_layerwise, make_lightweight, write_json
from tests.helpers.scorers import PAIRS

ASKED: dict[str, Any] = {"template": list(BGE.template), "max_length": 300, "device": "cpu", "cutoff_layer": 6}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lightweight(tmp_path_factory.mktemp("lightweight"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def changed(folder: Path, **settings: Any) -> Path:
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", {**stated, **settings})
    return folder


def without(folder: Path, key: str) -> Path:
    weights = load_file(folder / "model.safetensors")
    del weights[key]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(EvalkitError) as caught:
        Decoder(str(folder), **ASKED | settings).check()
    return str(caught.value)


@pytest.mark.parametrize("layer", [4, 7, 8])
def test_the_score_is_that_of_the_first_head_at_the_layer_as_in_the_authors_class(whole: Path, layer: int) -> None:
    scorer = decoder_scorer(whole, Prompt(BGE.template, None, None, None, layer), max_length=300, tokens=2000)
    assert len(scorer.model.model.layers) == layer
    stated = json.loads((whole / "config.json").read_text("utf-8"))
    weights = load_file(whole / "model.safetensors")
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
             "vocab_size", "head_dim", "sliding_window", "query_pre_attn_scalar", "attn_logit_softcapping")  # fmt: skip
    theirs = Gemma2Model(Gemma2Config(**{name: stated[name] for name in names})).eval()
    theirs.load_state_dict({k.removeprefix("model."): weight for k, weight in weights.items() if "lm_head" not in k})
    pairs = PAIRS[::6]
    tokenized, expected = scorer.tokenize(pairs), []
    for row in range(len(pairs)):
        ids = torch.from_numpy(tokenized.batch([row]).ids).long()[None]
        with torch.no_grad():
            states = theirs(ids, output_hidden_states=True)
            cut = states.last_hidden_state if layer == 8 else theirs.norm(states.hidden_states[layer])
            logit = cut[0, -1] @ weights["lm_head.0.linear_head.weight"][0]
        expected.append(float(30 * torch.tanh(logit / 30)))  # final_logit_softcapping
    np.testing.assert_allclose(scorer.score(pairs).logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cutoff_layer": 3}, "reranker.cutoff_layer=3: reranker.model="),
        ({"cutoff_layer": 9}, "has heads behind the layers 4 to 8"),
        ({"cutoff_layer": None}, "take reranker=bge_v2_minicpm_layerwise or bge_v2_5_gemma2_lightweight"),
        ({"compress_layers": [2], "compress_ratio": 3}, "reranker.compress_ratio=3: choose one of 1, 2, 4, 8"),
        ({"compress_ratio": 2}, "reranker.compress_layers names no layer to merge tokens behind"),
        ({"compress_layers": [0, 2], "compress_ratio": 2}, "layers counted from 1, each once, in rising order"),
        ({"compress_layers": [4, 2], "compress_ratio": 2}, "layers counted from 1, each once, in rising order"),
        ({"compress_layers": [2, 8], "compress_ratio": 2}, "has 8 layers, and tokens can be merged behind 1 to 7"),
        (
            {"compress_layers": [2], "compress_ratio": 2, "cutoff_layer": None, "yes_word": "Yes"},
            "reranker.cutoff_layer, which names the layer that scores, is not set",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(whole: Path, settings: Any, words: str) -> None:
    assert words in refused(whole, **settings)


def test_other_models_do_not_merge_tokens(tmp_path: Path) -> None:
    minicpm = make_layerwise(tmp_path / "minicpm")
    message = refused(minicpm, cutoff_layer=4, compress_layers=[2], compress_ratio=2)
    assert "was not trained to have tokens merged; leave reranker.compress_ratio=1" in message


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"layer_wise": False}, "its config.json states layer_wise=False"),
        ({"rope_scaling": {"factor": 2.0}}, "plain rotary positions; score with FlagEmbedding"),
        ({"layer_sep": 2, "start_layer": 5}, "has heads behind every 2 layers of those from 5 to 8"),
        ({"hidden_size": "wide"}, "cannot be read as that of a CostWiseGemmaForCausalLM"),
    ],
)
def test_configurations_that_are_not_computed_are_refused(folder: Path, stated: Any, words: str) -> None:
    assert words in refused(changed(folder, **stated))


def test_the_type_alone_says_which_model_it_is(folder: Path) -> None:
    Decoder(str(changed(folder, architectures=None)), **ASKED).check()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lm_head.0.linear_head.weight", "lm_head.0.linear_head.weight, the head of reranker.cutoff_layer, is not in"),
        ("model.layers.5.post_feedforward_layernorm.weight", "would be random numbers"),
    ],
)
def test_weights_that_the_files_do_not_hold_are_an_error(folder: Path, key: str, words: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        Decoder(str(without(folder, key)), **ASKED).load()
    assert words in str(caught.value)


def test_the_result_and_the_store_know_layers_and_ratio(whole: Path) -> None:
    def facts(**settings: Any) -> dict[str, Any]:
        reranker = Decoder(str(whole), **ASKED | {"self_check": False} | settings)
        reranker.check()
        reranker.load()
        stated = dict(reranker.describe())
        return stated | {"space": reranker._space()}

    merged = facts(compress_layers=[2, 7], compress_ratio=2)
    assert merged["score"] == (
        "the model's head behind layer 6, at the last token; 2 tokens of the passage become 1 behind layer 2"
    )
    assert (merged["cutoff_layer"], merged["compress_layers"], merged["compress_ratio"]) == (6, [2], 2)
    assert (merged["head"], merged["notes"]) == ("lm_head.0.linear_head.weight", [])
    plain = facts(compress_layers=[7], compress_ratio=2)
    assert (plain["compress_layers"], plain["compress_ratio"]) == ([], 1)
    assert "no tokens are merged: none of reranker.compress_layers=[7] is before" in plain["notes"][0]
    spaces = [
        merged["space"], plain["space"], facts(compress_layers=[2], compress_ratio=4)["space"],
        facts(compress_layers=[3], compress_ratio=2)["space"], facts(cutoff_layer=7)["space"],
    ]  # fmt: skip
    assert all(one != other for number, one in enumerate(spaces) for other in spaces[:number])
