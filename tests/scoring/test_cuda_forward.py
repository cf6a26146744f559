"""The forward pass on CUDA, run with torch's fake tensors: kernels get valid arguments, and nothing synchronizes."""

import os
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from evalkit.cost.memory import MemoryWatch
from evalkit.scoring import attention
from evalkit.scoring.attention import Segments
from evalkit.scoring.cuda_graphs import GraphShape
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.device_runner import DeviceRunner
from evalkit.scoring.packed import PackedModel, split_buffer
from evalkit.scoring.tokenized_pairs import Batch

OF_TORCH = [precision for precision in PRECISIONS.values() if precision.name != "int8"]
CUDA = torch.device("cuda", 0)
MODELS = {
    "bert": (BertForSequenceClassification, BertConfig, {"type_vocab_size": 2, "pad_token_id": 0}),
    "xlmr": (XLMRobertaForSequenceClassification, XLMRobertaConfig, {"type_vocab_size": 1, "pad_token_id": 1}),
}
LENGTHS = (7, 5, 5, 4)
FLASH, EFFICIENT, EQUAL = (
    "packed, varlen_attn (FlashAttention)",
    "packed, efficient_attention",
    "packed, sdpa by equal length",
)
SYNCHRONIZING = {"_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique"}
"""Operations for which the host has to wait, since it needs the result or its shape."""


def batch_of(lengths: Any) -> Batch:
    tokens = sum(lengths)
    ids, types = np.arange(5, 5 + tokens, dtype=np.int32), np.zeros(tokens, dtype=np.int32)
    return Batch(np.arange(len(lengths)), ids, types, np.array(lengths, np.int32), np.zeros(len(lengths), dtype=bool))


