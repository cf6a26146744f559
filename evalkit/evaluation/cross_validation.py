"""Chooses a setting by cross-validation over queries: no query is measured at a setting that it helped to choose."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from evalkit.boundary.errors import EvalkitError

T = TypeVar("T")


def check_folds(setting: str, folds: int, queries: int | None = None) -> None:
    """Check a number of folds.

    Args:
        setting: its name, for messages.
        folds: into how many parts the queries are divided.
        queries: how many queries there are; None if that is not known yet.

    Raises:
        EvalkitError: there are fewer than 2 folds, or more than queries.
    """
    if folds < 2:
        raise EvalkitError(f"{setting}={folds}: cross-validation needs 2 folds or more")
    if queries is not None and queries < folds:
        raise EvalkitError(
            f"{setting}={folds}: the slice has {queries} {'query' if queries == 1 else 'queries'}, and each fold needs "
            "one of its own" + (f"; give {queries} folds or fewer, or more queries" if queries > 1 else "")
        )


def split(query_ids: Collection[str], folds: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Return the queries divided into folds whose sizes differ by 1 at most; their order does not matter.

    Args:
        query_ids: at least as many as `folds`.
        folds: how many.
        seed: draws which query is in which fold.
    """
    drawn = sorted(query_ids)
    random.Random(seed).shuffle(drawn)  # noqa: S311
    return tuple(tuple(sorted(drawn[number::folds])) for number in range(folds))


def choose(values: Mapping[T, Mapping[str, float]], folds: Sequence[Sequence[str]]) -> list[T]:
    """Return for each fold the setting that is best on the queries of all other folds.

    Args:
        values: setting -> query_id -> value of a measure. Of settings with equal means, the first is chosen.
        folds: the queries of each fold, at least two folds.
    """
    chosen = []
    for number in range(len(folds)):
        others = [query_id for other, fold in enumerate(folds) if other != number for query_id in fold]
        chosen.append(max(values, key=lambda setting: fmean(values[setting][query_id] for query_id in others)))
    return chosen


def lattice(parts: int, steps: int) -> list[tuple[float, ...]]:
    """Return all weights that are multiples of 1 / `steps` and sum to 1, from equal ones to those furthest from them.

    Args:
        parts: how many weights, 1 or more.
        steps: 1 or more.
    """
    found = list(_compositions(steps, parts))
    found.sort(key=lambda counts: (sum((parts * count - steps) ** 2 for count in counts), counts))
    return [tuple(count / steps for count in counts) for counts in found]


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
