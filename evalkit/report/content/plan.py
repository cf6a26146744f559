"""Rows and sentences of a plan: how many queries and judgments show a gain."""

from collections.abc import Sequence
from itertools import groupby

from evalkit.evaluation.power import Needed
from evalkit.report.content.numbers import amount, count, counted, measure_value, signed
from evalkit.results.plan_schema import QueryPlan, SliceAtHand


def headline(plan: QueryPlan) -> str:
    """Return the answer in a sentence."""
    target, need = plan.target, plan.decisive
    each = f" in each of {target.comparisons} comparisons" if plan.corrected else ""
    return (
        f"To see a gain of {target.gain:g} {plan.measure} with {100 * target.power:g} % power{each}, it takes "
        f"{counted(need.queries, 'query', 'queries')} "
        f"({100 * plan.confidence:g} % interval {_range(need.low, need.high)})."
    )


def basis(plan: QueryPlan) -> str:
    """Return the differences that the plan comes from."""
    spread = plan.spread
    return (
        f"From {counted(plan.queries, 'query', 'queries')} of {plan.slice}: {plan.after} against {plan.before}, mean "
        f"{signed(plan.mean)}, standard deviation of the per-query differences {measure_value(spread.value)} "
        f"({100 * plan.confidence:g} % interval {measure_value(spread.low)} to {measure_value(spread.high)})."
    )


def number_columns(plan: QueryPlan) -> list[str]:
    """Return the headings of `number_rows`."""
    pool = [] if plan.judging.pooled_per_query is None else ["passages to judge"]
    return ["planned for", "test level", "queries", f"{100 * plan.confidence:g} % interval", *pool]


def number_rows(plan: QueryPlan) -> list[list[str]]:
    """Return a row for one comparison, and one for several where they are planned."""
    rows = [("one comparison", plan.one)]
    if plan.corrected:
        rows.append((f"each of {plan.target.comparisons} comparisons", plan.corrected))
    return [
        [name, f"{need.alpha:.3g}", count(need.queries), _range(need.low, need.high), *_pool(plan, need)]
        for name, need in rows
    ]


def _pool(plan: QueryPlan, need: Needed) -> list[str]:
    pooled = plan.judging.pooled_per_query
    return [] if pooled is None else [count(round(pooled * need.queries))]


SLICE_COLUMNS = ("slice", "queries", "sees a gain of", "enough")


def slice_rows(plan: QueryPlan) -> list[list[str]]:
    """Return a row under `SLICE_COLUMNS` for each choice of a slice at hand."""
    return [_slice_row(choice, list(of)) for choice, of in groupby(plan.slices, key=lambda one: one.choice)]


def _slice_row(choice: str, of_lang: Sequence[SliceAtHand]) -> list[str]:
    queries = [one.queries for one in of_lang]
    seen = [measure_value(one.detectable) for one in sorted(of_lang, key=lambda one: one.queries, reverse=True)]
    enough = [one.lang for one in of_lang if one.suffices]
    which = "yes" if len(enough) == len(of_lang) else f"slice.lang={','.join(enough)}" if enough else "no"
    languages = f", {len(of_lang)} languages" if len(of_lang) > 1 else ""
    return [
        f"{choice}{languages}",
        _range(min(queries), max(queries)),
        seen[0] if seen[0] == seen[-1] else f"{seen[0]} to {seen[-1]}",
        which,
    ]


def notes(plan: QueryPlan) -> list[str]:
    """Return the test that is planned, how it is corrected, and what the numbers assume."""
    target, judging = plan.target, plan.judging
    found = [
        f"Planned is the two-sided paired t test at {target.alpha:g}, whose interval gives a trial its verdict; the "
        "randomisation test of compare has nearly the same power."
    ]
    if plan.corrected:
        found.append(
            f"For {target.comparisons} comparisons each is tested at {target.alpha:g} / {target.comparisons}: the "
            "Bonferroni bound. Holm's correction, which compare uses, has at least that power."
        )
    if judging.pooled_per_query is not None:
        judged = judging.judged_per_query
        here = "" if judged is None else f"; {plan.slice} has {amount(judged)} judgments a query"
        found.append(
            f"To judge are the passages within the cutoff of {plan.measure} in either ranking: "
            f"{amount(judging.pooled_per_query)} a query{here}."
        )
    elif judging.judged_per_query is not None:
        found.append(
            f"{plan.slice} has {amount(judging.judged_per_query)} judgments a query: {_judged(plan)} at that rate. How "
            "many passages the two systems rank within the cutoff can be seen from the whole folder of a result only."
        )
    found.append(
        f"The slices at hand are judged by the spread on {plan.slice}, which other queries or other systems may not "
        "have. slice=beir and slice=irds have as many queries as your data."
    )
    if plan.decisive.queries < _FEW:
        found.append(
            f"With fewer than {_FEW} queries the power holds only for differences that are nearly normal; take more."
        )
    return found


def _judged(plan: QueryPlan) -> str:
    assert plan.judging.judged_per_query is not None
    return counted(round(plan.judging.judged_per_query * plan.decisive.queries), "judgment")


_FEW = 20


def _range(low: int, high: int) -> str:
    return count(low) if low == high else f"{count(low)} to {count(high)}"
