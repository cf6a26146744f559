"""Rows and sentences on judges: how far they agree with a human, and whether the verdict is the same under each."""

from collections.abc import Mapping, Sequence

from evalkit.evaluation.agreement import Figure
from evalkit.report.content.intervals import trend
from evalkit.report.content.numbers import counted, interval, measure_value, p_value, percent, plus_minus, signed
from evalkit.results.judges_schema import Gain, JudgedResult, JudgeReport
from evalkit.results.judging import swapped


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
    """Return what the intervals show of each judge: leniency, a changed gain, favour, and systems in another order."""
    found = []
    for one in report.judges:
        leniency = one.agreement.leniency
        if leniency.value is not None and trend(*leniency.ci95) != "none":
            more = "higher" if leniency.value > 0 else "lower"
            found.append(
                f"{one.name} grades {abs(leniency.value):.2f} {more} than the human ({_ends(leniency)}); "
                f"{percent(one.agreement.relevant_share_judge)} of the pairs are relevant by it, "
                f"{percent(one.agreement.relevant_share_human)} by the human."
            )
    for result in report.results:
        found += _of_result(report, result)
    for order in report.orders:
        pairs = [f"{better} above {worse}" for better, worse in swapped(order)]
        if pairs:
            found.append(f"{order.judge} turns round the human's order of {'; '.join(pairs)}.")
    return found


def _of_result(report: JudgeReport, one: JudgedResult) -> list[str]:
    found = []
    if trend(*one.inflation_ci95) != "none":
        more = "larger" if one.inflation > 0 else "smaller"
        found.append(
            f"By {one.judge} the gain of {one.label} in {report.measure} is {abs(one.inflation):.4f} {more} than by "
            f"the human (difference {signed(one.inflation)}, 95 % interval {interval(*one.inflation_ci95)})."
        )
    if one.favour.value is not None and trend(*one.favour.ci95) != "none":
        what = "promoted" if one.favour.value > 0 else "demoted"
        than = "demoted" if one.favour.value > 0 else "promoted"
        means = (
            "it favours this reranker, or sees what the human missed"
            if one.favour.value > 0
            else "it disfavours this reranker"
        )
        found.append(
            f"At the same human grade, {one.judge} grades the passages that {one.label} {what} "
            f"{abs(one.favour.value):.2f} higher than those that it {than} ({_ends(one.favour)}): {means}."
        )
    if one.shared and not one.same_verdict and one.shared.same_verdict:
        found.append(
            f"On the pairs that both have judged, the verdict on {one.label} by {one.judge} is that by the human: what "
            "is judged differs, rather than how."
        )
    return found


AGREEMENT_COLUMNS = (
    "judge", "kind", "pairs of both", "same grade", "kappa, relevant or not", "weighted kappa", "alpha, ordinal",
    "leniency, grades",
)  # fmt: skip


def agreement_rows(report: JudgeReport) -> list[list[str]]:
    """Return a row under `AGREEMENT_COLUMNS` for each judge."""
    return [
        [
            one.name,
            one.kind,
            f"{one.agreement.pairs:,} of {one.pairs:,}",
            percent(one.agreement.same_grade.value),
            _with_ends(one.agreement.kappa),
            _with_ends(one.agreement.weighted_kappa),
            _with_ends(one.agreement.alpha),
            _with_ends(one.agreement.leniency, "+"),
        ]
        for one in report.judges
    ]


def agreement_note(report: JudgeReport) -> str:
    """Return what the agreement is computed on."""
    between = report.alpha_between_judges
    spread = "; ".join(f"{one.name} {_spread(one.agreement.same_grade_per_query)}" for one in report.judges)
    return (
        f"Against {report.human} ({report.human_pairs:,} pairs of {counted(report.human_queries, 'query', 'queries')})"
        f", grade {report.relevance_level} and above relevant. Intervals: 95 %, bootstrap over queries (seed "
        f"{report.seed}). Same grade by query, lowest, median and highest: {spread}."
        + (f" The judges among themselves: alpha {between:.3f}." if between is not None else "")
    )


def _spread(shares: Mapping[str, float]) -> str:
    values = sorted(shares.values())
    return f"{values[0]:.0%}, {values[len(values) // 2]:.0%}, {values[-1]:.0%}"


def gain_columns(report: JudgeReport) -> list[str]:
    """Return the headings of `gain_rows`."""
    return [
        "judged by", "queries", "first stage", "reranked", "gain, 95 % interval", "p", "reranking", "unjudged @10",
        "gain less the human's", "favour, grades",
    ]  # fmt: skip


def gain_rows(report: JudgeReport, label: str) -> list[list[str]]:
    """Return the rows of one result: the human's, and each judge's below it, by all labels and by the pairs of both.

    Args:
        report: of judges.
        label: of the result.
    """
    rows: list[list[str]] = []
    for one in (result for result in report.results if result.label == label):
        human = _gain("human", one.queries, one.human)
        if human not in rows:
            rows.append(human)
        rows.append(
            [
                *_gain(one.judge, one.queries, one.by_judge)[:-2],
                plus_minus(one.inflation, *one.inflation_ci95),
                _with_ends(one.favour, "+"),
            ]
        )
        if one.shared:
            rows.append(_gain("  human, pairs of both", one.queries, one.shared.human))
            rows.append(_gain(f"  {one.judge}, pairs of both", one.queries, one.shared.judge))
    return rows


def _gain(name: str, queries: int, gain: Gain) -> list[str]:
    return [
        name,
        f"{queries:,}",
        measure_value(gain.before),
        measure_value(gain.after),
        plus_minus(gain.mean, *gain.ci95),
        p_value(gain.p, "-"),
        gain.verdict,
        percent(gain.unjudged_at_10),
        "",
        "",
    ]


GAIN_NOTE = (
    "Favour: how much higher the judge grades passages in the reranked top 10 alone than those in the first stage's "
    "top 10 alone, at the same human grade; 0 for a judge whose errors do not depend on the ranking. p: randomisation "
    "test, not corrected for the number of judges."
)


def labels(report: JudgeReport) -> list[str]:
    """Return the labels of the results."""
    return list(dict.fromkeys(one.label for one in report.results))


ORDER_COLUMNS = ("judge", "queries", "systems", "Kendall's tau", "order by the judge, best first")


def order_rows(report: JudgeReport) -> list[list[str]]:
    """Return a row under `ORDER_COLUMNS` for the human and for each judge."""
    rows = []
    for one in report.orders:
        for name, means, tau in (("human", one.human, ""), (one.judge, one.by_judge, _number(one.tau))):
            ranked = sorted(zip(means, one.systems, strict=True), key=lambda pair: -pair[0])
            row = [name, f"{one.queries:,}", str(len(one.systems)), tau,
                   ", ".join(f"{label} {mean:.4f}" for mean, label in ranked)]  # fmt: skip
            if row not in rows:
                rows.append(row)
    return rows


def confusion_columns(grades: Sequence[int]) -> list[str]:
    """Return the headings of `confusion_rows`."""
    return ["human", *(f"judge: {grade}" for grade in grades)]


def confusion_rows(grades: Sequence[int], counts: Sequence[Sequence[int]]) -> list[list[str]]:
    """Return a row for each human grade, with the number of pairs by the judge's grade."""
    return [[str(grade), *(f"{count:,}" for count in row)] for grade, row in zip(grades, counts, strict=True)]


def notes(report: JudgeReport) -> list[str]:
    """Return what the figures leave open, as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in report.notes]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


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
