"""What a plan is made of: the gain that is to be seen, and the queries and judgments that it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.power import Needed, Spread


@dataclass(frozen=True)
class Target:
    """What is to be seen, and how surely."""

    gain: float
    """The true mean difference, in the measure's unit."""
    power: float = 0.8
    """Probability of seeing it, in (0, 1)."""
    alpha: float = 0.05
    """Level of the two-sided test; over all comparisons, where there are several."""
    comparisons: int = 1
    """Tests that are corrected together."""

    def check(self) -> None:
        """Check every number.

        Raises:
            EvalkitError: one is out of its range.
        """
        if not 0 < self.gain < 1:
            raise EvalkitError(f"--gain {self.gain:g}: give a difference above 0 and below 1, such as 0.02")
        if not 0 < self.alpha < 1:
            raise EvalkitError(f"--alpha {self.alpha:g}: give the level of the test, above 0 and below 1, such as 0.05")
        if not self.alpha < self.power < 1:
            raise EvalkitError(
                f"--power {self.power:g}: give a probability above --alpha ({self.alpha:g}) and below 1, such as 0.8"
            )
        if self.comparisons < 1:
            raise EvalkitError(f"--comparisons {self.comparisons}: give how many systems are tested, 1 or more")


@dataclass(frozen=True)
class Judging:
    """Judgments that a query needs; None where the files that would show it are missing."""

    pooled_per_query: float | None
    """Passages in the top k of either system, k being the cutoff of the measure, averaged over the queries."""
    judged_per_query: float | None
    """Judged passages of a query in the slice of the result."""


@dataclass(frozen=True)
class SliceAtHand:
    """A slice whose number of queries is known without loading it."""

    choice: str
    """Of the group ``slice``."""
    lang: str
    """Empty where the choice has one language."""
    queries: int
    detectable: float
    """The gain that it shows with the planned power, were its differences spread as here."""
    suffices: bool


@dataclass(frozen=True)
class QueryPlan:
    """The answer to how many queries it takes."""

    target: Target
    measure: str
    slice: str
    before: str
    """Label of the system without the gain."""
    after: str
    queries: int
    """Queries of the result that the spread comes from."""
    mean: float
    """The mean difference after - before that the result has."""
    spread: Spread
    confidence: float
    """Of the intervals of the spread and of the numbers of queries."""
    one: Needed
    """For one comparison."""
    corrected: Needed | None
    """For each of several comparisons; None where one is planned."""
    judging: Judging
    slices: Sequence[SliceAtHand]

    @property
    def decisive(self) -> Needed:
        """Return the number that the plan asks for: the corrected one where there are several comparisons."""
        return self.corrected or self.one
