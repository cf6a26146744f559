"""A graph that evalkit cannot score with is refused before anything loads it, with one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.runtime.graph_file import check_onnx, companions, find, quantized_files, saturates

Value = onnx.ValueInfoProto


def value(name: str, shape: list[str | int | None], kind: int = TensorProto.INT64) -> Value:
    return helper.make_tensor_value_info(name, kind, shape)


IDS = value("input_ids", ["pairs", "tokens"])
MASK = value("attention_mask", ["pairs", "tokens"])
LOGITS = value("logits", ["pairs", 1], TensorProto.FLOAT)


def write(
    path: Path,
    inputs: list[Value] = [IDS, MASK],  # noqa: B006
    outputs: list[Value] = [LOGITS],  # noqa: B006
    nodes: list[onnx.NodeProto] = [],  # noqa: B006
    weights: list[TensorProto] = [],  # noqa: B006
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    domains = {node.domain for node in nodes} | {""}
    opsets = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in sorted(domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path


def external(name: str, location: str) -> TensorProto:
    tensor = onnx.numpy_helper.from_array(np.zeros((4, 4), np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location, 0, 64)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def test_a_graph_as_sentence_transformers_exports_it_is_accepted(tmp_path: Path) -> None:
    found = check_onnx(write(tmp_path / "model.onnx"), "model.onnx", "onnx/model.onnx")
    assert (found.inputs, found.opset, found.source) == (("input_ids", "attention_mask"), 17, "onnx/model.onnx")
    assert found.bytes == (tmp_path / "model.onnx").stat().st_size
    assert len(found.sha256) == 64


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pixels": (
        lambda p: write(p, inputs=[value("pixel_values", ["n", 3, "h", "w"], TensorProto.FLOAT)]),
        "has the inputs pixel_values, and a reranker has input_ids and perhaps attention_mask and token_type_ids",
    ),
    "past keys": (
        lambda p: write(p, inputs=[IDS, MASK, value("past_key_values.0.key", ["n", 2, "t", 8], TensorProto.FLOAT)]),
        "has the inputs input_ids, attention_mask, past_key_values.0.key, and a reranker has",
    ),
    "two outputs": (
        lambda p: write(p, outputs=[LOGITS, value("pooler", ["pairs", 8], TensorProto.FLOAT)]),
        "has 2 outputs (logits, pooler), and a reranker has one, the logit",
    ),
    "three labels": (
        lambda p: write(p, outputs=[value("logits", ["pairs", 3], TensorProto.FLOAT)]),
        "its output logits is float (?, 3), and a reranker's is one logit a pair",
    ),
    "states of an embedding model": (
        lambda p: write(p, outputs=[value("last_hidden_state", ["pairs", "tokens", 8], TensorProto.FLOAT)]),
        "its output last_hidden_state is float (?, ?, 8)",
    ),
    "fixed axes": (
        lambda p: write(p, inputs=[value("input_ids", [1, 128])]),
        "its input input_ids has the fixed shape (1, 128); export it with dynamic axes",
    ),
    "ids that are no integers": (
        lambda p: write(p, inputs=[value("input_ids", ["n", "t"], TensorProto.FLOAT)]),
        "its input input_ids is float with 2 dimensions, and it must be int64 (pairs, tokens)",
    ),
    "custom operators": (
        lambda p: write(p, nodes=[helper.make_node("Tokenize", ["input_ids"], ["x"], domain="ai.onnx.contrib")]),
        "has operators of 'ai.onnx.contrib', which neither ONNX nor ONNX Runtime has",
    ),
    "weights that are not there": (
        lambda p: write(p, weights=[external("w", "model.onnx_data")]),
        "has its weights in model.onnx_data, which is not in",
    ),
    "weights of another folder": (
        lambda p: write(p, weights=[external("w", "../../etc/passwd")]),
        "reads its weights from '../../etc/passwd', which is not in its own folder: refused",
    ),
    "weights at an absolute path": (
        lambda p: write(p, weights=[external("w", "/etc/passwd")]),
        "reads its weights from '/etc/passwd', which is not in its own folder: refused",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_graph_that_is_no_rerankers_is_refused(tmp_path: Path, case: str) -> None:
    make, sentence = BAD[case]
    path = make(tmp_path / "model.onnx")
    with pytest.raises(EvalkitError) as refused:
        check_onnx(path, "model.onnx", "")
    assert str(refused.value).startswith("model.onnx")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 99])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(
        EvalkitError, match=r"cannot be read as an ONNX file .*; copy or download it again|the inputs none"
    ):
        check_onnx(tmp_path / "model.onnx", "model.onnx", "")


def test_weights_hidden_in_a_branch_are_found_too(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [LOGITS], [external("w", "../secret")])
    node = helper.make_node("If", ["c"], ["logits"], then_branch=inner, else_branch=inner)
    with pytest.raises(EvalkitError, match=r"reads its weights from '\.\./secret'"):
        companions(write(tmp_path / "model.onnx", nodes=[node]), "model.onnx")


def test_custom_operators_in_a_function_of_the_graph_are_found_too(tmp_path: Path) -> None:
    inner = helper.make_node("Tokenize", ["x"], ["y"], domain="ai.onnx.contrib")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    function = helper.make_function("ours", "Score", ["x"], ["y"], [inner], opsets)
    call = helper.make_node("Score", ["input_ids"], ["logits"], domain="ours")
    model = onnx.load(write(tmp_path / "model.onnx", nodes=[call]))
    model.functions.append(function)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(EvalkitError, match=r"has operators of 'ai\.onnx\.contrib', which neither ONNX nor"):
        check_onnx(tmp_path / "model.onnx", "model.onnx", "")


def test_the_hash_covers_the_weights_in_other_files(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", weights=[external("w", "model.onnx_data")])
    (tmp_path / "model.onnx_data").write_bytes(b"\0" * 64)
    before = check_onnx(path, "model.onnx", "")
    (tmp_path / "model.onnx_data").write_bytes(b"\1" * 64)
    after = check_onnx(path, "model.onnx", "")
    assert before.sha256 != after.sha256
    assert before.bytes == path.stat().st_size + 64


def test_a_models_own_graph_is_found_with_the_files_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    path = write(tmp_path / "onnx" / "model.onnx", weights=[external("w", "model.onnx_data")])
    asked: list[str] = []

    def read(name: str) -> Path | None:
        asked.append(name)
        return tmp_path / name if (tmp_path / name).is_file() else None

    with pytest.raises(EvalkitError, match=r"onnx/model.onnx has its weights in onnx/model.onnx_data, which is not"):
        find(["onnx/model.onnx"], read)
    (tmp_path / "onnx" / "model.onnx_data").write_bytes(b"\0" * 64)
    assert find(["model_fp16.onnx", "onnx/model.onnx"], read) == ("onnx/model.onnx", path)
    assert asked[-1] == "onnx/model.onnx_data"  # fetched from the hub by this
    assert find(["model_fp16.onnx"], read) is None


def test_an_int8_file_made_for_this_processor_comes_first() -> None:
    assert quantized_files({"avx2", "avx512f", "avx512_vnni"})[0] == "onnx/model_qint8_avx512_vnni.onnx"
    assert quantized_files({"avx2"})[:2] == ("onnx/model_quint8_avx2.onnx", "onnx/model_qint8_avx2.onnx")
    assert quantized_files(set())[:2] == ("onnx/model_int8.onnx", "onnx/model_quantized.onnx")


@pytest.mark.parametrize(("most", "expected"), [(64, False), (65, True), (-128, True)])
def test_signed_weights_beyond_7_bits_saturate_without_vnni(tmp_path: Path, most: int, expected: bool) -> None:
    weights = onnx.numpy_helper.from_array(np.array([[1, most], [-3, 0]], np.int8), "w")
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    assert saturates(write(tmp_path / "model.onnx", nodes=[node], weights=[weights])) is expected


def test_unsigned_weights_do_not_saturate(tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(np.array([[255, 0]], np.uint8), "w")
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    assert not saturates(write(tmp_path / "model.onnx", nodes=[node], weights=[weights]))
