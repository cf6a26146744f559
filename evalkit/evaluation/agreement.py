"""How far two judges of the same passages agree: kappa, Krippendorff's alpha, bias, and favour, with intervals.

Every statistic is a function of the confusion matrix, which is a sum over queries, so that one bootstrap over queries
gives all intervals: judgments of one query depend on each other.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from evalkit.boundary.errors import EvalkitError
from evalkit.types import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Statistic = Callable[[Array], Array]
    """Tables, shape (..., grades, grades), rows human -> figures, shape (...); NaN where undefined."""

Grades = Mapping[str, Mapping[str, int]]
"""query_id -> doc_id -> grade."""

RESAMPLES = 2000
"""Bootstrap samples of the queries."""


@dataclass(frozen=True)
class Figure:
    """A statistic with the 95 % percentile interval of a bootstrap over queries."""

    value: float | None
    """None where it is undefined, such as kappa where both judges gave every passage the same grade."""
    ci95: Interval = (None, None)
    """(None, None) with one query, or where more than 5 % of the samples leave it undefined."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a judge's grades relate to a human's, over the pairs that both have judged."""

    queries: int
    pairs: int
    grades: Sequence[int]
    """Those that either has given to one of the pairs, ascending."""
    confusion: Sequence[Sequence[int]]
    """Number of pairs by human grade (row) and the judge's grade (column), in the order of `grades`."""
    same_grade: Figure
    """Share of pairs with the same grade."""
    same_relevance: Figure
    """Share of pairs that are relevant for both or for neither."""
    kappa: Figure
    """Cohen's, of relevant against not relevant."""
    weighted_kappa: Figure
    """Cohen's, with weights that are the squared difference of the grades."""
    alpha: Figure
    """Krippendorff's, for ordered grades."""
    leniency: Figure
    """Mean of the judge's grade less the human's."""
    relevant_share_human: float
    relevant_share_judge: float
    same_grade_per_query: Mapping[str, float]
    """query_id -> share of its pairs with the same grade."""


def agreement(human: Grades, judge: Grades, relevance_level: int, seed: int = 0) -> Agreement:
    """Compare a judge with a human on the pairs that both have judged.

    Sources: Cohen 1960, A coefficient of agreement for nominal scales; Cohen 1968, Weighted kappa; Krippendorff 2011,
    Computing Krippendorff's alpha-reliability.

    Args:
        human: the human's grades.
        judge: the judge's grades.
        relevance_level: the lowest grade that counts as relevant.
        seed: of the bootstrap.

    Raises:
        EvalkitError: no pair is judged by both.
    """
    import numpy as np

    both = shared_pairs(human, judge)
    if not both:
        raise EvalkitError("no pair of a query and a passage is judged by both; are the ids of one collection?")
    grades = sorted({by[q][d] for by in (human, judge) for q, ids in both.items() for d in ids})
    place = {grade: number for number, grade in enumerate(grades)}
    tables = np.zeros((len(both), len(grades), len(grades)))
    for number, (query_id, ids) in enumerate(both.items()):
        for doc_id in ids:
            tables[number, place[human[query_id][doc_id]], place[judge[query_id][doc_id]]] += 1
    values = np.array(grades, dtype=np.float64)
    relevant = values >= relevance_level
    samples = _samples(tables, seed)

    def figure(statistic: "Statistic") -> Figure:
        return _figure(statistic, tables, samples)

    whole = tables.sum(axis=0)
    total = float(whole.sum())
    return Agreement(
        queries=len(both),
        pairs=int(total),
        grades=grades,
        confusion=whole.astype(int).tolist(),
        same_grade=figure(lambda t: _mean(t, np.eye(len(grades)))),
        same_relevance=figure(lambda t: _mean(t, (relevant[:, None] == relevant).astype(np.float64))),
        kappa=figure(lambda t: _kappa(t, (relevant[:, None] != relevant).astype(np.float64))),
        weighted_kappa=figure(lambda t: _kappa(t, (values[:, None] - values) ** 2)),
        alpha=figure(lambda t: _alpha(t + t.swapaxes(-1, -2))),
        leniency=figure(lambda t: _mean(t, values[None, :] - values[:, None])),
        relevant_share_human=float(whole[relevant].sum() / total),
        relevant_share_judge=float(whole[:, relevant].sum() / total),
        same_grade_per_query={
            query_id: float(np.trace(table) / table.sum()) for query_id, table in zip(both, tables, strict=True)
        },
    )


def shared_pairs(human: Grades, judge: Grades) -> dict[str, list[str]]:
    """Return the pairs that both have judged.

    Args:
        human: query_id -> doc_id -> grade.
        judge: query_id -> doc_id -> grade.

    Returns:
        query_id -> doc_ids, both in the order of `human`; queries without any are left out.
    """
    found = {q: [d for d in grades if d in judge.get(q, ())] for q, grades in human.items()}
    return {query_id: ids for query_id, ids in found.items() if ids}


def alpha_of(units: Iterable[Sequence[int]]) -> float | None:
    """Return Krippendorff's alpha for ordered grades, of any number of judges with gaps.

    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability.

    Args:
        units: for each pair of a query and a passage, the grades that its judges gave, in any order; a pair with one
            grade is not counted.

    Returns:
        1 where all agree, 0 for agreement as by chance; None where fewer than two different grades were given.
    """
    import numpy as np

    counted = [unit for unit in units if len(unit) > 1]
    place = {grade: n for n, grade in enumerate(sorted({grade for unit in counted for grade in unit}))}
    if len(place) < 2:
        return None
    coincidences = np.zeros((len(place), len(place)))
    for unit in counted:
        for one, other in permutations(unit, 2):
            coincidences[place[one], place[other]] += 1 / (len(unit) - 1)
    return float(_alpha(coincidences))


