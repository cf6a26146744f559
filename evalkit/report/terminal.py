"""The tables and sentences on standard output at the end of a run."""

import sys
from collections.abc import Iterable, Sequence

from rich.table import Table

from evalkit.boundary.terminal import PlainConsole
from evalkit.report.content import (
    alternatives,
    chunks,
    comparison,
    fusion,
    gate,
    judges,
    pick,
    plan,
    pooling,
    quickcheck,
    savings,
    trial,
)
from evalkit.rerankers.quickcheck import QuickCheck
from evalkit.rerankers.side_by_side import SideBySide
from evalkit.results import summary
from evalkit.results.comparison_schema import Comparison
from evalkit.results.gate.verdict import Verdict
from evalkit.results.judges_schema import JudgeReport
from evalkit.results.pick_schema import Pick
from evalkit.results.plan_schema import QueryPlan
from evalkit.results.schema import Result, Unfinished


def show_quality(result: Result) -> None:
    """Print the measures of a trial and its verdict; `show_cost` follows when its queries are timed.

    Args:
        result: one whose cost need not be known yet.
    """
    console = _console()
    console.print(trial.heading(result), soft_wrap=True)
    console.print(_effectiveness(result))
    if result.fusion:
        console.print(_left_first(fusion.columns(result), fusion.rows(result, result.fusion), fusion.TITLE))
        console.print(fusion.verdict(result, result.fusion), soft_wrap=True)
    console.print(trial.verdict(result), soft_wrap=True)


def show_cost(result: Result) -> None:
    """Print what a finished trial cost and what to know about its figures; `show_folder` follows with its folder.

    Args:
        result: a finished result, whose `show_quality` has been printed.
    """
    console = _console()
    if split := chunks.claim(result):
        console.print(split, soft_wrap=True)
    if cost := trial.cost_line(result):
        console.print(cost, soft_wrap=True)
    if condensed := pooling.of_trial(result):
        console.print(condensed, soft_wrap=True)
    for line in trial.tie_lines(result, least=0.001):
        console.print(line, soft_wrap=True)
    for warning in result.warnings:
        console.print(f"note: {warning}", soft_wrap=True)


def show_folder(folder: str) -> None:
    """Print where the files of a result are."""
    _console().print(f"results in {folder}", soft_wrap=True)


def show_sweep(results: Sequence[Result | Unfinished], folder: str) -> None:
    """Print a line for each trial.

    Args:
        results: the trials, finished or not; one or more.
        folder: where the combined report is.
    """
    console = _console()
    table = Table(title="Sweep", title_justify="left")
    rows = trial.sweep_rows(results, measures=1)
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "system" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    for result in results:
        if isinstance(result, Unfinished):
            console.print(f"{result.status}: {summary.label(result)}: {result.error}", soft_wrap=True)
    console.print(f"combined report in {folder}", soft_wrap=True)


