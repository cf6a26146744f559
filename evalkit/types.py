"""The values that flow through evalkit: frozen and plain; this file imports nothing else of evalkit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

Settings = Mapping[str, Any]
"""Facts to be written into a result: JSON-ready values under names that carry their unit."""


class Hit(NamedTuple):
    """One ranked passage. Its position in the ranking is what counts; the score is why it stands there."""

    doc_id: str
    score: float


class Pair(NamedTuple):
    """One query and one passage to be scored against it."""

    query_id: str
    doc_id: str


@dataclass(frozen=True)
class Slice:
    """Queries, passages and judgments that are evaluated together; made by `evalkit.slices.assemble.assemble`."""

    name: str
    lang: str
    """ISO 639-1 code, or a three-letter code where there is none; the first stage selects its text analysis by it."""
    queries: Mapping[str, str]
    """query_id -> text."""
    docs: Mapping[str, str]
    """doc_id -> text, with the title joined in front of it."""
    qrels: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade, for exactly the queries above."""
    fingerprint: str
    """SHA-256 over ids, texts and judgments, and over excluded passages where there are any."""
    relevance_level: int = 1
    """The lowest grade that binary measures (RR, AP, R, P) count as relevant."""
    facts: Settings = field(default_factory=dict)
    """Source, sampling and counts, which the result records."""
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """query_id -> doc_ids that are excluded from retrieval for it; `qrels` judges none of them."""
    empty_docs: frozenset[str] = frozenset()
    """Passages of the collection without text, which `docs` lacks; a finished run may still rank them."""


@dataclass(frozen=True)
class Run:
    """A ranking for each query."""

    name: str
    rankings: Mapping[str, tuple[Hit, ...]]
    """query_id -> hits, best first; a query without hits has ``()``."""


@dataclass(frozen=True)
class Searched:
    """What a first stage found, what it did, and the time that it took."""

    run: Run
    facts: Settings
    """What it describes, for the result."""
    total_s: float
    """Indexing and searching, all queries; without writing to the cache and without tuning."""
    index_s: float | None
    """The part of it before the first query; None if unknown."""
    per_query_ms: float | None
    """Milliseconds of a query where the index exists; None if unknown."""


@dataclass(frozen=True)
class TunedFold:
    """Queries of one fold of a cross-validation, and the weights that were best on all other folds."""

    weights: Mapping[str, float]
    """Name of a member -> weight."""
    queries: tuple[str, ...]
    """The query_ids that these weights rank."""


@dataclass(frozen=True)
class Fused:
    """The members of a fusion by themselves, and how its weights were tuned."""

    members: Mapping[str, Searched]
    """By their names, which are in alphabetical order."""
    folds: tuple[TunedFold, ...] = ()
    """None unless weights were tuned."""


@dataclass(frozen=True)
class Scores:
    """The scores of some pairs, and what computing them took."""

    logits: tuple[float | None, ...]
    """In the order of the pairs, higher is better; None for a pair without a score."""
    truncated_pairs: int = 0
    """Pairs longer than the reranker's maximum length."""
    tokens: int = 0
    """Tokens of all pairs, special tokens included, padding not."""
    padded_tokens: int = 0
    """The same with padding: the tokens that the model computed."""
    tokenize_s: float = 0.0
    """Seconds that the tokenizer was busy; they may overlap with the model's."""
    forward_s: float = 0.0
    """Seconds of the model, summed over devices: by CUDA events on a GPU, by the clock on a CPU."""
    computed_pairs: int | None = None
    """Pairs that the model computed, to which tokens and times refer; None for all pairs that are not from a store.

    If fewer, the remaining pairs have the same two texts as a computed one, and its score.
    """
    from_store: int = 0
    """Pairs whose logits were read from the score store."""
    budget_halvings: tuple[str, ...] = ()
    """One sentence for each batch that did not fit into memory and was split in two."""
    flops: float | None = None
    """Floating point operations of the computed pairs' tokens, without padding; None if the model is unknown."""
    tie_order: Mapping[str, Mapping[str, int]] | None = None
    """query_id -> doc_id -> position, which breaks ties between logits; None for first-stage order."""
    longest_pair_tokens: int | None = None
    """Tokens of the longest pair before truncation, special tokens included; None where it is unknown."""
    unknown_query_share: float | None = None
    """Share of the tokens of the distinct queries that are not in the vocabulary; None where it is unknown."""
    unknown_passage_share: float | None = None
    """The same of the distinct passages."""
    billed_calls: float | None = None
    """Calls to a server, or the units that it counts instead; None without a server."""
    billed_tokens: int | None = None
    """Tokens by a server's own count; None where it states none."""
    chunk_pairs: int | None = None
    """Pairs of a query and a chunk that the logits were made of; None where passages were scored whole.

    Tokens and times are theirs. Counts of pairs above are of pairs with a passage, in the same proportion.
    """

    @property
    def padding_share(self) -> float:
        """Return the share of the computed tokens that are padding."""
        return max(1 - self.tokens / self.padded_tokens, 0.0) if self.tokens and self.padded_tokens else 0.0

    @property
    def shared_share(self) -> float:
        """Return the share of the tokens not computed again, as pairs of a query begin with the same ones."""
        return max(1 - self.padded_tokens / self.tokens, 0.0) if self.tokens and self.padded_tokens else 0.0


