"""A batch that is replayed in a room larger than itself has the logits that it has by itself.

Where there is no GPU, torch's own tracer stands for its recorder: it too keeps operations, shapes, numbers of the host
and where tensors lie, and runs them again without the code that made them. Attention is masked, for what torch has for
packed pairs on a CPU looks at lengths on the host.
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

from evalkit.errors import EvalkitError
from evalkit.scoring.attention import Kernel
from evalkit.scoring.cuda_graphs import GraphedModel, check_cuda_graphs, rooms
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.packed import PackedModel
from evalkit.scoring.scorer import Scorer
from tests.scoring.test_scorer import CPU, PAIRS, load


def masked(query: Any, key: Any, value: Any, segments: Any, first_only: Any) -> Any:
    """Attention that knows of pairs what `segments.starts` says, and nothing else."""
    pair = torch.bucketize(torch.arange(len(key)), segments.starts[1:].long(), right=True)
    of_query = torch.arange(len(query)) if first_only else pair
    weights = torch.einsum("qhs,khs->hqk", query, key) * query.shape[-1] ** -0.5
    weights = weights.masked_fill(of_query[:, None] != pair, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khs->qhs", weights, value)


class Traced:
    """Records forwards as torch's tracer does, and counts replays."""

    def __init__(self) -> None:
        self.recorded: list[Any] = []
        self.replayed: list[Any] = []

    def __call__(self, forward: Any) -> Any:
        logits = forward()
        run = make_fx(forward)()
        size = forward.args[0].shape[1]  # tokens of the room
        self.recorded.append(size)

        def replay() -> None:
            self.replayed.append(size)
            logits.copy_(run())

        return replay, logits


@pytest.fixture(scope="module", params=["bert_folder", "xlmr_folder"])
def scorer(request: pytest.FixtureRequest) -> Any:
    return load(request.getfixturevalue(request.param), batch_tokens=None)


@pytest.fixture(scope="module")
def traced(scorer: Any) -> tuple[GraphedModel, Traced]:
    packed = PackedModel(scorer.model, CPU, PRECISIONS["fp32"])
    packed.kernel = Kernel("masked", masked)
    record = Traced()
    return GraphedModel(packed, 1500, record), record


@pytest.fixture
def graphed(traced: tuple[GraphedModel, Traced]) -> tuple[GraphedModel, Traced]:
    """A model whose graphs were recorded once for all tests, and none replayed yet."""
    traced[1].replayed.clear()
    return traced


def test_rooms_go_up_to_the_budget_and_no_further_than_pays() -> None:
    assert rooms(1500) == [GraphShape(512, 16), GraphShape(1024, 32), GraphShape(2048, 64)]
    assert [room.tokens for room in rooms(65536)] == [512, *range(1024, 16385, 1024)]


def test_a_room_holds_what_leaves_a_token_for_each_pair_that_is_not_there() -> None:
    room = GraphShape(512, 16)
    assert room.holds(1, 497)  # 497 + 15
    assert not room.holds(1, 498)
    assert room.holds(16, 16 * 32)
    assert not room.holds(17, 17 * 4)


def test_replayed_logits_are_those_of_the_batch_by_itself(scorer: Any, graphed: Any) -> None:
    model, record = graphed
    assert record.recorded == [2048, 1024, 512]  # the largest first: the others use its memory
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
    assert record.replayed == seen
    assert len(set(seen)) > 1


