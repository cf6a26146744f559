"""The definition of comparison.json: several finished results on one slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evalkit.evaluation import significance
from evalkit.evaluation.parity import Parity

Side = Literal["first_stage", "reranked", "blended"]
"""A first stage alone, its reranking, or that reranking's score interpolated with the first stage's."""


@dataclass(frozen=True)
class ComparedSlice:
    """The data that all results are of."""

    name: str
    queries: int
    docs: int
    lang: str
    relevance_level: int
    """The lowest grade that binary measures count as relevant."""
    fingerprint: str
    judged_by: str | None = None
    """In words; None for the collection's judgments, and for qrels that name no judge."""


@dataclass(frozen=True)
class CostFigures:
    """Time and memory of reranking; None where it was not measured.

    The peak is what torch allocated on a GPU, in the pass of its own if there was one; without a GPU it is the
    process's resident set to the end of scoring, which every protocol measures.
    """

    pairs_per_s: float
    p50_ms: float | None
    """Of single queries, as the next three."""
    p50_ci95_ms: Sequence[float | None] | None
    """Both ends of the interval; an end that the samples do not determine is None."""
    p99_ms: float | None
    p99_ci95_ms: Sequence[float | None] | None
    latency_samples: int | None
    peak_mb: float | None
    peak_of: Literal["process", "GPU"]
    weights_mb: float | None
    batch_tokens: int | None
    device: str | None


@dataclass(frozen=True)
class QueryTime:
    """The time of one query; None where it was not measured."""

    first_stage_ms: float | None
    """Mean over all queries, without building the index."""
    reranking_p50_ms: float | None
    """Median of single queries; 0 without a reranker."""
    total_ms: float | None


@dataclass(frozen=True)
class ComparedSystem:
    """One ranking of the slice's queries: a first stage alone, or one with a reranker, which replaces or is blended."""

    label: str
    """Unique in the comparison."""
    where: str
    """The folder of the result."""
    side: Side
    own_first_stage: str | None
    """Label of the system that is reranked; None for a first stage."""
    depth: int | None
    """Passages reranked for each query; None for a first stage."""
    first_stage: str
    reranker: str | None
    precision: str | None
    runtime: str | None
    """None for a first stage, and in results that do not have it."""
    mean: Mapping[str, float]
    """measure -> mean over the queries."""
    time: QueryTime
    cost: CostFigures | None
    """None where nothing was computed; a blended system has the cost of the reranked one with the same `where`."""


@dataclass(frozen=True)
class CorrectedTest(significance.Comparison):
    """The paired difference of one measure, with p values corrected for the number of tests."""

    holm_p: float | None
    """The randomisation test's p after Holm's correction."""
    bh_p: float | None
    """The randomisation test's p after Benjamini and Hochberg's correction."""


Tests = Mapping[str, Mapping[str, CorrectedTest]]
"""label of a system -> measure -> test."""


@dataclass(frozen=True)
class Untested:
    """How many tests the corrections leave out because no query differs in them."""

    against_baseline: int
    against_own_first_stage: int


@dataclass(frozen=True)
class BestTest:
    """The difference between a system with a reranker and the best without one."""

    mean: float
    low: float | None
    """Lower end of Student's t interval of the mean."""
    high: float | None
    wins: int
    ties: int
    losses: int
    holm_p: float | None
    """Corrected over all pairs of systems, because systems were chosen by their means."""


@dataclass(frozen=True)
class Best:
    """The best system with a reranker and the best without one, by the mean of one measure."""

    measure: str
    without_reranker: str
    with_reranker: str
    test: BestTest


@dataclass(frozen=True)
class Matrix:
    """The p values of all pairs of systems in one measure."""

    labels: Sequence[str]
    holm_p: Sequence[Sequence[float | None]]
    """Row and column are in the order of `labels`; None on the diagonal, and where there are too few queries."""


@dataclass(frozen=True)
class JudgedOnly:
    """The first measure with unjudged passages removed from every ranking (condensed lists), tested like the usual one.

    In each family of corrected tests it takes the place of the first measure. Blended systems are left out: a result
    does not have their condensed lists.
    """

    measure: str
    """Such as ``nDCG(judged_only=True)@10``."""
    unjudged_at_10: Mapping[str, float]
    """label -> share of unjudged passages in the top 10."""
    mean: Mapping[str, float]
    """label -> mean over the queries."""
    against_baseline: Mapping[str, CorrectedTest]
    """label -> test, for each system but the baseline."""
    against_own_first_stage: Mapping[str, CorrectedTest]
    """label -> test, for each reranked system."""
    best: BestTest | None
    """Of the same two systems as `Comparison.best`."""


@dataclass(frozen=True)
class _OfMeasure:
    measure: str


@dataclass(frozen=True)
class MeasureEquivalence(significance.Equivalence, _OfMeasure):
    """The equivalence test of one measure; `measure` is its first field."""


@dataclass(frozen=True)
class Agreement(Parity):
    """How far the logits and ranks of a system are from the baseline's, and whether their quality is equivalent."""

    equivalence: MeasureEquivalence


@dataclass(frozen=True)
class Comparison:
    """All that the reports of a comparison are made from."""

    schema_version: int
    slice: ComparedSlice
    baseline: str
    """Label of the first system."""
    measures: Sequence[str]
    """Those that all results have; the first one is the main measure."""
    confidence: float
    """Of the intervals."""
    seed: int
    """Of the resampling, as is the next."""
    resamples: int
    systems: Sequence[ComparedSystem]
    against_baseline: Tests
    """For each system but the baseline."""
    untested: Untested
    against_own_first_stage: Tests
    """For each reranked system."""
    best: Best | None
    """None where all systems have a reranker, or none has one."""
    against_best_without: Mapping[str, BestTest]
    """label -> test in the first measure against the best system without a reranker, for each system with one."""
    judged_only: JudgedOnly | None
    """None where it is the same as the usual one, and where a result does not have it."""
    matrix: Mapping[str, Matrix]
    """measure -> p values."""
    parity: Mapping[str, Agreement | None]
    """label -> agreement with the baseline; None where the two did not score the same candidates."""
    queries: Mapping[str, str]
    """query_id -> text."""
    per_query: Mapping[str, Mapping[str, Mapping[str, float]]]
    """measure -> label -> query_id -> value."""
    warnings: Sequence[str]
