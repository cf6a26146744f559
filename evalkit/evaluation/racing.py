"""Settings that can no longer be the best are dropped after each look at more queries, with a bounded error rate."""

from collections.abc import Mapping
from statistics import fmean
from typing import TypeVar

from evalkit.evaluation import students_t
from evalkit.evaluation.power import FEWEST

T = TypeVar("T")


def level(alpha: float, look: int) -> float:
    """Return the level of a look: alpha / 2, alpha / 4, ..., whose sum stays below `alpha` for any number of looks.

    Args:
        alpha: of all looks together.
        look: its number, from 1.
    """
    return float(alpha / 2**look)


def worse_than_best(values: Mapping[T, Mapping[str, float]], alpha: float, look: int) -> dict[T, float]:
    """Return the settings that are clearly worse than the one with the highest mean, with the p value of each.

    Each setting is tested against that one by the one-sided paired t test, at the level of the look divided by the
    number of other settings (Bonferroni). So over all looks and settings, the chance that the truly best setting is
    ever returned is at most `alpha`. With fewer than 10 queries none is.

    Args:
        values: setting -> query_id -> value of the measure, the same queries for each.
        alpha: of all looks together.
        look: number of this look, from 1.
    """
    means = {setting: fmean(of.values()) for setting, of in values.items()}
    leader = max(means, key=lambda setting: means[setting])
    if len(values[leader]) < FEWEST:
        return {}
    limit = level(alpha, look) / max(1, len(values) - 1)
    found = {}
    for setting, of in values.items():
        differences = [values[leader][query_id] - value for query_id, value in of.items()]
        mean, spread = fmean(differences), students_t.deviation(differences)
        if spread <= students_t.ROUNDING:
            spread = 0.0
        p = students_t.p_above(mean, spread, len(differences)) if mean > students_t.ROUNDING else 1.0
        if p < limit:
            found[setting] = p
    return found
