"""The values that flow through evalkit: frozen, plain, and without imports of ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SCHEMA_VERSION = 1

Settings = Mapping[str, Any]
"""Facts to be written into a result: JSON-ready values under names that carry their unit."""


class Hit(NamedTuple):
    """One ranked passage. Its position in the ranking is the truth; the score is what put it there."""

    doc_id: str
    score: float


class Pair(NamedTuple):
    """One query and one passage to be scored against it."""

    query_id: str
    doc_id: str


@dataclass(frozen=True)
class Slice:
    """Queries, passages and judgments that are evaluated together."""

    name: str
    lang: str
    """ISO 639-1 code, or one of three letters where there is none; the first stage chooses its analysis by it."""
    queries: Mapping[str, str]
    docs: Mapping[str, str]
    """Passage texts, the title already joined in front of the text."""
    qrels: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade, for the queries above only."""
    fingerprint: str
    """SHA-256 over ids, texts and judgments, and over what is excluded where anything is."""
    relevance_level: int = 1
    """The lowest grade that binary measures (RR, AP, R, P) count as relevant."""
    facts: Settings = field(default_factory=dict)
    """Where it came from, how it was cut, and what was counted on the way."""
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """query_id -> doc_ids that may not be retrieved for it; none of them is judged in `qrels`."""
    empty_docs: frozenset[str] = frozenset()
    """Passages of the collection that have no text and were left out; a finished run may rank them all the same."""


@dataclass(frozen=True)
class Run:
    """A ranking for each query, best first; a query without hits stays, as ``()``."""

    name: str
    rankings: Mapping[str, tuple[Hit, ...]]


@dataclass(frozen=True)
class Scores:
    """What a reranker says of some pairs, in their order; None where it says nothing of a pair."""

    logits: tuple[float | None, ...]
    truncated_pairs: int = 0
    tokens: int = 0
    """Tokens of all pairs, special tokens included, padding not."""
    padded_tokens: int = 0
    """The same with padding: what the model really computed."""
    tokenize_s: float = 0.0
    """Busy time of the tokenizer; it may overlap with the model's."""
    forward_s: float = 0.0
    """Time of the model: by CUDA events on a GPU, by the clock on a CPU."""
    computed_pairs: int | None = None
    """Pairs that the model computed, whose tokens and times these are; None for all that are not from a store.

    Where less than all that are not from a store, the others have both texts of one that was, and its score.
    """
    from_store: int = 0
    """Pairs whose logits were known from an earlier run."""
    budget_halvings: tuple[str, ...] = ()
    """One sentence for each time that a batch did not fit and was cut in two."""
    flops: float | None = None
    """Floating point operations of the useful tokens of the computed pairs; None where the model's shape is unknown."""
    tie_order: Mapping[str, Mapping[str, int]] | None = None
    """query_id -> doc_id -> position, which decides between equal logits; None for first-stage order."""
    longest_pair_tokens: int | None = None
    """Tokens of the longest pair before any was cut, special tokens included; None where that is not known."""
    unknown_query_share: float | None = None
    """Share of the tokens of the distinct queries that the vocabulary does not know; None where nobody counted them."""
    unknown_passage_share: float | None = None


@dataclass(frozen=True)
class Effectiveness:
    """Values of each measure for each query: measure name -> query_id -> value in [0, 1]."""

    per_query: Mapping[str, Mapping[str, float]]

    def mean(self) -> dict[str, float]:
        """Return the arithmetic mean over queries of each measure."""
        return {name: sum(values.values()) / len(values) for name, values in self.per_query.items()}


Interval = tuple[float | None, float | None]
"""The ends of an interval; None for one that so few samples cannot give."""


@dataclass(frozen=True)
class Latency:
    """Time that one query with its candidates takes in the steady state, in milliseconds, with the raw samples."""

    samples_ms: tuple[float, ...]
    """In the order in which they were taken: all queries once, then all of them again."""
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p50_ci95_ms: Interval
    """Two samples that enclose the percentile with 95 % confidence, whatever the distribution (`cost.interval`)."""
    p90_ci95_ms: Interval
    p95_ci95_ms: Interval
    p99_ci95_ms: Interval
    pairs_per_query: float
    queries: int
    """How many different queries were timed."""
    repetitions: int
    """How many runs were timed, of each query as many."""
    duration_s: float
    """Sum of the samples."""


@dataclass(frozen=True)
class GridCell:
    """Latency of one query with `depth` passages, each pair about `length` tokens long."""

    depth: int
    length: int
    tokens_per_pair: float
    """What the pairs really held on average, special tokens included."""
    latency: Latency


@dataclass(frozen=True)
class LatencyGrid:
    """Latency as a function of depth and of length, over passages made from texts of the slice."""

    cells: tuple[GridCell, ...]
    """By depth, then by length."""
    notes: tuple[str, ...] = ()
    """What was not done as it was asked, one sentence each."""


