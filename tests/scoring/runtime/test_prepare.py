"""The graph of a model is looked for where the model is: in its folder, or in the hub's files at one commit."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.runtime.prepare import prepare_graph
from evalkit.scoring.runtime.settings import OnnxRuntime
from evalkit.scoring.spec import ScorerSpec

COMMIT, OTHER = "c" * 40, "d" * 40


def spec(model: str, **more: Any) -> ScorerSpec:
    return ScorerSpec(model, "cpu", "fp32", 96, "only_second", self_check=False, runtime=OnnxRuntime(), **more)


@pytest.mark.parametrize("graph", [None, "onnx/model.onnx"])
@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_graph_of_a_hub_model_is_that_of_its_commit(
    cached: Any, bert_graph: Path, graph: str | None, revision: str | None
) -> None:
    place = cached(COMMIT, "main")
    cached(OTHER)
    shutil.copytree(bert_graph, place / "snapshots" / COMMIT / "onnx")
    found = prepare_graph(spec("acme/small", graph=graph, revision=revision)).file
    assert found.path == place / "snapshots" / COMMIT / "onnx" / "model.onnx"
    assert found.source == "onnx/model.onnx"


def test_a_revision_means_nothing_to_a_folder(bert: Path, bert_graph: Path) -> None:
    shutil.copytree(bert_graph, bert / "onnx")
    found = prepare_graph(spec(str(bert), graph="onnx/model.onnx", revision="v1")).file
    assert found.path == bert / "onnx" / "model.onnx"


def test_a_file_that_a_hub_model_does_not_have_is_refused(cached: Any) -> None:
    cached(COMMIT, "main")
    with pytest.raises(EvalkitError, match=r"reranker.graph=onnx/model_O3.onnx: there is no such file, here or among "
                                           r"the files of acme/small; give one, or reranker.graph=export"):  # fmt: skip
        prepare_graph(spec("acme/small", graph="onnx/model_O3.onnx"))


@pytest.fixture
def without_weights(bert: Path, bert_graph: Path) -> Path:
    """A folder as onnx-community's repositories are: configuration, tokenizer, and a graph in onnx/."""
    shutil.copytree(bert_graph, bert / "onnx")
    (bert / "model.safetensors").unlink()
    return bert


def test_a_model_with_a_graph_and_no_weights_is_scored_and_the_result_has_a_note(without_weights: Path) -> None:
    reranker = CrossEncoder(str(without_weights), 96, device="cpu", precision="fp32", runtime={"name": "onnxruntime"},
                            truncation="only_second", store="off")  # fmt: skip
    reranker.check()
    reranker.load()
    logits = reranker.scorer.score([("a b", "c"), ("a", "b c d")]).logits
    assert logits[0] != logits[1]
    facts = reranker.describe()
    assert any("compared with no others" in note for note in facts["notes"])
    assert facts["self_check"] == {"not_made": "the model has no weights to compare the graph with"}


def test_a_model_with_a_graph_and_no_weights_needs_a_graph_of_the_precision(without_weights: Path) -> None:
    with pytest.raises(EvalkitError, match=r"it has no graph for runtime=onnxruntime at precision=int8, and the model "
                                           r"has no model.safetensors to make one of"):  # fmt: skip
        prepare_graph(replace(spec(str(without_weights)), precision="int8"))
    with pytest.raises(EvalkitError, match=r"reranker.graph=export makes a graph of its weights, and the model has no"):
        prepare_graph(spec(str(without_weights), graph="export"))


def test_with_torch_a_model_without_weights_names_the_runtime_that_reads_its_graph(without_weights: Path) -> None:
    with pytest.raises(EvalkitError, match=r"onnx/model.onnx alone \(ONNX, an exported graph\).* use "
                                           r"runtime=onnxruntime, or take the checkpoint"):  # fmt: skip
        CrossEncoder(str(without_weights), 96, device="cpu", precision="fp32", truncation="only_second").check()
