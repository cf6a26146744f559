r"""LaTeX tables for a paper, ready for ``\input``: booktabs is all they need."""

import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence

from evalkit.report.content import numbers
from evalkit.report.content import trial as tables
from evalkit.report.content.tested import SIGNIFICANT
from evalkit.results import summary
from evalkit.results.comparison_schema import ComparedSystem, Comparison, CostFigures
from evalkit.results.schema import Result

Row = tuple[str, Mapping[str, float | None], Mapping[str, str]]
"""A system: its label, the mean of each measure, and the mark, if any, of each measure."""


def trial(result: Result) -> str:
    """Return the table of one finished trial: the first stage, the reranking, their difference, the best order.

    Marks and intervals are those of the result: Holm's correction is over its measures, the interval is Student's t.

    Args:
        result: of a finished trial.
    """
    effect, effective = result.effectiveness, result.effective
    measures, first = list(effect.delta), summary.label_first(result)
    head = f"{effective.slice['name']}, {effect.queries} queries: {first}"
    rows: list[Row] = [(first, effect.first_stage.mean, {})]
    below, tested = [], None
    if summary.reranks(result):
        reranker = effective.reranker
        precision = f" at {reranker['precision']}" if "precision" in reranker else ""
        head += f", and its best {effective.depth} passages reranked by {reranker['name']}{precision}"
        tests = effect.tests  # empty in a result of an earlier version
        ps = {measure: test.holm_p for measure, test in tests.items()}
        tested = "measures" if any(p is not None for p in ps.values()) else None
        rows.append((summary.label_second(result), effect.reranked.mean, _marks(ps, effect.delta)))
        below = [
            ["difference", *(_number(effect.delta[measure], "+z.4f") for measure in measures)],
            [r"95\,\% interval", *(_interval(*effect.delta_ci95[m]) for m in measures)],
        ]
    below.append(["best possible order", *(_number(effect.ceiling.mean[measure]) for measure in measures)])
    command = result.provenance["command"]
    made_by = f"{command[0]} {shlex.join(command[1:])}"
    cost = tables.cost_line(result) if result.cost else None
    return _table(made_by, head, result.name, measures, rows, below, tested, cost=cost)


def comparison(compared: Comparison) -> str:
    """Return the table of several systems on one slice, each marked against the first, the baseline.

    Marks are those of the comparison: Holm's correction is over all of its systems and measures.

    Args:
        compared: systems on one slice.
    """
    name, systems, baseline = compared.slice.name, compared.systems, compared.baseline
    shared = f"{baseline} " if all(s.label.startswith(f"{baseline} + ") for s in systems[1:]) else ""
    rows: list[Row] = []
    tested = None
    for system in systems:
        tests = compared.against_baseline.get(system.label, {})
        ps = {measure: test.holm_p for measure, test in tests.items()}
        marks = _marks(ps, {measure: test.mean for measure, test in tests.items()})
        rows.append((system.label.removeprefix(shared), system.mean, marks))
        if any(p is not None for p in ps.values()):
            tested = "systems and measures"
    made_by = f"python -m evalkit compare {shlex.join(_arguments(systems))}"
    head = f"{name}, {compared.slice.queries} queries: {len(systems)} systems"
    costs = [_costs(system.cost) for system in systems] if any(system.cost for system in systems) else []
    return _table(made_by, head, f"compare {name}", compared.measures, rows, [], tested, costs)


def _arguments(systems: Sequence[ComparedSystem]) -> list[str]:
    blended = ["--blended"] if any(system.side == "blended" for system in systems) else []
    return [*dict.fromkeys(system.where for system in systems), *blended]


def escape(text: str) -> str:
    """Return `text` as LaTeX prints it: one line, no control characters, unicode as it is.

    Beyond the ten specials: a bracket or star at the start of a row would be an argument of the row's end before it,
    ``<``, ``>`` and ``|`` are other characters in LaTeX's default font encoding, and ``--`` would be a dash.

    Args:
        text: any text.
    """
    return re.sub(r"([-',])(?=\1)", r"\1{}", _line(text).translate(_ESCAPES))


