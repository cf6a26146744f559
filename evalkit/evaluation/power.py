"""How many queries a paired test needs to see a gain, from the differences of earlier queries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.students_t import ROUNDING, deviation

FEWEST = 10
"""Queries from which on a spread is estimated; from fewer its interval would mean little."""

_LARGE = 100_000
"""From so many queries on, Student's t is taken as normal; the numbers differ by two queries."""


@dataclass(frozen=True)
class Needed:
    """How many queries a test needs, estimated from a sample of queries."""

    alpha: float
    """Level of the two-sided test."""
    queries: int
    low: int
    """Lower end of the interval of `queries`, which comes from the interval of the spread."""
    high: int


@dataclass(frozen=True)
class Spread:
    """The standard deviation of per-query differences, with the interval of its true value."""

    value: float
    low: float
    high: float


def spread_of(differences: Sequence[float], confidence: float = 0.95) -> Spread:
    """Estimate the standard deviation of per-query differences.

    The interval is Bonett's, which estimates the kurtosis: with many unchanged queries the differences have heavier
    tails than a normal distribution, and the interval by chi-squared, which assumes one, is far too narrow. Source:
    Bonett 2006, Approximate confidence interval for standard deviation of nonnormal distributions, Computational
    Statistics and Data Analysis 50.

    Args:
        differences: one for each query, after - before.
        confidence: of the interval, in (0, 1).

    Raises:
        EvalkitError: there are fewer than `FEWEST` queries, or all differences are equal.
    """
    from scipy.stats import norm, trim_mean

    n = len(differences)
    if n < FEWEST:
        raise EvalkitError(
            f"{n} queries are too few to estimate how differences vary; give a result of {FEWEST} or more"
        )
    if max(differences) - min(differences) <= ROUNDING:
        raise EvalkitError(
            "all queries differ by the same amount, so there is no spread to plan from; give results of two systems "
            "that rank differently"
        )
    value = deviation(differences)
    z = float(norm.ppf((1 + confidence) / 2))
    centre = float(trim_mean(differences, 1 / (2 * math.sqrt(n - 4))))
    kurtosis = n * math.fsum((d - centre) ** 4 for d in differences) / (value**2 * (n - 1)) ** 2
    factor = n / (n - z)
    error = factor * math.sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1))
    low, high = (math.sqrt(factor * value**2 * math.exp(sign * z * error)) for sign in (-1, 1))
    return Spread(value, min(low, value), high)


def needed(gain: float, spread: Spread, power: float = 0.8, alpha: float = 0.05, comparisons: int = 1) -> Needed:
    """Return how many queries a true gain needs to be seen.

    With several comparisons each is tested at alpha / comparisons: Holm's correction rejects whatever Bonferroni's
    does, so that the power is at least `power` for each of them (Holm 1979).

    Args:
        gain: true mean difference, above 0, in the unit of `spread`.
        spread: of the per-query differences.
        power: probability of seeing the gain, in (0, 1).
        alpha: level of the two-sided test, over all comparisons.
        comparisons: number of tests that are corrected together.

    Returns:
        The number of queries and its interval: the numbers for both ends of the interval of the spread.
    """
    level = alpha / comparisons
    number, low, high = (_queries(gain / value, power, level) for value in (spread.value, spread.low, spread.high))
    return Needed(level, number, low, high)


def power_of(queries: int, effect: float, alpha: float = 0.05) -> float:
    """Return the probability that Student's interval of a mean difference lies above 0.

    It is P(T > t(1 - alpha / 2, n - 1)) with T of the noncentral t distribution with n - 1 degrees of freedom and
    noncentrality effect * sqrt(n), the tail that `evalkit.evaluation.students_t.smallest_detectable` counts. Source:
    Cohen 1988, Statistical power analysis for the behavioral sciences.

    Args:
        queries: n, 2 or more.
        effect: the true mean difference in standard deviations of the differences, above 0.
        alpha: 1 - confidence of the interval.
    """
    from scipy.stats import nct, norm, t

    if queries >= _LARGE:
        return float(norm.sf(norm.ppf(1 - alpha / 2) - effect * math.sqrt(queries)))
    return float(nct.sf(t.ppf(1 - alpha / 2, queries - 1), queries - 1, effect * math.sqrt(queries)))


def _queries(effect: float, power: float, alpha: float) -> int:
    """Return the smallest number of queries, 2 or more, with at least `power`, which rises with the number.

    The search starts at the number by the normal approximation, from which Student's t is a few queries away.
    """
    from scipy.stats import norm

    number = max(2, int(((norm.ppf(1 - alpha / 2) + norm.ppf(power)) / effect) ** 2))
    while power_of(number, effect, alpha) < power:
        number += 1
    while number > 2 and power_of(number - 1, effect, alpha) >= power:
        number -= 1
    return number
