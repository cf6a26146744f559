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
    """ISO 639-1 code; the first stage chooses its text analysis by it."""
    queries: Mapping[str, str]
    docs: Mapping[str, str]
    """Passage texts, the title already joined in front of the text."""
    qrels: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade, for the queries above only."""
    fingerprint: str
    """SHA-256 over ids, texts and judgments."""
    relevance_level: int = 1
    """The lowest grade that binary measures (RR, AP, R, P) count as relevant."""
    facts: Settings = field(default_factory=dict)
    """Where it came from, how it was cut, and what was counted on the way."""


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
    forward_s: float = 0.0


@dataclass(frozen=True)
class Effectiveness:
    """Values of each measure for each query: measure name -> query_id -> value in [0, 1]."""

    per_query: Mapping[str, Mapping[str, float]]

    def mean(self) -> dict[str, float]:
        """Return the arithmetic mean over queries of each measure."""
        return {name: sum(values.values()) / len(values) for name, values in self.per_query.items()}


@dataclass(frozen=True)
class Latency:
    """Time that one query with its candidates takes, in milliseconds, with the raw samples."""

    samples_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    pairs_per_query: float


@dataclass(frozen=True)
class Memory:
    """Memory of the trial's process in MiB (2**20 bytes); None where the platform does not tell."""

    rss_before_load_mb: float | None
    rss_after_load_mb: float | None
    rss_peak_mb: float | None
    """Peak resident set from just before the reranker is loaded to the end of scoring."""
    cuda_allocated_peak_mb: float | None = None
    cuda_reserved_peak_mb: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Time and memory of the fixed workload of `evalkit.calibration`, in the same process as the trial."""

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
    warmup_s: float
    pairs: int
    scoring_s: float
    """Wall-clock time of scoring all pairs, tokenization included."""
    pairs_per_s: float
    tokenize_s: float
    forward_s: float
    latency: Latency | None
    memory: Memory
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
