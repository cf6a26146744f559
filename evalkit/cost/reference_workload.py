"""A fixed workload that is timed along with the reranker, and shows how fast the machine is at that moment.

The ratio of the reranker's time to that of the workload is about the same on a slow and on a fast machine. The workload
is that of a cross-encoder: an encoder of six layers and 384 dimensions (the shape of MiniLM-L6) over 16 sequences of 64
tokens, with seeded weights, in fp32. It must never change, as ratios to different workloads cannot be compared.
"""

import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from evalkit.cost.latency import percentile
from evalkit.cost.memory import MemoryWatch
from evalkit.scoring.device import synchronize
from evalkit.types import Calibration

LAYERS, HIDDEN, HEADS, SEQUENCES, TOKENS = 6, 384, 12, 16, 64


@dataclass(frozen=True)
class _Layer:
    qkv: torch.Tensor
    out: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


class Workload:
    """The workload on one device."""

    def __init__(self, device: str) -> None:
        """Draw weights and input, and run once, as the first run allocates; `device` is ``cpu`` or ``cuda:N``."""
        self.device = torch.device(device)
        random = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> torch.Tensor:
            return (torch.randn(*shape, generator=random) * 0.02).to(self.device)

        self.layers = [
            _Layer(
                drawn(3 * HIDDEN, HIDDEN), drawn(HIDDEN, HIDDEN), drawn(4 * HIDDEN, HIDDEN), drawn(HIDDEN, 4 * HIDDEN)
            )
            for _ in range(LAYERS)
        ]
        self.input = drawn(SEQUENCES, TOKENS, HIDDEN)
        self.run_ms()

    def run_ms(self) -> float:
        """Run the workload once and return its wall-clock time in milliseconds."""
        asked = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # fp32 at any precision of the reranker
        try:
            synchronize(self.device)
            started = time.perf_counter()
            with torch.inference_mode():
                self.forward()
            synchronize(self.device)
            return (time.perf_counter() - started) * 1000
        finally:
            torch.set_float32_matmul_precision(asked)

    def forward(self) -> torch.Tensor:
        """Return the hidden states after the last layer, in the shape of `input`."""
        x = self.input
        for layer in self.layers:
            heads = (
                functional.linear(x, layer.qkv)
                .view(SEQUENCES, TOKENS, 3, HEADS, HIDDEN // HEADS)
                .permute(2, 0, 3, 1, 4)
            )
            mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
            mixed = mixed.transpose(1, 2).reshape(SEQUENCES, TOKENS, HIDDEN)
            x = functional.layer_norm(x + functional.linear(mixed, layer.out), (HIDDEN,))
            x = functional.layer_norm(
                x + functional.linear(functional.gelu(functional.linear(x, layer.up)), layer.down), (HIDDEN,)
            )
        return x


class ReferenceTimer:
    """Times the workload before, during and after the timed passes, and measures its memory before loading."""

    def __init__(self, device: str) -> None:
        """Run the workload a few times on ``cpu`` or ``cuda:N``, and free it before the reranker is loaded."""
        self._device = device
        self._samples_ms: list[float] = []
        watch = MemoryWatch(device)
        self._workload: Workload | None = Workload(device)
        self._measure_some()
        self._memory = watch.read()
        self._workload = None

    def measure(self) -> None:
        """Run the workload once more, as before each timed query, so that both see the machine at the same speed."""
        self._workload = self._workload or Workload(self._device)
        self._samples_ms.append(self._workload.run_ms())

    def read(self) -> Calibration:
        """Run the workload a few times more, and return all samples."""
        self._measure_some()
        return Calibration(
            tuple(self._samples_ms),
            percentile(self._samples_ms, 50),
            self._memory.rss_before_load_mb,
            self._memory.rss_peak_mb,
            self._memory.cuda_allocated_peak_mb,
        )

    def _measure_some(self) -> None:
        for _ in range(_REPETITIONS):
            self.measure()


_REPETITIONS = 5
"""Runs at the start and at the end, in addition to one before each timed query."""
