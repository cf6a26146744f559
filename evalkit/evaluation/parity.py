"""How much two scorings of the same candidates differ, such as half and single precision."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.types import Hit, Run


@dataclass(frozen=True)
class PerQuery:
    """The difference between two scorings of one query's candidates."""

    max_abs: float | None
    """Largest absolute difference of logits; None where ranks alone are compared."""
    top10_overlap: float
    """Share of the top 10 (of all passages where there are fewer) that both have in common."""
    kendall_tau: float | None
    """Kendall's tau-b of the scores, in [-1, 1]; None with fewer than two passages."""
    rbo: float
    """Rank-biased overlap in [0, 1]."""


@dataclass(frozen=True)
class Parity:
    """The difference between two scorings, ``before`` and ``after``, of the same candidates.

    Means and shares are over the queries that have hits; without such a query they are 1, as nothing differs.
    """

    pairs: int
    """Pairs of a query and a passage that both scored."""
    max_abs: float | None
    """Largest absolute difference of logits. This and the next two are 0 without pairs, and None for ranks alone."""
    mean_abs: float | None
    rms: float | None
    """Root of the mean squared difference of logits."""
    tied_pairs_before: int
    """Pairs that share their score with another one of their query."""
    tied_pairs_after: int
    queries_tied_at_top_before: int
    """Queries whose two best scores are equal."""
    queries_tied_at_top_after: int
    same_top_1: float
    """Share of queries with the same passage on top."""
    top10_overlap: float
    """Mean over queries."""
    kendall_tau: float
    """Mean over queries with at least two passages."""
    rbo: float
    """Mean over queries."""
    per_query: Mapping[str, PerQuery]
    """For the queries that have hits."""


def parity(before: Run, after: Run, depth: int, ranks_only: bool = False) -> Parity:
    """Compare two scorings of the same candidates.

    Ranks are those of the runs, so tied passages count in the order in which they stand; only Kendall's tau takes ties
    into account.

    Args:
        before: the first run.
        after: the second run, with the same candidates for each query.
        depth: how many hits of each query are compared.
        ranks_only: for scores that are not logits, or are of different scales; their differences are then None.

    Returns:
        Differences over all pairs, and for each query.

    Raises:
        EvalkitError: the runs have different queries, or different candidates for a query.
    """
    rankings = same_candidates(before, after, depth)
    differences: list[float] = []
    per_query: dict[str, PerQuery] = {}
    for query_id, (old, new) in rankings.items():
        scores = dict(new)
        off = [abs(scores[doc_id] - score) for doc_id, score in old]
        old_ids, new_ids = [hit.doc_id for hit in old], [hit.doc_id for hit in new]
        per_query[query_id] = PerQuery(
            None if ranks_only else max(off),
            len(set(old_ids[:10]) & set(new_ids[:10])) / min(len(old), 10),
            kendall_tau([hit.score for hit in old], [scores[doc_id] for doc_id in old_ids]) if len(old) > 1 else None,
            rank_biased_overlap(old_ids, new_ids),
        )
        differences += off
    values = per_query.values()
    return Parity(
        pairs=len(differences),
        max_abs=None if ranks_only else max(differences, default=0.0),
        mean_abs=None if ranks_only else _mean(differences, of_none=0.0),
        rms=None if ranks_only else math.sqrt(_mean([d * d for d in differences], of_none=0.0)),
        tied_pairs_before=sum(_tied(old) for old, _ in rankings.values()),
        tied_pairs_after=sum(_tied(new) for _, new in rankings.values()),
        queries_tied_at_top_before=sum(_tied(old[:2]) > 0 for old, _ in rankings.values()),
        queries_tied_at_top_after=sum(_tied(new[:2]) > 0 for _, new in rankings.values()),
        same_top_1=_mean([float(old[0].doc_id == new[0].doc_id) for old, new in rankings.values()]),
        top10_overlap=_mean([value.top10_overlap for value in values]),
        kendall_tau=_mean([value.kendall_tau for value in values if value.kendall_tau is not None]),
        rbo=_mean([value.rbo for value in values]),
        per_query=per_query,
    )


