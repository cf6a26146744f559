"""What a reranker gains where its score is interpolated with that of the first stage."""

from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.types.effectiveness import Effectiveness


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
