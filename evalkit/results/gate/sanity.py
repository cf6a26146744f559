"""Checks without statistics: the reranker has an effect, its scores are sound, and the first stage is unchanged."""

from collections.abc import Iterator
from itertools import combinations

from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.verdict import ROUNDING, Check


def first_stage(baseline: Baseline, now: Baseline, limits: Limits) -> Check:
    """Return whether the first stage's recall is as before: a reranker cannot rank what was not retrieved.

    Args:
        baseline: the trusted values.
        now: the values of the new result.
        limits: the limits in force.
    """
    recalls = [measure for measure in now.first if measure.startswith(("R@", "R("))]
    if recalls:
        name = max(recalls, key=lambda measure: int(measure.split("@")[1]))
        before, after = baseline.mean("first", name), now.mean("first", name)
    else:
        name = next(iter(now.ceiling))
        before, after = baseline.ceiling[name], now.ceiling[name]
        name = f"ceiling of {name}"
    lost = now.scoring.queries_without_hits - baseline.scoring.queries_without_hits
    figures = f"{name} of the first stage {before:.4f} -> {after:.4f}"
    if lost > 0:
        figures += f", and {lost} more queries find nothing"
    if limits.max_recall_drop is None:
        return Check("first_stage", "no limit", figures)
    if before - after > limits.max_recall_drop + ROUNDING or lost > 0:
        return Check(
            "first_stage",
            "failed",
            f"the retriever is at fault, not the reranker: {figures}; a reranker cannot find what was not retrieved",
        )
    return Check("first_stage", "passed", figures)


def scores(baseline: Baseline, now: Baseline, limits: Limits) -> Iterator[Check]:
    """Yield the checks of scores that do not depend on the measures.

    Args:
        baseline: the trusted values.
        now: the values of the new result.
        limits: the limits in force.
    """
    counts, pairs = now.scoring, max(now.scoring.pairs, 1)
    constant = counts.queries_with_constant_score - baseline.scoring.queries_with_constant_score
    if constant > 0:
        yield Check(
            "scores_vary",
            "failed",
            f"{constant} more queries than in the baseline have the same score for all of their passages: the "
            "reranker does not distinguish them",
        )
    else:
        yield _share(
            "scores_vary",
            counts.tied_pairs / pairs,
            limits.max_tied_share,
            "max_tied_share",
            "of the pairs share their score with another one of their query: scores were rounded, clipped or lost",
        )
    yield _order(baseline, now)
    yield _above(now, limits)
    yield _share(
        "truncated",
        counts.truncated_pairs / pairs,
        limits.max_truncated_share,
        "max_truncated_share",
        f"of the pairs were cut to {now.reranker.get('max_length', 'the maximum number of')} tokens",
    )
    if now.unknown:
        yield _unknown(baseline, now, limits)
    yield _rise(
        "unscored",
        baseline.scoring.pairs_unscored / max(baseline.scoring.pairs, 1),
        counts.pairs_unscored / pairs,
        limits.max_unscored_rise,
        "max_unscored_rise",
        "share of candidates without a score",
    )
    yield _rise(
        "unjudged",
        baseline.unjudged_at_10,
        now.unjudged_at_10,
        limits.max_unjudged_rise,
        "max_unjudged_rise",
        "share of unjudged passages in the top 10, which count as not relevant,",
    )


def _order(baseline: Baseline, now: Baseline) -> Check:
    if changed := now.scoring.queries_reordered:
        return Check("order_changed", "passed", f"the reranker changed the order of {changed} queries")
    if baseline.reranker.get("name") == now.reranker.get("name") == "none":
        return Check("order_changed", "passed", "there is no reranker, as in the baseline")
    return Check(
        "order_changed",
        "failed",
        "the reranker changed no order: every list is the first stage's, as if it were off",
    )