def kendall_tau(before: Sequence[float], after: Sequence[float]) -> float:
    """Return Kendall's tau-b of two scorings of the same passages.

    tau-b is 0 / 0 where a scoring gives every passage the same score. Here it is then 1 if both do, and 0 if one does.
    Source: Kendall, The treatment of ties in ranking problems, Biometrika 1945; computed by scipy.

    Args:
        before: scores, shape (n,), n of 2 or more.
        after: scores of the same passages in the same order, shape (n,).

    Returns:
        A value in [-1, 1].
    """
    import numpy as np
    from scipy.stats import kendalltau

    # Equal rank vectors give exactly 1, where scipy may round to just below.
    old, new = (np.unique(scores, return_inverse=True)[1] for scores in (before, after))
    if np.array_equal(old, new):
        return 1.0
    if not old.any() or not new.any():
        return 0.0
    return float(kendalltau(old, new).statistic)


def rank_biased_overlap(before: Sequence[str], after: Sequence[str], p: float = 0.9) -> float:
    """Return the rank-biased overlap (RBO) of two rankings of equal length, extrapolated beyond their end.

    With A(d) the share of the first d ids that both have, and k the length, it is
    A(k) p^k + (1 - p) / p * sum of A(d) p^d over d = 1..k. It is computed as 1 minus what is missing, so that equal
    rankings give exactly 1. Source: Webber, Moffat and Zobel, A similarity measure for indefinite rankings, ACM TOIS
    2010, equation 30.

    Args:
        before: doc_ids, best first, shape (k,).
        after: doc_ids, best first, shape (k,).
        p: persistence in (0, 1). At 0.9 the first 10 ranks carry 86 % of the weight.

    Returns:
        A value in [0, 1].
    """
    apart, missing, weight = 0.0, 0.0, 1.0
    once: set[str] = set()
    for depth, (old, new) in enumerate(zip(before, after, strict=True), 1):
        once ^= {old} ^ {new}  # ids that only one of the rankings has so far: as many in each
        apart = len(once) / 2 / depth
        missing += (1 - p) * weight * apart
        weight *= p
    return 1 - missing - weight * apart


def same_candidates(before: Run, after: Run, depth: int) -> dict[str, tuple[Sequence[Hit], Sequence[Hit]]]:
    """Return query_id -> the first `depth` hits of both runs, for each query that has any.

    Args:
        before: the first run.
        after: the second run.
        depth: how many hits of each query are compared.

    Raises:
        EvalkitError: the runs have different queries, or different candidates for a query.
    """
    only = _in_one_only(before.rankings, after.rankings)
    if only:
        raise EvalkitError(
            f"query {only!r} is in only one of the runs {before.name!r} and {after.name!r}; "
            "scores can be compared only for the same queries"
        )
    rankings: dict[str, tuple[Sequence[Hit], Sequence[Hit]]] = {}
    for query_id, hits in before.rankings.items():
        old, new = hits[:depth], after.rankings[query_id][:depth]
        only = _in_one_only([hit.doc_id for hit in old], [hit.doc_id for hit in new])
        if only:
            raise EvalkitError(
                f"query {query_id!r} has passage {only!r} among the first {depth} in only one of the runs "
                f"{before.name!r} and {after.name!r}; scores can be compared only for the same candidates"
            )
        if old:
            rankings[query_id] = old, new
    return rankings


def _in_one_only(one: Iterable[str], other: Iterable[str]) -> str | None:
    """Return the smallest id that only one of the two has; None if there is none."""
    return min(set(one) ^ set(other), default=None)


def _tied(hits: Iterable[Hit]) -> int:
    return ranking.count_tied([hit.score for hit in hits])


def _mean(values: Collection[float], of_none: float = 1.0) -> float:
    return fmean(values) if values else of_none
