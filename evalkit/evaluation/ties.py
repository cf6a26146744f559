"""Measures of a ranking with tied scores: worst, best and on average over every order that the scores allow.

Source: McSherry and Najork, Computing information retrieval performance measures efficiently in the presence of tied
scores, ECIR 2008.
"""

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from evalkit.evaluation import incomplete
from evalkit.evaluation import measures as by_position
from evalkit.evaluation.measure_names import Measure
from evalkit.types import Effectiveness, Hit, Run


@dataclass(frozen=True)
class Tied:
    """A measure in [0, 1] over all orders of tied passages, each order equally likely."""

    expected: float
    low: float
    """With the worst grade first in every tied group."""
    high: float
    """With the best grade first in every tied group."""


def evaluate(
    run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure], relevance_level: int
) -> dict[str, dict[str, Tied]]:
    """Measure a run over all orders of its tied passages.

    Neighbours in a ranking are tied where their scores are equal floats. The worst and the best order are measured by
    `evalkit.evaluation.measures.evaluate`; the expected value is computed by formula where these differ.

    Args:
        run: rankings, best first.
        qrels: query_id -> doc_id -> grade.
        measures: what to measure.
        relevance_level: as in `evalkit.evaluation.measures.evaluate`.

    Returns:
        Measure name -> query_id -> expected, lowest and highest value, for every query of `qrels`.

    Raises:
        EvalkitError: there are no judgments.
    """
    low = by_position.evaluate(_sorted_ties(run, qrels, best_first=False), qrels, measures, relevance_level).per_query
    high = by_position.evaluate(_sorted_ties(run, qrels, best_first=True), qrels, measures, relevance_level).per_query
    condensed = incomplete.only_judged(run, qrels)

    def tied(measure: Measure, query_id: str) -> Tied:
        worst, best = low[str(measure)][query_id], high[str(measure)][query_id]
        if worst == best:
            return Tied(worst, worst, best)
        ranked = (condensed if measure.judged_only else run).rankings[query_id]
        gains = _gains(measure, qrels[query_id], relevance_level)
        return Tied(_expected(measure, gains, ranked), worst, best)

    return {str(measure): {query_id: tied(measure, query_id) for query_id in qrels} for measure in measures}


def means(values: Mapping[str, Mapping[str, Tied]]) -> dict[str, Tied]:
    """Return measure name -> arithmetic means over queries of what `evaluate` returned.

    The low mean has the worst order in every query at once, and the high mean the best.
    """
    expected, low, high = (
        Effectiveness({name: {q: getattr(v, field) for q, v in of.items()} for name, of in values.items()}).mean()
        for field in ("expected", "low", "high")
    )
    return {name: Tied(expected[name], low[name], high[name]) for name in values}


def _sorted_ties(run: Run, qrels: Mapping[str, Mapping[str, int]], best_first: bool) -> Run:
    def hits(query_id: str, grades: Mapping[str, int]) -> Iterator[Hit]:
        for group in _ties(run.rankings.get(query_id, ())):
            # An unjudged passage is never relevant, at any relevance level: it counts as worse than every grade.
            yield from sorted(group, key=lambda hit: grades.get(hit.doc_id, -math.inf), reverse=best_first)

    return Run(run.name, {query_id: tuple(hits(query_id, grades)) for query_id, grades in qrels.items()})


def _ties(hits: Iterable[Hit]) -> Iterator[list[Hit]]:
    return (list(group) for _, group in groupby(hits, key=lambda hit: hit.score))


def _gains(measure: Measure, grades: Mapping[str, int], relevance_level: int) -> dict[str, int]:
    """Return doc_id -> gain: the grade for nDCG, 1 for Judged, else 1 if relevant and 0 if not."""
    if measure.kind == "nDCG":
        return {doc_id: max(grade, 0) for doc_id, grade in grades.items()}
    if measure.kind == "Judged":
        return dict.fromkeys(grades, 1)
    level = measure.relevance_level or relevance_level
    return {doc_id: int(grade >= level) for doc_id, grade in grades.items()}


class _Group(NamedTuple):
    above: int
    """Passages ranked above the group."""
    size: int
    gain: int
    """Sum of gains in the group; for binary gains, the number of relevant passages."""
    judged: int = 0
    """Judged passages in the group."""

    def ranks(self, cutoff: int) -> range:
        """The ranks, from 1, that the group occupies within `cutoff`."""
        return range(self.above + 1, min(self.above + self.size, cutoff) + 1)


