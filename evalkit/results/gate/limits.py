"""The limits of the gate's checks, with their defaults; both Hydra's schema and the value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.evaluation.measure_names import KINDS

CHECKS = (
    "first_stage", "logits_finite", "scores_vary", "order_changed", "above_first_stage", "truncated", "unknown_tokens",
    "unscored", "unjudged", "score_drift", "quality", "latency_ratio", "scoring_ratio", "memory_ratio", "p50_ms",
    "p99_ms", "pairs_per_s", "rss_mb", "cuda_mb",
)  # fmt: skip
"""The names of all checks, for `Limits.skip` (all but logits_finite); "quality" stands for every measure."""

STORED = {
    "max_tied_share": "scores_vary", "max_below_first_stage": "above_first_stage", "max_truncated_share": "truncated",
    "max_unknown_share": "unknown_tokens", "max_latency_ratio": "latency_ratio", "max_scoring_ratio": "scoring_ratio",
    "max_memory_ratio": "memory_ratio",
}  # fmt: skip
"""Limits that a baseline may contain -> the check of each; these checks look at the result alone."""

NO_SHOWN_DROP = "no_shown_drop"
REQUIREMENTS = (NO_SHOWN_DROP, "non_inferior")
T = TypeVar("T")


@dataclass  # not frozen: OmegaConf cannot override fields of a frozen schema
class Limits:
    """One limit per field; None switches a check off. Shares are in [0, 1]."""

    false_alarms: float = 0.05
    """Chance that any of the measures is called worse where none is: over all of them, corrected for their number."""
    confidence: float = 0.95
    """Confidence of the lower bound of the mean change, which decides whether a measure is called not worse."""
    power: float = 0.8
    """Probability of detecting a true drop of the size that is printed as the smallest detectable one."""
    tolerance: dict[str, float] = field(default_factory=lambda: _each(0.02, RR=0.04, Success=0.04))
    """The drop that the lower bound has to rule out, by measure (nDCG@10) or kind of measure (nDCG)."""
    require: str = NO_SHOWN_DROP
    """What a measure has to be: no_shown_drop lets pass what is undecided, with a warning; non_inferior fails it."""
    max_drop: dict[str, float | None] = field(default_factory=lambda: _no_limits())
    """A hard limit for the fall of the mean, by measure or kind of measure: chance alone can exceed it."""
    max_recall_drop: float | None = 0.01
    """Drop of the first stage's recall at the largest cutoff measured; where no recall is measured, of the ceiling."""
    max_tied_share: float | None = 0.05
    """Share of pairs that have the same score as another pair of their query."""
    max_below_first_stage: float | None = 0.0
    """How far the mean after reranking may be below that before it, in the first measure."""
    max_truncated_share: float | None = 0.1
    """Share of pairs that are truncated, as they are longer than reranker.max_length."""
    max_unknown_share: float | None = 0.1
    """Share of the tokens of queries, and of those of passages, that the model's vocabulary lacks."""
    max_unscored_rise: float | None = 0.01
    """Rise of the share of candidates that the reranker gives no score."""
    max_unjudged_rise: float | None = 0.1
    """Rise of the share of unjudged passages in the reranked top 10."""
    max_score_drift: float | None = 0.02
    """Largest change of a stored logit, where the ranking is as stored."""
    max_latency_ratio: float | None = None
    """Median time of one query with its candidates, over one run of the calibration workload."""
    max_scoring_ratio: float | None = None
    """Time of 100 pairs when all are scored at once, over one run of the calibration workload."""
    max_memory_ratio: float | None = None
    """Peak memory of the trial over that of the calibration workload, both above what the process held before."""
    max_p50_ms: float | None = None
    """Median latency of a query, in milliseconds; it holds on one machine only, as do the four below."""
    max_p99_ms: float | None = None
    """99th percentile of the latency of a query, in milliseconds."""
    min_pairs_per_s: float | None = None
    """Pairs scored in a second, when all are scored at once."""
    max_rss_mb: float | None = None
    """Peak resident memory of the trial's process, in MiB."""
    max_cuda_mb: float | None = None
    """Peak GPU memory that torch allocated, in MiB."""
    skip: list[str] = field(default_factory=list)
    """Names of checks that do not fail the gate."""
    worst: int = 5
    """How many of the queries that lost most are printed."""

    def check(self) -> None:
        """Check that every limit is in its range.

        Raises:
            EvalkitError: a limit is negative or not finite, or a name is unknown.
        """
        for entry in fields(self):
            value = getattr(self, entry.name)
            numbers = value if isinstance(value, Mapping) else {"": value}
            for key, number in numbers.items():
                name = f"gate.{entry.name}" + (f".{key}" if key else "")
                if isinstance(number, float | int) and not (math.isfinite(number) and number >= 0):
                    raise EvalkitError(f"{name}={number}: a limit is a number from 0 up")
        if self.require not in REQUIREMENTS:
            raise EvalkitError(
                f"gate.require={self.require}: there is no such requirement{nearest(str(self.require), REQUIREMENTS)}"
            )
        for name in ("false_alarms", "confidence", "power"):
            if not 0 < getattr(self, name) < 1:
                raise EvalkitError(
                    f"gate.{name}={getattr(self, name)}: give a share above 0 and below 1, such as "
                    f"{getattr(Limits(), name):g}"
                )
        for name in ("tolerance", "max_drop"):
            for measure in getattr(self, name):
                if _kind(measure) not in KINDS:
                    raise EvalkitError(f"gate.{name}.{measure}: there is no such measure{nearest(measure, KINDS)}")
        for name in self.skip:
            if name not in CHECKS:
                raise EvalkitError(f"gate.skip: there is no check {name!r}{nearest(name, CHECKS)}")
            if name == "logits_finite":
                raise EvalkitError(
                    "gate.skip: logits_finite cannot be skipped, because NaN gives no order; use a wider precision "
                    "such as fp32 or bf16, or a model whose weights are whole"
                )

    def of(self, limits: Mapping[str, T], measure: str) -> T:
        """Return the limit for a measure: the one under its name (RR@10), else the one of its kind (RR).

        Args:
            limits: measure or kind of measure -> limit; every kind has one.
            measure: name of the measure.
        """
        return limits[measure] if measure in limits else limits[_kind(measure)]


def _no_limits() -> dict[str, float | None]:
    return dict.fromkeys(KINDS)


def _each(value: float, **others: float) -> dict[str, float]:
    """Return a limit for each kind of measure; RR and Success change in larger steps than nDCG and need larger ones."""
    return dict.fromkeys(KINDS, value) | others


def _kind(measure: str) -> str:
    return measure.split("@")[0].split("(")[0]
