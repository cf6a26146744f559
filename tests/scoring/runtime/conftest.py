"""Graphs of the tiny models, made once for all tests of this folder."""

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs evalkit-rerank[onnxruntime]")
pytest.importorskip("openvino", reason="needs evalkit-rerank[openvino]")

from evalkit.scoring.runtime import make_graph


@pytest.fixture(scope="session")
def bert_graph(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the exported graph of the tiny BERT."""
    return _exported(bert_folder, tmp_path_factory.mktemp("bert-graph"))


@pytest.fixture(scope="session")
def xlmr_graph(xlmr_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the exported graph of the tiny XLM-RoBERTa."""
    return _exported(xlmr_folder, tmp_path_factory.mktemp("xlmr-graph"))


def _exported(model: Path, folder: Path) -> Path:
    make_graph.export(folder, str(model), None, half=False)
    return folder
