"""A batch that is padded to a captured shape and replayed has the same logits as without a graph.

Without a GPU, torch's tracer replaces the capture: it also records operations, shapes, values on the host and the
addresses of tensors, and replays them without the Python code. Attention is masked, since torch's attention for packed
pairs on a CPU reads lengths on the host.
"""

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import cuda_graphs
from evalkit.scoring.attention import Kernel
from evalkit.scoring.cuda_graphs import GraphedModel, GraphShape, check_cuda_graphs, graph_shapes, smallest_shape
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.packed import PackedModel
from evalkit.scoring.scorer import Scorer
from tests.helpers.scorers import CPU, PAIRS, load_scorer


def masked(query: Any, key: Any, value: Any, segments: Any, first_only: Any) -> Any:
    """Attention that reads the pairs from `segments.starts` only."""
    pair = torch.bucketize(torch.arange(len(key)), segments.starts[1:].long(), right=True)
    of_query = torch.arange(len(query)) if first_only else pair
    weights = torch.einsum("qhs,khs->hqk", query, key) * query.shape[-1] ** -0.5
    weights = weights.masked_fill(of_query[:, None] != pair, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khs->qhs", weights, value)


class TracingCapture:
    """Captures forward passes with torch's tracer, and counts replays."""

    def __init__(self) -> None:
        self.captured: list[Any] = []
        self.replayed: list[Any] = []

    def __call__(self, forward: Any) -> Any:
        logits = forward()
        run = make_fx(forward)()
        size = forward.args[0].shape[1]  # tokens of the shape
        self.captured.append(size)

        def replay() -> None:
            self.replayed.append(size)
            logits.copy_(run())

        return replay, logits


@pytest.fixture(scope="module", params=["bert_folder", "xlmr_folder"])
def scorer(request: pytest.FixtureRequest) -> Any:
    return load_scorer(request.getfixturevalue(request.param), batch_tokens=None)


def maskable(scorer: Any) -> PackedModel:
    """A packed model whose attention can be captured on a CPU."""
    packed = PackedModel(scorer.model, CPU, PRECISIONS["fp32"])
    packed.kernel = Kernel("masked", masked)
    return packed


@pytest.fixture(scope="module")
def traced(scorer: Any) -> Any:
    """A model with its graphs, which take seconds to trace, and what captured them."""
    capture = TracingCapture()
    return GraphedModel(maskable(scorer), 1500, capture), capture


@pytest.fixture
def graphed(traced: Any) -> Any:
    traced[1].replayed.clear()
    return traced


def test_shapes_go_up_to_the_budget_or_to_16384_tokens() -> None:
    assert graph_shapes(1500) == [GraphShape(512, 16), GraphShape(1024, 32), GraphShape(2048, 64)]
    assert [shape.tokens for shape in graph_shapes(65536)] == [512, *range(1024, 16385, 1024)]


def test_a_shape_needs_one_token_for_each_pair_that_a_batch_does_not_have() -> None:
    shape = GraphShape(512, 16)
    assert shape.holds(1, 497)  # 497 + 15
    assert not shape.holds(1, 498)
    assert shape.holds(16, 16 * 32)
    assert not shape.holds(17, 17 * 4)


def test_replayed_logits_are_those_without_a_graph(scorer: Any, graphed: Any) -> None:
    model, capture = graphed
    assert capture.captured == [2048, 1024, 512]  # the largest first: the others reuse its memory
    pairs = scorer.tokenize(PAIRS)
    seen = []
    with torch.inference_mode():
        for rows in ([0], list(range(12)), [5, 3], list(range(20, 38)), [7]):
            batch = pairs.batch(rows)
            logits = model.forward(*model.inputs(batch)).numpy()
            assert logits.shape == (len(rows),)
            plain = PackedModel(scorer.model, CPU, PRECISIONS["fp32"])
            np.testing.assert_allclose(logits, plain.forward(*plain.inputs(batch)).numpy(), rtol=0, atol=1e-5)
            seen.append(model.computed_tokens(batch))
    assert capture.replayed == seen
    assert len(set(seen)) > 1


def test_batches_that_fit_no_shape_run_without_a_graph(scorer: Any, graphed: Any) -> None:
    model, capture = graphed
    pairs = scorer.tokenize(PAIRS)
    many = pairs.batch(list(range(len(pairs))))
    long = scorer.tokenize([PAIRS[0]]).batch([0])
    long = replace(long, ids=np.resize(long.ids, 513), type_ids=np.zeros(513, np.int32), lengths=np.array([513]))
    with torch.inference_mode():
        logits = model.forward(*model.inputs(many)).numpy()
        model.inputs(long)
    np.testing.assert_allclose(logits, scorer.score(PAIRS).logits, rtol=0, atol=1e-5)
    assert capture.replayed == []
    assert (model.computed_tokens(many), model.computed_tokens(long)) == (many.lengths.sum(), 513)


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(3, 600), min_size=1, max_size=300))
def test_a_batch_gets_the_smallest_shape_that_holds_it(lengths: Any) -> None:
    shapes = graph_shapes(65536)
    shape = smallest_shape(shapes, np.array(lengths, dtype=np.int32))
    fits = [each for each in shapes if each.holds(len(lengths), sum(lengths))]
    assert shape == (fits[0] if fits and max(lengths) <= 512 else None)
    if shape:
        assert len(lengths) <= shape.pairs
        assert sum(lengths) + shape.pairs - len(lengths) <= shape.tokens


