"""A model at work on its device: batches are launched one behind the other, and logits are read once they are done."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from evalkit.errors import EvalkitError
from evalkit.scoring.threads import Cores
from evalkit.scoring.token_table import Batch

T = TypeVar("T")


class Forward(Protocol):
    """Packed or padded: how a batch becomes logits."""

    device: torch.device

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Return the arguments of `forward`, on the device."""

    def forward(self, *inputs: Any) -> torch.Tensor:
        """Return fp32 logits, (pairs,), on the device."""

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers, those that belong to no pair among them."""


@dataclass(frozen=True)
class Done:
    """A batch that is scored."""

    rows: npt.NDArray[np.int64]
    """Where its pairs stand among those that were asked for, (pairs,)."""
    logits: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int32]
    """Tokens of each pair."""
    cut: npt.NDArray[np.bool_]
    """Whether anything of the pair was cut off."""
    forward_s: float
    padded_tokens: int
    """What the model really computed."""
    events: tuple[str, ...] = ()
    """What went wrong on the way and was mended, a sentence each."""


def joined(parts: Sequence[Done]) -> Done:
    """Return the parts of a batch that was split as one."""
    if len(parts) == 1:
        return parts[0]
    return Done(
        rows=np.concatenate([part.rows for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        cut=np.concatenate([part.cut for part in parts]),
        forward_s=sum(part.forward_s for part in parts),
        padded_tokens=sum(part.padded_tokens for part in parts),
        events=tuple(event for part in parts for event in part.events),
    )


class Runner(Protocol):
    """Whatever scores batches: one device, several, or a cluster."""

    def run(self, batches: Iterable[Batch]) -> Iterator[Done]:
        """Yield all batches, scored, in any order and perhaps in parts."""


@dataclass(frozen=True)
class _Launched:
    batch: Batch
    logits: torch.Tensor
    """On the host; on CUDA not there yet before `finished`."""
    forward_s: float = 0.0
    events: tuple[Any, Any, Any] | None = None
    """On CUDA: the forward's start, its end, and the end of the copy to the host."""
    mended: tuple[str, ...] = ()


@dataclass
class DeviceModel:
    """One model on one device."""

    model: Forward
    advice: str
    """What to change, in the words of the configuration, where a single pair does not fit."""
    may_split: bool = True
    """Whether a batch that does not fit is split; `deterministic` would rather have an error."""
    cores: Cores | None = None
    """On a CPU: threads that take a batch each; None for one batch after the other, and all of torch's at each."""

    def run(self, batches: Iterable[Batch], in_flight: int = 2, share: bool = False) -> Iterator[Done]:
        """Yield logits batch by batch. On CUDA up to `in_flight` batches are launched before one is read, in order.

        On a CPU a batch belongs to one core, so that its bits do not depend on how many there are, and comes when it
        is done. With `share`, the last ones are shared by all cores where they are fewer: sooner done, and perhaps
        with other last bits.

        Raises:
            EvalkitError: a single pair does not fit into memory, or a batch that may not be split.
        """
        if self.model.device.type != "cuda":
            yield from self._run_on_cpu(iter(batches), share)
            return
        waiting: list[_Launched] = []
        for batch in batches:
            waiting += self._launch(batch)
            while len(waiting) > in_flight:
                yield self._read(waiting.pop(0))
        while waiting:
            yield self._read(waiting.pop(0))

    def _run_on_cpu(self, batches: Iterator[Batch], share: bool) -> Iterator[Done]:
        def launch(batch: Batch) -> tuple[float, list[_Launched], float]:
            return time.perf_counter(), self._launch(batch), time.perf_counter()

        cores = self.cores if self.cores and self.cores.count > 1 else None
        rest: list[Batch] = []
        launches: Iterator[tuple[float, list[_Launched], float]] = map(launch, batches)
        if cores is not None:
            each = _whole_groups(batches, cores.count, rest) if share else batches
            launches = chain(cores.as_done(launch, each), map(launch, rest))
        accounted = 0.0  # up to here: what several cores do at the same time counts once
        for began, launched, ended in launches:
            seconds = max(ended - max(began, accounted), 0.0) / len(launched)
            accounted = max(accounted, ended)
            for one in launched:
                yield self._read(replace(one, forward_s=seconds))

    def _read(self, launched: _Launched) -> Done:
        seconds = launched.forward_s
        if launched.events is not None:
            started, finished, copied = launched.events
            copied.synchronize()
            seconds = started.elapsed_time(finished) / 1000
        batch, tokens = launched.batch, self.model.computed_tokens(launched.batch)
        return Done(batch.rows, launched.logits.numpy(), batch.lengths, batch.cut, seconds, tokens, launched.mended)

    def _launch(self, batch: Batch) -> list[_Launched]:
        try:
            return [self._launch_whole(batch)]
        except (torch.OutOfMemoryError, MemoryError):
            pass  # what follows stands outside, for the traceback would hold on to the very tensors that are too many
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # how torch's CPU allocator says it
                raise
        pairs, longest, tokens = len(batch.rows), int(batch.lengths.max()), int(batch.lengths.sum())
        what = f"out of memory on {self.model.device} with a batch of {pairs} pairs, {tokens} tokens"
        if pairs == 1 or not self.may_split:
            alone = f"one pair of {longest} tokens does not fit; " if pairs == 1 else ""
            raise EvalkitError(f"{what}: {alone}{self.advice}")
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        first, second = batch.halves()
        parts = [*self._launch(first), *self._launch(second)]
        parts[0] = replace(parts[0], mended=(f"{what}; it was halved", *parts[0].mended))
        return parts

    @torch.inference_mode()
    def _launch_whole(self, batch: Batch) -> _Launched:
        if self.model.device.type != "cuda":
            return _Launched(batch, self.model.forward(*self.model.inputs(batch)))
        # Events go into the stream of the current device, which is another one's in a process for cuda:1.
        with torch.cuda.device(self.model.device):
            inputs = self.model.inputs(batch)
            started, finished, copied = (torch.cuda.Event(enable_timing=timed) for timed in (True, True, False))  # type: ignore[no-untyped-call]
            started.record()
            logits = self.model.forward(*inputs)
            finished.record()
            host = logits.to("cpu", non_blocking=True)
            copied.record()
        return _Launched(batch, host, events=(started, finished, copied))


def _whole_groups(items: Iterator[T], size: int, rest: list[T]) -> Iterator[T]:
    """Yield items as long as there are `size` of them; those that are left at the end go into `rest`."""
    while len(group := list(islice(items, size))) == size:
        yield from group
    rest += group