@dataclass(frozen=True)
class Effectiveness:
    """Values of each measure for each query: measure name -> query_id -> value in [0, 1]."""

    per_query: Mapping[str, Mapping[str, float]]

    def mean(self) -> dict[str, float]:
        """Return measure name -> arithmetic mean over queries, which does not depend on their order."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas DataFrame: a row for each query, indexed by its id, and a column for each measure."""
        import pandas as pd

        # object: pandas' own type for texts cannot hold half a character where pyarrow is installed.
        columns = {
            name: pd.Series(list(values.values()), pd.Index(list(values), dtype=object))
            for name, values in self.per_query.items()
        }
        return pd.DataFrame(columns).rename_axis("query_id")


Interval = tuple[float | None, float | None]
"""Lower and upper end of an interval; None for an end that so few samples do not determine."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency of reranking one query with its candidates after warm-up, in milliseconds, with the raw samples.

    Fields with a default are missing in results of older versions.
    """

    samples_ms: tuple[float, ...]
    """In the order of measurement: all queries once, then all of them again."""
    p50_ms: float
    p90_ms: float
    p95_ms: float | None = None
    p99_ms: float
    p50_ci95_ms: Interval = (None, None)
    """Two samples that enclose the percentile with 95 % confidence, whatever the distribution.

    See `evalkit.cost.latency.percentile_interval`.
    """
    p90_ci95_ms: Interval = (None, None)
    p95_ci95_ms: Interval = (None, None)
    p99_ci95_ms: Interval = (None, None)
    pairs_per_query: float
    queries: int | None = None
    """Distinct queries that were timed."""
    repetitions: int | None = None
    """Samples: each query was timed equally often."""
    duration_s: float | None = None
    """Sum of the samples."""


@dataclass(frozen=True)
class GridCell:
    """Latency of one query with `depth` passages, where each pair has about `length` tokens."""

    depth: int
    length: int
    tokens_per_pair: float
    """Mean over the pairs as they were built, special tokens included."""
    latency: Latency


@dataclass(frozen=True)
class LatencyGrid:
    """Latency by depth and length, on passages built from texts of the slice."""

    cells: tuple[GridCell, ...]
    """By depth, then by length."""
    notes: tuple[str, ...] = ()
    """One sentence for each setting that was not applied as requested."""


@dataclass(frozen=True, kw_only=True)
class LoadLevel:
    """Latency and throughput of queries under one load, failed ones left out; times are what a client waits."""

    kind: str
    """``closed``: so many clients, each of which sends its next query when the last is answered; ``open``: a rate."""
    clients: int | None = None
    """None for a rate."""
    rate_per_s: float | None = None
    """Queries a second that were to arrive, whatever the answers; None for clients."""
    answered: int
    failed: int = 0
    unanswered: int = 0
    """Queries that arrived and were given up before they were begun; percentiles count them as the slowest."""
    seconds: float
    """From the first arrival to the last answer."""
    queries_per_s: float
    """Answered ones; of a rate, over the time from the first answer to the last."""
    p50_ms: float | None
    """None where so many queries were unanswered that it is not known, or none was answered."""
    p90_ms: float | None
    p99_ms: float | None
    p50_ci95_ms: Interval = (None, None)
    """As in `Latency`, for one client alone: queries that wait for one another are no independent samples."""
    p90_ci95_ms: Interval = (None, None)
    p99_ci95_ms: Interval = (None, None)
    waiting_share: float | None = None
    """Share of the time of all answered queries for which they waited to be begun (on this machine)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What users of a deployment wait while others use it too."""

    at_once: bool
    """Whether several queries were handed to the reranker at once; else they waited for one another, in order."""
    queries: int
    """Different queries, asked in turn."""
    pairs_per_query: float
    levels: tuple[LoadLevel, ...]
    """By ascending clients, then by ascending rate."""
    saturates_at_clients: int | None = None
    """The smallest number of clients of which no larger one has a throughput that is 5 % higher; None if not seen."""
    saturates_at_per_s: float | None = None
    """The lowest rate at which fewer than 95 % of it were answered in time; None if all were kept up with."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that did not go as requested."""


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


