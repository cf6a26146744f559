"""Each measure by a paired test over queries: a hard limit for the mean, a tolerance for its interval."""

from evalkit.baseline import Baseline
from evalkit.gate.verdict import Check, Quality
from evalkit.limits import Limits
from evalkit.significance import deviation, paired_delta, smallest_detectable


def quality(measure: str, baseline: Baseline, now: Baseline, limits: Limits) -> Quality:
    """Return one measure before and after, with its interval and the smallest drop that the slice shows."""
    before, after = baseline.reranked[measure], now.reranked[measure]
    # Where nothing changed, the change itself says nothing of how uneven changes are: reranking does.
    spreads = [
        deviation([late[query_id] - early[query_id] for query_id in before]) if len(before) > 1 else 0.0
        for early, late in ((baseline.first[measure], before), (now.first[measure], after), (before, after))
    ]
    return Quality(
        measure,
        baseline.mean("reranked", measure),
        now.mean("reranked", measure),
        paired_delta(before, after, limits.confidence),
        limits.of(limits.tolerance, measure),
        limits.of(limits.max_drop, measure),
        smallest_detectable(max(spreads), len(before), limits.confidence, limits.power),
    )


def judged(quality: Quality, limits: Limits) -> Check:
    """Return whether the measure holds."""
    delta = quality.delta
    # Rounded as the values themselves are: the last bits of a sum differ from machine to machine.
    drop, low = -round(delta.mean, 6), None if delta.low is None else round(delta.low, 6)
    interval = "" if low is None else f", {100 * limits.confidence:g} % interval {delta.low:+.4f} to {delta.high:+.4f}"
    figures = (
        f"{quality.before:.4f} -> {quality.after:.4f} ({delta.mean:+.4f}{interval}; {delta.wins} queries better, "
        f"{delta.losses} worse, {delta.ties} equal)"
    )
    if drop > quality.max_drop:
        return Check(quality.measure, "failed", f"fell {figures}: more than max_drop {quality.max_drop:g}")
    if low is not None and low < -quality.tolerance:
        return Check(
            quality.measure,
            "failed",
            f"may have fallen {figures}: the interval does not rule out a drop of more than the tolerance "
            f"{quality.tolerance:g}",
        )
    return Check(quality.measure, "passed", figures)
