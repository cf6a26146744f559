"""Statistics of the gate: a test for a drop, a lower bound of the change, and the drop that can be detected.

Equal systems are such that each query's change might as well have had the other sign, in all measures at once: so it
is with two runs of one system, and with systems that differ by chance alone. Under that, the test for a drop is exact
whatever the number of queries and however uneven the changes. A system that is as good on average but not in this
sense, because it falls a little on most queries and rises much on a few, is called worse somewhat more often (with 54
queries and exponential changes in 9 % instead of 5 %), and one of the opposite kind less often.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from evalkit.evaluation.students_t import detectable_above, deviation, lower_bound
from evalkit.results.gate.verdict import ROUNDING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

PerQuery = Mapping[str, Mapping[str, float]]
"""measure -> query_id -> value."""

DRAWS = 9999
"""Sign flips drawn where there are too many to try all."""

ALL_TRIED = 13
"""With so many changed queries all 8,192 flips are tried: no more than are drawn of others."""


def changes(before: PerQuery, after: PerQuery) -> "Values":
    """Return after - before as an array (queries, measures), the queries in the order of their ids.

    Values have 6 decimals (see `baseline.of`), and so have their differences: 0.3 - 0.2 is 0.2 - 0.1. What
    differs in the last decimal only is rounding, and no change.

    Args:
        before: measure -> query_id -> value.
        after: the same measures and queries.
    """
    import numpy as np

    ids = sorted(next(iter(before.values())))
    rows = [[after[measure][query_id] - before[measure][query_id] for measure in before] for query_id in ids]
    found = np.array(rows, dtype=np.float64).round(6)
    found[np.abs(found) < 1.5 * ROUNDING] = 0.0
    return found


def drop_p(found: "Values", seed: int = 0, draws: int = DRAWS) -> list[float]:
    """Return for each measure the p of "it did not fall", corrected for the number of measures.

    `found` is (queries, measures). The statistic is the sum of a measure's falls over the root of their sum of
    squares, which a flip of signs leaves as it is; a flip changes the sign of a query in all measures, so that what
    they have in common counts once. p is the share of flips in which the largest statistic of this measure and of
    all with less evidence is as large as the one found (step-down max-T), so that the chance of any p below alpha is
    at most alpha where no measure fell. All flips are tried, or `draws` are drawn and the one found is counted as one
    more. A measure that did not change, or rose, has p 1.0.

    Sources: Westfall and Young 1993, Resampling-Based Multiple Testing, algorithm 2.8; for the one more, Phipson and
    Smyth 2010; for sign flips of paired measures, Smucker, Allan and Carterette 2007.

    Args:
        found: changes, (queries, measures).
        seed: of the drawn flips.
        draws: how many flips are drawn where there are too many to try them all.
    """
    import numpy as np

    size = np.sqrt((found**2).sum(axis=0))
    fell = np.flatnonzero((size > 0) & (found.sum(axis=0) < 0))
    p_values = [1.0] * found.shape[1]
    if not fell.size:
        return p_values
    # Only measures that changed can have a statistic; those that rose count for the correction, and last.
    scaled = np.divide(-found, size, out=np.zeros_like(found), where=size > 0)
    scaled = scaled[np.any(found != 0, axis=1)]  # a 0 is the same with either sign
    statistic = scaled.sum(axis=0)
    order = np.argsort(-statistic, kind="stable")
    as_large, tried = np.zeros(len(order)), 0
    for signs in _signs(len(scaled), seed, draws):
        flipped = (signs @ scaled)[:, order]
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        as_large += (largest >= statistic[order] - _ROUNDING).sum(axis=0)
        tried += len(signs)
    drawn = len(scaled) > ALL_TRIED
    p_sorted = np.maximum.accumulate((as_large + drawn) / (tried + drawn))
    for measure, p in zip(order, p_sorted, strict=True):
        if measure in fell:
            p_values[measure] = min(1.0, float(p))
    return p_values


def _signs(n: int, seed: int, draws: int) -> "Iterator[Values]":
    """Yield rows of n signs, 1.0 or -1.0, in pieces of a few megabytes: all of them, or `draws` of them."""
    import numpy as np

    if n <= ALL_TRIED:
        yield _as_signs((np.arange(2**n)[:, None] >> np.arange(n)) % 2)
        return
    rng = np.random.default_rng(seed)
    size = max(1, 2**18 // n)
    for start in range(0, draws, size):
        yield _as_signs(rng.integers(0, 2, (min(size, draws - start), n)))


def _as_signs(bits: "npt.NDArray[np.int64]") -> "Values":
    return (1 - 2 * bits).astype("float64")


def at_least(change: "Values", confidence: float) -> float | None:
    """Return the one-sided lower bound of the mean change; None with one query that changed.

    It is Student's bound, or that with one more query, which fell by as much as any query changed, where that is
    lower: a loss on few queries may be absent from the sample, and then Student's bound alone covers the mean in
    75 % of the cases instead of 95 %. Over even, uneven and skewed changes of 20 to 200 queries this one
    covers it in 92 % and more, except where a loss is so rare that no query shows it
    (tests/results/gate/test_power.py).

    Args:
        change: the change of one measure, (queries,).
        confidence: of the bound, in (0, 1).
    """
    values = [float(value) for value in change]
    most = max(map(abs, values))
    if not most:
        return 0.0
    if len(values) < 2:
        return None
    return min(lower_bound(values, confidence), lower_bound([*values, -most], confidence))


def fewest_that_show(alpha: float) -> int:
    """Return the number of changed queries from which on a drop can be shown: one flip of 2^n is below alpha."""
    return math.ceil(-math.log2(alpha) - 1e-9)


def detectable(found: "Values", measure: int, alpha: float, power: float) -> float | None:
    """Return the smallest true drop in one measure that `drop_p` shows with the given power.

    The spread of changes and the correlation of measures are those of `found`, (queries, measures); the drop is added
    to such changes for every query, in this measure only: if others fall too, the gate detects smaller drops. None
    where there is no spread, or there are too few queries.

    The statistic of `drop_p` is a function of Student's t, and its critical value is about that of the largest of as
    many correlated normal values, which gives the power by the noncentral t distribution. With at most 50 queries a
    few large changes can make that 7 points too high: there, the test itself is run on simulated changes, and the
    drop is corrected until the power is right.

    Args:
        found: changes, (queries, measures).
        measure: column of the measure.
        alpha: share of false alarms over all measures.
        power: share of such drops that are shown, in (0, 1).
    """
    n = len(found)
    if n < fewest_that_show(alpha):
        return None
    spread = deviation([float(value) for value in found[:, measure]])
    if spread <= _ROUNDING:
        return None
    attained = math.floor(alpha * 2**n + 1e-9) / 2**n if n <= ALL_TRIED else alpha
    critical = _critical(found, attained)
    if critical**2 >= n:
        return None
    drop = detectable_above(critical * math.sqrt((n - 1) / (n - critical**2)), spread, n, power)
    if n > _SIMULATED or alpha * (_SIMULATED_FLIPS + 1) < 1:
        return drop
    tried: list[tuple[float, float]] = []
    short, enough = 0.0, math.inf
    for _ in range(8):
        seen = _power(found, measure, drop, alpha)
        tried.append((abs(seen - power), drop))
        if seen < power:
            short = drop
        else:
            enough = drop
        drop = (short + enough) / 2 if math.isfinite(enough) else 1.5 * drop
    return min(tried)[1]


def _power(found: "Values", measure: int, drop: float, alpha: float) -> float:
    """Return how often `drop_p` shows a drop on top of changes drawn from `found`, either sign as likely."""
    import numpy as np

    n, rng = len(found), np.random.default_rng(0)
    change = found[rng.integers(0, n, (_SIMULATED_PAIRS, n))]
    change = change * _as_signs(rng.integers(0, 2, (_SIMULATED_PAIRS, n, 1)))
    change[:, :, measure] -= drop
    size = np.sqrt((change**2).sum(axis=1, keepdims=True))
    scaled = np.divide(-change, size, out=np.zeros_like(change), where=size > 0)
    signs = _as_signs(rng.integers(0, 2, (_SIMULATED_FLIPS, n)))
    largest = _largest(np.moveaxis(signs @ scaled, 2, 0))
    as_large = (largest >= scaled[:, :, measure].sum(axis=1, keepdims=True) - _ROUNDING).sum(axis=1)
    return float(np.mean((as_large + 1) / (_SIMULATED_FLIPS + 1) <= alpha))


def _critical(found: "Values", alpha: float) -> float:
    """Return what the largest statistic of `drop_p` exceeds with probability alpha where nothing fell."""
    import numpy as np

    changed = found[:, np.any(found != 0, axis=0)]
    scaled = changed / np.sqrt((changed**2).sum(axis=0))
    if scaled.shape[1] == 1:
        return NormalDist().inv_cdf(1 - alpha)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(0).standard_normal((_NORMAL_DRAWS, len(values)))
    return float(np.quantile(_largest((normal @ root.T).T), 1 - alpha))


def _largest(measures: "Values") -> "Values":
    """Return the largest value over the first axis; over an axis of four, numpy's own takes five times as long."""
    import numpy as np

    return reduce(np.maximum, measures)