def test_capture_warms_up_first_and_uses_one_stream_and_one_memory_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []

    class Stream:
        def wait_stream(self, other: Any) -> None:
            log.append(("waits", "capture" if self is capture_stream else "current"))

    class Graph:
        def replay(self) -> None:
            log.append("replay")

    @contextmanager
    def current(stream: Any) -> Any:
        log.append("warm-up" if stream is capture_stream else "other stream")
        yield

    @contextmanager
    def graph(made: Any, pool: Any, stream: Any, capture_error_mode: Any) -> Any:
        log.append(("capture", pool, stream is capture_stream))
        yield

    @contextmanager
    def device(which: Any) -> Any:
        assert which == torch.device("cuda", 1)
        yield

    capture_stream, current_stream = Stream(), Stream()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "Stream", lambda which: capture_stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current_stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    capture = cuda_graphs.cuda_capture(torch.device("cuda", 1))

    def forward() -> torch.Tensor:
        log.append("forward")
        return torch.ones(1)

    replay, logits = capture(forward)
    replay()
    assert logits == 1
    assert log == [
        ("waits", "capture"), "warm-up", "forward",
        ("capture", "pool", True), "forward", ("waits", "current"), "replay",
    ]  # fmt: skip


def test_unsupported_devices_paths_and_kernels_are_refused(bert_folder: Any) -> None:
    with pytest.raises(EvalkitError, match="cuda_graphs=true needs a CUDA device, and this is device=cpu; use "):
        load_scorer(bert_folder, cuda_graphs=True)
    with pytest.raises(EvalkitError, match="only the packed path is recorded, and this is the padded one; use "):
        check_cuda_graphs(True, torch.device("cuda", 0), "padded")
    check_cuda_graphs(False, CPU, "padded")
    packed = PackedModel(load_scorer(bert_folder).model, CPU, PRECISIONS["fp32"])
    with pytest.raises(EvalkitError, match=r"attention \(packed, sdpa by equal length.*\) .* cannot be replayed; use"):
        GraphedModel(packed, 1500)


def test_graphs_that_do_not_fit_into_memory_are_an_error(scorer: Any) -> None:
    def full(forward: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EvalkitError, match=r"while CUDA graphs of up to 2048 tokens were recorded: lower .*false"):
        GraphedModel(maskable(scorer), 1500, full)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("tf32", 0.05), ("fp16", 0.05), ("bf16", 0.4)])
def test_on_a_gpu_replayed_logits_are_those_without_graphs(xlmr_folder: Any, precision: Any, tolerance: Any) -> None:
    device = torch.device("cuda", 0)
    pretrained = load_classifier(str(xlmr_folder), None, device, PRECISIONS[precision], "reranker.model")
    plain = Scorer(pretrained, device, 512, "longest_first", 1024)
    replayed = Scorer(pretrained, device, 512, "longest_first", 1024, cuda_graphs=True)
    assert replayed.describe()["attention"] == f"{plain.kernel}, CUDA graphs"
    texts = PAIRS * 20  # consecutive batches of several shapes
    first = replayed.score(texts)
    assert first.padded_tokens > first.tokens
    np.testing.assert_allclose(first.logits, plain.score(texts).logits, rtol=0, atol=tolerance)
    assert replayed.score(texts).logits.tobytes() == first.logits.tobytes()
