"""A wrong graph behind the right name is found by comparing a few logits with torch's."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.encoder_graph import write_encoder_graph
from evalkit.scoring.runtime.graph_check import PROBE
from tests.helpers.graphs import graph_scorer, torch_logits


def test_the_graph_of_the_model_passes(bert_folder: Path, bert_graph: Path) -> None:
    reference = tuple(torch_logits(bert_folder, list(PROBE)).tolist())
    graph_scorer(bert_folder, bert_graph / "model.onnx", reference=reference)


def test_the_graph_of_other_weights_is_refused_unless_asked_for(bert_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert_folder)
    with torch.no_grad():
        weight = model.bert.encoder.layer[0].output.dense.weight
        weight.copy_(weight.flip(0))
    write_encoder_graph(model, tmp_path / "model.onnx")
    reference = tuple(torch_logits(bert_folder, list(PROBE)).tolist())
    with pytest.raises(EvalkitError, match=r"is not the graph of this model at fp32: .* torch's in fp32 is .*; use "
                                           r"reranker.graph=export.*self_check=false") as refused:  # fmt: skip
        graph_scorer(bert_folder, tmp_path / "model.onnx", reference=reference)
    assert "\n" not in str(refused.value)
    graph_scorer(bert_folder, tmp_path / "model.onnx")  # as with reranker.self_check=false
