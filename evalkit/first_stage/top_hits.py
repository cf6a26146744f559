"""The best hits of a query among scores of passages, where a passage that scores 0 is not a hit."""

from collections.abc import Sequence
from typing import Any

from evalkit.evaluation import ranking
from evalkit.types import Hit


def top_hits(doc_ids: Sequence[str], scores: Any, depth: int, rows: Any = None) -> tuple[Hit, ...]:
    """Return the best `depth` passages with a positive score; ties at the end are broken by `ranking.order`.

    Args:
        doc_ids: the ids of all passages.
        scores: scores of passages as an array, shape (passages,), or (rows,).
        depth: the largest number of hits.
        rows: the passage of each score as an index of `doc_ids`; None where all passages have a score.
    """
    import numpy as np

    least = np.partition(scores, -depth)[-depth] if depth < len(scores) else 0.0
    found = np.flatnonzero((scores >= least) & (scores > 0))
    of = found if rows is None else rows[found]
    return ranking.order(Hit(doc_ids[int(i)], float(score)) for i, score in zip(of, scores[found]))[:depth]
