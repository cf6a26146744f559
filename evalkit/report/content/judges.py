"""Rows and sentences on judges: how far they agree with a human, and whether the verdict is the same under each."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

from evalkit.evaluation.agreement import Figure
from evalkit.report.content.intervals import trend
from evalkit.report.content.numbers import counted, interval, measure_value, number, percent, plus_minus
from evalkit.results.judges_schema import Gain, JudgedResult, JudgeReport, SystemOrder


def headline(report: JudgeReport) -> str:
    """Return under which judges the verdict is that of the human; without results the agreement of each."""
    if not report.results:
        kappas = ", ".join(f"{one.name} {_value(one.agreement.kappa)}" for one in report.judges)
        return f"Agreement with {report.human} on what is relevant, Cohen's kappa: {kappas}."
    other = [one for one in report.results if not one.same_verdict]
    total = len(report.results)
    several = len({one.label for one in report.results}) > 1
    if not other:
        of = "each of them" if total > 1 else report.results[0].judge
        return f"The verdict by the human is also that by {of} ({counted(total, 'comparison')})."
    listed = "; ".join(
        f"{f'{one.label}: ' if several else ''}by the human reranking {one.human.verdict}, by {one.judge} it "
        f"{one.by_judge.verdict}"
        for one in other
    )
    return f"The verdict differs in {len(other)} of {counted(total, 'comparison')} with the human: {listed}."


def findings(report: JudgeReport) -> list[str]:
    """Return what the intervals show of each judge: a gain that differs, favour, and systems in another order."""
    found = []
    for result in report.results:
        found += _of_result(report, result)
    for order in report.orders:
        pairs = [f"{better} above {worse}" for better, worse in _reversed(order)]
        if pairs:
            found.append(f"{order.judge} reverses the human's order: {'; '.join(pairs)}.")
    return found


def _reversed(order: SystemOrder) -> list[tuple[str, str]]:
    """Return the pairs of systems that the judge orders the other way round, the human's better one first."""
    rows = list(zip(order.systems, order.human, order.by_judge, strict=True))
    pairs = [(one, other) if one[1] > other[1] else (other, one) for one, other in combinations(rows, 2)]
    return [(one[0], other[0]) for one, other in pairs if one[1] > other[1] and one[2] < other[2]]


def _of_result(report: JudgeReport, one: JudgedResult) -> list[str]:
    found = []
    if trend(*one.inflation_ci95) != "none":
        more = "larger" if one.inflation > 0 else "smaller"
        found.append(
            f"By {one.judge} the gain of {one.label} is {abs(one.inflation):.4f} {report.measure} {more} than by the "
            f"human (95 % interval {interval(*one.inflation_ci95)})."
        )
    low, high = one.favour.ci95
    if one.favour.value is not None and low is not None and high is not None and low * high > 0:
        up = one.favour.value > 0
        sides = ("promoted", "demoted") if up else ("demoted", "promoted")
        ends = sorted((abs(low), abs(high)))
        means = "favours this reranker, or sees what the human missed" if up else "disfavours this reranker"
        found.append(
            f"At the same human grade, {one.judge} grades the passages that {one.label} {sides[0]} "
            f"{abs(one.favour.value):.2f} higher (95 % interval {ends[0]:.2f} to {ends[1]:.2f}) than those that it "
            f"{sides[1]}: it {means}."
        )
    if one.shared and not one.same_verdict and one.shared.same_verdict:
        found.append(
            f"On the pairs that both have judged, the verdict on {one.label} by {one.judge} is that by the human: what "
            "is judged differs, rather than how."
        )
    return found


AGREEMENT_COLUMNS = (
    "judge", "pairs", "same grade", "kappa", "weighted kappa", "alpha", "leniency", "relevant",
)  # fmt: skip


def agreement_rows(report: JudgeReport) -> list[list[str]]:
    """Return a row under `AGREEMENT_COLUMNS` for each judge."""
    return [
        [
            f"{one.name} ({one.kind})",
            f"{one.agreement.pairs:,}",
            percent(one.agreement.same_grade.value),
            _with_ends(one.agreement.kappa),
            _number(one.agreement.weighted_kappa.value),
            _with_ends(one.agreement.alpha),
            number(one.agreement.leniency.value, "+.2f"),
            f"{one.agreement.relevant_share_judge:.0%} / {one.agreement.relevant_share_human:.0%}",
        ]
        for one in report.judges
    ]


def agreement_note(report: JudgeReport) -> str:
    """Return what the agreement is computed on."""
    between = report.alpha_between_judges
    spread = "; ".join(f"{one.name} {_spread(one.agreement.same_grade_per_query)}" for one in report.judges)
    return (
        f"On the pairs that the judge and {report.human} have judged (of {report.human_pairs:,} in "
        f"{counted(report.human_queries, 'query', 'queries')}); Cohen's kappa of grade {report.relevance_level} and "
        "above, with quadratic weights of the grades; Krippendorff's alpha of ordered grades; leniency: grade by the "
        "judge less grade by the human; relevant: share of the pairs, judge / human. 95 % intervals by bootstrap over "
        f"queries (seed {report.seed}). Same grade in a query, lowest, median, highest: {spread}."
        + (f" The judges among themselves: alpha {between:.2f}." if between is not None else "")
    )