@dataclass(frozen=True)
class Throughput:
    """Pairs a second, three ways, all over pairs that were computed; no score of a store enters any of them."""

    source: str
    """``scoring``: the scoring of all pairs; ``sample``: a timed pass of its own, since a store knew some of them."""
    devices: int
    """Devices that shared the work. `forward_s` is the sum of theirs; rates are of all of them together."""
    pairs: int
    tokens: int
    """Useful ones: special tokens included, padding not."""
    padding_share: float
    """Share of the tokens that the model computed which were padding."""
    wall_s: float
    tokenize_s: float
    """Busy time of the tokenizer, beside the model."""
    forward_s: float
    end_to_end_pairs_per_s: float
    """By the clock on the wall, texts in, logits out."""
    model_pairs_per_s: float | None
    """By the time of the model alone (CUDA events on a GPU); None where a reranker does not tell it."""
    tokenize_pairs_per_s: float | None
    """Tokenization alone, in a pass of its own with no model beside it; None where a reranker cannot be asked."""
    tokens_per_s: float
    """Useful tokens, end to end."""
    flops: float | None
    """Of the useful tokens."""
    model_flops_per_s: float | None
    """`flops` by the time of the model."""
    matrix_flops_per_s: float | None
    """A matrix product of random numbers on one device, same precision, same run; None unless the protocol asks."""
    model_mfu: float | None
    """`model_flops_per_s` over `matrix_flops_per_s` of all devices: how much of the hardware the model uses."""
    end_to_end_mfu: float | None
    """The same with the time on the wall: how much of the hardware the whole engine uses."""


@dataclass(frozen=True)
class MemoryPass:
    """Memory of a pass of its own over the longest pairs, every peak forgotten just before, in MiB."""

    pairs: int
    tokens: int
    rss_before_mb: float | None
    rss_after_mb: float | None
    rss_peak_mb: float | None
    cuda_allocated_before_mb: float | None = None
    """What lay in GPU memory before the pass: the weights, and what the engine keeps beside them."""
    cuda_allocated_peak_mb: float | None = None
    """Most that tensors held at once."""
    cuda_reserved_peak_mb: float | None = None
    """Most that torch held from the driver, cached blocks included."""
    cuda_process_mb: float | None = None
    """What NVML says this process holds, after the pass; torch has given nothing back by then."""
    cuda_device_mb: float | None = None
    """What all processes hold of the GPU, after the pass; contexts and libraries included."""
    cuda_device_total_mb: float | None = None
    predicted_peak_mb: float | None = None
    """Weights and activations by arithmetic (`scoring.flops.predicted_peak_mb`), for as many tokens a batch.

    To be held against `cuda_allocated_peak_mb`; a resident set holds libraries and texts besides.
    """


@dataclass(frozen=True)
class Memory:
    """Memory of the trial's process in MiB (2**20 bytes); None where the platform does not tell."""

    rss_before_load_mb: float | None
    rss_after_load_mb: float | None
    rss_peak_mb: float | None
    """Peak resident set from just before the reranker is loaded to the end of the pass that throughput is of."""
    cuda_allocated_peak_mb: float | None = None
    cuda_reserved_peak_mb: float | None = None
    weights_mb: float | None = None
    """Parameters and buffers of the model."""
    own_pass: MemoryPass | None = None
    """None unless the protocol asks for it."""


@dataclass(frozen=True)
class Energy:
    """Energy that the whole GPU drew during the pass that throughput is of; joules are None where `why` says so."""

    joules: float | None
    duration_s: float | None
    mean_power_w: float | None
    joules_per_1000_pairs: float | None
    why: str | None = None
    """Why it could not be read."""


@dataclass(frozen=True)
class CostEstimate:
    """What reranking costs at a price per GPU hour, with every GPU always busy; None where `why` says so."""

    price_per_gpu_hour: float
    currency: str
    depth: int
    """Passages of a query that it is worked out for."""
    per_1000_queries: float | None
    """At the end-to-end throughput: many queries scored together."""
    per_1000_queries_one_by_one: float | None
    """At the mean latency: a query at a time, with the candidates that the timed queries had; None if none were."""
    per_million_pairs: float | None
    """At the end-to-end throughput."""
    why: str | None = None


@dataclass(frozen=True)
class Calibration:
    """Time and memory of the fixed workload of `evalkit.cost.reference_workload`, in the same process as the trial."""

    samples_ms: tuple[float, ...]
    p50_ms: float
    rss_before_mb: float | None
    """Resident set just before the workload was built; the trial's own peak is counted from here too."""
    rss_peak_mb: float | None
    cuda_allocated_peak_mb: float | None = None


@dataclass(frozen=True)
class Cost:
    """What the reranker cost in time and memory. A first stage's own times stand beside it."""

    first_stage_s: float
    """Indexing and searching, all queries."""
    load_s: float
    first_forward_ms: float | None
    """The very first query with its candidates, by a model that has just been loaded; None without warm-up.

    The steady state is what `latency` tells.
    """
    warmup_s: float
    """All of the warm-up, the first forward included."""
    pairs: int
    computed_pairs: int
    """Of `pairs`, those that the model scored in this run; a store knew the others."""
    scoring_s: float
    """Wall-clock time of scoring all pairs, tokenization included; pairs from a store took less."""
    pairs_per_s: float
    """`throughput.end_to_end_pairs_per_s`: of computed pairs alone."""
    tokenize_s: float
    forward_s: float
    throughput: Throughput
    latency: Latency | None
    latency_grid: LatencyGrid | None
    """None unless the protocol asks for it."""
    memory: Memory
    energy: Energy
    estimate: CostEstimate | None
    """None unless the configuration names a price."""
    calibration: Calibration | None = None
    """None unless the protocol asks for it."""


@dataclass(frozen=True)
class Trial:
    """One slice x first stage x reranker x precision: what was asked, what was done, and what came of it."""

    name: str
    asked: Settings
    effective: Settings
    provenance: Settings
    slice: Slice
    first_stage: Run
    reranked: Run
    effectiveness: Mapping[str, Effectiveness]
    """Under ``first_stage``, ``reranked`` and ``ceiling`` (the perfect reordering of the candidates)."""
    unjudged_at_10: Mapping[str, float]
    """Share of passages without a judgment in the top 10, under ``first_stage`` and ``reranked``."""
    cost: Cost | None
    """None where nothing was computed, as when a finished run is judged."""
    warnings: tuple[str, ...] = ()
