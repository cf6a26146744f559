"""A trial in another runtime, from the command line to the result."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import Finished, run_here, sentence

pytest.importorskip("onnxruntime", reason="needs evalkit-rerank[onnxruntime]")
pytest.importorskip("openvino", reason="needs evalkit-rerank[openvino]")

SMALL = ("slice.queries=3", "depth=5", "protocol=quick", "protocol.latency_queries=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def trial(folder: Path, home: Path, model: Path, *settings: str) -> Finished:
    arguments = (*SMALL, f"reranker.model={model}", "out_dir=out", "overwrite=true", *settings)
    return run_here(*arguments, cwd=folder, EVALKIT_HOME=str(home))


def reranker_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text("utf-8"))["effective"]["reranker"]
    return found


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_result_records_the_runtime_the_graph_and_its_quantization(
    tmp_path: Path, home: Path, bert_folder: Path, name: str
) -> None:
    ended = trial(tmp_path, home, bert_folder, f"runtime={name}", "precision=int8", "store=scores.sqlite")
    assert ended.returncode == 0, ended.stderr
    facts = reranker_of(tmp_path)
    assert (facts["runtime"], facts["precision"], facts["dtype"]) == (name, "int8", "int8")
    assert (facts["graph"], facts["path"]) == ("evalkit's export", "graph")
    assert facts["quantization"].startswith("weights int8")
    assert len(facts["graph_sha256"]) == 64
    assert facts["self_check"]["ways"][-1] == "by torch in fp32"
    again = trial(tmp_path, home, bert_folder, f"runtime={name}", "precision=int8", "store=scores.sqlite")
    assert "15 of 15 scores are in the store" in again.stderr
    assert "once" not in again.stderr  # neither the graph nor torch's logits are computed a second time
    other = trial(tmp_path, home, bert_folder, f"runtime={name}", "store=scores.sqlite")
    assert " 0 of 15 scores are in the store" in other.stderr


def test_a_models_own_graph_is_used_and_export_asks_for_evalkits(tmp_path: Path, home: Path, bert_folder: Path) -> None:
    from evalkit.scoring.runtime import make_graph

    bert = Path(shutil.copytree(bert_folder, tmp_path / "bert"))
    (bert / "onnx").mkdir()
    make_graph.export(bert / "onnx", str(bert), None, half=False)
    assert trial(tmp_path, home, bert, "runtime=onnxruntime").returncode == 0
    assert reranker_of(tmp_path)["graph"] == "onnx/model.onnx"
    assert trial(tmp_path, home, bert, "runtime=onnxruntime", "reranker.graph=export").returncode == 0
    assert reranker_of(tmp_path)["graph"] == "evalkit's export"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("precision=int8",), "precision=int8: torch computes in fp32, tf32, bf16 and fp16 here"),
        (("reranker.graph=model.onnx",), "a graph is computed by runtime=onnxruntime or runtime=openvino"),
        (("runtime=openvino", "reranker.path=packed"), "reranker.path=packed: this is a setting of torch"),
        (("runtime=openvino", "reranker.cuda_graphs=true"), "reranker.cuda_graphs=true: this is a setting of torch"),
        (("runtime=onnxruntime", "reranker.graph=no.onnx"), "reranker.graph=no.onnx: there is no such file"),
        (("runtime=onnxruntime", "reranker.graph=model.pt"), "runtime=onnxruntime reads .onnx files"),
        (("runtime=onnxruntime", "executor=ray", "protocol=none"), "executor=ray: its workers compute with torch"),
        (("runtime=onnxruntime", "runtime.providers=[]"), "runtime.providers=[]: give at least one"),
    ],
)  # fmt: skip
def test_unsupported_combinations_are_refused_with_advice(
    tmp_path: Path, home: Path, bert_folder: Path, settings: tuple[str, ...], words: str
) -> None:
    ended = trial(tmp_path, home, bert_folder, *settings)
    assert ended.returncode == 2
    assert words in sentence(ended.stderr)


def test_threads_are_set_and_recorded(tmp_path: Path, home: Path, bert_folder: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        assert trial(tmp_path, home, bert_folder, "runtime.threads=2").returncode == 0
        assert reranker_of(tmp_path)["threads"] == 2
        assert reranker_of(tmp_path)["runtime"] == "torch"
    finally:
        torch.set_num_threads(before)
