"""The exported graph computes what the model computes, in both runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.encoder_graph import reason_not_exportable, write_encoder_graph
from tests.helpers.graphs import graph_scorer, torch_logits
from tests.helpers.scorers import PAIRS

SCRIPTS = [
    ("why is the sky blue", "Air scatters short waves of sunlight more than long ones."),
    ("首都はどこ", "東京は日本の首都である。" * 9),
    ("كم عدد الكواكب", "تدور ثمانية كواكب حول الشمس." * 5),
    ("сколько лет живут слоны", "Слоны живут до семидесяти лет." * 20),
    ("भारत की राजधानी", "नई दिल्ली भारत की राजधानी है।" * 3),
    ("", ""),
    ("a", "word " * 700),
]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", ["bert", "xlmr"])
def test_logits_are_those_of_torch_in_five_scripts_at_lengths_from_3_to_512(
    request: pytest.FixtureRequest, model: str, runtime: str
) -> None:
    folder, graph = (request.getfixturevalue(f"{model}_{kind}") for kind in ("folder", "graph"))
    scorer = graph_scorer(folder, graph / "model.onnx", runtime, max_length=512)
    lengths = scorer.tokenize(SCRIPTS).lengths
    assert (lengths.min() <= 4, lengths.max()) == (True, 512)
    np.testing.assert_allclose(scorer.score(SCRIPTS).logits, torch_logits(folder, SCRIPTS, 512), atol=1e-5, rtol=0)


def test_a_literal_padding_token_in_a_text_has_the_position_that_transformers_gives_it(
    xlmr_folder: Path, xlmr_graph: Path
) -> None:
    pairs = [("what is <pad> for", "it fills <pad> <pad> up"), ("another", "of the same kind")]
    found = graph_scorer(xlmr_folder, xlmr_graph / "model.onnx").score(pairs).logits
    np.testing.assert_allclose(found, torch_logits(xlmr_folder, pairs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations_are_exported_too(bert: Path, tmp_path: Path, activation: str) -> None:
    config = (bert / "config.json").read_text("utf-8")
    (bert / "config.json").write_text(config.replace('"gelu"', f'"{activation}"'), "utf-8")
    model = AutoModelForSequenceClassification.from_pretrained(bert)
    assert model.config.hidden_act == activation
    write_encoder_graph(model, tmp_path / "model.onnx")
    found = graph_scorer(bert, tmp_path / "model.onnx").score(PAIRS).logits
    np.testing.assert_allclose(found, torch_logits(bert, PAIRS), atol=1e-5, rtol=0)


def test_half_precision_weights_give_nearly_the_same_logits(bert_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert_folder)
    write_encoder_graph(model, tmp_path / "model.onnx", half=True)
    found = graph_scorer(bert_folder, tmp_path / "model.onnx").score(PAIRS).logits
    expected = torch_logits(bert_folder, PAIRS)
    assert 0 < np.abs(found - expected).max() < 2e-2
    assert (tmp_path / "model.onnx.data").stat().st_size < 0.6 * model.num_parameters() * 4


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("electra", {}, "ElectraForSequenceClassification is none of"),
        ("bert", {"hidden_act": "silu"}, "its activation silu is none of gelu"),
        ("bert", {"is_decoder": True}, "it is a decoder"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_with_advice(
    tmp_path: Path, kind: str, settings: dict[str, Any], reason: str
) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes, **settings))
    assert reason in str(reason_not_exportable(model))
    with pytest.raises(EvalkitError, match=f"{reason}.*; give one by reranker.graph=FILE"):
        write_encoder_graph(model, tmp_path / "model.onnx")
