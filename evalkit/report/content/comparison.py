"""Rows and sentences of a comparison, shared by the terminal, Markdown and HTML."""

from dataclasses import dataclass

from evalkit.report.content import alternatives, savings
from evalkit.report.content.numbers import amount, counted, interval, number, p_value, plus_minus
from evalkit.report.content.tested import SIGNIFICANT, UNCLEAR, trend
from evalkit.report.content.trial import device
from evalkit.results.comparison_schema import (
    Agreement,
    Comparison,
    CostFigures,
)


def heading(compared: Comparison) -> str:
    """Return what was compared, in a line."""
    data = compared.slice
    by = f", judged by {data.judged_by}" if data.judged_by else ""
    return (
        f"{data.name}: {data.queries} queries, {data.docs:,} passages{by}; {len(compared.systems)} systems "
        f"against {compared.baseline}"
    )


@dataclass(frozen=True)
class Outcome:
    """The outcome of a comparison: a claim, sentences with details, and whether quality rose or fell."""

    claim: str
    lines: tuple[str, ...]
    trend: str
    """``rise``, ``fall``, or nothing."""


def outcome(compared: Comparison) -> Outcome:
    """Return in the first measure which rerankings are worth it, and which systems differ from the baseline."""
    against = _against_baseline(compared)
    claim, best = alternatives.claim(compared), alternatives.best_line(compared)
    if claim is None or best is None:
        return against
    return Outcome(claim, (best, f"{against.claim}.", *against.lines), alternatives.rise_or_fall(compared))


def _against_baseline(compared: Comparison) -> Outcome:
    """Return which systems differ from the baseline in the first measure."""
    name, baseline = compared.measures[0], compared.baseline
    groups: dict[str, list[str]] = {"better": [], "worse": [], UNCLEAR: []}
    for label, found in compared.against_baseline.items():
        test = found[name]
        groups[trend(test)].append(f"{label} ({test.mean:+.4f})")
    better, worse = len(groups["better"]), len(groups["worse"])
    total = better + worse + len(groups[UNCLEAR])
    claim = f"No clear difference from {baseline} in {name}"
    if better or worse:
        some = better or worse
        counted = f"{some} of {total} {'is' if some == 1 else 'are'}" if total > 1 else "The other one is"
        claim = f"{counted} {'better' if better else 'worse'} than {baseline}"
        if better and worse:
            claim += f", {worse} {'is' if worse == 1 else 'are'} worse"
        claim += f" in {name}"
    lines = [
        f"{title}: {', '.join(groups[key])}."
        for key, title in (("better", "Better"), ("worse", "Worse"), (UNCLEAR, "No clear difference"))
        if groups[key]
    ]
    lines.append(f"Better and worse mean a corrected p below {SIGNIFICANT:g}.")
    return Outcome(claim, tuple(lines), "rise" if better and not worse else "fall" if worse and not better else "")


def time_rows(compared: Comparison) -> list[dict[str, str]]:
    """Return a row a system whose time is known, with the parts of the whole path: first stage, then reranking."""
    measure, rows = compared.measures[0], []
    for system in compared.systems:
        time = system.time
        if time.first_stage_ms is None or time.reranking_p50_ms is None or time.total_ms is None:
            continue
        rows.append(
            {
                "system": system.label,
                measure: f"{system.mean[measure]:.4f}",
                "first stage ms": amount(time.first_stage_ms),
                "reranking ms": "-" if system.side == "first_stage" else amount(time.reranking_p50_ms),
                "whole query ms": amount(time.total_ms),
            }
        )
    return rows


TIME_NOTE = (
    "First stage: its time for all queries divided by their number, without building the index. Reranking: the median "
    "of single queries."
)


def system_rows(compared: Comparison) -> list[dict[str, str]]:
    """Return a row a system: each measure with its mark."""
    rows = []
    for system in compared.systems:
        row = {"system": system.label}
        for measure in compared.measures:
            row[measure] = f"{system.mean[measure]:.4f}{mark(compared, system.label, measure)}"
        rows.append(row)
    return rows


def cost_rows(compared: Comparison) -> list[dict[str, str]]:
    """Return a row a system that computed: speed and memory, with their ratios to the baseline's, and what they cost.

    That is the change of the first measure with half its interval, and how far the logits are from the baseline's,
    where both scored the same candidates. Nothing where no system computed.
    """
    measure, rows = compared.measures[0], []
    base = next((_compared_figures(s.cost) for s in compared.systems if s.label == compared.baseline and s.cost), {})
    for system in compared.systems:
        label = system.label
        if system.cost is None:
            continue
        test = compared.against_baseline[label][measure] if label != compared.baseline else None
        figures = _compared_figures(system.cost)
        rows.append(
            {
                "system": label,
                **{head: _with_ratio(value, base.get(head) if test else None) for head, value in figures.items()},
                f"{measure} change": plus_minus(test.mean, test.low, test.high) if test else "",
                "logits differ by": _drift(compared.parity.get(label)),
            }
        )
    return rows


