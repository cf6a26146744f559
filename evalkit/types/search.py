"""What a first stage finds: a ranking for each query, and the members of a fusion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.types.collection import Settings


class Hit(NamedTuple):
    """One ranked passage. Its position in the ranking is what counts; the score is why it stands there."""

    doc_id: str
    score: float


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
