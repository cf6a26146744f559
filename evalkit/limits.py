"""What the gate lets pass: the limits of each check, with their defaults, and their names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from evalkit.errors import EvalkitError, nearest

CHECKS = (
    "first_stage", "logits_finite", "scores_vary", "order_changed", "above_first_stage", "truncated", "unscored",
    "unjudged", "score_drift", "quality", "latency_ratio", "scoring_ratio", "memory_ratio", "p50_ms", "p99_ms",
    "pairs_per_s", "rss_mb", "cuda_mb",
)  # fmt: skip
"""Every check by its name, as `Limits.skip` takes it (all but logits_finite); "quality" is one for each measure."""


@dataclass  # not frozen: OmegaConf, whose schema it is too, would let nobody set a frozen one
class Limits:
    """One field a limit; None switches a check off. Shares are in [0, 1]."""

    confidence: float = 0.95
    """Of the paired interval."""
    power: float = 0.8
    """Probability with which the smallest detectable drop, which is printed, would be seen."""
    tolerance: dict[str, float] = field(default_factory=lambda: _each(0.02, RR=0.04, Success=0.04))
    """The drop that the interval of the mean has to rule out, by measure (nDCG@10) or kind of measure (nDCG)."""
    max_drop: dict[str, float] = field(default_factory=lambda: _each(0.01, RR=0.02, Success=0.02))
    """The drop of the mean that fails whatever the interval says, by measure or kind of measure."""
    max_recall_drop: float | None = 0.01
    """Of the first stage, at the largest cutoff measured; where no recall is measured, of the ceiling."""
    max_tied_share: float | None = 0.05
    """Of pairs that share their score with another one of their query."""
    max_truncated_share: float | None = 0.1
    max_unscored_rise: float | None = 0.01
    """In the share of candidates that the reranker says nothing of."""
    max_unjudged_rise: float | None = 0.1
    """In the share of unjudged passages in the reranked top 10."""
    max_score_drift: float | None = 0.02
    """Largest change of a stored logit, where the ranking is as stored."""
    max_latency_ratio: float | None = None
    """Median time of one query with its candidates, over one run of the calibration workload."""
    max_scoring_ratio: float | None = None
    """Time of 100 pairs when all are scored at once, over one run of the calibration workload."""
    max_memory_ratio: float | None = None
    """Peak memory of the trial over that of the calibration workload, both above what the process held before."""
    max_p50_ms: float | None = None
    max_p99_ms: float | None = None
    min_pairs_per_s: float | None = None
    max_rss_mb: float | None = None
    max_cuda_mb: float | None = None
    skip: list[str] = field(default_factory=list)
    """Names of checks that are not to fail the gate."""
    worst: int = 5
    """How many of the queries that lost most are listed."""

    def check(self) -> None:
        """Raise an EvalkitError for a limit that is negative, no number, or out of its range."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            numbers = value if isinstance(value, Mapping) else {"": value}
            for key, number in numbers.items():
                name = f"gate.{entry.name}" + (f".{key}" if key else "")
                if isinstance(number, float | int) and not (math.isfinite(number) and number >= 0):
                    raise EvalkitError(f"{name}={number}: a limit is a number from 0 up")
        for name in ("confidence", "power"):
            if not 0 < getattr(self, name) < 1:
                raise EvalkitError(f"gate.{name}={getattr(self, name)}: give a share above 0 and below 1, such as 0.95")
        for name in ("tolerance", "max_drop"):
            for measure in getattr(self, name):
                if _kind(measure) not in _KINDS:
                    raise EvalkitError(f"gate.{name}.{measure}: there is no such measure{nearest(measure, _KINDS)}")
        for name in self.skip:
            if name not in CHECKS:
                raise EvalkitError(f"gate.skip: there is no check {name!r}{nearest(name, CHECKS)}")
            if name == "logits_finite":
                raise EvalkitError(
                    "gate.skip: logits_finite cannot be let off, for NaN ranks nothing; use a wider precision such as "
                    "fp32 or bf16, or a model whose weights are whole"
                )

    def of(self, limits: Mapping[str, float], measure: str) -> float:
        """Return the limit for ``RR@10``: the one under that name, else the one of its kind, ``RR``."""
        return limits[measure] if measure in limits else limits[_kind(measure)]


def _each(value: float, **others: float) -> dict[str, float]:
    """Return a limit for each kind of measure; RR and Success jump where nDCG glides, so they get more room."""
    return dict.fromkeys(_KINDS, value) | others


def _kind(measure: str) -> str:
    return measure.split("@")[0].split("(")[0]


_KINDS = ("nDCG", "RR", "AP", "R", "P", "Success")
