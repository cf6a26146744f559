"""The graph of a model is looked for where the model is: in its folder, or in the hub's files at one commit."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError
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
