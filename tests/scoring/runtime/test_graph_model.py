"""Pairs of equal length are computed together, nothing is padded, and every pair gets its own logit."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evalkit.scoring.device_runner import DeviceRunner
from evalkit.scoring.runtime import make_graph
from evalkit.scoring.runtime.graph_model import GraphModel
from evalkit.scoring.runtime.session import Feeds, is_out_of_memory
from tests.helpers.graphs import graph_scorer, torch_logits
from tests.helpers.scorers import PAIRS, load_scorer


class SumOfIds:
    """A graph whose logit is the sum of a pair's ids; it keeps the shapes that it was called with."""

    inputs: tuple[str, ...] = ("input_ids", "attention_mask")

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        assert set(feeds) == set(self.inputs)
        assert feeds["attention_mask"].all()
        self.shapes.append(feeds["input_ids"].shape)
        return np.asarray(feeds["input_ids"].sum(axis=1), dtype=np.float32)

    def describe(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize("pair_by_pair", [False, True])
def test_each_call_has_pairs_of_one_length(bert_folder: Path, pair_by_pair: bool) -> None:
    pairs = load_scorer(bert_folder).tokenize([("a b", "c"), ("a", "b c"), ("a b", "c d e"), ("a", "b")])
    batch = pairs.batch([2, 0, 1, 3])  # longest first
    lengths = batch.lengths.tolist()
    assert lengths[0] > lengths[1] == lengths[2] > lengths[3]
    session = SumOfIds()
    model = GraphModel(session, "a sum", pair_by_pair)
    logits = model.forward(*model.inputs(batch))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    assert logits.tolist() == [batch.ids[i:j].sum() for i, j in pairwise(starts)]
    one = [(1, length) for length in lengths]
    assert session.shapes == (one if pair_by_pair else [one[0], (2, lengths[1]), one[3]])
    assert model.computed_tokens(batch) == sum(lengths)


@pytest.mark.parametrize("parallel", ["batches", "threads"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_pair_has_its_logit_however_the_threads_share_the_work(
    bert_folder: Path, bert_graph: Path, runtime: str, parallel: str
) -> None:
    found = graph_scorer(bert_folder, bert_graph / "model.onnx", runtime, parallel=parallel).score(PAIRS)
    np.testing.assert_allclose(found.logits, torch_logits(bert_folder, PAIRS), atol=1e-5, rtol=0)
    assert found.padded_tokens == found.tokens


@pytest.fixture(scope="module")
def quantized(bert_graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    make_graph.quantize(folder, bert_graph, True)
    return folder / make_graph.ONNX_FILE


@pytest.fixture(scope="module")
def compressed(bert_graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressed")
    make_graph.compress(folder, bert_graph)
    return folder / make_graph.OPENVINO_FILE


@pytest.mark.parametrize(("runtime", "most"), [("onnxruntime", 0.35), ("openvino", 0.2)])
def test_int8_logits_are_near_those_of_torch_and_not_the_same(
    request: pytest.FixtureRequest, bert_folder: Path, runtime: str, most: float
) -> None:
    """OpenVINO rounds activations too where the processor has VNNI (0.105 there, 0.08 elsewhere)."""
    graph = request.getfixturevalue({"onnxruntime": "quantized", "openvino": "compressed"}[runtime])
    found = graph_scorer(bert_folder, graph, runtime, "int8").score(PAIRS).logits
    expected = torch_logits(bert_folder, PAIRS)
    assert 1e-4 < np.abs(found - expected).max() < most * expected.std()


def test_quantized_weights_take_a_third_of_the_disk_even_for_a_tiny_model(
    bert_graph: Path, quantized: Path, compressed: Path
) -> None:
    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.iterdir() if "made_of" not in path.name)

    weights = (bert_graph / "model.onnx.data").stat().st_size
    assert (compressed.with_suffix(".bin")).stat().st_size < 0.35 * weights
    assert size(quantized.parent) < 0.5 * size(bert_graph)  # the graph itself is as large as its weights here


def test_a_deterministic_int8_score_does_not_depend_on_the_batch(bert_folder: Path, quantized: Path) -> None:
    def logits(deterministic: bool) -> tuple[list[float], list[float]]:
        import torch

        try:
            scorer = graph_scorer(bert_folder, quantized, "onnxruntime", "int8", deterministic=deterministic)
            together = scorer.score(PAIRS).logits.tolist()
            return together, [float(scorer.score([pair]).logits[0]) for pair in PAIRS]
        finally:
            torch.use_deterministic_algorithms(False)

    together, alone = logits(deterministic=True)
    assert together == alone
    together, alone = logits(deterministic=False)
    assert together != alone


class SmallMemory(SumOfIds):
    """A runtime in whose memory only two pairs fit at a time."""

    def run(self, feeds: Feeds) -> npt.NDArray[np.float32]:
        if len(feeds["input_ids"]) > 2:
            raise MemoryError("std::bad_alloc")
        return super().run(feeds)


def test_a_batch_that_does_not_fit_is_halved_and_that_is_recorded(bert_folder: Path) -> None:
    batch = load_scorer(bert_folder).tokenize([("a b", f"c {word}") for word in "defg"]).batch(range(4))
    runner = DeviceRunner(GraphModel(SmallMemory(), "a sum"), "use a smaller model")
    scored = list(runner.run([batch]))
    assert [len(part.rows) for part in scored] == [2, 2]
    assert [event for part in scored for event in part.events] == [
        f"out of memory on cpu with a batch of 4 pairs, {len(batch.ids)} tokens; it was halved"
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : bad allocation", True),
        ("Failed to allocate memory for requested buffer of size 123", True),
        ("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc", True),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", False),
    ],
)
def test_a_runtimes_lack_of_memory_is_recognized(message: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is expected