def _expected(measure: Measure, gains: Mapping[str, int], hits: Sequence[Hit]) -> float:
    """Return the mean of `measure` over all orders of the ties in `hits`; at least one gain is above 0."""
    groups, above = [], 0
    for tied in _ties(hits):
        found = [gains[hit.doc_id] for hit in tied if hit.doc_id in gains]
        groups.append(_Group(above, len(tied), sum(found), len(found)))
        above += len(tied)
    cutoff = measure.cutoff
    match measure.kind:
        case "nDCG":
            best_first = sorted(gains.values(), reverse=True)
            return _dcg(groups, cutoff) / _dcg([_Group(i, 1, gain) for i, gain in enumerate(best_first)], cutoff)
        case "P":
            return _found(groups, cutoff) / cutoff
        case "R":
            return _found(groups, cutoff) / sum(gains.values())
        case "AP":
            return _sum_of_precisions(groups, cutoff) / sum(gains.values())
        case "RR":
            return _reciprocal_rank(_first_relevant(groups), cutoff)
        case "Judged":
            return _found(groups, cutoff) / min(cutoff, len(hits))
        case "RBP":
            assert measure.persistence is not None
            return _rank_biased_precision(groups, cutoff, measure.persistence)
        case "bpref":
            relevant = sum(gains.values())
            return _sum_of_credits(groups, cutoff, relevant, len(gains) - relevant) / relevant
        case _:  # Success
            return _success(_first_relevant(groups), cutoff)


def _dcg(groups: Sequence[_Group], cutoff: int) -> float:
    return math.fsum(g.gain / g.size * math.fsum(1 / math.log2(rank + 1) for rank in g.ranks(cutoff)) for g in groups)


def _found(groups: Sequence[_Group], cutoff: int) -> float:
    return math.fsum(g.gain * len(g.ranks(cutoff)) / g.size for g in groups)


def _first_relevant(groups: Iterable[_Group]) -> _Group:
    """Return the group that contains the first relevant passage in every order."""
    return next(group for group in groups if group.gain)


def _reciprocal_rank(g: _Group, cutoff: int) -> float:
    """Return the sum over the ranks of `g` of 1 / rank, times the probability that the first relevant one is there."""
    total, none_above = 0.0, 1.0
    for i, rank in enumerate(g.ranks(cutoff)):
        here = g.gain / (g.size - i)  # given that all relevant passages are among the remaining size - i
        total += none_above * here / rank
        none_above *= 1 - here
    return total


def _success(g: _Group, cutoff: int) -> float:
    """Return 1 - the hypergeometric probability that no passage of `g` within `cutoff` is relevant."""
    inside = len(g.ranks(cutoff))
    return 1 - math.comb(g.size - g.gain, inside) / math.comb(g.size, inside)


def _sum_of_precisions(groups: Sequence[_Group], cutoff: int) -> float:
    """Return the expected sum, over relevant passages, of the precision at their rank.

    A position of a group is relevant with probability gain / size. If it is, each of the i earlier positions of the
    group is relevant with probability (gain - 1) / (size - 1).
    """
    total, above = 0.0, 0
    for g in groups:
        others = (g.gain - 1) / max(g.size - 1, 1)
        precisions = math.fsum((above + 1 + i * others) / rank for i, rank in enumerate(g.ranks(cutoff)))
        total += g.gain / g.size * precisions
        above += g.gain
    return total


def _rank_biased_precision(groups: Sequence[_Group], cutoff: int, persistence: float) -> float:
    weights = (g.gain / g.size * math.fsum(persistence ** (rank - 1) for rank in g.ranks(cutoff)) for g in groups)
    return (1 - persistence) * math.fsum(weights)


def _sum_of_credits(groups: Sequence[_Group], cutoff: int, relevant: int, not_relevant: int) -> float:
    """Return the expected sum of the credits of bpref.

    Of a relevant passage in a group that is whole within the cutoff, any number of the group's passages judged not
    relevant may stand before it, each as likely. In a group that the cutoff divides, the number before position i is
    hypergeometric.
    """
    total, above = 0.0, 0
    for g in groups:
        inside, others = len(g.ranks(cutoff)), g.judged - g.gain
        worths = [incomplete.credit(above + n, relevant, not_relevant) for n in range(others + 1)]
        if inside == g.size:
            total += g.gain * math.fsum(worths) / (others + 1)
        elif inside and g.gain:
            total += g.gain / g.size * _hypergeometric_sum(worths, g.size - 1, inside)
        above += others
    return total


def _hypergeometric_sum(values: Sequence[float], size: int, inside: int) -> float:
    """Return the sum over i below `inside` of the mean of values[n], n marked ones among i drawn from `size`.

    len(values) - 1 of the `size` are marked.
    """
    marked, total = len(values) - 1, 0.0
    share = [1.0] + [0.0] * marked  # of the draws with n marked ones
    for i in range(inside):
        total += math.fsum(map(operator.mul, share, values))
        if left := size - i:
            drawn = [share[n] * (marked - n) / left for n in range(marked)]
            stays = [share[n] * (1 - (marked - n) / left) for n in range(marked + 1)]
            share = [stay + come for stay, come in zip(stays, [0.0, *drawn])]
    return total
