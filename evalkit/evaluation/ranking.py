"""The order of passages: every sort of hits in evalkit is done here."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.surrogate_scores import to_float32
from evalkit.types import Hit, Pair, Run


def order(hits: Iterable[Hit], prior: Mapping[str, int] | None = None) -> tuple[Hit, ...]:
    """Return `hits` best first, by the key (-score, prior rank, doc_id).

    Args:
        hits: in any order.
        prior: doc_id -> rank in an earlier stage, which breaks ties. Passages that it lacks follow, by doc_id.

    Raises:
        EvalkitError: a score is NaN, or a doc_id occurs twice.
    """
    ranks = prior or {}
    last = len(ranks)
    items = list(hits)
    seen: set[str] = set()
    for doc_id, score in items:
        if math.isnan(score):
            raise EvalkitError(f"the score of passage {doc_id!r} is not a number (NaN), so it has no rank")
        if doc_id in seen:
            raise EvalkitError(f"passage {doc_id!r} occurs twice in one ranking; ids must be unique")
        seen.add(doc_id)
    return tuple(sorted(items, key=lambda hit: (-hit.score, ranks.get(hit.doc_id, last), hit.doc_id)))


def trec_eval_order(hits: Iterable[Hit], spelt: Mapping[str, str] | None = None) -> tuple[Hit, ...]:
    """Return `hits` as trec_eval orders them: by descending 32-bit score, and ties by descending doc_id.

    Args:
        hits: in any order.
        spelt: doc_id -> the id in the file, where it differs; ties are broken by the id in the file.

    Raises:
        EvalkitError: as `order`.
    """
    names = spelt or {}
    by_id = sorted(hits, key=lambda hit: names.get(hit.doc_id, hit.doc_id), reverse=True)
    score = {hit.doc_id: hit.score for hit in by_id}
    ordered = order((Hit(d, to_float32(s)) for d, s in by_id), {hit.doc_id: place for place, hit in enumerate(by_id)})
    return tuple(Hit(hit.doc_id, score[hit.doc_id]) for hit in ordered)


def order_by_rank(hits: Sequence[Hit], ranks: Mapping[str, int]) -> tuple[Hit, ...]:
    """Return `hits` by ascending rank; hits of equal rank keep their order.

    Args:
        hits: of one query, in any order.
        ranks: doc_id -> rank, for each hit.
    """
    return tuple(sorted(hits, key=lambda hit: ranks[hit.doc_id]))


def competition_ranks(values: Sequence[float]) -> list[int]:
    """Return the rank, from 1, of each of a ranking's `values`, best first; equal neighbours share the first's rank."""
    ranks: list[int] = []
    for place, value in enumerate(values):
        ranks.append(ranks[-1] if place and value == values[place - 1] else place + 1)
    return ranks


def rerank(
    first: Sequence[Hit], logits: Mapping[str, float], depth: int, tie_order: Mapping[str, int] | None = None
) -> tuple[Hit, ...]:
    """Return the reranked list: the first `depth` passages by logit, then all others in first-stage order.

    Passages within `depth` that have no logit follow the scored ones, and those below `depth` come last, so recall at
    a larger cutoff does not change. Passages without a logit get scores strictly below the last logit, so that sorting
    by score gives this order.

    Args:
        first: the first stage's hits, best first.
        logits: doc_id -> logit, finite.
        depth: how many passages are reranked.
        tie_order: doc_id -> position, which breaks ties between logits; None for first-stage order.

    Raises:
        EvalkitError: a logit is NaN, or a doc_id occurs twice.
    """
    head, tail = first[:depth], first[depth:]
    prior = tie_order or {hit.doc_id: rank for rank, hit in enumerate(first)}
    scored = order((Hit(h.doc_id, logits[h.doc_id]) for h in head if h.doc_id in logits), prior)
    rest = [h for h in head if h.doc_id not in logits] + list(tail)
    last, following = scored[-1].score if scored else 0.0, []
    for hit in rest:
        last = min(last - 1.0, math.nextafter(last, -math.inf))  # from 2**53 on, subtracting 1 changes nothing
        following.append(Hit(hit.doc_id, last))
    return scored + tuple(following)


def oracle(first: Sequence[Hit], grades: Mapping[str, int], depth: int) -> tuple[Hit, ...]:
    """Return the best order of the first `depth` passages: by grade, ties in first-stage order.

    Args:
        first: the first stage's hits, best first.
        grades: doc_id -> grade; an unjudged passage counts as grade 0.
        depth: how many passages are reranked.

    Returns:
        All hits; those below `depth` follow in first-stage order.

    Raises:
        EvalkitError: a doc_id occurs twice.
    """
    return rerank(first, {hit.doc_id: float(grades.get(hit.doc_id, 0)) for hit in first[:depth]}, depth)


def count_tied(logits: Sequence[float]) -> int:
    """Return how many of `logits` are equal to another one."""
    return sum(count for count in Counter(logits).values() if count > 1)


def is_constant(scores: Sequence[float]) -> bool:
    """Return whether there are several `scores` and all of them are equal."""
    return len(scores) > 1 and len(set(scores)) == 1


def oracle_run(first: Run, qrels: Mapping[str, Mapping[str, int]], depth: int) -> Run:
    """Return the ceiling: for each query the best order of its first `depth` passages, which no reranker exceeds.

    Args:
        first: the first stage's ranking of each query.
        qrels: query_id -> doc_id -> grade, for each query of the run.
        depth: how many passages of each query are reranked.

    Raises:
        EvalkitError: a doc_id occurs twice in the ranking of a query.
    """
    return Run("perfect order", {q: oracle(hits, qrels[q], depth) for q, hits in first.rankings.items()})


def candidates(first: Run, depth: int) -> list[Pair]:
    """Return the pairs to score: the best `depth` passages of each query.

    Args:
        first: the first stage's ranking of each query.
        depth: how many passages of each query are reranked.

    Returns:
        Pairs; those of a query are consecutive, in first-stage order.
    """
    return [Pair(query_id, hit.doc_id) for query_id, hits in first.rankings.items() for hit in hits[:depth]]


def reorder(
    first: Run,
    logits: Mapping[str, Mapping[str, float]],
    depth: int,
    name: str,
    tie_order: Mapping[str, Mapping[str, int]] | None = None,
) -> Run:
    """Return the reranked run.

    Args:
        first: the first stage's run.
        logits: query_id -> doc_id -> logit, without the passages that have none.
        depth: how many passages of each query are reranked.
        name: of the reranked run.
        tie_order: see `Scores.tie_order`.
    """
    ties = tie_order or {}
    return Run(name, {
        query_id: rerank(hits, logits.get(query_id, {}), depth, ties.get(query_id))
        for query_id, hits in first.rankings.items()
    })  # fmt: skip