class Indexing(TorchFunctionMode):
    """Replaces ``x[...]`` by the operations behind it, since the original initializes CUDA."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.__getitem__:
            return func(*args, **(kwargs or {}))
        x, key = args
        dim = 0
        for one in key if isinstance(key, tuple) else (key,):
            if isinstance(one, int):
                x = x.select(dim, one)
                continue
            if one is None:
                x = x.unsqueeze(dim)
            elif isinstance(one, slice):
                x = torch.ops.aten.slice(x, dim, one.start, one.stop)
            else:
                x = torch.ops.aten.index(x, [None] * dim + [one])
            dim += 1
        return x


class Recording(TorchDispatchMode):
    """Records the operations and their arguments."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls.append((func.overloadpacket.__name__, args, found))
        return found

    def of(self, name: Any) -> Any:
        return [args for called, args, _ in self.calls if called == name]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the forward pass of a tiny model on fake CUDA tensors.

    As on a GPU, operands on different devices or of different types are an error.
    """
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def launch(name: Any, precision: Any, shape: Any = None) -> Any:
        kind, config, more = MODELS[name]
        with torch.device("meta"):
            model = kind(
                config(
                    hidden_size=32, num_attention_heads=4, num_hidden_layers=3, intermediate_size=64, vocab_size=100,
                    max_position_embeddings=64, num_labels=1, **more,
                )
            ).to(precision.dtype)  # fmt: skip

        def on_cuda(like: Any) -> Any:
            return torch.empty(like.shape, dtype=like.dtype, device=CUDA)

        fake = FakeTensorMode()
        with fake, Indexing():
            for module in model.modules():
                for key, weight in module._parameters.items():
                    if weight is not None:
                        module._parameters[key] = torch.nn.Parameter(on_cuda(weight), requires_grad=False)
            packed = PackedModel(model.eval(), CUDA, precision)
        packed.device = torch.device("meta")  # which has no pinned memory
        if shape:
            buffer = packed.host_buffer(batch_of(LENGTHS), shape.tokens, shape.pairs)
            inputs, segments = split_buffer(buffer, shape.tokens, np.full(shape.pairs, 512, np.int32))
        else:
            inputs, segments = packed.inputs(batch_of(LENGTHS))
        with fake, Indexing(), torch.inference_mode(), Recording() as seen:
            logits = packed.forward(on_cuda(inputs), Segments(segments.lengths, on_cuda(segments.starts)))
        return packed.kernel.name, logits, seen

    return launch


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("precision", OF_TORCH, ids=lambda precision: precision.name)
def test_each_precision_uses_its_kernel_and_gives_fp32_logits_on_the_device(
    launched: Any, name: Any, precision: Any
) -> None:
    kernel, logits, _ = launched(name, precision)
    assert kernel == (FLASH if precision.dtype.itemsize == 2 and attention.has_varlen() else EFFICIENT)
    assert (logits.device, logits.dtype, tuple(logits.shape)) == (CUDA, torch.float32, (4,))


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("precision", OF_TORCH, ids=lambda precision: precision.name)
def test_the_forward_pass_does_not_synchronize(launched: Any, name: Any, precision: Any) -> None:
    _, _, seen = launched(name, precision)
    assert not SYNCHRONIZING & {called for called, _, _ in seen.calls}
    made = [one for _, _, found in seen.calls for one in (found if isinstance(found, tuple | list) else (found,))]
    assert {one.device for one in made if isinstance(one, torch.Tensor) and one.dim()} == {CUDA}


@pytest.mark.skipif(not attention.has_varlen(), reason="this torch has no varlen_attn; 2.10 is the first that has")
@pytest.mark.parametrize("precision", [PRECISIONS["fp16"], PRECISIONS["bf16"]], ids=["fp16", "bf16"])
def test_flash_attention_gets_valid_arguments(launched: Any, precision: Any) -> None:
    """The checks of mha_varlen_fwd in torch's flash_api.cpp, which the fake implementation lacks."""
    calls = launched("xlmr", precision)[2].of("_varlen_attn")
    assert len(calls) == 3  # a layer each
    for query, key, value, starts_q, starts_k, longest_q, longest_k, is_causal, *_ in calls:
        assert {x.dtype for x in (query, key, value)} == {precision.dtype}
        assert all(x.stride(-1) == 1 and x.size(-1) % 8 == 0 for x in (query, key, value))
        assert starts_q.dtype == starts_k.dtype == torch.int32
        assert starts_q.is_contiguous()
        assert starts_k.is_contiguous()
        assert starts_q.shape == starts_k.shape == (len(LENGTHS) + 1,)
        assert (longest_k, is_causal) == (max(LENGTHS), False)
        # The last layer computes the first token of each pair.
        assert (len(query), longest_q) in ((sum(LENGTHS), max(LENGTHS)), (len(LENGTHS), 1))
    assert len(calls[-1][0]) == len(LENGTHS)


def test_memory_efficient_attention_gets_valid_arguments(launched: Any) -> None:
    """The checks of _efficient_attention_forward in torch's attention.cu, and its kernel's alignment of 16 bytes."""
    calls = launched("xlmr", PRECISIONS["fp32"])[2].of("_efficient_attention_forward")
    assert len(calls) == 3
    for query, key, value, bias, starts_q, starts_k, longest_q, longest_k, dropout, mask in calls:
        assert all(x.dim() == 4 and len(x) == 1 and x.stride(-1) == 1 for x in (query, key, value))
        assert all(
            x.stride(dim) % 4 == 0 and x.storage_offset() % 4 == 0 for x in (query, key, value) for dim in (1, 2)
        )
        assert key.shape == value.shape == (1, sum(LENGTHS), 4, 8)
        assert starts_q.dtype == starts_k.dtype == torch.int32
        assert starts_q.shape == starts_k.shape == (len(LENGTHS) + 1,)
        assert (longest_k, bias, dropout, mask) == (max(LENGTHS), None, 0.0, 0)
        assert (query.size(1), longest_q) in ((sum(LENGTHS), max(LENGTHS)), (len(LENGTHS), 1))


@pytest.mark.parametrize("precision", OF_TORCH, ids=lambda precision: precision.name)
def test_capture_for_a_graph_has_its_shape_and_does_not_synchronize(launched: Any, precision: Any) -> None:
    """Boundaries of the 16 pairs are on the device; values on the host are the same for every batch."""
    _, logits, seen = launched("xlmr", precision, GraphShape(512, 16))
    assert (logits.device, tuple(logits.shape)) == (CUDA, (16,))
    assert not SYNCHRONIZING & {called for called, _, _ in seen.calls}
    flash = [args[3:7] for args in seen.of("_varlen_attn")]
    efficient = [args[4:8] for args in seen.of("_efficient_attention_forward")]
    assert len(flash + efficient) == 3  # a layer each
    for starts_q, starts_k, *longest in flash + efficient:
        assert starts_q.shape == starts_k.shape == (17,)
        assert longest in ([512, 512], [1, 512])


