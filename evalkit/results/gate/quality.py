"""Each measure by a paired test over queries: worse, not worse, or undecided; a hard limit only where one is set."""

from collections.abc import Iterator

from evalkit.evaluation.significance import paired_delta
from evalkit.evaluation.students_t import deviation
from evalkit.results.gate import evidence
from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.verdict import Check, Outcome, Quality


def qualities(baseline: Baseline, now: Baseline, limits: Limits) -> Iterator[Quality]:
    """Yield each measure before and after, with the outcome of its paired test.

    *worse*: a drop is significant at `limits.false_alarms`, corrected for the number of measures; this is checked
    first, so that it also holds for a drop within the tolerance. *not worse*: the lower bound of the mean change is
    not below -tolerance. *undecided*: neither.

    Args:
        baseline: the trusted values.
        now: the values of the new result.
        limits: the limits in force.
    """
    found = evidence.changes(baseline.reranked, now.reranked)
    changed = max(1, int((found != 0).any(axis=0).sum()))
    # Where nothing changed, the spread of changes is estimated from what reranking changes.
    like = {
        "reranking is": evidence.changes(baseline.first, baseline.reranked),
        "reranking is now": evidence.changes(now.first, now.reranked),
        "this change is": found,
    }
    for number, (measure, p) in enumerate(zip(baseline.reranked, evidence.drop_p(found), strict=True)):
        change = found[:, number]
        low, tolerance = evidence.at_least(change, limits.confidence), limits.of(limits.tolerance, measure)
        # Rounded as the values themselves are: the last bits of a sum differ from machine to machine.
        if p <= limits.false_alarms and change.sum() < 0:
            outcome: Outcome = "worse"
        elif low is not None and round(low, 6) >= -tolerance:
            outcome = "not worse"
        else:
            outcome = "undecided"
        uneven_as = max(like, key=lambda name: deviation(like[name][:, number].tolist())) if len(found) > 1 else ""
        yield Quality(
            measure,
            baseline.mean("reranked", measure),
            now.mean("reranked", measure),
            paired_delta(baseline.reranked[measure], now.reranked[measure], limits.confidence),
            tolerance,
            limits.of(limits.max_drop, measure),
            evidence.detectable(like[uneven_as], number, limits.false_alarms, limits.power) if uneven_as else None,
            uneven_as,
            low,
            p,
            outcome,
            evidence.queries_to_decide(
                change.tolist(), tolerance, limits.false_alarms / changed, limits.confidence, limits.power
            )
            if outcome == "undecided"
            else None,
        )


def judged(quality: Quality, limits: Limits, queries: int, measures: int) -> Check:
    """Return the check of one measure: passed, failed or undecided, with the reason.

    Args:
        quality: the measure before and after.
        limits: the limits in force.
        queries: number of queries.
        measures: number of measures that the p value is corrected for.
    """
    delta, tolerance = quality.delta, f"the tolerance {quality.tolerance:g}"
    low = "" if quality.low is None else f", with {100 * limits.confidence:g} % confidence at least {quality.low:+.4f}"
    figures = (
        f"{quality.before:.4f} -> {quality.after:.4f} ({delta.mean:+.4f}{low}; {delta.wins} queries better, "
        f"{delta.losses} worse, {delta.ties} equal)"
    )
    p = f"p {quality.p:.2g}" + (f" corrected for {measures} measures" if measures > 1 else "")
    if quality.outcome == "worse":
        accepted = quality.low is not None and round(quality.low, 6) >= -quality.tolerance
        within = f", if one within {tolerance}; to accept it, write a new baseline" if accepted else ""
        return Check(quality.measure, "failed", f"fell {figures}: a drop is shown ({p}){within}")
    if quality.max_drop is not None and -round(delta.mean, 6) > quality.max_drop:
        return Check(
            quality.measure,
            "failed",
            f"fell {figures}: more than the hard limit gate.max_drop {quality.max_drop:g}, which applies without a "
            f"test (by the test: {quality.outcome}, {p})",
        )
    if quality.outcome == "not worse":
        shown = f"not worse, for a drop of more than {tolerance} is ruled out" if quality.low else "no query changed"
        return Check(quality.measure, "passed", f"{figures}: {shown}")
    message = (
        f"{figures}: no drop is shown ({p}), and one of more than {tolerance} is not ruled out; "
        f"{_needed(quality, limits, queries)}"
    )
    if limits.require == "non_inferior":
        return Check(quality.measure, "failed", f"{message}; gate.require=non_inferior fails what is undecided")
    return Check(quality.measure, "undecided", message)


def _needed(quality: Quality, limits: Limits, queries: int) -> str:
    fewest = evidence.fewest_that_show(limits.false_alarms)
    if queries < fewest:
        return (
            f"a slice of {queries} queries shows no drop at {100 * limits.false_alarms:g} % false alarms, however "
            f"large: {fewest} queries are the fewest that do"
        )
    if quality.needed is None:
        return f"no number of queries would decide it with the tolerance {quality.tolerance:g}; gate.tolerance sets one"
    return f"about {quality.needed:,} queries would decide it, if these {queries} are typical of them"