_ESCAPES = str.maketrans(
    {character: rf"\{character}" for character in "{}$&#%_"}
    | {character: f"{{{character}}}" for character in "[]*`"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def _table(
    made_by: str,
    head: str,
    name: str,
    measures: Sequence[str],
    rows: Sequence[Row],
    below: Sequence[Sequence[str]],
    tested: str | None,
    figures: Sequence[Sequence[str]] = (),
    cost: str | None = None,
) -> str:
    """Return the whole table; `below` are finished cells under a rule, `tested` is what Holm's correction is over.

    `figures` are finished cells of cost, a row for each of `rows`; `cost` is a sentence in their place.
    """
    best = {measure: _best([means.get(measure) for _, means, _ in rows]) for measure in measures}
    caption, notes = f"{escape(head)}.", ["Bold: the best of its column."] if any(best.values()) else []
    if tested:
        caption += (
            " Differences from the baseline: two-sided paired randomisation test, $p$ values after Holm's correction "
            f"over all {tested}."
        )
        baseline = escape(rows[0][0])
        notes.insert(
            0, rf"$^{{\dagger}}$ better, $^{{\ddagger}}$ worse than the baseline, {baseline}, at $p < {SIGNIFICANT}$."
        )
    if figures:
        notes.append("Cost: end to end; a query with its passages; the peak of memory.")
    if cost:
        notes.append(escape(cost))
    lines = [
        [escape(label), *(_cell(means.get(m), best[m], marks.get(m, "")) for m in measures), *more]
        for (label, means, marks), more in zip(rows, figures or [()] * len(rows), strict=True)
    ]
    heads = ["System", *map(escape, measures), *(_COST if figures else ())]
    body = [heads, None, *lines, *([None, *below] if below else [])]
    return "\n".join(
        [
            f"% Made by: {_line(made_by)}",
            "% Needs \\usepackage{booktabs} and no other package; names in scripts that are not Latin need XeLaTeX or",
            "% LuaLaTeX, with a font that has them.",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \label{{tab:{'-'.join(re.findall('[A-Za-z0-9]+', name)).lower()}}}",
            r"  \smallskip\small",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * (len(heads) - 1)}}}",
            r"    \toprule",
            *(r"    \midrule" if cells is None else rf"    {' & '.join(cells)} \\" for cells in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            *([r"  \par\smallskip", rf"  {{\footnotesize {' '.join(notes)}\par}}"] if notes else []),
            r"\end{table}",
            "",
        ]
    )


_COST = ("pairs/s", "p50 ms", "p99 ms", "peak MiB")


def _costs(cost: CostFigures | None) -> list[str]:
    """Return the cells under `_COST`."""
    found = (cost.pairs_per_s, cost.p50_ms, cost.p99_ms, cost.peak_mb) if cost else [None] * len(_COST)
    return ["--" if value is None else numbers.amount(value) for value in found]


def _cell(value: float | None, best: str | None, mark: str) -> str:
    shown = _number(value)
    return (rf"\textbf{{{shown}}}" if shown == best else shown) + mark


def _best(values: Sequence[float | None]) -> str | None:
    """Return the best value as printed, so that what looks equal is set alike; None where all look equal."""
    shown = {_number(value) for value in values if _known(value)}
    return max(shown, key=float) if len(shown) > 1 else None


def _marks(ps: Mapping[str, float | None], differences: Mapping[str, float | None]) -> dict[str, str]:
    r"""Return the mark of each measure that has one; \rlap lets it hang, so that the digits stay in line."""
    return {
        measure: rf"\rlap{{$^{{\{'dagger' if difference > 0 else 'ddagger'}}}$}}"
        for measure, p in ps.items()
        if p is not None and p < SIGNIFICANT and (difference := differences.get(measure))
    }


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "--"
    if numbers.is_cut(low, high):
        return f"$[{low:+z.4f}, {high:+z.4f}]$"
    return rf"$\pm {(high - low) / 2:.4f}$"


def _number(value: float | None, form: str = ".4f") -> str:
    """Return digits, in math mode where they have a sign; a dash for what is missing."""
    if value is None or not math.isfinite(value):
        return "--"
    return f"${value:{form}}$" if form.startswith("+") else f"{value:{form}}"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _line(text: str) -> str:
    """Return `text` in one line, without what TeX cannot read: control characters and lone surrogates."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs"))
