"""Picks one of several settings, and estimates its quality on queries that did not help to pick it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar

from evalkit.evaluation import cross_validation, students_t
from evalkit.types import Interval

T = TypeVar("T")
Choose = Callable[[Mapping[T, float]], T]
"""Picks a setting, from the mean of each one."""


@dataclass(frozen=True)
class Selection(Generic[T]):
    """A setting picked from several, with a figure that picking has not made better than it is."""

    picked: T
    """From all queries."""
    mean: float
    """Of the picked setting over the queries that it was picked on: too high by `optimism`, on average."""
    estimate: float
    """Mean over the queries, each at the setting that the other folds pick."""
    interval: Interval
    """Student's t interval of `estimate`, 95 %."""
    folds: tuple[T, ...]
    """The setting that each fold was measured at."""

    @property
    def optimism(self) -> float:
        """Return by how much the mean on the same queries is above the estimate."""
        return self.mean - self.estimate


def best(means: Mapping[T, float]) -> T:
    """Return the setting with the highest mean; of equal ones the first."""
    return max(means, key=lambda setting: means[setting])


def select(values: Mapping[T, Mapping[str, float]], choose: Choose[T], folds: int, seed: int) -> Selection[T]:
    """Pick a setting, and estimate what picking in this way gives.

    The estimate is nested cross-validation: the queries are divided into folds, and each fold is measured at the
    setting that is picked on all others. It is an estimate for a pick from (folds - 1) / folds of the queries, and so
    lower than the truth by what a little more data would improve the pick.

    Args:
        values: setting -> query_id -> value of the measure, the same queries for each.
        choose: picks a setting from means; settings of equal worth in the order of `values`.
        folds: 2 or more, and not more than queries.
        seed: draws which query is in which fold.

    Raises:
        EvalkitError: the number of folds does not fit.
    """
    queries = list(next(iter(values.values())))
    cross_validation.check_folds("--folds", folds, len(queries))
    parts = cross_validation.split(queries, folds, seed)
    totals = [{setting: sum(of[q] for q in part) for setting, of in values.items()} for part in parts]
    chosen: list[T] = []
    held_out: list[float] = []
    for number, part in enumerate(parts):
        rest = len(queries) - len(part)
        others = [total for other, total in enumerate(totals) if other != number]
        setting = choose({one: sum(total[one] for total in others) / rest for one in values})
        chosen.append(setting)
        held_out += [values[setting][query_id] for query_id in part]
    picked = choose({setting: fmean(of.values()) for setting, of in values.items()})
    estimate, spread = fmean(held_out), students_t.deviation(held_out)
    interval = students_t.interval(estimate, spread, len(held_out), 0.95, least=0.0)
    return Selection(picked, fmean(values[picked].values()), estimate, interval, tuple(chosen))