def _spread(shares: Mapping[str, float]) -> str:
    values = sorted(shares.values())
    return f"{values[0]:.0%}, {median(values):.0%}, {values[-1]:.0%}"


def gain_columns(report: JudgeReport) -> list[str]:
    """Return the headings of `gain_rows`."""
    return [
        "judged by", f"{report.measure}", "gain, 95 % interval", "reranking", "unjudged @10", "gain less human's"
    ]  # fmt: skip


def gain_rows(report: JudgeReport, label: str) -> list[list[str]]:
    """Return the rows of one result: the human's, and each judge's below it.

    Where only some pairs are judged by both, rows by those pairs follow.

    Args:
        report: of judges.
        label: of the result.
    """
    rows: list[list[str]] = []
    of = [result for result in report.results if result.label == label]
    several = len({one.queries for one in of}) > 1
    for one in of:
        queries = f", {counted(one.queries, 'query', 'queries')}" if several else ""
        human = _gain(f"human{queries}", one.human)
        if human not in rows:
            rows.append(human)
        rows.append(_gain(f"{one.judge}{queries}", one.by_judge, plus_minus(one.inflation, *one.inflation_ci95)))
        if one.shared and one.shared.human != one.human:
            rows.append(_gain("  human, shared pairs", one.shared.human))
        if one.shared and one.shared.judge != one.by_judge:
            rows.append(_gain(f"  {one.judge}, shared pairs", one.shared.judge))
    return rows


def _gain(name: str, gain: Gain, less: str = "") -> list[str]:
    return [
        name,
        f"{measure_value(gain.before)} -> {measure_value(gain.after)}",
        plus_minus(gain.mean, *gain.ci95),
        gain.verdict.removeprefix("made "),
        percent(gain.unjudged_at_10),
        less,
    ]


def gain_title(report: JudgeReport, label: str) -> str:
    """Return the name of a result and the number of its queries, for above its gains.

    Args:
        report: the comparison of judges.
        label: of the result.
    """
    counts = {one.queries for one in report.results if one.label == label}
    return label + (f": {counted(counts.pop(), 'query', 'queries')}" if len(counts) == 1 else "")


FAVOUR_COLUMNS = ("result", "judge", "favour, grades")
FAVOUR_NOTE = (
    "Favour: how much higher the judge grades passages in the reranked top 10 alone than those in the first stage's "
    "top 10 alone, at the same human grade; 0 for a judge whose errors do not depend on the ranking."
)


def favour_rows(report: JudgeReport) -> list[list[str]]:
    """Return a row under `FAVOUR_COLUMNS` for each result and judge, where it is defined."""
    return [
        [one.label, one.judge, _with_ends(one.favour, "+")] for one in report.results if one.favour.value is not None
    ]


def labels(report: JudgeReport) -> list[str]:
    """Return the labels of the results."""
    return list(dict.fromkeys(one.label for one in report.results))


def order_tables(report: JudgeReport) -> list[tuple[list[str], list[list[str]]]]:
    """Return headings and rows, a row for each system and one for Kendall's tau, for each set of common queries."""
    tables = []
    for queries, means in dict.fromkeys((one.queries, tuple(one.human)) for one in report.orders):
        of = [one for one in report.orders if (one.queries, tuple(one.human)) == (queries, means)]
        columns = [f"system, {counted(queries, 'query', 'queries')}", "human", *(one.judge for one in of)]
        ranked = sorted(range(len(means)), key=lambda place: -means[place])
        rows = [
            [of[0].systems[place], measure_value(means[place]), *(measure_value(one.by_judge[place]) for one in of)]
            for place in ranked
        ]
        tables.append((columns, [*rows, ["Kendall's tau with the human", "", *(_number(one.tau) for one in of)]]))
    return tables


def confusion_columns(grades: Sequence[int]) -> list[str]:
    """Return the headings of `confusion_rows`."""
    return ["human", *(f"judge: {grade}" for grade in grades)]


def confusion_rows(grades: Sequence[int], counts: Sequence[Sequence[int]]) -> list[list[str]]:
    """Return a row for each human grade, with the number of pairs by the judge's grade.

    Args:
        grades: all grades, in the order of rows and columns.
        counts: pairs, human grades x grades of the judge.
    """
    return [[str(grade), *(f"{count:,}" for count in row)] for grade, row in zip(grades, counts, strict=True)]


def notes(report: JudgeReport) -> list[str]:
    """Return what the figures leave open, as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in report.notes]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _value(figure: Figure) -> str:
    return _number(figure.value) + (f" ({_ends(figure)})" if figure.ci95[0] is not None else "")


def _with_ends(figure: Figure, sign: str = "") -> str:
    """Return a figure and its interval in square brackets."""
    if figure.value is None:
        return "-"
    ends = [format(end, f"{sign}.2f") for end in figure.ci95 if end is not None]
    return format(figure.value, f"{sign}.2f") + (f" [{', '.join(ends)}]" if ends else "")


def _ends(figure: Figure) -> str:
    low, high = figure.ci95
    return "" if low is None or high is None else f"95 % interval {low:.2f} to {high:.2f}"
