"""The one place that sorts: every order of passages in evalkit comes from here."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from evalkit.errors import EvalkitError
from evalkit.types import Hit


def order(hits: Iterable[Hit], prior: Mapping[str, int] | None = None) -> tuple[Hit, ...]:
    """Return `hits` best first, by the key (-score, prior rank, doc_id).

    `prior` maps a doc_id to its rank in an earlier stage, so that ties keep the earlier order; without it,
    or for a passage that it lacks, ties fall to the doc_id.

    Raises:
        EvalkitError: a score is NaN, or a doc_id occurs twice: there is no order then.
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


def rerank(first: Sequence[Hit], logits: Mapping[str, float], depth: int) -> tuple[Hit, ...]:
    """Return the reranked list: the first `depth` passages by logit, then the rest as they stood.

    Passages of the head that `logits` lacks follow the scored ones in first-stage order, and so do the passages
    below `depth`; recall at a larger cutoff therefore does not change. Scores of what follows are continued
    strictly below the last logit, so that a reader of the run file who sorts by score finds this very order.

    Raises:
        EvalkitError: a logit is NaN, or a doc_id occurs twice.
    """
    head, tail = first[:depth], first[depth:]
    prior = {hit.doc_id: rank for rank, hit in enumerate(first)}
    scored = order((Hit(h.doc_id, logits[h.doc_id]) for h in head if h.doc_id in logits), prior)
    rest = [h for h in head if h.doc_id not in logits] + list(tail)
    floor = scored[-1].score if scored else 0.0
    return scored + tuple(Hit(hit.doc_id, floor - 1.0 - i) for i, hit in enumerate(rest))


def perfect(first: Sequence[Hit], grades: Mapping[str, int], depth: int) -> tuple[Hit, ...]:
    """Return the best order any reranker could make of the first `depth` passages: by grade, ties as they stood."""
    return rerank(first, {hit.doc_id: float(grades.get(hit.doc_id, 0)) for hit in first[:depth]}, depth)


def tied(logits: Sequence[float]) -> int:
    """Return how many of `logits` share their value with another one."""
    return sum(count for count in Counter(logits).values() if count > 1)
