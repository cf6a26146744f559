"""Replays small packed batches as CUDA graphs: one launch instead of hundreds, which take longer than the computation.

A graph has a fixed shape and packed batches do not, so a batch is padded to the smallest captured shape that holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.packed import PackedModel, split_buffer
from evalkit.scoring.tokenized_pairs import Batch

_STEP, _LARGEST = 1024, 16384
"""Tokens between two captured shapes, and of the largest one: beyond some 10k tokens, computing takes a GPU longer than
launching."""

_TOKENS_PER_PAIR = 32
"""A shape has one pair for so many tokens. If pairs are shorter on average, its pairs run out before its tokens."""

_LONGEST_PAIR = 512
"""Tokens of the longest pair: attention is launched for pairs of this length, and returns early from shorter ones."""


@dataclass(frozen=True)
class GraphShape:
    """The numbers of tokens and pairs that a graph is captured for."""

    tokens: int
    pairs: int

    @property
    def buffer_size(self) -> int:
        """Return the number of values in `PackedModel.host_buffer` of this shape."""
        return 3 * self.tokens + self.pairs + 1

    def holds(self, pairs: int, tokens: int) -> bool:
        """Return whether a batch fits, together with one token for each pair that it has less.

        Args:
            pairs: Pairs of the batch.
            tokens: Tokens of the batch.
        """
        return pairs <= self.pairs and tokens + self.pairs - pairs <= self.tokens


def graph_shapes(budget_tokens: int) -> list[GraphShape]:
    """Return the shapes to capture, the smallest first.

    Args:
        budget_tokens: Tokens of the largest batch.
    """
    largest = min(-(-budget_tokens // _STEP) * _STEP, _LARGEST)
    return [
        GraphShape(tokens, tokens // _TOKENS_PER_PAIR) for tokens in (_STEP // 2, *range(_STEP, largest + 1, _STEP))
    ]


def smallest_shape(shapes: Sequence[GraphShape], lengths: npt.NDArray[np.int32]) -> GraphShape | None:
    """Return the first shape that holds a batch; None if none does, or if a pair is longer than 512 tokens.

    Args:
        shapes: the smallest first.
        lengths: Tokens of each pair, (pairs,).
    """
    if int(lengths.max()) > _LONGEST_PAIR:
        return None
    pairs, tokens = len(lengths), int(lengths.sum())
    return next((shape for shape in shapes if shape.holds(pairs, tokens)), None)


def check_cuda_graphs(requested: bool, device: torch.device, path: str) -> None:
    """Check that device and path support CUDA graphs, if they are requested.

    Args:
        requested: The value of `reranker.cuda_graphs`.
        device: Where the model computes.
        path: The forward path, as configured or as chosen.

    Raises:
        EvalkitError: they are requested and not supported.
    """
    if requested and device.type != "cuda":
        raise EvalkitError(
            f"reranker.cuda_graphs=true needs a CUDA device, and this is device={device}; use "
            "reranker.cuda_graphs=false"
        )
    if requested and path == "padded":
        raise EvalkitError(
            "reranker.cuda_graphs=true: only the packed path is recorded, and this is the padded one; use "
            "reranker.cuda_graphs=false"
        )


Replay = Callable[[], None]
Capture = Callable[[Callable[[], torch.Tensor]], tuple[Replay, torch.Tensor]]
"""Captures a forward pass over tensors at fixed addresses; returns what replays it, and the tensor of its logits."""


class GraphedModel:
    """A packed model that replays small batches; larger ones, and those with a longer pair, run without a graph."""

    def __init__(self, packed: PackedModel, budget_tokens: int, capture: Capture | None = None) -> None:
        """Capture a graph for each shape, which takes about a second, and the memory of the largest one.

        torch counts this memory as reserved, not as allocated.

        Args:
            packed: The model.
            budget_tokens: Tokens of the largest batch.
            capture: How a forward pass is captured; None for CUDA's graphs.

        Raises:
            EvalkitError: the model's attention cannot be captured, or the graphs do not fit into memory.
        """
        if not packed.kernel.graph_capturable:
            raise EvalkitError(
                f"reranker.cuda_graphs=true: this model's attention ({packed.kernel.name}, since the size of its heads "
                "is not a multiple of 8) depends on each batch's lengths and cannot be replayed; use "
                "reranker.cuda_graphs=false"
            )
        self.device = packed.device
        self._packed = packed
        self._shapes = graph_shapes(budget_tokens)
        self._graphs: dict[GraphShape, tuple[Replay, torch.Tensor]] = {}
        largest = self._shapes[-1]
        with torch.inference_mode():
            self._buffer = torch.zeros(largest.buffer_size, dtype=torch.int32, device=self.device)
            try:
                self._capture_all(capture or cuda_capture(self.device))
            except torch.OutOfMemoryError:
                raise EvalkitError(
                    f"out of memory on {self.device} while CUDA graphs of up to {largest.tokens} tokens were recorded: "
                    "lower reranker.batch_tokens, or use reranker.cuda_graphs=false"
                ) from None

    def _capture_all(self, capture: Capture) -> None:
        # The largest first: the others reuse its memory, since no two graphs run at the same time.
        for shape in reversed(self._shapes):
            host = torch.zeros(shape.buffer_size, dtype=torch.int32)
            host[3 * shape.tokens :] = torch.arange(shape.pairs + 1)  # all pairs, each one token long
            self._copy_to_device(host)
            lengths = np.full(shape.pairs, _LONGEST_PAIR, dtype=np.int32)  # kernels are launched for the longest pair
            inputs, segments = split_buffer(self._buffer[: shape.buffer_size], shape.tokens, lengths)
            self._graphs[shape] = capture(partial(self._packed.forward, inputs, segments))

    def _copy_to_device(self, host: torch.Tensor) -> None:
        self._buffer[: len(host)].copy_(host, non_blocking=True)

    def inputs(self, batch: Batch) -> tuple[Callable[[], torch.Tensor]]:
        """Copy a batch to the device, and return a function that computes it.

        Args:
            batch: The pairs.
        """
        shape = smallest_shape(self._shapes, batch.lengths)
        if shape is None:
            return (partial(self._packed.forward, *self._packed.inputs(batch)),)
        # In stream order: the copy waits for the replay of the previous batch.
        self._copy_to_device(self._packed.host_buffer(batch, shape.tokens, shape.pairs))
        return (partial(self._replay, shape, len(batch.lengths)),)

    def forward(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the fp32 logits of a batch, (pairs,), on the device; the next batch may overwrite them.

        Args:
            compute: As `inputs` returns it.
        """
        return compute()

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers: all those of the captured shape.

        Args:
            batch: The pairs.
        """
        shape = smallest_shape(self._shapes, batch.lengths)
        return shape.tokens if shape else self._packed.computed_tokens(batch)

    def _replay(self, shape: GraphShape, pairs: int) -> torch.Tensor:
        replay, logits = self._graphs[shape]
        replay()
        return logits[:pairs]


def cuda_capture(device: torch.device) -> Capture:
    """Return a function that captures CUDA graphs which share one memory pool."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(forward: Callable[[], torch.Tensor]) -> tuple[Replay, torch.Tensor]:
        with torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                forward()  # loads kernels and allocates workspaces, which cannot be captured
            graph = torch.cuda.CUDAGraph()
            # thread_local: allocations in threads of other libraries do not invalidate the capture.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                logits = forward()
            torch.cuda.current_stream().wait_stream(stream)
        return graph.replay, logits

    return capture
