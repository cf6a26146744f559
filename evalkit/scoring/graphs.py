"""Small packed batches replayed as CUDA graphs: one launch instead of hundreds, which take longer than the work itself.

A graph has fixed shapes and a packed batch has its own, so a batch goes into the smallest room that holds it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from evalkit.errors import EvalkitError
from evalkit.scoring.packed import PackedModel, views
from evalkit.scoring.token_table import Batch

_STEP, _MOST = 1024, 16384
"""Tokens from room to room, and of the largest one: beyond some 10k a GPU takes longer to compute than to be told."""

_TOKENS_A_PAIR = 32
"""A room of so many tokens for each pair: shorter ones on average fill its places before its tokens."""

_LONGEST = 512
"""Tokens of the longest pair: attention is launched for pairs of this length, and returns early from shorter ones."""


@dataclass(frozen=True)
class Room:
    """The shape of one graph."""

    tokens: int
    pairs: int

    @property
    def values(self) -> int:
        """Return how many numbers `PackedModel.values` has for it."""
        return 3 * self.tokens + self.pairs + 1

    def holds(self, pairs: int, tokens: int) -> bool:
        """Return whether so many pairs and tokens fit, and beside them a token for each pair that is not there."""
        return pairs <= self.pairs and tokens + self.pairs - pairs <= self.tokens


def rooms(budget_tokens: int) -> list[Room]:
    """Return the rooms for batches of up to `budget_tokens` tokens, the smallest first."""
    most = min(-(-budget_tokens // _STEP) * _STEP, _MOST)
    return [Room(tokens, tokens // _TOKENS_A_PAIR) for tokens in (_STEP // 2, *range(_STEP, most + 1, _STEP))]


def check_cuda_graphs(asked: bool, device: torch.device, path: str) -> None:
    """Check whether graphs can be had; `path` is as asked for, or as chosen.

    Raises:
        EvalkitError: they are asked for on a device that has none, or for a path that is not recorded.
    """
    if asked and device.type != "cuda":
        raise EvalkitError(
            f"reranker.cuda_graphs=true needs a CUDA device, and this is device={device}; use "
            "reranker.cuda_graphs=false"
        )
    if asked and path == "padded":
        raise EvalkitError(
            "reranker.cuda_graphs=true: only the packed path is recorded, and this is the padded one; use "
            "reranker.cuda_graphs=false"
        )


Replay = Callable[[], None]
Record = Callable[[Callable[[], torch.Tensor]], tuple[Replay, torch.Tensor]]
"""Takes a forward over tensors that stay where they are; returns what runs it again, and where its logits then lie."""


class GraphedModel:
    """A packed model whose small batches are replayed; larger ones, and those with a longer pair, run as ever."""

    def __init__(self, packed: PackedModel, budget_tokens: int, record: Record | None = None) -> None:
        """Record a graph for each room: a second or so, and the memory of the largest.

        What a replay computes with was set aside for it: torch counts it as reserved, not as allocated.

        Raises:
            EvalkitError: the model's attention cannot be recorded, or the graphs do not fit into memory.
        """
        if not packed.kernel.reads_starts:
            raise EvalkitError(
                f"reranker.cuda_graphs=true: this model's attention ({packed.kernel.name}, for its heads are no "
                "multiple of 8) depends on each batch's lengths and cannot be replayed; use reranker.cuda_graphs=false"
            )
        self.device = packed.device
        self._packed = packed
        self._rooms = rooms(budget_tokens)
        self._graphs: dict[Room, tuple[Replay, torch.Tensor]] = {}
        largest = self._rooms[-1]
        with torch.inference_mode():
            self._values = torch.zeros(largest.values, dtype=torch.int32, device=self.device)
            # The largest first: the others find room in its memory, for no two of them run at the same time.
            try:
                self._record(record or _recorder(self.device))
            except torch.OutOfMemoryError:
                raise EvalkitError(
                    f"out of memory on {self.device} while CUDA graphs of up to {largest.tokens} tokens were recorded: "
                    "lower reranker.batch_tokens, or use reranker.cuda_graphs=false"
                ) from None

    def _record(self, record: Record) -> None:
        for room in reversed(self._rooms):
            values = torch.zeros(room.values, dtype=torch.int32)
            values[3 * room.tokens :] = torch.arange(room.pairs + 1)  # each pair is there, and one token long
            self._place(values)
            lengths = np.full(room.pairs, _LONGEST, dtype=np.int32)  # of which a kernel takes the longest as a bound
            inputs, segments = views(self._values[: room.values], room.tokens, lengths)
            self._graphs[room] = record(partial(self._packed.forward, inputs, segments))

    def _place(self, values: torch.Tensor) -> None:
        self._values[: len(values)].copy_(values, non_blocking=True)

    def inputs(self, batch: Batch) -> tuple[Callable[[], torch.Tensor]]:
        """Return what computes the batch, which lies on the device by then."""
        room = self._room(batch)
        if room is None:
            return (partial(self._packed.forward, *self._packed.inputs(batch)),)
        self._place(self._packed.values(batch, room.tokens, room.pairs))  # behind the replay before, in its stream
        return (partial(self._replayed, room, len(batch.lengths)),)

    def forward(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the fp32 logits of a batch, (pairs,), on the device; another batch may overwrite them."""
        return compute()

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers: the room's, however many the batch has."""
        room = self._room(batch)
        return room.tokens if room else self._packed.computed_tokens(batch)

    def _room(self, batch: Batch) -> Room | None:
        if int(batch.lengths.max()) > _LONGEST:
            return None
        pairs, tokens = len(batch.lengths), int(batch.lengths.sum())
        return next((room for room in self._rooms if room.holds(pairs, tokens)), None)

    def _replayed(self, room: Room, pairs: int) -> torch.Tensor:
        replay, logits = self._graphs[room]
        replay()
        return logits[:pairs]


def _recorder(device: torch.device) -> Record:
    """Return what records forwards on a CUDA device, all of them in one pool of memory."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(forward: Callable[[], torch.Tensor]) -> tuple[Replay, torch.Tensor]:
        with torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                forward()  # loads kernels and makes workspaces, which may not be recorded
            graph = torch.cuda.CUDAGraph()
            # Threads of other libraries may go on allocating: that is no mistake of this one.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                logits = forward()
            torch.cuda.current_stream().wait_stream(stream)
        return graph.replay, logits

    return record