@pytest.mark.parametrize(
    ("precision", "head_size", "capability", "kernel"),
    [
        ("fp16", 64, (9, 0), FLASH),
        ("fp16", 64, (7, 5), EFFICIENT),
        ("fp16", 256, (8, 0), FLASH),
        ("fp16", 264, (8, 0), EFFICIENT),
        ("fp16", 26, (9, 0), EQUAL),  # TinyBERT's, which neither kernel supports
        ("fp32", 26, (9, 0), EQUAL),
    ],
)
def test_the_kernel_is_chosen_by_gpu_precision_and_head_size(
    monkeypatch: pytest.MonkeyPatch, precision: Any, head_size: Any, capability: Any, kernel: Any
) -> None:
    monkeypatch.setattr(attention, "has_varlen", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert attention.choose_kernel(CUDA, PRECISIONS[precision], head_size).name == kernel


def test_a_torch_without_varlen_attention_uses_the_memory_efficient_one(
    launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "has_varlen", lambda: False)
    kernel, logits, _ = launched("xlmr", PRECISIONS["fp16"])
    assert (kernel, logits.dtype) == (EFFICIENT, torch.float32)


class FakeGpu:
    """A device that copies results only when an event is waited for, with a model whose logit is a pair's length."""

    device = torch.device("cuda", 1)

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current: Any = CUDA
        self.log: list[Any] = []
        self.copying: list[Any] = []
        monkeypatch.setattr(torch.cuda, "device", self.made_current)
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(self))

    @contextmanager
    def made_current(self, device: Any) -> Any:
        before, self.current = self.current, device
        yield
        self.current = before

    def inputs(self, batch: Any) -> Any:
        return (batch.lengths,)

    def computed_tokens(self, batch: Any) -> Any:
        return len(batch.ids)

    def forward(self, lengths: Any) -> Any:
        self.log.append("launch")
        return Logits(self, lengths)


class Logits:
    def __init__(self, card: Any, lengths: Any) -> None:
        self.card, self.values = card, torch.from_numpy(lengths).float()

    def to(self, where: Any, non_blocking: Any) -> Any:
        assert (where, non_blocking) == ("cpu", True)
        host = torch.full_like(self.values, float("nan"))
        self.card.copying.append((host, self.values))
        return host


class Event:
    def __init__(self, card: Any) -> None:
        self.card = card

    def record(self) -> None:
        assert self.card.current == self.card.device, "an event in the stream of another device"
        self.before, self.card.copying = self.card.copying, []

    def synchronize(self) -> None:
        self.card.log.append("wait")
        with torch.inference_mode():
            for host, values in self.before:
                host.copy_(values)

    def elapsed_time(self, end: Any) -> Any:
        return 250.0


def test_batches_are_launched_in_advance_and_logits_are_read_after_their_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = FakeGpu(monkeypatch)
    done = list(DeviceRunner(card, out_of_memory_advice="").run(batch_of([length]) for length in (5, 4, 3, 2)))
    assert [float(one.logits[0]) for one in done] == [5, 4, 3, 2]
    assert {one.forward_s for one in done} == {0.25}
    assert card.log == ["launch", "launch", "launch", "wait", "launch", "wait", "wait", "wait"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA may be initialized already")
def test_memory_can_be_watched_before_cuda_is_initialized() -> None:
    """torch raises an error if the peaks of an allocator are reset before it exists."""
    memory = MemoryWatch("cuda:0").read()
    assert (memory.cuda_allocated_peak_mb, memory.cuda_reserved_peak_mb) == (0, 0)


def test_cublas_is_set_up_for_deterministic_scores_at_import() -> None:
    """torch reads the setting once, at the first matrix product, which may be before the first scorer."""
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
