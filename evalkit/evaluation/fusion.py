"""Several rankings of the same queries fused into one: weighted sums of reciprocal ranks or of normalised scores.

ranx.fuse computes the same sums, but sorts before and after with a sort that is unstable, so that its order of ties,
and with reciprocal ranks its scores, are not defined. The sums are therefore computed here, correctly rounded, so that
the order in which the rankings are given changes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.evaluation import ranking
from evalkit.types import Hit, Run

METHODS = ("rrf", "min_max", "z_score", "rank")
"""What a passage gets from a ranking of n passages, in which it has a score s and a rank r from 1.

- ``rrf``: 1 / (k + r), and 0 where it is missing (Cormack, Clarke and Büttcher 2009, Reciprocal rank fusion outperforms
  Condorcet and individual rank learning methods; k is 60 there).
- ``min_max``: (s - min) / (max - min), and 0 where it is missing (Lee 1997, Analyses of multiple evidence combination).
- ``z_score``: (s - mean) / standard deviation over the n passages (Montague and Aslam 2001, Relevance score
  normalization for metasearch). A missing passage gets what the last of the ranking has; the mean, 0, would place it
  above half of the passages that were found.
- ``rank``: 1 - (r - 1) / n, and 0 where it is missing.

In a ranking of a single passage, it has 1 by ``min_max`` and 0 by ``z_score``.
"""


@dataclass(frozen=True)
class Terms:
    """What the passages of one query get from one ranking."""

    of: Mapping[str, float]
    """doc_id -> term, in the order of the ranking."""
    missing: float
    """The term of every other passage."""


def check_method(setting: str, method: str, k: int) -> None:
    """Check a method of fusion.

    Args:
        setting: the beginning of its settings' names, for messages, such as ``first_stage``.
        method: one of `METHODS`.
        k: the constant of ``rrf``.

    Raises:
        EvalkitError: there is no such method, or `k` is negative.
    """
    if method not in METHODS:
        raise EvalkitError(f"{setting}.method={method}: there is no such method of fusion{nearest(method, METHODS)}")
    if k < 0:
        raise EvalkitError(f"{setting}.k={k}: the constant of reciprocal rank fusion is 0 or more, and 60 by default")


def terms(run: Run, method: str, k: int = 60, constant_is_error: bool = True) -> dict[str, Terms]:
    """Return what each passage gets from a run: query_id -> terms.

    Args:
        run: one of the rankings to be fused.
        method: one of `METHODS`.
        k: the constant of ``rrf``.
        constant_is_error: whether to refuse, with ``min_max`` and ``z_score``, a ranking of several passages with one
            and the same score; else all of them get 0.

    Raises:
        EvalkitError: there is such a ranking.
    """
    found = {}
    for query_id, hits in run.rankings.items():
        scores = [hit.score for hit in hits]
        is_flat = method in ("min_max", "z_score") and ranking.is_constant(scores)
        if is_flat and constant_is_error:
            raise EvalkitError(
                f"{run.name} gives all {len(scores)} passages of query {query_id!r} the score {scores[0]:g}, which "
                f"{method} cannot normalise; fuse by rank instead (method rrf or rank)"
            )
        found[query_id] = (
            Terms(dict.fromkeys((hit.doc_id for hit in hits), 0.0), 0.0) if is_flat else _terms(hits, method, k)
        )
    return found


def _terms(hits: Sequence[Hit], method: str, k: int) -> Terms:
    if not hits:
        return Terms({}, 0.0)
    scores = [hit.score for hit in hits]
    values, missing = _values(scores, method, k)
    return Terms({hit.doc_id: value for hit, value in zip(hits, values, strict=True)}, missing)


def _values(scores: Sequence[float], method: str, k: int) -> tuple[list[float], float]:
    """Return the terms of a ranking's `scores`, best first, and that of a missing passage; see `METHODS`."""
    n = len(scores)
    if method == "rrf":
        return [1 / (k + rank) for rank in range(1, n + 1)], 0.0
    if method == "rank":
        return [1 - rank / n for rank in range(n)], 0.0
    if method == "min_max":
        low, high = min(scores), max(scores)
        return [(score - low) / (high - low) for score in scores] if n > 1 else [1.0], 0.0
    mean = math.fsum(scores) / n
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / n)
    values = [(score - mean) / deviation if deviation else 0.0 for score in scores]
    return values, min(values)


def fuse(
    members: Mapping[str, Mapping[str, Terms]],
    weights: Mapping[str, Mapping[str, float]],
    name: str,
    depth: int | None = None,
) -> Run:
    """Return the fused run: each passage that a member ranks has the weighted sum of its terms as its score.

    Equal sums are ordered by the rank in the member whose name is first in alphabetical order, then by doc_id
    (`evalkit.evaluation.ranking.order`). A passage that only members of weight 0 rank is ranked too.

    Args:
        members: name -> query_id -> terms (see `terms`).
        weights: query_id -> name of a member -> weight, for the queries to be ranked.
        name: of the fused run.
        depth: the most hits of a query; None for all.
    """
    return Run(name, {
        query_id: _fused([(members[member].get(query_id, _NOTHING), of_query[member]) for member in sorted(members)])[
            :depth
        ]
        for query_id, of_query in weights.items()
    })  # fmt: skip


_NOTHING = Terms({}, 0.0)


def _fused(members: Sequence[tuple[Terms, float]]) -> tuple[Hit, ...]:
    ranked = dict.fromkeys(doc_id for terms, _ in members for doc_id in terms.of)
    first = {doc_id: rank for rank, doc_id in enumerate(members[0][0].of)}
    return ranking.order(
        (
            Hit(doc_id, math.fsum(weight * terms.of.get(doc_id, terms.missing) for terms, weight in members))
            for doc_id in ranked
        ),
        first,
    )