def favour(
    human: Grades, judge: Grades, promoted: Mapping[str, Collection[str]], demoted: Mapping[str, Collection[str]],
    seed: int = 0,
) -> Figure:  # fmt: skip
    """Return how much higher a judge grades the passages that a reranking promoted than those that it demoted.

    Only passages of the same human grade are compared, as any judge errs upwards on grade 0 and downwards on the
    highest grade. For each human grade the means of the judge's grades are subtracted, and the differences are averaged
    with weights n1 * n0 / (n1 + n0), as in Mantel and Haenszel 1959. 0 for a judge whose errors do not depend on the
    ranking; above 0 the judge favours the reranking, or sees relevance that the human missed.

    Args:
        human: the human's grades.
        judge: the judge's grades.
        promoted: query_id -> doc_ids.
        demoted: query_id -> doc_ids.
        seed: of the bootstrap.

    Returns:
        A difference in grades; undefined where no human grade has judged passages on both sides.
    """
    import numpy as np

    both = shared_pairs(human, judge)
    place = {grade: n for n, grade in enumerate(sorted({human[q][d] for q, ids in both.items() for d in ids}))}
    sums = np.zeros((max(len(both), 1), max(len(place), 1), 4))
    for number, (query_id, ids) in enumerate(both.items()):
        for doc_id in ids:
            for column, side in ((0, promoted), (2, demoted)):
                if doc_id in side.get(query_id, ()):
                    sums[number, place[human[query_id][doc_id]], column : column + 2] += (1, judge[query_id][doc_id])

    def difference(of: "Array") -> "Array":
        n1, sum1, n0, sum0 = np.moveaxis(of, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.nan_to_num(n1 * n0 / (n1 + n0))
            by_grade = np.nan_to_num(sum1 / n1 - sum0 / n0, posinf=0.0, neginf=0.0)
            return np.asarray((weights * by_grade).sum(axis=-1) / weights.sum(axis=-1))

    return _figure(difference, sums, _samples(sums, seed))


def tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two lists of means of the same systems; None where one of them has equal means only.

    Source: Kendall 1945, The treatment of ties in ranking problems.

    Args:
        one: a mean for each system, two or more.
        other: the same by another judge.
    """
    from scipy.stats import kendalltau

    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(kendalltau(one, other).statistic)


def _samples(parts: "Array", seed: int) -> "Array | None":
    """Return bootstrap samples of the sum over queries, shape (`RESAMPLES`, ...); None with one query.

    Args:
        parts: shape (queries, ...).
        seed: of the samples.
    """
    import numpy as np

    n = len(parts)
    if n < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return np.asarray((drawn @ parts.reshape(n, -1)).reshape(RESAMPLES, *parts.shape[1:]), dtype=np.float64)


def _figure(statistic: "Statistic", parts: "Array", samples: "Array | None") -> Figure:
    import numpy as np

    value = float(statistic(parts.sum(axis=0)))
    if not np.isfinite(value):
        return Figure(None)
    if samples is None:
        return Figure(value)
    drawn = statistic(samples)
    if np.isfinite(drawn).mean() < 0.95:
        return Figure(value)
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Figure(value, (float(low), float(high)))


def _mean(tables: "Array", values: "Array") -> "Array":
    """Return the mean of `values`, shape (grades, grades), over the pairs of each table."""
    import numpy as np

    return np.asarray((tables * values).sum(axis=(-1, -2)) / tables.sum(axis=(-1, -2)))


def _kappa(tables: "Array", disagreement: "Array") -> "Array":
    """Return Cohen's kappa: 1 less the observed disagreement over that expected from both judges' shares of grades.

    Args:
        tables: shape (..., grades, grades).
        disagreement: weight of each cell, shape (grades, grades), 0 on the diagonal.
    """
    import numpy as np

    expected = tables.sum(axis=-1)[..., :, None] * tables.sum(axis=-2)[..., None, :]
    expected = expected / tables.sum(axis=(-1, -2))[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (tables * disagreement).sum(axis=(-1, -2)) / (expected * disagreement).sum(axis=(-1, -2))
    return np.where(np.isfinite(ratio), 1 - ratio, np.nan)


def _alpha(coincidences: "Array") -> "Array":
    """Return Krippendorff's alpha for ordered grades.

    The distance of two grades is the number of values between them, half of their own included. With the mid-rank m(c)
    of grade c, which is the number of values below c and half of those of c, it is m(k) - m(c).

    Args:
        coincidences: symmetric, shape (..., grades, grades); each pair of values of a unit of m values counts
            1 / (m - 1), in both orders.
    """
    import numpy as np

    counts = coincidences.sum(axis=-1)
    middle = counts.cumsum(axis=-1) - counts / 2
    distance = (middle[..., :, None] - middle[..., None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(-1, -2))
    expected = (counts[..., :, None] * counts[..., None, :] * distance).sum(axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (counts.sum(axis=-1) - 1) * observed / expected
    return np.where(np.isfinite(ratio), 1 - ratio, np.nan)
