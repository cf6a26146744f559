"""The definition of result.json: a trial that finished, or one that did not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Required

from annotated_types import Ge, Gt, Le
from typing_extensions import TypedDict

from evalkit.evaluation.breakdown import ClassRow, DepthRow, Example
from evalkit.evaluation.score_analysis import ScoreAnalysis
from evalkit.evaluation.scoring_counts import ScoringCounts
from evalkit.evaluation.ties import Tied
from evalkit.types import BlendFold, BlendPoint, ChunkCounts, Cost, Interval, Settings, TunedFold

Share = Annotated[float, Ge(-1e-9), Le(1 + 1e-9)]
"""A value in [0, 1], and what rounding adds to it."""
Count = Annotated[int, Ge(0)]
PerQuery = Mapping[str, Mapping[str, Share]]
"""measure -> query_id -> value."""

# A slice or component may record further keys; those that evalkit reads are typed.


class JudgedBy(TypedDict, total=False):
    """Whose judgments a slice has, where that is stated."""

    kind: Required[str]
    """``human``, ``llm`` or ``clicks``."""
    judge: Required[str]
    """Name of the judge, or how several were made one: ``majority of a, b``."""
    judges: Sequence[str]
    file: str
    source: str
    """How the labels were made, as they state it."""
    pairs_without_a_label_of_each: Count


class SliceFacts(TypedDict, total=False):
    """The data of a trial; slices add their source, sampling and counts."""

    name: Required[str]
    lang: Required[str]
    fingerprint: Required[str]
    relevance_level: Required[int]
    queries: Required[Count]
    docs: Required[Count]
    fingerprints: Required[Mapping[str, str]]
    """Of queries, docs and judgments, and of excluded passages where there are any."""
    source: str
    corpus: str
    judged_by: JudgedBy
    """Missing for the collection's own judgments, and for qrels that name no judge."""


class FirstStageFacts(TypedDict, total=False):
    """What the first stage did; components add their settings."""

    name: Required[str]
    engine: str
    model: str
    path: str
    analysis: Mapping[str, Any]
    from_cache: bool


class RerankerFacts(TypedDict, total=False):
    """What the reranker did; components add their settings."""

    name: Required[str]
    reranks: bool
    model: str
    revision: str | None
    architecture: str
    layers: int
    parameters: int
    runtime: str
    runtime_version: str
    graph: str
    graph_sha256: str
    quantization: str | None
    precision: str
    dtype: str
    device: str
    device_name: str
    devices: int | None
    attention: str | None
    batch_tokens: int | None
    batch_tokens_source: str | None
    batch_size: int | None
    max_length: int | None
    chunks: str
    """How passages were split, in words; absent where they were scored whole."""
    query_length: int | None
    dimensions: int
    vectors_per_passage: float
    """The mean over the passages that a late-interaction model embedded."""
    bytes_per_passage: float
    stored_passages: int
    """Those whose vectors were there before anything was timed."""
    stored_mb: float
    from_cache: bool
    truncation: str | None
    instruction: str | None
    score: str
    path: str | None
    path_reason: str | None
    threads: int | None


for _facts in (JudgedBy, SliceFacts, FirstStageFacts, RerankerFacts, ScoringCounts):
    _facts.__pydantic_config__ = {"extra": "allow"}  # type: ignore[union-attr]  # else reading drops the other keys


@dataclass(frozen=True)
class FirstStageTime:
    """Seconds of the first stage, and milliseconds of a query where the index exists; None where unknown."""

    total_s: float | None = None
    index_s: float | None = None
    per_query_ms: Annotated[float, Ge(0)] | None = None


@dataclass(frozen=True, kw_only=True)
class FusionMember:
    """A member of a fused first stage by itself; mappings are by measure."""

    mean: Mapping[str, Share]
    delta: Mapping[str, float]
    """The mean of the fusion less that of the member."""
    delta_ci95: Mapping[str, Interval]
    """Student's t interval of the mean difference."""
    time: FirstStageTime


@dataclass(frozen=True)
class Fusion:
    """The members of a fused first stage, and the folds on which its weights were tuned."""

    members: Mapping[str, FusionMember]
    """By their names."""
    folds: Sequence[TunedFold] = ()
    """Empty where weights were not tuned."""


@dataclass(frozen=True, kw_only=True)
class Effective:
    """The settings that were in effect, and what was recorded on the way."""

    slice: SliceFacts
    first_stage: FirstStageFacts
    reranker: RerankerFacts
    first_stage_time: FirstStageTime = FirstStageTime()
    depth: Annotated[int, Gt(0)]
    measures: Sequence[str] = ()
    scoring: ScoringCounts
    environment: Mapping[str, Any] | None = None
    """Device, driver, clocks and versions that the cost was measured under; None where nothing was measured."""


@dataclass(frozen=True)
class Means:
    """measure -> mean over queries."""

    mean: Mapping[str, Share]


@dataclass(frozen=True)
class MeasureTests:
    """Tests of one measure's differences, query by query; None where a figure is undefined."""

    bca95: Interval
    """BCa bootstrap interval of the mean difference."""
    t_p: float | None
    wilcoxon_p: float | None
    randomization_p: float | None
    holm_p: float | None
    """`randomization_p`, corrected by Holm over the measures."""
    bh_p: float | None
    effect_size: float | None
    detectable: float | None


@dataclass(frozen=True)
class BeforeAfter:
    """A value in [0, 1] of the first stage's ranking, and of the reranked one."""

    first_stage: Share
    reranked: Share