def test_what_no_room_holds_runs_as_ever(scorer: Any, graphed: Any) -> None:
    model, record = graphed
    pairs = scorer.tokenize(PAIRS)
    many = pairs.batch(list(range(len(pairs))))
    long = scorer.tokenize([PAIRS[0]]).batch([0])
    long = replace(long, ids=np.resize(long.ids, 513), type_ids=np.zeros(513, np.int32), lengths=np.array([513]))
    with torch.inference_mode():
        logits = model.forward(*model.inputs(many)).numpy()
        model.inputs(long)
    np.testing.assert_allclose(logits, scorer.score(PAIRS).logits, rtol=0, atol=1e-5)
    assert record.replayed == []
    assert (model.computed_tokens(many), model.computed_tokens(long)) == (many.lengths.sum(), 513)


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(3, 600), min_size=1, max_size=300))
def test_a_batch_is_held_by_the_smallest_room_that_can(lengths: Any) -> None:
    model = GraphedModel.__new__(GraphedModel)
    model._rooms = rooms(65536)
    batch: Any = type("Batch", (), {"lengths": np.array(lengths, dtype=np.int32)})
    room = model._room(batch)
    fits = [room for room in model._rooms if room.holds(len(lengths), sum(lengths))]
    assert room == (fits[0] if fits and max(lengths) <= 512 else None)
    if room:
        assert len(lengths) <= room.pairs
        assert sum(lengths) + room.pairs - len(lengths) <= room.tokens


def test_recording_warms_up_first_and_keeps_to_one_stream_and_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []

    class Stream:
        def wait_stream(self, other: Any) -> None:
            log.append(("waits", "ours" if self is ours else "theirs"))

    class Graph:
        def replay(self) -> None:
            log.append("replay")

    @contextmanager
    def current(stream: Any) -> Any:
        log.append("warm-up" if stream is ours else "other stream")
        yield

    @contextmanager
    def graph(made: Any, pool: Any, stream: Any, capture_error_mode: Any) -> Any:
        log.append(("recording", pool, stream is ours))
        yield

    @contextmanager
    def device(which: Any) -> Any:
        assert which == torch.device("cuda", 1)
        yield

    ours, theirs = Stream(), Stream()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "Stream", lambda which: ours)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: theirs)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    record = graphs._recorder(torch.device("cuda", 1))

    def forward() -> torch.Tensor:
        log.append("forward")
        return torch.ones(1)

    replay, logits = record(forward)
    replay()
    assert logits == 1
    assert log == [
        ("waits", "ours"), "warm-up", "forward", ("recording", "pool", True), "forward", ("waits", "theirs"), "replay",
    ]  # fmt: skip


def test_what_cannot_be_replayed_says_what_to_use(bert_folder: Any) -> None:
    with pytest.raises(EvalkitError, match="cuda_graphs=true needs a CUDA device, and this is device=cpu; use "):
        load(bert_folder, cuda_graphs=True)
    with pytest.raises(EvalkitError, match="only the packed path is recorded, and this is the padded one; use "):
        check_cuda_graphs(True, torch.device("cuda", 0), "padded")
    check_cuda_graphs(False, CPU, "padded")
    packed = PackedModel(load(bert_folder).model, CPU, PRECISIONS["fp32"])
    with pytest.raises(EvalkitError, match=r"attention \(packed, sdpa by equal length.*\) .* cannot be replayed; use"):
        GraphedModel(packed, 1500)


def test_graphs_that_do_not_fit_into_memory_say_what_to_change(graphed: Any) -> None:
    def full(forward: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EvalkitError, match=r"while CUDA graphs of up to 2048 tokens were recorded: lower .*false"):
        GraphedModel(graphed[0]._packed, 1500, full)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("tf32", 0.05), ("fp16", 0.05), ("bf16", 0.4)])
def test_on_a_gpu_replayed_logits_are_those_of_the_plain_engine(
    xlmr_folder: Any, precision: Any, tolerance: Any
) -> None:
    device = torch.device("cuda", 0)
    pretrained = load_classifier(str(xlmr_folder), None, device, PRECISIONS[precision], "reranker.model")
    plain = Scorer(pretrained, device, 512, "longest_first", 1024)
    replayed = Scorer(pretrained, device, 512, "longest_first", 1024, cuda_graphs=True)
    assert replayed.describe()["attention"] == f"{plain.kernel}, CUDA graphs"
    texts = PAIRS * 20  # batches of several rooms, one behind the other
    first = replayed.score(texts)
    assert first.padded_tokens > first.tokens
    np.testing.assert_allclose(first.logits, plain.score(texts).logits, rtol=0, atol=tolerance)
    assert replayed.score(texts).logits.tobytes() == first.logits.tobytes()
