"""Rows and sentences of a pick: the best setting within a budget, and those that are nearly as good."""

from evalkit.report.content.numbers import amount, counted, interval, measure_value, number, p_value, signed
from evalkit.results.pick_schema import Pick


def headline(pick: Pick) -> str:
    """Return the picked setting, what it costs, and how good it is on queries that did not help to pick it."""
    one = next(choice for choice in pick.choices if choice.label == pick.picked)
    costs = [f"{amount(one.p50_ms)} ms a query{' (interpolated)' if one.interpolated else ''}"] if one.p50_ms else []
    costs += [f"{amount(one.memory_mb)} MiB"] if one.memory_mb else []
    ends = ", ".join(measure_value(end) for end in pick.interval if end is not None)
    return (
        f"{', '.join([pick.picked, *costs])}: {pick.measure} {pick.estimate:.4f}"
        + (f" (95 % interval {ends.replace(', ', ' to ')})" if ends else "")
        + " on queries that did not help to pick it."
    )


def basis(pick: Pick) -> str:
    """Return the limits, what was picked from, and how the estimate came about."""
    limits, total = _limits(pick), len(pick.choices)
    within = sum(choice.within_budget for choice in pick.choices)
    best = {"quality": f"the highest {pick.measure}", "time": "the shortest time", "memory": "the least memory"}
    some = f", {within} of them within {' and '.join(limits)}" if limits else ""
    least = f" with {pick.measure} of {pick.budget.min_quality:g} or more" if pick.budget.min_quality else ""
    return (
        f"From {counted(total, 'setting')} of {pick.slice} ({counted(pick.queries, 'query', 'queries')}){some}; picked "
        f"is the one with {best[pick.budget.prefer]}{least}. On the queries that it was picked on it has "
        f"{pick.mean:.4f}, {signed(pick.optimism)} from the estimate: picking and measuring on the same queries is "
        "optimistic. "
        f"The estimate has each query at the setting that is picked on the other {len(pick.folds) - 1} of "
        f"{len(pick.folds)} parts (seed {pick.seed}); {_agreement(pick)}."
    )


def _limits(pick: Pick) -> list[str]:
    budget = pick.budget
    limits = ((budget.max_p50_ms, "{:g} ms"), (budget.max_memory_mb, "{:g} MiB"), (budget.max_price, "a price of {:g}"))
    return [text.format(value) for value, text in limits if value is not None]


def _agreement(pick: Pick) -> str:
    same = sum(label == pick.picked for label in pick.folds)
    return f"{same} of the {len(pick.folds)} picks are this setting"


NEAR_COLUMNS = ("faster and nearly as good", "difference", "95 % interval", "p equivalent", "time", "memory")


def near_rows(pick: Pick) -> list[list[str]]:
    """Return a row under `NEAR_COLUMNS` for each faster setting that is nearly as good."""
    return [
        [
            one.label,
            signed(one.difference),
            interval(*one.interval, missing="-"),
            p_value(one.equivalence_p, "-"),
            f"\u00d7{one.time_ratio:.2f}" if one.time_ratio is not None else "",
            f"\u00d7{one.memory_ratio:.2f}" if one.memory_ratio is not None else "",
        ]
        for one in pick.near_equal
    ]


def near_note(pick: Pick) -> str:
    """Return what the table of faster settings shows."""
    return (
        f"Faster settings within {pick.budget.within:g} {pick.measure} of the picked one on the same queries; p is of "
        "two one-sided tests that the true difference is within that margin too, corrected by Holm over this table."
    )


def columns(pick: Pick) -> list[str]:
    """Return the headings of `rows`."""
    return ["setting", pick.measure, "ms a query", "MiB", "price of 1,000", "within the budget", "front"]


def rows(pick: Pick, most: int | None = None) -> list[list[str]]:
    """Return a row for each setting, the best first.

    Args:
        pick: a pick.
        most: how many rows beyond the front and the picked setting; None for all.
    """
    ordered = sorted(pick.choices, key=lambda one: -one.mean)
    shown = {one.label for number, one in enumerate(ordered) if most is None or number < most}
    return [
        [
            one.label,
            measure_value(one.mean),
            number(one.p50_ms) + ("*" if one.interpolated else ""),
            number(one.memory_mb) if one.memory_mb else "",
            number(one.price) if one.price else "",
            "yes" if one.within_budget else "no",
            "picked" if one.label == pick.picked else "front" if one.on_front else "",
        ]
        for one in ordered
        if one.label in shown or one.on_front or one.label == pick.picked
    ]


def notes(pick: Pick) -> list[str]:
    """Return what the figures leave open, as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in pick.notes]