@dataclass(frozen=True)
class PerQueryValues:
    """The values behind the means."""

    first_stage: PerQuery
    reranked: PerQuery


@dataclass(frozen=True)
class CondensedValues:
    """query_id -> value of the measure of a `JudgedOnly`."""

    first_stage: Mapping[str, Share]
    reranked: Mapping[str, Share]


@dataclass(frozen=True)
class JudgedOnly:
    """The first measure with unjudged passages removed from both rankings (condensed lists, Sakai 2007)."""

    measure: str
    """Such as ``nDCG(judged_only=True)@10``."""
    mean: BeforeAfter
    delta: float
    delta_ci95: Interval
    verdict: str
    """As the usual one, from Student's interval."""
    per_query: CondensedValues


@dataclass(frozen=True, kw_only=True)
class Effectiveness:
    """The measures before and after reranking; mappings are by measure."""

    queries: int = 0
    relevance_level: int = 1
    first_stage: Means
    reranked: Means
    ceiling: Means
    """Of the perfect order of the same candidates."""
    delta: Mapping[str, float] = field(default_factory=dict)
    delta_ci95: Mapping[str, Interval] = field(default_factory=dict)
    """Student's t interval of the mean difference."""
    verdict: Mapping[str, str] = field(default_factory=dict)
    wins: Mapping[str, int] = field(default_factory=dict)
    ties: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[str, int] = field(default_factory=dict)
    tests: Mapping[str, MeasureTests] = field(default_factory=dict)
    unjudged_at_10: BeforeAfter
    judged_only: JudgedOnly | None = None
    """None in results of older versions, and where the first measure is bpref or Judged."""
    per_query: PerQueryValues


@dataclass(frozen=True)
class Analysis:
    """Quality by depth and by class of query, what the scores mean, and the queries that changed most."""

    depths: Sequence[DepthRow] = ()
    breakdown: Mapping[str, Sequence[ClassRow]] = field(default_factory=dict)
    scores: ScoreAnalysis | None = None
    """None without a model's logit for every pair, or without a judged candidate."""
    gains: Sequence[Example] = ()
    losses: Sequence[Example] = ()
    tied_first_stage: Mapping[str, Tied] | None = None
    """measure -> its value over every order of tied passages; None where none are tied."""
    tied: Mapping[str, Tied] | None = None


@dataclass(frozen=True)
class Change:
    """The difference of one measure, query by query."""

    mean: float
    ci95: Interval
    """Student's t interval of the mean."""
    wins: int
    ties: int
    losses: int
    verdict: str
    """``helped``, ``hurt``, or ``made no clear difference``."""


@dataclass(frozen=True, kw_only=True)
class Blend:
    """The reranker's score interpolated with the first stage's; mappings are by measure.

    `mean`, `per_query` and both changes are of the weight that was given, else of each query at the weight of its
    fold; they are empty where `why` has the reason.
    """

    method: str
    measure: str
    """The measure that weights are chosen for."""
    points: Sequence[BlendPoint]
    weight: Share
    """The reranker's: the given one, else the best over all queries."""
    given: bool
    folds: Sequence[BlendFold] = ()
    seed: int = 0
    mean: Mapping[str, Share] = field(default_factory=dict)
    against_first_stage: Mapping[str, Change] = field(default_factory=dict)
    against_reranked: Mapping[str, Change] = field(default_factory=dict)
    per_query: PerQuery = field(default_factory=dict)
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """The same reranking of whole passages, which are truncated; mappings are by measure."""

    truncated_pairs: Count | None
    """Pairs that were truncated; None where the reranker states no maximum length."""
    mean: Mapping[str, Share]
    change: Mapping[str, Change]
    """The chunks' value less that of the truncated passages."""
    tests: Mapping[str, MeasureTests]
    """Of these changes."""
    per_query: PerQuery
    """Of the truncated passages."""


@dataclass(frozen=True)
class Chunks:
    """How passages were split before they were scored, and what truncating them would lose."""

    counts: ChunkCounts
    truncation: Truncation | None = None
    """None where it was not computed (``chunks.against_truncation=false``)."""


@dataclass(frozen=True)
class Reference:
    """A published figure, and ours."""

    of: str
    measure: str
    value: float
    ours: float
    difference: float
    """ours - value."""
    source: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A trial that measured something."""

    schema_version: int
    status: str
    """``finished``, or ``partial`` where a report or picture is `missing`."""
    name: str
    asked: Settings = field(default_factory=dict)
    """The configuration."""
    effective: Effective
    provenance: Settings = field(default_factory=dict)
    """Commit, versions, platform and command."""
    effectiveness: Effectiveness
    analysis: Analysis = Analysis()
    fusion: Fusion | None = None
    """None where the first stage is not a fusion."""
    blend: Blend | None = None
    """None where nothing was reranked, or no blend was requested."""
    chunks: Chunks | None = None
    """None where passages were scored whole."""
    cost: Cost | None = None
    """None where nothing was computed."""
    warnings: Sequence[str]
    references: Sequence[Reference] = ()
    missing: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A trial without a result: it failed, was stopped, or was not begun."""

    schema_version: int
    status: str
    """``failed`` or ``partial``."""
    name: str
    error: str
    error_kind: str
    missing: Sequence[str] = ()
    asked: Settings = field(default_factory=dict)
    provenance: Settings = field(default_factory=dict)
