"""What reranking costs: throughput, memory, energy, price, and the latency of its queries."""

from dataclasses import dataclass

from evalkit.types.latency import Latency, LatencyGrid, Load


@dataclass(frozen=True)
class Throughput:
    """Pairs a second, measured in three ways over computed pairs; no score comes from the store."""

    source: str
    """``scoring``: the scoring of all pairs; ``sample``: a separate pass, as some scores were in the store."""
    devices: int
    """Devices that shared the work. `forward_s` is the sum over them; rates are of all of them together."""
    pairs: int
    tokens: int
    """Special tokens included, padding excluded."""
    padding_share: float
    """Share of the computed tokens that were padding."""
    wall_s: float
    tokenize_s: float
    """Seconds that the tokenizer was busy while the model ran."""
    forward_s: float
    end_to_end_pairs_per_s: float
    """By wall-clock time, from texts to logits."""
    model_pairs_per_s: float | None
    """By the time of the model alone (CUDA events on a GPU); None where the reranker does not report it."""
    tokenize_pairs_per_s: float | None
    """Of tokenization alone, in a separate pass without the model; None for a reranker without an `Engine`."""
    tokens_per_s: float
    """Tokens without padding, end to end."""
    flops: float | None
    """Floating point operations of the tokens, padding excluded."""
    model_flops_per_s: float | None
    """`flops` by the time of the model."""
    matrix_flops_per_s: float | None
    """Rate of a matrix product on one device, in the same precision and run; None unless the protocol asks for it."""
    model_mfu: float | None
    """Model FLOPs utilisation: `model_flops_per_s` over the `matrix_flops_per_s` of all devices."""
    end_to_end_mfu: float | None
    """The same by wall-clock time: how much of the hardware the whole engine uses."""
    shared_share: float = 0.0
    """Share of the tokens that were not computed again, as pairs of a query begin with the same ones."""


@dataclass(frozen=True)
class MemoryPass:
    """Memory of a separate pass over the longest pairs, in MiB; every peak is reset just before it."""

    pairs: int
    tokens: int
    rss_before_mb: float | None
    rss_after_mb: float | None
    rss_peak_mb: float | None
    cuda_allocated_before_mb: float | None = None
    """Held by tensors before the pass: the weights, and buffers of the engine."""
    cuda_allocated_peak_mb: float | None = None
    """The most that tensors held at once."""
    cuda_reserved_peak_mb: float | None = None
    """The most that torch had reserved from the driver, cached blocks included."""
    cuda_process_mb: float | None = None
    """GPU memory of this process by NVML, read after the pass, before torch returns any of it."""
    cuda_device_mb: float | None = None
    """GPU memory of all processes, read after the pass; contexts and libraries included."""
    cuda_device_total_mb: float | None = None
    mps_driver_mb: float | None = None
    """GPU memory of this process on an Apple machine, by Metal, read after the pass: torch keeps what it used."""
    predicted_peak_mb: float | None = None
    """Weights and activations by arithmetic (`scoring.flops.predicted_peak_mb`), for a batch of that many tokens.

    Comparable with `cuda_allocated_peak_mb`; a resident set contains libraries and texts as well.
    """


@dataclass(frozen=True)
class Memory:
    """Memory of the trial's process in MiB (2**20 bytes); None where the platform does not report it."""

    rss_before_load_mb: float | None
    rss_after_load_mb: float | None
    rss_peak_mb: float | None
    """Peak resident set from just before the reranker is loaded to the end of the pass behind `Throughput`."""
    cuda_allocated_peak_mb: float | None = None
    cuda_reserved_peak_mb: float | None = None
    mps_driver_mb: float | None = None
    """As in `MemoryPass`, read after the pass behind `Throughput`."""
    weights_mb: float | None = None
    """Parameters and buffers of the model; the files of its graph in another runtime than torch."""
    own_pass: MemoryPass | None = None
    """None unless the protocol asks for it."""
    why: str | None = None
    """Why there is no figure of the process: another machine computed."""


@dataclass(frozen=True)
class Energy:
    """Energy that the whole GPU drew during the pass behind `Throughput`; if `joules` is None, `why` has the reason."""

    joules: float | None
    duration_s: float | None
    mean_power_w: float | None
    joules_per_1000_pairs: float | None
    why: str | None = None
    """Why there is no figure."""


@dataclass(frozen=True)
class CostEstimate:
    """What reranking costs with every GPU always busy, or by a server's prices; if None, `why` has the reason."""

    price_per_gpu_hour: float | None
    currency: str
    depth: int
    """Passages of a query that the prices per query assume."""
    per_1000_queries: float | None
    """At the end-to-end throughput, with many queries scored together; or by what a server charged."""
    per_1000_queries_one_by_one: float | None
    """At the mean latency, one query at a time with the candidates of the timed queries; None if none was timed."""
    per_million_pairs: float | None
    """At the end-to-end throughput."""
    why: str | None = None
    price_per_1000_calls: float | None = None
    """Of a server."""
    price_per_million_tokens: float | None = None
    """Of a server, as it counts them."""


@dataclass(frozen=True)
class Calibration:
    """Time and memory of the fixed workload of `evalkit.cost.reference_workload`, in the same process as the trial."""

    samples_ms: tuple[float, ...]
    p50_ms: float
    rss_before_mb: float | None
    """Resident set just before the workload was built, and before the reranker was loaded."""
    rss_peak_mb: float | None
    cuda_allocated_peak_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the reranker cost in time and memory, and how long the first stage took.

    Fields with a default are missing in results of older versions.
    """

    first_stage_s: float
    """Indexing and searching, all queries."""
    load_s: float
    preparation_s: float = 0.0
    """What an application has stored before a query comes, such as vectors of passages, or only a result needs."""
    first_forward_ms: float | None = None
    """Latency of the very first query after loading; None without warm-up. `latency` is that after warm-up."""
    warmup_s: float
    """All of the warm-up, the first forward included."""
    pairs: int
    computed_pairs: int | None = None
    """Those of `pairs` that the model scored in this run; the others were read from the store."""
    scoring_s: float
    """Wall-clock time of scoring all pairs, tokenization and reading from the store included."""
    pairs_per_s: float
    """`throughput.end_to_end_pairs_per_s`, over computed pairs alone."""
    tokenize_s: float
    forward_s: float
    throughput: Throughput | None = None
    latency: Latency | None = None
    latency_grid: LatencyGrid | None = None
    """None unless the protocol asks for it."""
    load: Load | None = None
    """Several clients, or queries at a rate; None unless the protocol asks for it. (`load_s` is that of the model.)"""
    memory: Memory
    energy: Energy | None = None
    estimate: CostEstimate | None = None
    """None unless the configuration names a price."""
    calibration: Calibration | None = None
    """None unless the protocol asks for it."""
