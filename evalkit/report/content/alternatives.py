"""Is reranking worth it? Each system with a reranker against what one could do without it."""

from collections.abc import Mapping, Sequence

from evalkit.report.content.numbers import amount, plus_minus
from evalkit.report.content.tested import SIGNIFICANT, UNCLEAR, change, p_equals, trend
from evalkit.results.comparison_schema import BestTest, ComparedSystem, Comparison, CorrectedTest

TITLE = "Is it worth it?"

_BUT_FASTER = ", but faster"


def claim(compared: Comparison) -> str | None:
    """Return the first sentence of a comparison, without its full stop: which rerankings are worth it, which are not.

    Args:
        compared: a comparison.

    Returns:
        The sentence; None where all systems have a reranker, or none has one.
    """
    best = compared.best
    if best is None:
        return None
    groups: dict[str, list[str]] = {}
    for label, verdict in verdicts(compared).items():
        groups.setdefault(verdict, []).append(label)
    parts = [
        f"{_counted(groups[verdict], compared)} {('is' if len(groups[verdict]) == 1 else 'are')} {words}"
        for verdict, words in _WORDS.items()
        if verdict in groups
    ]
    return f"In {best.measure}, against {best.without_reranker}, the best without a reranker: {'; '.join(parts)}"


def rise_or_fall(compared: Comparison) -> str:
    """Return ``rise`` where a reranking is worth it, ``fall`` where all are clearly worse, else nothing."""
    trends = {trend(test) for test in compared.against_best_without.values()}
    return "rise" if "better" in trends else "fall" if trends == {"worse"} else ""


def best_line(compared: Comparison) -> str | None:
    """Return the best system with a reranker against the best without one; None where there is no such pair."""
    best = compared.best
    if best is None:
        return None
    means = {system.label: system.mean[best.measure] for system in compared.systems}
    with_reranker, without = best.with_reranker, best.without_reranker
    return (
        f"The best with a reranker, {with_reranker} ({means[with_reranker]:.4f}), against the best without, {without} "
        f"({means[without]:.4f}): {change(best.test)}, p {p_equals(best.test.holm_p)} corrected over all pairs."
    )


def verdicts(compared: Comparison) -> Mapping[str, str]:
    """Return for each system with a reranker whether it is worth it, in the words of the table."""
    if compared.best is None:
        return {}
    systems = {system.label: system for system in compared.systems}
    limit_ms = systems[compared.best.without_reranker].time.total_ms

    def verdict(label: str, test: BestTest) -> str:
        found = {"better": "yes", "worse": "no"}.get(trend(test), "not shown")
        ms = systems[label].time.total_ms
        faster = ms is not None and limit_ms is not None and ms < limit_ms
        return found + (_BUT_FASTER if faster and found != "yes" else "")

    return {label: verdict(label, test) for label, test in compared.against_best_without.items()}


_WORDS = {
    "yes": "worth it",
    f"no{_BUT_FASTER}": "worse, but faster",
    f"not shown{_BUT_FASTER}": "not clearly better or worse, but faster",
    "not shown": "not shown to be worth it",
    "no": "not worth it",
}
"""Verdict of the table -> how the first sentence puts it, in this order."""


def rows(compared: Comparison) -> list[dict[str, str]]:
    """Return a row for each system with a reranker: what it gains over three alternatives, and what it costs.

    Args:
        compared: a comparison.

    Returns:
        Column -> cell, without columns that are empty; nothing where all systems have a reranker, or none has one.
    """
    if compared.best is None:
        return []
    measure = compared.best.measure
    systems = {system.label: system for system in compared.systems}
    without_ms = systems[compared.best.without_reranker].time.total_ms
    found = []
    for label, verdict in verdicts(compared).items():
        system = systems[label]
        total_ms = system.time.total_ms
        against_baseline = compared.against_baseline.get(label)
        found.append(
            {
                "with a reranker": label,
                measure: f"{system.mean[measure]:.4f}",
                "over its first stage": _gain(compared.against_own_first_stage[label][measure]),
                OVER_BEST: _gain(compared.against_best_without[label]),
                OVER_BASELINE: _gain(against_baseline[measure] if against_baseline else None),
                MORE_THAN_FIRST: _more(system.time.reranking_p50_ms),
                "ms more than the best without": _more(
                    None if total_ms is None or without_ms is None else total_ms - without_ms
                ),
                "peak MiB": _peak(compared, system),
                "worth it?": verdict,
            }
        )
    filled = [column for column in (found[0] if found else ()) if any(row[column] for row in found)]
    return [{column: row[column] for column in filled} for row in found]


OVER_BEST, OVER_BASELINE, MORE_THAN_FIRST = "over the best without", "over the baseline", "ms more than its first stage"


def note(compared: Comparison) -> str:
    """Return what the table's verdicts, p values and costs mean."""
    assert compared.best is not None
    parts = [
        f"The best without a reranker is {compared.best.without_reranker}, the first stage with the highest mean; the "
        f"baseline is {compared.baseline}. Worth it: above the best without, with a corrected p below {SIGNIFICANT:g}; "
        f'"not shown": {UNCLEAR}. Gains have their 95 % interval, and p corrected by Holm: over all systems with a '
        "reranker and all measures (first stage), over all pairs of systems (best without), or over all systems and "
        "measures (baseline). Milliseconds are of a query, from the medians of reranking."
    ]
    if any(system.side == "blended" for system in compared.systems):
        parts.append(
            "Blended: the reranker's score interpolated with the first stage's, at a weight that was given or chosen "
            "on other queries; it takes the time and the memory of its reranking."
        )
    return " ".join(parts)


def _gain(test: CorrectedTest | BestTest | None) -> str:
    if test is None:
        return ""
    return f"{plus_minus(test.mean, test.low, test.high)}, p {p_equals(test.holm_p)}"


def _more(ms: float | None) -> str:
    return "" if ms is None else f"{'-' if ms < 0 else '+'}{amount(abs(ms))}"


def _peak(compared: Comparison, system: ComparedSystem) -> str:
    cost = next((one.cost for one in compared.systems if one.where == system.where and one.cost), None)
    return "" if cost is None or cost.peak_mb is None else amount(cost.peak_mb)


def _counted(labels: Sequence[str], compared: Comparison) -> str:
    """Return the labels; where they would make the sentence hard to read, their number."""
    if len(labels) > _MOST_NAMED:
        return f"{len(labels)} of {len(compared.against_best_without)}"
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


_MOST_NAMED = 3
