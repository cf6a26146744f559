"""What a pick is made of: the budget, the setting that is best within it, and those that are nearly as good."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError
from evalkit.types import Interval

PREFERENCES = ("quality", "time", "memory")


@dataclass(frozen=True)
class Budget:
    """The limits of a setting; None for no limit."""

    max_p50_ms: float | None = None
    """Of a query, first stage and reranking."""
    max_memory_mb: float | None = None
    """Peak of the process, or of the GPU, that reranks."""
    max_price: float | None = None
    """Of 1,000 queries, in the currency of the results."""
    min_quality: float | None = None
    """Mean of the measure."""
    prefer: str = "quality"
    """What is best within the limits: the highest quality, or the lowest time or memory, one of `PREFERENCES`."""
    within: float = 0.005
    """How much lower the quality of a near-equal setting may be."""

    def check(self) -> None:
        """Check every number.

        Raises:
            EvalkitError: one is out of its range.
        """
        for name, value in (
            ("--max-p50-ms", self.max_p50_ms),
            ("--max-memory-mb", self.max_memory_mb),
            ("--max-price", self.max_price),
        ):
            if value is not None and not value > 0:
                raise EvalkitError(f"{name} {value:g}: give a limit above 0")
        if self.min_quality is not None and not 0 < self.min_quality <= 1:
            raise EvalkitError(f"--min-quality {self.min_quality:g}: give a mean above 0 and up to 1, such as 0.6")
        if not 0 < self.within < 1:
            raise EvalkitError(f"--within {self.within:g}: give a difference above 0 and below 1, such as 0.005")
        if self.prefer not in PREFERENCES:
            raise EvalkitError(f"--prefer {self.prefer}: give {', '.join(PREFERENCES)}")


@dataclass(frozen=True)
class PickedChoice:
    """One setting, with its quality over all queries and its cost."""

    label: str
    mean: float
    p50_ms: float | None
    interpolated: bool
    """Whether the time follows from the latency grid."""
    memory_mb: float | None
    price: float | None
    within_budget: bool
    on_front: bool
    """Whether no other setting within the budget is both faster and better."""


@dataclass(frozen=True)
class NearEqual:
    """A setting that is cheaper than the picked one, and hardly worse."""

    label: str
    difference: float
    """Its mean less that of the picked one."""
    interval: Interval
    """Student's t interval of the difference, 95 %."""
    equivalence_p: float | None
    """Of the two one-sided tests that the difference lies within the margin, corrected by Holm over these settings."""
    time_ratio: float | None
    """Its time over that of the picked one."""
    memory_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The best setting within a budget."""

    measure: str
    slice: str
    queries: int
    budget: Budget
    picked: str
    """Label of the setting."""
    mean: float
    """Of the picked setting, over the queries that it was picked on."""
    estimate: float
    """By nested cross-validation: each query at the setting that is picked on other queries."""
    interval: Interval
    """Student's t interval of `estimate`, 95 %."""
    optimism: float
    """`mean` less `estimate`."""
    folds: Sequence[str]
    """The setting that each fold was measured at."""
    seed: int
    near_equal: Sequence[NearEqual]
    """By ascending time."""
    command: str
    """What runs the picked setting."""
    choices: Sequence[PickedChoice]
    """All settings."""
    notes: Sequence[str]
