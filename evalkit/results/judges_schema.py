"""The definition of judges.json: how far judges agree with a human, and whether a verdict is the same under each."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.evaluation.agreement import Agreement, Figure
from evalkit.types import Interval


@dataclass(frozen=True)
class JudgeAgreement:
    """A judge, and its agreement with the human."""

    name: str
    kind: str
    """``human``, ``llm`` or ``clicks``."""
    queries: int
    """That it has judged, the human or not."""
    pairs: int
    agreement: Agreement
    source: str = ""
    """How its labels were made, as they state it."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What reranking gains by one judge's grades, over the queries of its `JudgedResult`."""

    before: float
    """Mean of the measure of the first stage."""
    after: float
    """The same of the reranked ranking."""
    mean: float
    ci95: Interval
    """Student's t interval of the mean difference."""
    p: float | None
    """Two-sided, of the randomisation test; not corrected for the number of judges."""
    verdict: str
    """``helped``, ``hurt``, or ``made no clear difference``, as in the result of a trial."""
    unjudged_at_10: float
    """Share of the reranked top 10 that this judge has not judged."""


@dataclass(frozen=True, kw_only=True)
class SharedPairs:
    """Both gains by only those pairs that both have judged: the grades differ, and not what is judged."""

    human: Gain
    judge: Gain
    same_verdict: bool


@dataclass(frozen=True, kw_only=True)
class JudgedResult:
    """A result by the human's grades and by those of a judge, on the same queries."""

    label: str
    """Of the reranked system."""
    first_stage: str
    judge: str
    queries: int
    human: Gain
    by_judge: Gain
    same_verdict: bool
    inflation: float
    """Mean of the gain by the judge less the gain by the human, query by query."""
    inflation_ci95: Interval
    """Student's t interval."""
    shared: SharedPairs | None
    """None where both have judged the same pairs of these queries."""
    favour: Figure
    """`evalkit.evaluation.agreement.favour`: promoted are the passages of the reranked top 10 alone, demoted those of
    the first stage's top 10 alone."""
    same_model: bool
    """Whether the judge has the name of the reranker, or of its model."""


@dataclass(frozen=True, kw_only=True)
class SystemOrder:
    """The order of systems by their means under the human and under a judge, on the same queries."""

    judge: str
    queries: int
    systems: Sequence[str]
    """Labels."""
    human: Sequence[float]
    """Mean of the measure of each system."""
    by_judge: Sequence[float]
    tau: float | None
    """Kendall's tau-b; None where all systems are equal for one of them."""


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """Judges against a human."""

    schema_version: int
    human: str
    """Name of the file."""
    human_queries: int
    human_pairs: int
    relevance_level: int
    """The lowest grade that is relevant."""
    seed: int
    """Of the bootstrap."""
    judges: Sequence[JudgeAgreement]
    alpha_between_judges: float | None
    """Krippendorff's alpha of the judges with one another, the human left out; None with one judge."""
    measure: str | None
    """None without results."""
    results: Sequence[JudgedResult] = ()
    orders: Sequence[SystemOrder] = ()
    """Empty with fewer than two systems."""
    notes: Sequence[str] = ()
