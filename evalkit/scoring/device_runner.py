"""Runs one model on one device; on CUDA, batches are launched asynchronously and their logits are read later."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, TypeVar

import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.core_threads import CoreThreads
from evalkit.scoring.runner import ForwardPass, ScoredBatch
from evalkit.scoring.tokenized_pairs import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class _Launch:
    batch: Batch
    logits: torch.Tensor
    """On the host; with `cuda_events`, they are complete once the last event has been reached."""
    forward_s: float = 0.0
    cuda_events: tuple[Any, Any, Any] | None = None
    """The start of the forward pass, its end, and the end of the copy to the host."""
    messages: tuple[str, ...] = ()


@dataclass
class DeviceRunner:
    """Runs one model on one device."""

    model: ForwardPass
    out_of_memory_advice: str
    """Which settings to change if a batch does not fit and cannot be split."""
    may_split: bool = True
    """Whether a batch that does not fit into memory is halved; if not, it is an error."""
    core_threads: CoreThreads | None = None
    """On a CPU: threads that compute a batch each; None to compute one batch at a time on all cores."""

    def run(self, batches: Iterable[Batch], in_flight: int = 2, share_last: bool = False) -> Iterator[ScoredBatch]:
        """Yield the scores of each batch: on CUDA in order, on a CPU as soon as a batch is done.

        On a CPU each batch is computed by one core, so that its bits do not depend on the number of cores.

        Args:
            batches: The batches.
            in_flight: Batches that are launched on CUDA before the first one is read.
            share_last: On a CPU: whether all cores compute the last batches together if there are fewer batches than
                cores, which takes less time and may change the last bits of their logits.

        Raises:
            EvalkitError: a single pair does not fit into memory, or a batch that must not be split.
        """
        if self.model.device.type != "cuda":
            yield from self._run_on_cpu(iter(batches), share_last)
            return
        launched: list[_Launch] = []
        for batch in batches:
            launched += self._launch(batch)
            while len(launched) > in_flight:
                yield self._read(launched.pop(0))
        while launched:
            yield self._read(launched.pop(0))

    def _run_on_cpu(self, batches: Iterator[Batch], share_last: bool) -> Iterator[ScoredBatch]:
        def launch(batch: Batch) -> tuple[float, list[_Launch], float]:
            return time.perf_counter(), self._launch(batch), time.perf_counter()

        threads = self.core_threads if self.core_threads and self.core_threads.count > 1 else None
        last: list[Batch] = []
        results: Iterator[tuple[float, list[_Launch], float]] = map(launch, batches)
        if threads is not None:
            one_per_core = _full_groups(batches, threads.count, last) if share_last else batches
            results = chain(threads.map_unordered(launch, one_per_core), map(launch, last))
        accounted_until = 0.0  # time in which several cores compute is counted once
        for began, launched, ended in results:
            seconds = max(ended - max(began, accounted_until), 0.0) / len(launched)
            accounted_until = max(accounted_until, ended)
            for launch_ in launched:
                yield self._read(replace(launch_, forward_s=seconds))

    def _read(self, launch: _Launch) -> ScoredBatch:
        seconds = launch.forward_s
        if launch.cuda_events is not None:
            started, finished, copied = launch.cuda_events
            copied.synchronize()
            seconds = started.elapsed_time(finished) / 1000
        batch, tokens = launch.batch, self.model.computed_tokens(launch.batch)
        return ScoredBatch(
            batch.rows, launch.logits.numpy(), batch.lengths, batch.truncated, seconds, tokens, launch.messages
        )

    def _launch(self, batch: Batch) -> list[_Launch]:
        try:
            return [self._launch_whole(batch)]
        except (torch.OutOfMemoryError, MemoryError):
            pass  # recovery is outside of this block, since the traceback holds references to the tensors
        except RuntimeError as error:
            # The messages of torch's allocators for the CPU and for Metal.
            if not any(phrase in str(error) for phrase in ("can't allocate memory", "MPS backend out of memory")):
                raise
        pairs, longest, tokens = len(batch.rows), int(batch.lengths.max()), int(batch.lengths.sum())
        what = f"out of memory on {self.model.device} with a batch of {pairs} pairs, {tokens} tokens"
        if pairs == 1 or not self.may_split:
            alone = f"one pair of {longest} tokens does not fit; " if pairs == 1 else ""
            raise EvalkitError(f"{what}: {alone}{self.out_of_memory_advice}")
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        first, second = batch.halves()
        parts = [*self._launch(first), *self._launch(second)]
        parts[0] = replace(parts[0], messages=(f"{what}; it was halved", *parts[0].messages))
        return parts

    @torch.inference_mode()
    def _launch_whole(self, batch: Batch) -> _Launch:
        if self.model.device.type != "cuda":
            return _Launch(batch, self.model.forward(*self.model.inputs(batch)).cpu())
        # Events are recorded in the stream of the current device, which need not be this model's.
        with torch.cuda.device(self.model.device):
            inputs = self.model.inputs(batch)
            started, finished, copied = (torch.cuda.Event(enable_timing=timed) for timed in (True, True, False))  # type: ignore[no-untyped-call]
            started.record()
            logits = self.model.forward(*inputs)
            finished.record()
            host = logits.to("cpu", non_blocking=True)
            copied.record()
        return _Launch(batch, host, cuda_events=(started, finished, copied))


def _full_groups(items: Iterator[T], size: int, remainder: list[T]) -> Iterator[T]:
    """Yield items in groups of `size`; those of the last, incomplete group are put into `remainder` instead."""
    while len(group := list(islice(items, size))) == size:
        yield from group
    remainder += group
