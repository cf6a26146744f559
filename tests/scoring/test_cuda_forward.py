"""What only a GPU runs is given to torch's own stand-ins for it: kernels get what they ask for, and nobody waits."""

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
WAITING = {"_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique"}
"""Operations whose result, or its shape, the host has to wait for."""


def batch_of(lengths: Any) -> Batch:
    tokens = sum(lengths)
    ids, types = np.arange(5, 5 + tokens, dtype=np.int32), np.zeros(tokens, dtype=np.int32)
    return Batch(np.arange(len(lengths)), ids, types, np.array(lengths, np.int32), np.zeros(len(lengths), dtype=bool))


class Indexing(TorchFunctionMode):
    """``x[...]`` by the operations it stands for: as it is, it asks a torch without CUDA for its CUDA."""

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


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the operations and their arguments."""

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
    """Return a function that runs the forward of a tiny model on tensors that pretend to be on CUDA.

    A tensor of another device, or of another dtype than its partner's, is an error there as it is on a GPU.
    """
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def launch(name: Any, precision: Any, room: Any = None) -> Any:
        kind, config, more = MODELS[name]
        with torch.device("meta"):
            model = kind(
                config(
                    hidden_size=32, num_attention_heads=4, num_hidden_layers=3, intermediate_size=64, vocab_size=100,
                    max_position_embeddings=64, num_labels=1, **more,
                )
            ).to(precision.dtype)  # fmt: skip

        def there(like: Any) -> Any:
            return torch.empty(like.shape, dtype=like.dtype, device=CUDA)

        pretending = FakeTensorMode()
        with pretending, Indexing():
            for module in model.modules():
                for key, weight in module._parameters.items():
                    if weight is not None:
                        module._parameters[key] = torch.nn.Parameter(there(weight), requires_grad=False)
            packed = PackedModel(model.eval(), CUDA, precision)
        packed.device = torch.device("meta")  # where there is no memory to be pinned
        if room:
            values = packed.values(batch_of(LENGTHS), room.tokens, room.pairs)
            inputs, segments = split_buffer(values, room.tokens, np.full(room.pairs, 512, np.int32))
        else:
            inputs, segments = packed.inputs(batch_of(LENGTHS))
        with pretending, Indexing(), torch.inference_mode(), Recording() as seen:
            logits = packed.forward(there(inputs), Segments(segments.lengths, there(segments.starts)))
        return packed.kernel.name, logits, seen

    return launch


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=list(PRECISIONS))
def test_every_precision_runs_through_its_kernel_to_fp32_logits_on_the_device(
    launched: Any, name: Any, precision: Any
) -> None:
    kernel, logits, _ = launched(name, precision)
    assert kernel == (FLASH if precision.dtype.itemsize == 2 and attention._has_varlen() else EFFICIENT)
    assert (logits.device, logits.dtype, tuple(logits.shape)) == (CUDA, torch.float32, (4,))


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=list(PRECISIONS))
def test_nothing_in_a_forward_waits_for_the_device(launched: Any, name: Any, precision: Any) -> None:
    _, _, seen = launched(name, precision)
    assert not WAITING & {called for called, _, _ in seen.calls}
    made = [one for _, _, found in seen.calls for one in (found if isinstance(found, tuple | list) else (found,))]
    assert {one.device for one in made if isinstance(one, torch.Tensor) and one.dim()} == {CUDA}


@pytest.mark.skipif(not attention._has_varlen(), reason="this torch has no varlen_attn; 2.10 is the first that has")
@pytest.mark.parametrize("precision", [PRECISIONS["fp16"], PRECISIONS["bf16"]], ids=["fp16", "bf16"])
def test_flash_attention_gets_what_it_asks_for(launched: Any, precision: Any) -> None:
    """mha_varlen_fwd of torch's flash_api.cpp checks this, which its stand-in does not."""
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
        # The last layer asks for the first token of each pair.
        assert (len(query), longest_q) in ((sum(LENGTHS), max(LENGTHS)), (len(LENGTHS), 1))
    assert len(calls[-1][0]) == len(LENGTHS)


def test_memory_efficient_attention_gets_what_it_asks_for(launched: Any) -> None:
    """As _efficient_attention_forward of torch's attention.cu checks it, and its kernel the alignment of 16 bytes."""
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


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=list(PRECISIONS))
def test_what_is_recorded_for_a_room_has_its_shapes_and_waits_for_nothing(launched: Any, precision: Any) -> None:
    """The starts on the device say which of the 16 pairs there are; what the host says holds for every batch."""
    _, logits, seen = launched("xlmr", precision, GraphShape(512, 16))
    assert (logits.device, tuple(logits.shape)) == (CUDA, (16,))
    assert not WAITING & {called for called, _, _ in seen.calls}
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
        ("fp16", 26, (9, 0), EQUAL),  # TinyBERT's, which both kernels refuse
        ("fp32", 26, (9, 0), EQUAL),
    ],
)
def test_the_kernel_is_one_that_gpu_and_heads_allow(
    monkeypatch: pytest.MonkeyPatch, precision: Any, head_size: Any, capability: Any, kernel: Any
) -> None:
    monkeypatch.setattr(attention, "_has_varlen", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert attention.choose(CUDA, PRECISIONS[precision], head_size).name == kernel


def test_a_torch_without_flash_attention_of_its_own_takes_the_memory_efficient_one(
    launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_has_varlen", lambda: False)
    kernel, logits, _ = launched("xlmr", PRECISIONS["fp16"])
    assert (kernel, logits.dtype) == (EFFICIENT, torch.float32)


class Card:
    """A device that has done nothing before an event is waited for, and a model on it: a pair's logit is its length."""

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


def test_logits_are_read_when_their_copy_is_done_and_batches_are_launched_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = Card(monkeypatch)
    done = list(DeviceRunner(card, advice="").run(batch_of([length]) for length in (5, 4, 3, 2)))
    assert [float(one.logits[0]) for one in done] == [5, 4, 3, 2]
    assert {one.forward_s for one in done} == {0.25}
    assert card.log == ["launch", "launch", "launch", "wait", "launch", "wait", "wait", "wait"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA may be at work already")
def test_memory_can_be_watched_before_cuda_is_at_work() -> None:
    """To reset the peaks of an allocator that is not there yet is an error of torch."""
    memory = MemoryWatch("cuda:0").read()
    assert (memory.cuda_allocated_peak_mb, memory.cuda_reserved_peak_mb) == (0, 0)


def test_cublas_is_set_up_for_deterministic_scores_before_anything_is_multiplied() -> None:
    """torch looks once, at the first product: a scorer that is deterministic may not be the first to multiply."""
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