def queries_to_decide(
    change: Sequence[float], tolerance: float, alpha: float, confidence: float, power: float
) -> int | None:
    """Return about how many queries would decide with the given power, if these are typical of them.

    That is the smaller of two numbers: so many that the drop found would be shown, and so many that the lower bound
    would be above -tolerance. Both by the normal approximation, to two digits. None with one query, or where no
    number would do: the mean is not below 0, and not above -tolerance.

    Args:
        change: the change of one measure for each query.
        tolerance: the largest mean drop that is accepted.
        alpha: share of false alarms.
        confidence: of the lower bound, in (0, 1).
        power: share of cases that are decided, in (0, 1).
    """
    n = len(change)
    if n < 2:
        return None
    mean, spread, most = fmean(change), deviation(change), max(map(abs, change))
    to_power = NormalDist().inv_cdf(power)
    needed: list[float] = []
    if mean < -_ROUNDING:
        evidence = (NormalDist().inv_cdf(1 - alpha) + to_power) * spread / -mean
        needed.append(max(evidence**2, fewest_that_show(alpha)))
    if (room := mean + tolerance) > _ROUNDING:
        # room = (most + mean) / N + (z + z') * spread / sqrt(N), solved for sqrt(N)
        b, c = (NormalDist().inv_cdf(confidence) + to_power) * spread, most + mean
        needed.append(((b + math.sqrt(b * b + 4 * room * c)) / (2 * room)) ** 2)
    if not needed:
        return None
    exact = max(math.ceil(min(needed)), n + 1)
    step = int(10 ** max(0, len(str(exact)) - 2))
    return math.ceil(exact / step) * step


_ROUNDING = 1e-9
_SIMULATED, _SIMULATED_PAIRS, _SIMULATED_FLIPS = 50, 400, 199
"""With up to 50 queries power is simulated: 400 pairs of systems, 199 flips each."""
_NORMAL_DRAWS = 40_000
"""This many draws give the critical value to 0.01."""