def _console() -> PlainConsole:
    """Return a console for standard output, 120 columns wide if that is a file or a pipe."""
    return PlainConsole(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def _effectiveness(result: Result) -> Table:
    table = Table()
    for column in trial.effectiveness_columns(result):
        table.add_column(
            column, justify="left" if column == "measure" else "right", overflow="fold", no_wrap=column[0] != "+"
        )
    for row in trial.effectiveness_rows(result):
        table.add_row(*row)
    return table


def show_comparison(compared: Comparison, folder: str) -> None:
    """Print the systems, what differs from the baseline in the first measure, and what is equivalent.

    Args:
        compared: a comparison.
        folder: where its report is.
    """
    console = _console()
    rows = comparison.system_rows(compared)
    measure = compared.measures[0]
    console.print(_left_first(list(rows[0]), [list(row.values()) for row in rows], comparison.heading(compared)))
    console.print(comparison.mark_note(compared), soft_wrap=True)
    outcome = comparison.outcome(compared)
    console.print(f"{outcome.claim}.", soft_wrap=True)
    if worth := [{key: row[key] for key in row if key not in _LONG} for row in alternatives.rows(compared)]:
        console.print(_left_first(list(worth[0]), [list(row.values()) for row in worth], alternatives.TITLE))
    for line in pooling.lines(compared):
        console.print(line, soft_wrap=True)
    columns = ["system", f"{measure} change", "95 % interval (BCa)", "win/tie/loss", "d", "p Holm", "sees a drop of"]
    tests = comparison.test_rows(compared, measure)
    console.print(_left_first(columns, [[r[0], r[1], r[3], r[4], r[5], r[9], r[11]] for r in tests], ""))
    if times := comparison.time_rows(compared):
        console.print(_left_first(list(times[0]), [list(row.values()) for row in times], "Quality and time"))
    if costs := [{key: row[key] for key in row if key not in _LONG} for row in comparison.cost_rows(compared)]:
        console.print(_left_first(list(costs[0]), [list(row.values()) for row in costs], "What it costs"))
    for line in (*savings.lines(compared), *comparison.parity_lines(compared)):
        console.print(line, soft_wrap=True)
    for warning in compared.warnings:
        console.print(f"note: {warning}", soft_wrap=True)
    console.print(f"comparison in {folder}", soft_wrap=True)


_LONG = ("weights MiB", "logits differ by", alternatives.OVER_BASELINE, alternatives.MORE_THAN_FIRST)
"""Columns that are in the reports only."""


def _left_first(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def show_plan(planned: QueryPlan) -> None:
    """Print how many queries it takes, from what, and which slices at hand have so many."""
    console = _console()
    console.print(plan.headline(planned), soft_wrap=True)
    console.print(plan.basis(planned), soft_wrap=True)
    console.print(_left_first(plan.number_columns(planned), plan.number_rows(planned), ""))
    console.print(_left_first(plan.SLICE_COLUMNS, plan.slice_rows(planned), "Slices at hand"))
    for note in plan.notes(planned):
        console.print(note, soft_wrap=True)


def show_pick(found: Pick) -> None:
    """Print the picked setting, cheaper ones that are nearly as good, all settings, and the command."""
    console = _console()
    table = pick.rows(found, most=_MOST_SETTINGS)
    console.print(_left_first(pick.columns(found), table, f"{found.slice}: {found.queries:,} queries"))
    if len(table) < len(found.choices):
        console.print(f"{len(table)} of {len(found.choices)} settings; --output DIR or --json has all", soft_wrap=True)
    console.print(pick.headline(found), soft_wrap=True)
    console.print(pick.basis(found), soft_wrap=True)
    if near := pick.near_rows(found):
        console.print(_left_first(pick.NEAR_COLUMNS, near, ""))
        console.print(pick.near_note(found), soft_wrap=True)
    for note in pick.notes(found):
        console.print(note, soft_wrap=True)
    console.print(f"run it with: {found.command}", soft_wrap=True)


_MOST_SETTINGS = 8
"""How many of the best settings are printed, besides the front."""


def show_judges(found: JudgeReport) -> None:
    """Print agreement, the gains of each result by each judge, the order of the systems, and the findings."""
    console = _console()
    console.print(_left_first(judges.AGREEMENT_COLUMNS, judges.agreement_rows(found), f"Agreement with {found.human}"))
    console.print(judges.agreement_note(found), soft_wrap=True)
    for label in judges.labels(found):
        rows, title = judges.gain_rows(found, label), judges.gain_title(found, label)
        console.print(_left_first(judges.gain_columns(found), rows, title))
    if favours := judges.favour_rows(found):
        console.print(_left_first(judges.FAVOUR_COLUMNS, favours, ""))
        console.print(judges.FAVOUR_NOTE, soft_wrap=True)
    for columns, rows in judges.order_tables(found):
        console.print(_left_first(columns, rows, ""))
    console.print(judges.headline(found), soft_wrap=True)
    for line in [*judges.findings(found), *judges.notes(found)]:
        console.print(line, soft_wrap=True)


def show_gate(judged: Verdict, baseline: str) -> None:
    """Print the gate's verdict; failed checks and the outcome come last.

    Args:
        judged: the outcome of the gate.
        baseline: path of the baseline.
    """
    console = _console()
    for line in judged.changed:
        console.print(f"differs from the baseline: {line}", soft_wrap=True)
    if judged.qualities:
        table = Table(title=f"{judged.system}, against {baseline}", title_justify="left")
        for column in gate.COLUMNS:
            table.add_column(column, justify="left" if column == "measure" else "right")
        for row in gate.quality_rows(judged):
            table.add_row(*row)
        console.print(table)
    if seen := gate.sensitivity(judged):
        console.print(seen, soft_wrap=True)
    if own := gate.own_limits(judged):
        console.print(own, soft_wrap=True)
    for state in ("passed", "no limit"):
        if named := gate.state_line(judged, state):
            console.print(named, soft_wrap=True)
    for line in (*gate.loss_lines(judged), *gate.notable_lines(judged)):
        console.print(line, soft_wrap=True)
    console.print(gate.headline(judged), soft_wrap=True)


def show_lines(lines: Iterable[str]) -> None:
    """Print lines without wrapping or colour, for programs that read them."""
    for line in lines:
        sys.stdout.write(line + "\n")


def show_quickcheck(check: QuickCheck, label: str = "") -> None:
    """Print a quick check: the model, its ranking of each query, and whether batch and single pairs agree.

    Args:
        check: what it found.
        label: which trial of a sweep it is.
    """
    console = _console()
    if label:
        console.print(label, soft_wrap=True)
    console.print(quickcheck.described(check.reranker), soft_wrap=True)
    for ranked in check.checks:
        table = _texts_last(quickcheck.columns(ranked), quickcheck.rows(ranked))
        _print_texts(quickcheck.title(ranked.lang, ranked.query), table, quickcheck.below(ranked))
    _print_agreement(console, check)
    console.print(quickcheck.SCORES_NOTE, soft_wrap=True)


def show_quickcheck_of_sweep(check: QuickCheck) -> None:
    """Print the model of a quick check and whether batch and single pairs agree; `show_side_by_side` has the ranks."""
    console = _console()
    console.print(quickcheck.described(check.reranker), soft_wrap=True)
    _print_agreement(console, check)


def show_side_by_side(compared: SideBySide) -> None:
    """Print one table for each query: the rank and the score of each passage, by each reranker."""
    for query in compared.queries:
        table = _texts_last(quickcheck.compared_columns(compared, query), quickcheck.compared_rows(query))
        _print_texts(quickcheck.title(query.lang, query.query), table, quickcheck.compared_below(compared, query))
    _console().print(quickcheck.SIDE_BY_SIDE_NOTE, soft_wrap=True)


def _print_texts(title: str, table: Table, below: Iterable[str]) -> None:
    console = _console()
    console.print(title, soft_wrap=True)
    console.print(table)
    for line in below:
        console.print(line, soft_wrap=True)


def _print_agreement(console: PlainConsole, check: QuickCheck) -> None:
    if truncated := quickcheck.truncation(check):
        console.print(truncated, soft_wrap=True)
    console.print(quickcheck.agreement(check), soft_wrap=True)


def _texts_last(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("no.", "passage") else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