def _above(now: Baseline, limits: Limits) -> Check:
    measure = next(iter(now.reranked))
    before, after = now.mean("first", measure), now.mean("reranked", measure)
    figures = f"{measure} {before:.4f} before reranking, {after:.4f} after"
    limit = limits.max_below_first_stage
    if limit is None:
        return Check("above_first_stage", "no limit", figures)
    if before - after > limit + ROUNDING:
        by = f" by more than max_below_first_stage {limit:g}" if limit else ""
        return Check(
            "above_first_stage", "failed", f"after is below before{by}: {figures}; the first stage alone is better"
        )
    return Check("above_first_stage", "passed", figures)


def _unknown(baseline: Baseline, now: Baseline, limits: Limits) -> Check:
    name, limit, shares = "unknown_tokens", limits.max_unknown_share, now.unknown
    figures = " and ".join(
        f"{share:.1%} of the {side} tokens"
        + (f" ({baseline.unknown[side]:.1%} in the baseline)" if side in baseline.unknown else "")
        for side, share in shares.items()
    )
    message = f"the model's vocabulary lacks {figures}"
    if limit is None:
        return Check(name, "no limit", message)
    unknown = [
        side for side, share in shares.items() if share > limit and share > baseline.unknown.get(side, 0.0) + ROUNDING
    ]
    if unknown:
        sides = " and ".join({"query": "queries", "passage": "passages"}[side] for side in unknown)
        return Check(
            name,
            "failed",
            f"{message}: more than max_unknown_share {limit:g} in the {sides}, which it cannot read; use a model "
            "whose tokenizer covers the language",
        )
    return Check(name, "passed", message)


def _share(name: str, share: float, limit: float | None, setting: str, words: str) -> Check:
    message = f"{share:.1%} {words}"
    if limit is None:
        return Check(name, "no limit", message)
    if share > limit:
        return Check(name, "failed", f"{message}; more than {setting} {limit:g}")
    return Check(name, "passed", message)


def _rise(name: str, before: float, after: float, limit: float | None, setting: str, words: str) -> Check:
    message = f"{words} {before:.1%} -> {after:.1%}"
    if limit is None:
        return Check(name, "no limit", message)
    if after - before > limit + ROUNDING:
        return Check(name, "failed", f"{message}; a rise of more than {setting} {limit:g}")
    return Check(name, "passed", message)


def drift(baseline: Baseline, now: Baseline, limits: Limits) -> Check:
    """Compare logits where the ranking stayed: where it did not, the measures judge.

    Args:
        baseline: the trusted values.
        now: the values of the new result.
        limits: the limits in force.
    """
    most, where, agree, pairs = 0.0, "", 0, 0
    for query_id, hits in baseline.top.items():
        new = {hit.doc_id: hit.score for hit in now.top[query_id]}
        rank = {doc_id: position for position, doc_id in enumerate(new)}
        common = [hit for hit in hits if hit.doc_id in new]
        in_order = [rank[one.doc_id] < rank[other.doc_id] for one, other in combinations(common, 2)]
        agree, pairs = agree + sum(in_order), pairs + len(in_order)
        for doc_id, score in common:
            if abs(new[doc_id] - score) > most:
                most = abs(new[doc_id] - score)
                where = f" (query {query_id}, passage {doc_id}: {score:g} -> {new[doc_id]:g})"
    same = agree / pairs if pairs else 1.0
    message = f"stored logits moved by at most {most:.4f}{where}; {same:.1%} of all pairs of passages kept their order"
    if limits.max_score_drift is None:
        return Check("score_drift", "no limit", message)
    if same >= _SAME_RANKING and most > limits.max_score_drift + ROUNDING:
        return Check(
            "score_drift",
            "failed",
            f"scores drifted though the ranking did not: {message}; more than max_score_drift "
            f"{limits.max_score_drift:g}, which changes what a score threshold selects",
        )
    return Check("score_drift", "passed", message)


_SAME_RANKING = 0.98
"""Share of pairs of stored passages in the stored order from which rankings count as the same."""
