"""What is measured of a reranker's cost: schema of the configuration and value of the measurement, in one."""

import math
from dataclasses import dataclass, field

from evalkit.errors import EvalkitError


@dataclass  # not frozen: it is the configuration's schema too, and OmegaConf sets no field of a frozen one
class CostProtocol:
    """What is measured of a reranker's cost, and how long; the configuration's group ``protocol``."""

    warmup_queries: int
    """Queries reranked before any clock is read: the first forwards compile, allocate and fill caches."""
    latency_queries: int
    """Queries timed one by one, drawn by `seed`; 0 for none."""
    seed: int = 0
    """Draws the queries and pairs that are timed."""
    calibrate: bool = False
    """Whether a fixed piece of work is timed beside the reranker (`evalkit.cost.reference_workload`)."""
    latency_min_repetitions: int = 0
    """The timed queries are repeated until there are this many samples in total, and for latency_min_s."""
    latency_min_s: float = 0.0
    """The timed queries are repeated until they took this many seconds in total."""
    throughput_pairs: int = 256
    """Pairs that tokenization alone is timed on, and throughput too where a store knows some of the scores."""
    matrix_rate_s: float = 0.0
    """Seconds for which the device's own matrix rate is measured, to compare the model's with; 0 for none."""
    memory_pass: bool = False
    """Whether memory is measured in a pass of its own over the longest pairs."""
    grid_depths: list[int] = field(default_factory=list)
    """Passages a query of the latency grid; none for no grid."""
    grid_lengths: list[int] = field(default_factory=list)
    """Tokens a pair of the latency grid."""
    grid_repetitions: int = 10
    """Samples of each cell of the grid."""
    grid_cell_s: float = 5.0
    """Seconds after which a cell of the grid gets no further sample; each gets one."""
    price_per_gpu_hour: float | None = None
    """What an hour of the GPU costs; None for no estimate."""
    currency: str = "USD"
    """Currency of that price; it is only printed."""

    def check(self) -> None:
        """Check every setting.

        Raises:
            EvalkitError: one is out of range.
        """
        for key, (least, what) in _LEAST.items():
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= least):
                raise EvalkitError(f"protocol.{key}={value}: give {what}")
        for key in ("grid_depths", "grid_lengths"):
            if wrong := [value for value in getattr(self, key) if value < 1]:
                raise EvalkitError(f"protocol.{key} has {wrong[0]}: give numbers of 1 or more, or [] for no grid")
        if self.price_per_gpu_hour is not None and not 0 <= self.price_per_gpu_hour < math.inf:
            raise EvalkitError(f"protocol.price_per_gpu_hour={self.price_per_gpu_hour}: give a price, or null for none")


_LEAST = {
    "warmup_queries": (0, "a number of queries, 0 for none"),
    "latency_queries": (0, "a number of queries, 0 for none"),
    "latency_min_repetitions": (0, "a number of timed queries, 0 for each of them once"),
    "latency_min_s": (0, "a number of seconds, 0 for each query once"),
    "throughput_pairs": (1, "a number of pairs, 1 or more"),
    "matrix_rate_s": (0, "a number of seconds, 0 for none"),
    "grid_repetitions": (1, "a number of samples, 1 or more"),
    "grid_cell_s": (0, "a number of seconds, 0 for one sample a cell"),
}
"""The least that a setting of the protocol may be, and what a user is told to give."""