@dataclass(frozen=True)
class BlendPoint:
    """Quality where the reranker's score has one weight, and the first stage's the rest."""

    weight: float
    """Of the reranker: 0 is the first stage alone, 1 the reranker alone."""
    mean: Mapping[str, float]
    """measure -> mean over queries."""


@dataclass(frozen=True)
class BlendFold:
    """Queries of one fold of a cross-validation, and the weight that was best on all other folds."""

    weight: float
    queries: tuple[str, ...]
    """The query_ids that are ranked at this weight."""


@dataclass(frozen=True, kw_only=True)
class Blend:
    """What the reranker gains where its score is interpolated with the first stage's, and does not replace it."""

    method: str
    """What is interpolated, one of `evalkit.evaluation.fusion.METHODS`."""
    measure: str
    """The measure that weights are chosen for."""
    points: tuple[BlendPoint, ...]
    """By ascending weight, from 0 to 1."""
    weight: float
    """The reranker's weight that was given, else the one that is best over all queries."""
    given: bool
    """Whether `weight` was given."""
    folds: tuple[BlendFold, ...]
    """None where the weight was given, or there are fewer queries than folds."""
    seed: int
    """Draws which query is in which fold."""
    effectiveness: Effectiveness | None
    """At the weight that was given, else each query at the weight of its fold; if None, `why` has the reason."""
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChunkCounts:
    """How passages were split before they were scored."""

    by: str
    """What a chunk is made of: ``tokens`` or ``sentences``."""
    size: int
    """The most of them that a chunk has."""
    overlap: int
    """How many of them it shares with the one before."""
    aggregate: str
    """Score of a passage: ``max``, ``first`` or ``mean_top`` of those of its chunks."""
    top: int | None = None
    """With ``mean_top``: how many of the best chunks count; None otherwise."""
    passages: int
    """Different candidates."""
    split_passages: int
    """Those of two chunks or more."""
    chunks: int
    """Of all candidates, scored or not."""
    most_chunks: int
    """Of one passage."""


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How passages were split, and the ranking where they are truncated instead."""

    counts: ChunkCounts
    truncated_pairs: int | None = None
    """Pairs that would be truncated; None where that was not computed, or the reranker states no maximum length."""
    truncated: Effectiveness | None = None
    """Of the reranked run without chunks; None where it was not computed."""


@dataclass(frozen=True)
class Trial:
    """One slice x first stage x reranker x precision: what was requested, what was done, and the outcome."""

    name: str
    asked: Settings
    """The configuration as it was requested."""
    effective: Settings
    """What was really used: models, revisions, devices, limits and counts."""
    provenance: Settings
    """Commit, versions, platform and command."""
    slice: Slice
    first_stage: Run
    reranked: Run
    effectiveness: Mapping[str, Effectiveness]
    """Under ``first_stage``, ``reranked`` and ``ceiling`` (the best possible order of the candidates)."""
    unjudged_at_10: Mapping[str, float]
    """Share of passages without a judgment in the top 10, under ``first_stage`` and ``reranked``."""
    cost: Cost | None
    """None where nothing was computed, as for a finished run."""
    fused: Fused | None = None
    """The members of the first stage, if it is a fusion."""
    members: Mapping[str, Effectiveness] = field(default_factory=dict)
    """Measures of each of these members, by its name."""
    warnings: tuple[str, ...] = ()
    """One sentence for each caveat that the figures need (`evalkit.evaluation.caveats`)."""
    blend: Blend | None = None
    """None where nothing was reranked, or no blend was requested."""
    chunking: Chunking | None = None
    """None where passages were scored whole."""
