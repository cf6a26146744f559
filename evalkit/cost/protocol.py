"""What is measured of a reranker's cost: the schema of the configuration and the value that the measurement uses."""

import math
from dataclasses import dataclass, field

from evalkit.boundary.errors import EvalkitError


@dataclass  # not frozen: it is also a schema, and OmegaConf cannot set fields of a frozen one
class CostProtocol:
    """Which passes are made, and how long: the configuration's group ``protocol``."""

    warmup_queries: int
    """Queries reranked before anything is timed: the first forward passes compile, allocate and fill caches."""
    latency_queries: int
    """Queries timed one by one, sampled by `seed`; 0 for none."""
    seed: int = 0
    """Of the samples of queries and pairs that are timed."""
    calibrate: bool = False
    """Whether a fixed workload is timed along with the reranker (`evalkit.cost.reference_workload`)."""
    latency_min_repetitions: int = 0
    """The timed queries are repeated until there are this many samples in total, and for latency_min_s."""
    latency_min_s: float = 0.0
    """The timed queries are repeated until they took this many seconds in total."""
    throughput_pairs: int = 256
    """Pairs for the timing of tokenization alone, and of throughput where some scores are in the store."""
    matrix_rate_s: float = 0.0
    """Seconds for which the device's own matrix rate is measured, to compare the model's with; 0 for none."""
    memory_pass: bool = False
    """Whether memory is measured in a separate pass over the longest pairs."""
    grid_depths: list[int] = field(default_factory=list)
    """Numbers of passages in the latency grid; empty for no grid."""
    grid_lengths: list[int] = field(default_factory=list)
    """Tokens of a pair in the latency grid; empty for no grid."""
    grid_repetitions: int = 10
    """Samples of each cell of the grid."""
    grid_cell_s: float = 5.0
    """Seconds after which a cell of the grid gets no further sample; each gets one."""
    clients: list[int] = field(default_factory=list)
    """Numbers of clients that ask at the same time, each again when it has its answer, [1,4,16]; empty for none."""
    rates: list[float] = field(default_factory=list)
    """Queries a second that arrive whether or not earlier ones are answered, such as [2,5,10]; empty for none."""
    load_s: float = 10.0
    """Seconds for each number of clients and each rate."""
    price_per_gpu_hour: float | None = None
    """Price of a GPU hour; None for no estimate."""
    currency: str = "USD"
    """Currency of that price; it is only printed."""

    def check(self) -> None:
        """Check every setting.

        Raises:
            EvalkitError: one is out of range.
        """
        for key, (minimum, what) in _MINIMUM.items():
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= minimum):
                raise EvalkitError(f"protocol.{key}={value}: give {what}")
        for key in ("grid_depths", "grid_lengths"):
            if wrong := [value for value in getattr(self, key) if value < 1]:
                raise EvalkitError(f"protocol.{key} has {wrong[0]}: give numbers of 1 or more, or [] for no grid")
        for key, (below, most, what) in _LOADS.items():
            values = getattr(self, key)
            if wrong := [value for value in values if not below < value <= most]:
                raise EvalkitError(f"protocol.{key} has {wrong[0]:g}: give {what} {most:,}, or [] for none")
            if again := [value for place, value in enumerate(values) if value in values[:place]]:
                raise EvalkitError(f"protocol.{key} has {again[0]:g} twice: give different numbers")
        if not 0 < self.load_s <= _LONGEST_LOAD_S:
            raise EvalkitError(
                f"protocol.load_s={self.load_s:g}: give a number of seconds above 0, of at most {_LONGEST_LOAD_S:,}"
            )
        if few := [rate for rate in self.rates if rate * self.load_s < _FEWEST_ARRIVALS]:
            raise EvalkitError(
                f"protocol.rates has {few[0]:g}: fewer than {_FEWEST_ARRIVALS} queries arrive in "
                f"protocol.load_s={self.load_s:g} seconds; give {_FEWEST_ARRIVALS / few[0]:g} seconds or more"
            )
        if self.price_per_gpu_hour is not None and not 0 <= self.price_per_gpu_hour < math.inf:
            raise EvalkitError(f"protocol.price_per_gpu_hour={self.price_per_gpu_hour}: give a price, or null for none")


_LOADS = {
    "clients": (0, 256, "numbers of clients from 1 to"),
    "rates": (0, 1000, "queries a second, above 0 and at most"),
}
"""Setting -> what its numbers exceed, the largest, which a single process in Python can still send, and the message."""
_LONGEST_LOAD_S = 3600
_FEWEST_ARRIVALS = 5
"""Of a rate, which is no rate with fewer."""
_MINIMUM = {
    "warmup_queries": (0, "a number of queries, 0 for none"),
    "latency_queries": (0, "a number of queries, 0 for none"),
    "latency_min_repetitions": (0, "a number of timed queries, 0 for each of them once"),
    "latency_min_s": (0, "a number of seconds, 0 for each query once"),
    "throughput_pairs": (1, "a number of pairs, 1 or more"),
    "matrix_rate_s": (0, "a number of seconds, 0 for none"),
    "grid_repetitions": (1, "a number of samples, 1 or more"),
    "grid_cell_s": (0, "a number of seconds, 0 for one sample a cell"),
}
"""Setting -> its minimum, and what to give instead, for the message."""
