"""Encoders outside of BERT's family are packed by transformers' modules, and get the logits of transformers itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, set_seed
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import packed_attention
from evalkit.scoring.self_check import check_scores_agree
from tests.helpers.scorers import CPU, PAIRS, load_scorer, transformers_logits

_SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 514, "num_labels": 1, "initializer_range": 0.3, "type_vocab_size": 2,
    "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert": ("modernbert", {"local_attention": 32, "global_attn_every_n_layers": 3}),
    "modernbert, mean": ("modernbert", {"local_attention": 32, "classifier_pooling": "mean"}),
    "electra": ("electra", {"embedding_size": 16}),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}),
    "albert": ("albert", {"embedding_size": 16}),
    "gte": ("gte", {}),
    "camembert": ("camembert", {}),
}


def make_encoder(folder: Path, bert: Path, kind: str, **more: Any) -> Path:
    """Save a small classifier with random weights, and the tokenizer of a BERT."""
    vocabulary = json.loads((bert / "config.json").read_text("utf-8"))["vocab_size"]
    set_seed(3)
    config = CONFIG_MAPPING[kind](**{**_SIZES, "vocab_size": vocabulary, **more})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / name, folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bert_folder: Path) -> Path:
    kind, more = ARCHITECTURES[request.param]
    return make_encoder(tmp_path_factory.mktemp("encoder"), bert_folder, kind, **more)


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory, bert_folder: Path) -> Path:
    kind, more = ARCHITECTURES["modernbert"]
    return make_encoder(tmp_path_factory.mktemp("modernbert"), bert_folder, kind, **more)


def test_packed_logits_are_those_of_transformers(folder: Path) -> None:
    scorer = load_scorer(folder)
    assert scorer.path == "packed"
    scored = scorer.score(PAIRS)
    assert 0 < scored.truncated_pairs < len(PAIRS)
    assert scored.padded_tokens == scored.tokens
    np.testing.assert_allclose(scored.logits, transformers_logits(folder, PAIRS, "longest_first"), atol=1e-5)


def test_all_ways_to_compute_a_pair_agree(folder: Path) -> None:
    scorer = load_scorer(folder)
    assert check_scores_agree(scorer, scorer.pretrained, "fp32").largest_difference < 2e-5


def test_local_attention_is_local(modernbert: Path, tmp_path: Path) -> None:
    """A far token changes a near one's state through global attention only: with none, it changes nothing."""
    config = json.loads((modernbert / "config.json").read_text("utf-8"))
    assert config["layer_types"] == ["full_attention", "sliding_attention", "sliding_attention"]
    near, far = ("a", "b " + "c " * 60), ("a", "b " + "c " * 59 + "d ")
    before, after = load_scorer(modernbert).score([near, far]).logits
    assert abs(before - after) > 1e-4  # by the first layer, which is global
    local = Path(shutil.copytree(modernbert, tmp_path / "local"))
    (local / "config.json").write_text(json.dumps(config | {"layer_types": ["sliding_attention"] * 3}), "utf-8")
    before, after = load_scorer(local).score([near, far]).logits
    assert before == pytest.approx(after, abs=1e-6)


def test_weights_are_shared_and_the_model_stays_usable(modernbert: Path) -> None:
    scorer = load_scorer(modernbert)
    twin = scorer.runner.model.model  # type: ignore[attr-defined]
    assert {weight.data_ptr() for weight in twin.parameters()} == {
        weight.data_ptr() for weight in scorer.model.parameters()
    }
    ids = torch.tensor([[2, 20, 3, 30, 3]])
    assert torch.isfinite(scorer.model(input_ids=ids).logits).all()


def test_what_only_bert_has_is_refused(modernbert: Path) -> None:
    with pytest.raises(EvalkitError, match="the forward pass of ModernBertForSequenceClassification is not compiled"):
        load_scorer(modernbert, compiled=True)
    with pytest.raises(EvalkitError, match="cuda_graphs=true"):
        load_scorer(modernbert, cuda_graphs=True)


def test_texts_of_other_lengths_can_be_padded_for_attention(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_scorer(folder).score(PAIRS).logits
    monkeypatch.setattr(packed_attention, "length_ratio", lambda *args: 1.25)  # as on CUDA
    np.testing.assert_allclose(load_scorer(folder).score(PAIRS).logits, expected, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda_texts_are_padded_for_attention_alone(modernbert: Path) -> None:
    from evalkit.scoring.device import PRECISIONS
    from evalkit.scoring.loading.pretrained import load_classifier
    from evalkit.scoring.scorer import Scorer

    device = torch.device("cuda")
    pretrained = load_classifier(str(modernbert), None, device, PRECISIONS["fp32"], "reranker.model")
    on_gpu = Scorer(pretrained, device, 96, "longest_first", 400).score(PAIRS).logits
    assert CPU.type == "cpu"
    np.testing.assert_allclose(on_gpu, load_scorer(modernbert).score(PAIRS).logits, atol=1e-3)
