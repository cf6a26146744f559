"""The queries that lost most, with the passages whose changed ranks caused it."""

import math
from collections.abc import Iterator

from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.verdict import ROUNDING, Loss, Move
from evalkit.results.reading import Finished


def losses(baseline: Baseline, now: Baseline, finished: Finished, worst: int) -> Iterator[Loss]:
    """Yield up to `worst` queries that lost in the first measure, the largest loss first.

    Args:
        baseline: the trusted values.
        now: the values of the new result.
        finished: the new result, whole.
        worst: how many queries at most.
    """
    measure = next(iter(baseline.reranked))
    before, after = baseline.reranked[measure], now.reranked[measure]
    lost = sorted((after[q] - before[q], q) for q in before if after[q] < before[q] - ROUNDING)
    for _, query_id in lost[:worst]:
        yield Loss(
            query_id,
            finished.queries.get(query_id, ""),
            before[query_id],
            after[query_id],
            tuple(_moves(baseline, finished, query_id)),
        )


def _moves(baseline: Baseline, finished: Finished, query_id: str) -> list[Move]:
    """Return the relevant passages that lost most discounted gain, and what is in the top 10 that was not."""
    old = {hit.doc_id: rank for rank, hit in enumerate(baseline.top[query_id], 1)}
    new = {hit.doc_id: rank for rank, hit in enumerate(finished.reranked.rankings.get(query_id, ()), 1)}
    moved = [
        Move(passage.doc_id, passage.text, passage.grade, old.get(passage.doc_id), new.get(passage.doc_id))
        for passage in finished.passages.get(query_id, {}).values()
        if old.get(passage.doc_id) != new.get(passage.doc_id)
    ]
    fallen = sorted((move for move in moved if _gain_lost(move) > 0), key=_gain_lost, reverse=True)
    risen = [move for move in moved if not move.grade and _discount(move.rank_after) > _discount(move.rank_before)]
    return fallen[:3] + sorted(risen, key=lambda move: move.rank_after or math.inf)[:2]


def _gain_lost(move: Move) -> float:
    return (move.grade or 0) * (_discount(move.rank_before) - _discount(move.rank_after))


def _discount(rank: int | None) -> float:
    """Return nDCG's discount of a rank, 1 / log2(rank + 1); 0 for a rank that is not known."""
    return 1 / math.log2(rank + 1) if rank else 0.0
