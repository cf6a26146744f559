"""Quick checks of several rerankers on the same texts, side by side: ranks, and how far the orders agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.parity import kendall_tau
from evalkit.rerankers.quickcheck import QuickCheck, RankedPassage, RankedQuery
from evalkit.types import Settings


@dataclass(frozen=True)
class Place:
    """Where one reranker puts a passage."""

    rank: int
    logit: float | None
    """Not comparable between models."""


@dataclass(frozen=True)
class ComparedPassage:
    """One passage, and its place with each reranker."""

    text: str
    number: int
    """As in `evalkit.rerankers.quickcheck.RankedPassage`."""
    id: str | None
    places: tuple[Place, ...]
    """In the order of the rerankers."""


@dataclass(frozen=True)
class Agreement:
    """How far the order of one reranker agrees with that of the first."""

    label: str
    """The reranker that is compared with the first."""
    kendall_tau: float | None
    """Kendall's tau-b over the passages, in [-1, 1]; None with fewer than two."""
    largest_logit_difference: float | None
    """Over the passages that both scored; None unless both are the same model."""


@dataclass(frozen=True)
class ComparedQuery:
    """One query, with its passages in the order of the first reranker."""

    lang: str | None
    query: str
    passages: tuple[ComparedPassage, ...]
    against_first: tuple[Agreement, ...]
    """For each reranker but the first."""


@dataclass(frozen=True)
class SideBySide:
    """Several rerankers on the same texts, as side_by_side.json has it."""

    labels: tuple[str, ...]
    """Names of the rerankers: the settings in which they differ."""
    rerankers: tuple[Settings, ...]
    """What each says of itself."""
    queries: tuple[ComparedQuery, ...]


_SAME_MODEL = ("model", "revision", "architecture")
"""What two rerankers of one model have in common, whatever their precision and runtime."""


def compare(checks: Mapping[str, QuickCheck]) -> SideBySide:
    """Put quick checks of the same texts side by side.

    Args:
        checks: label -> quick check; two or more, of which all others are compared with the first.

    Raises:
        EvalkitError: they have different queries or passages.
    """
    found = list(checks.values())
    if len({tuple(map(_texts, check.checks)) for check in found}) > 1:
        raise EvalkitError("these quick checks have different texts, so they are not put side by side")
    facts = [check.reranker for check in found]
    same = [_identity(one) is not None and _identity(one) == _identity(facts[0]) for one in facts]
    queries = zip(*(check.checks for check in found), strict=True)
    return SideBySide(tuple(checks), tuple(facts), tuple(_compared(list(checks), same, of_one) for of_one in queries))


def _texts(ranked: RankedQuery) -> tuple[str, tuple[str, ...]]:
    by_number = sorted(ranked.passages, key=lambda passage: passage.number)
    return ranked.query, tuple(passage.text for passage in by_number)


def _identity(facts: Settings) -> tuple[object, ...] | None:
    """Return what tells a model from others; None for a reranker without a model."""
    return tuple(facts.get(key) for key in _SAME_MODEL) if facts.get("model") else None


def _compared(labels: Sequence[str], same: Sequence[bool], of_one: Sequence[RankedQuery]) -> ComparedQuery:
    numbers = [passage.number for passage in of_one[0].passages]
    found = [{passage.number: passage for passage in ranked.passages} for ranked in of_one]
    by_reranker = [[passages[number] for number in numbers] for passages in found]
    return ComparedQuery(
        of_one[0].lang,
        of_one[0].query,
        tuple(
            ComparedPassage(
                places[0].text, places[0].number, places[0].id, tuple(Place(one.rank, one.logit) for one in places)
            )
            for places in zip(*by_reranker, strict=True)
        ),
        tuple(
            Agreement(
                label, _tau(by_reranker[0], ranked), _largest_difference(by_reranker[0], ranked) if is_same else None
            )
            for label, is_same, ranked in list(zip(labels, same, by_reranker, strict=True))[1:]
        ),
    )


def _tau(first: Sequence[RankedPassage], other: Sequence[RankedPassage]) -> float | None:
    return kendall_tau(_scores(first), _scores(other)) if len(first) > 1 else None


def _scores(passages: Sequence[RankedPassage]) -> list[float]:
    """Return the logits, or minus the ranks where a passage has no logit."""
    logits = [passage.logit for passage in passages if passage.logit is not None]
    return logits if len(logits) == len(passages) else [-float(passage.rank) for passage in passages]


def _largest_difference(first: Sequence[RankedPassage], other: Sequence[RankedPassage]) -> float | None:
    logits = [(one.logit, two.logit) for one, two in zip(first, other, strict=True)]
    return max((abs(a - b) for a, b in logits if a is not None and b is not None), default=None)