def cost_notes(compared: Comparison) -> list[str]:
    """Return notes on `cost_rows`: what the figures are, and what fp16 saves where fp32 was measured too."""
    costs = {system.label: system.cost for system in compared.systems if system.cost}
    if not costs:
        return []
    peaks = {"GPU": "peak is what torch allocated on the GPU", "process": "peak is the resident set of the process"}
    kinds = [peaks[kind] for kind in peaks if any(cost.peak_of == kind for cost in costs.values())]
    brackets = [f"in brackets: ratios to {compared.baseline}"] if compared.baseline in costs else []
    note = "; ".join([*brackets, *kinds])
    notes = [f"{note[:1].upper()}{note[1:]}."] if note else []
    if len({cost.device for cost in costs.values()}) > 1:
        devices = ", ".join(f"{label} on {device(cost)}" for label, cost in costs.items())
        notes.append(f"The devices differ, so times and memory are not comparable: {devices}.")
    open_ended = {
        label: cost.latency_samples or 0
        for label, cost in costs.items()
        if cost.p99_ci95_ms and cost.p99_ci95_ms[1] is None
    }
    if open_ended:
        of = "any of them" if len(open_ended) == len(costs) else ", ".join(open_ended)
        most = max(open_ended.values())
        notes.append(f"The upper end of p99's interval is not determinable for {of}: {most:,} samples at most.")
    return notes + savings.lines(compared)


def _drift(found: Agreement | None) -> str:
    if found is None or found.max_abs is None or found.rms is None:
        return ""
    return f"{found.max_abs:.2g} at most, {found.rms:.2g} rms"


def _compared_figures(cost: CostFigures) -> dict[str, float | None]:
    """Return column -> figure, of those that have a ratio to the baseline's."""
    return {
        "pairs/s": cost.pairs_per_s,
        "p50 ms": cost.p50_ms,
        "p99 ms": cost.p99_ms,
        "peak MiB": cost.peak_mb,
        "weights MiB": cost.weights_mb,
    }


def _with_ratio(value: float | None, base: float | None) -> str:
    """Return a figure with its ratio to the baseline's, where there is one."""
    if value is None:
        return ""
    return amount(value) + (f" (\u00d7{value / base:.2f})" if base else "")


def mark(compared: Comparison, label: str, measure: str) -> str:
    """Return a sign where the system differs from the baseline after Holm's correction: + better, - worse.

    Args:
        compared: a comparison.
        label: label of the system.
        measure: name of the measure, such as ``nDCG@10``.

    Returns:
        " +" or " -"; empty for the baseline and where the difference is not significant.
    """
    if label == compared.baseline:
        return ""
    return {"better": " +", "worse": " -"}.get(trend(compared.against_baseline[label][measure]), "")


def mark_note(compared: Comparison) -> str:
    """Return what the signs mean, and the test behind them."""
    return (
        f"+ and - differ from {compared.baseline} at p < {SIGNIFICANT:g}: two-sided paired randomisation test "
        f"({compared.resamples} draws, seed {compared.seed}), Holm's correction over all systems and measures"
        f"{_untested(compared)}."
    )


def _untested(compared: Comparison) -> str:
    """Return what the correction leaves out: a test in which no query differs can reject nothing."""
    count = compared.untested.against_baseline
    return f", {counted(count, 'test')} left out in which no query differs" if count else ""


def test_columns(compared: Comparison) -> list[str]:
    """Return the headings of `test_rows`."""
    percent = f"{100 * compared.confidence:g} %"
    return [
        "system", "change", f"t, {percent}", f"BCa, {percent}", "win/tie/loss", "d", "p t", "p Wilcoxon", "p random.",
        "p Holm", "p B-H", "sees",
    ]  # fmt: skip


def test_rows(compared: Comparison, measure: str) -> list[list[str]]:
    """Return for each system but the baseline the tests of one measure.

    Args:
        compared: a comparison.
        measure: name of the measure.

    Returns:
        Cells under `test_columns`.
    """
    rows = []
    for label, tests in compared.against_baseline.items():
        test = tests[measure]
        rows.append(
            [
                label,
                f"{test.mean:+.4f}",
                interval(test.low, test.high, "-"),
                interval(test.bca_low, test.bca_high, "-"),
                f"{test.wins}/{test.ties}/{test.losses}",
                number(test.effect_size, "+.2f"),
                *(p_value(p, "-") for p in (test.t_p, test.wilcoxon_p, test.randomization_p, test.holm_p, test.bh_p)),
                number(test.detectable, ".4f"),
            ]
        )
    return rows


def matrix_rows(compared: Comparison, measure: str) -> list[list[str]]:
    """Return the corrected p values of every system against every other one; the first cell is the system.

    Args:
        compared: a comparison.
        measure: name of the measure.
    """
    matrix = compared.matrix[measure]
    return [
        [label, *("" if p is None else p_value(p) for p in row)] for label, row in zip(matrix.labels, matrix.holm_p)
    ]


def parity_lines(compared: Comparison) -> list[str]:
    """Return for each system that scored the baseline's candidates how far the two agree."""
    lines = []
    for label, found in compared.parity.items():
        if found is None:
            continue
        same = found.equivalence
        verdict = "is equivalent" if same.equivalent else "is not shown to be equivalent"
        p = "" if same.p is None else f" (p = {p_value(same.p)})".replace("= <", "<")
        lines.append(
            f"{label} {verdict} to {compared.baseline} within {same.margin:g} {same.measure}{p}: "
            f"{_difference(found)} {found.pairs} pairs; top 10 shared {found.top10_overlap:.1%}, Kendall's tau "
            f"{found.kendall_tau:.4f}, RBO {found.rbo:.4f}; tied pairs {found.tied_pairs_before} -> "
            f"{found.tied_pairs_after}."
        )
    return lines


def _difference(found: Agreement) -> str:
    if found.max_abs is None or found.rms is None:
        return "by ranks alone, for one of them has no logits, over"
    return f"logits differ by {found.max_abs:.3g} at most, {found.rms:.3g} rms, over"
