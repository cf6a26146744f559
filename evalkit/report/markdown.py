"""report.md of a trial, a sweep, a comparison, and the gate's verdict."""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from evalkit.evaluation.resampling import ENUMERATED
from evalkit.report.content import alternatives, cost_load, numbers, pooling, system
from evalkit.report.content import blend as blending
from evalkit.report.content import chunks as chunking
from evalkit.report.content import comparison as comparing
from evalkit.report.content import cost as costs
from evalkit.report.content import fusion as fusing
from evalkit.report.content import gate as verdict
from evalkit.report.content import judges as judging
from evalkit.report.content import pick as picking
from evalkit.report.content import trial as tables
from evalkit.report.content.cost_part import Part
from evalkit.report.content.intervals import FEW
from evalkit.report.plots import titles
from evalkit.results import summary
from evalkit.results.comparison_schema import Comparison
from evalkit.results.gate.verdict import Verdict
from evalkit.results.judges_schema import JudgeReport
from evalkit.results.pick_schema import Pick
from evalkit.results.schema import Fusion, MeasureTests, Reference, Result, Unfinished


def trial(result: Result, pictures: Sequence[str] = ()) -> str:
    """Return the report of one finished trial.

    Each known picture follows the table of its figures; others are at the end.

    Args:
        result: a finished trial.
        pictures: names of image files in the folder of the report.
    """
    provenance, effective, effect = result.provenance, result.effective, result.effectiveness
    reranks, shown = summary.reranks(result), {name.split(".")[0]: name for name in pictures}

    def picture(name: str) -> list[str]:
        return [f"![{escaped(titles.title(name, result))}]({shown.pop(name)})"] if name in shown else []

    question = "is the reranker worth it?" if reranks else "the first stage by itself"
    parts = [f"# {escaped(result.name)}: {question}", f"**{escaped(tables.verdict(result))}**"]
    parts.append(escaped(f"{tables.heading(result)}. {system.line(result)}"))
    if cost := tables.cost_line(result):
        parts.append(escaped(cost))
    if result.warnings:
        parts.append("## Before you quote a figure\n" + "\n".join(f"- {escaped(w)}" for w in result.warnings))
    parts += [
        f"## Effectiveness\n{escaped(tables.heading(result))}. Binary measures count grade "
        f"{effect.relevance_level} and above as relevant. "
        + "The interval is Student's t over the paired per-query differences. " * reranks
        + "The ceiling is what a perfect order of the same candidates would reach.",
        table(tables.effectiveness_columns(result), tables.effectiveness_rows(result)),
        _unjudged(result, reranks),
        *picture("before_after"),
        *picture("changes"),
    ]
    if result.fusion:
        parts += _fusion(result, result.fusion)
    if reranks and effect.tests:
        parts += [
            "### How sure\n" + table(_TESTS, [_test_row(name, test) for name, test in effect.tests.items()]),
            "Two-sided tests of the paired differences; the randomisation test has 9,999 seeded draws (all flips up to "
            f"{ENUMERATED} differences other than 0), Holm's and Benjamini and Hochberg's corrections are over the "
            "measures of this report. d is Cohen's d_z; the last column is the smallest difference that a slice of "
            "this size and spread shows with a probability of 80 %.",
        ]
    if result.chunks:
        what = " ".join(filter(None, (chunking.intro(result), chunking.claim(result))))
        parts.append(f"## {chunking.TITLE}\n{escaped(what)}")
        parts += [table(chunking.columns(), rows)] if (rows := chunking.rows(result, result.chunks)) else []
    if result.blend:
        parts += [
            f"## Blended with the first stage\n{escaped(blending.intro(result))}",
            *([table(blending.columns(result), rows)] if (rows := blending.rows(result)) else []),
            table(["weight w", *effect.delta], blending.curve_rows(result)),
            *picture("blend"),
        ]
    parts += _analysis(result, picture)
    if result.references:
        parts.append("## Published figures\n" + table(_PUBLISHED, [_published(one) for one in result.references]))
    if result.cost:
        parts.append("## Cost")
        for part in costs.parts(result):
            parts += [_cost(part), *picture(_OF_COST.get(part.title, ""))]
    for name in list(shown):
        parts += picture(name)
    parts += [
        "## What was done\n" + table(["what", "value"], _flat(asdict(effective))),
        "## Where it comes from\n" + table(["what", "value"], _flat(provenance)),
        f"Command: {_code(provenance['command'])}",
    ]
    return "\n\n".join(parts) + "\n"


def _fusion(result: Result, fusion: Fusion) -> list[str]:
    parts = [
        f"### {fusing.TITLE}\n" + table(fusing.columns(result), fusing.rows(result, fusion)),
        escaped(fusing.verdict(result, fusion)),
    ]
    if folds := fusing.fold_rows(fusion):
        parts.append(f"{fusing.FOLDS}, each chosen on the other folds:\n\n" + table(fusing.fold_columns(fusion), folds))
    return parts


def _unjudged(result: Result, reranks: bool) -> str:
    shares, condensed = result.effectiveness.unjudged_at_10, pooling.of_trial(result)
    after = f" before, {shares.reranked:.1%} after" if reranks else ""
    also = f" {escaped(condensed)}" if condensed else ""
    return f"Unjudged passages in the top 10: {shares.first_stage:.1%}{after}.{also}"


_OF_COST = {costs.LATENCY: "latency", costs.GRID: "latency_grid", cost_load.TITLE: "load"}
_TESTS = [
    "measure", "BCa, 95 %", "p t", "p Wilcoxon", "p random.", "p Holm", "p B-H", "d", "sees a difference of",
]  # fmt: skip
_PUBLISHED = ["system", "measure", "published", "here", "difference", "source", "note"]


def _test_row(name: str, test: MeasureTests) -> list[str]:
    ps = (test.t_p, test.wilcoxon_p, test.randomization_p, test.holm_p, test.bh_p)
    return [
        name,
        numbers.interval(*test.bca95),
        *(numbers.p_value(p, "-") for p in ps),
        numbers.number(test.effect_size, "+.2f"),
        numbers.number(test.detectable, ".4f"),
    ]


def _published(one: Reference) -> list[str]:
    return [
        one.of, one.measure, f"{one.value:.4f}", f"{one.ours:.4f}", f"{one.difference:+.4f}",
        one.source, one.note,
    ]  # fmt: skip


def _analysis(result: Result, picture: Callable[[str], list[str]]) -> list[str]:
    """Return the sections on depth, kinds of queries, largest changes, ties and scores.

    `picture` returns the lines of a picture, none if it was not drawn.
    """
    found, parts = result.analysis, []
    measures, reranks = list(result.effectiveness.delta), summary.reranks(result)
    if len(found.depths) > 1 and reranks:
        rows = [[str(one.depth), f"{one.pairs:,}", *(f"{one.mean[m]:.4f}" for m in measures)] for one in found.depths]
        parts += ["## Quality by depth\n" + table(["depth", "pairs", *measures], rows), *picture("depths")]
    alone = []
    for by, classes in found.breakdown.items():
        if len(classes) < 2:  # a group of all queries has the figures of the whole
            alone += [f"by {by.replace('_', ' ')}: {row.label}" for row in classes]
            continue
        cells = [
            [
                row.label,
                f"{row.queries}" + (" (few)" if row.queries < FEW else ""),
                f"{row.before:.4f}",
                f"{row.after:.4f}",
                numbers.plus_minus(row.delta, *row.ci95),
            ]
            for row in classes
        ]
        title = f"## {measures[0]} by {by.replace('_', ' ')}"
        columns = ["", "queries", "before", "after", "change, 95 % interval"]
        if not reranks:
            columns, cells = ["", "queries", "mean"], [row[:3] for row in cells]
        few = any(row.queries < FEW for row in classes)
        note = f"\n\nFew: fewer than {FEW} queries, too few for a reliable mean." if few else ""
        parts.append(f"{title}\n" + table(columns, cells) + note)
    if alone:
        parts.append(f"All queries are of one group {escaped('; '.join(alone))}.")
    for label, examples in (("gained", found.gains), ("lost", found.losses)):
        if examples:
            rows = [[one.query_id, one.query, f"{one.before:.4f} -> {one.after:.4f}"] for one in examples]
            parts.append(f"## Queries that {label} most\n" + table(["id", "query", measures[0]], rows))
    rows = [
        [label, name, f"{means.expected:.4f}", f"{means.low:.4f}", f"{means.high:.4f}"]
        for label, name, means in tables.tied_means(result)
    ]
    if rows:
        parts += [
            "## If tied passages stood in any order\n" + table(["list", "measure", "expected", "worst", "best"], rows),
            "\n".join(f"- {escaped(line)}" for line in tables.tie_lines(result)),
        ]
    meaning = [*picture("scores"), *picture("reliability")]
    if found.scores and found.scores.best_f1:
        best = found.scores.best_f1
        rules = "; ".join(
            f"{rule.rule}: {rule.pairs} pairs, {numbers.percent(rule.relevant_share) or 'none'} of them relevant"
            for rule in found.scores.rules
        )
        meaning.insert(
            0,
            f"Best F1 {best.f1:.3f} at a logit of {best.logit:.2f} (sigmoid {best.sigmoid:.3f}): precision "
            f"{best.precision:.3f}, recall {best.recall:.3f}. {escaped(rules)}. Expected calibration error of the "
            f"sigmoid: {found.scores.expected_calibration_error:.3f}.",
        )
    if meaning:
        parts.append("## What the scores mean here\n" + "\n\n".join(meaning))
    return parts


def sweep(results: Sequence[Result | Unfinished], pictures: Sequence[str] = ()) -> str:
    """Return the combined report of a sweep.

    Args:
        results: its trials, finished or not; one or more.
        pictures: names of image files in the folder of the report.
    """
    rows = tables.sweep_rows(results)
    parts = ["# Sweep: the trials side by side", table(list(rows[0]), [list(row.values()) for row in rows])]
    parts.append(
        "\n".join(f"- {escaped(name)}: {_outcome(result)}" for name, result in zip(summary.labels(results), results))
    )
    parts += [f"![{name}]({name})" for name in pictures]
    notes = dict.fromkeys(note for result in results if isinstance(result, Result) for note in result.warnings)
    if notes:
        parts.append("## Before you quote a figure\n" + "\n".join(f"- {escaped(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def gate(judged: Verdict) -> str:
    """Return the gate's verdict, as a CI job's summary shows it."""
    mark = "\u2705" if judged.holds else "\u274c"
    parts = [f"## {mark} {escaped(verdict.headline(judged))}"]
    if notable := (*judged.failed, *judged.undecided):
        parts.append("\n".join(f"- **{escaped(check.name)}**: {escaped(check.message)}" for check in notable))
    if judged.changed:
        parts.append(
            "The system differs from the baseline's:\n\n" + "\n".join(f"- {escaped(line)}" for line in judged.changed)
        )
    if judged.qualities:
        parts.append(table(verdict.COLUMNS, verdict.quality_rows(judged)))
    if seen := verdict.sensitivity(judged):
        parts.append(escaped(seen))
    if own := verdict.own_limits(judged):
        parts.append(escaped(own))
    if judged.losses:
        parts.append("### Queries that lost most")
    for loss in judged.losses:
        lines = [f"**{escaped(verdict.loss_line(loss, judged.qualities[0].measure))}**", ""]
        parts.append("\n".join(lines + [f"- {escaped(verdict.move_line(move, judged.kept))}" for move in loss.moves]))
    checks = "\n".join(f"- {escaped(check.name)}: {check.state}; {escaped(check.message)}" for check in judged.checks)
    parts.append(f"<details><summary>All checks</summary>\n\n{checks}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def comparison(compared: Comparison, pictures: Sequence[str] = ()) -> str:
    """Return the report of a comparison.

    Args:
        compared: a comparison.
        pictures: names of image files in the folder of the report.
    """
    rows, outcome = comparing.system_rows(compared), comparing.outcome(compared)
    parts = [
        f"# {escaped(comparing.heading(compared))}",
        f"**{escaped(outcome.claim)}.**",
        "\n".join(f"- {escaped(line)}" for line in outcome.lines if line),
        table(list(rows[0]), [list(row.values()) for row in rows]),
        escaped(comparing.mark_note(compared)),
    ]
    if worth := alternatives.rows(compared):
        parts += [
            f"## {alternatives.TITLE}\n" + table(list(worth[0]), [list(row.values()) for row in worth]),
            escaped(alternatives.note(compared)),
        ]
    if times := comparing.time_rows(compared):
        parts += [
            "## Quality and time\n" + table(list(times[0]), [list(row.values()) for row in times]),
            comparing.TIME_NOTE,
        ]
    if pooled := pooling.rows(compared):
        parts += [
            f"## {pooling.TITLE}\n" + "\n".join(f"- {escaped(line)}" for line in pooling.lines(compared)),
            table(pooling.columns(compared), pooled),
            pooling.NOTE,
        ]
    if cost_rows := comparing.cost_rows(compared):
        parts += [
            "## What it costs\n" + table(list(cost_rows[0]), [list(row.values()) for row in cost_rows]),
            "\n".join(f"- {escaped(note)}" for note in comparing.cost_notes(compared)),
        ]
    if agreement := comparing.parity_lines(compared):
        parts.append("## Same scores, same order?\n" + "\n".join(f"- {escaped(line)}" for line in agreement))
    for measure in compared.measures:
        parts.append(f"## {escaped(measure)}")
        parts.append(table(comparing.test_columns(compared), comparing.test_rows(compared, measure)))
        labels = [f"({number})" for number in range(1, len(compared.systems) + 1)]
        rows_of_matrix = [
            [f"{n} {row[0]}", *row[1:]] for n, row in zip(labels, comparing.matrix_rows(compared, measure))
        ]
        parts.append("Every system against every other one, p values after Holm's correction over all pairs:")
        parts.append(table(["system", *labels], rows_of_matrix))
    parts += [f"![{escaped(name)}]({name})" for name in pictures]
    if compared.warnings:
        parts.append("## Before you quote a figure\n" + "\n".join(f"- {escaped(w)}" for w in compared.warnings))
    return "\n\n".join(parts) + "\n"


def pick(found: Pick, pictures: Sequence[str] = ()) -> str:
    """Return the report of a pick.

    Args:
        found: a pick.
        pictures: names of image files in the folder of the report.
    """
    parts = [
        f"# {escaped(found.slice)}: the best setting within the budget",
        f"**{escaped(picking.headline(found))}**",
        escaped(picking.basis(found)),
        f"Run it with {_code([found.command])}.",
        *(f"![{escaped(name)}]({name})" for name in pictures),
    ]
    if near := picking.near_rows(found):
        parts += ["## Cheaper", table(picking.NEAR_COLUMNS, near), escaped(picking.near_note(found))]
    parts += ["## All settings", table(picking.columns(found), picking.rows(found))]
    parts.append("\n".join(f"- {escaped(note)}" for note in picking.notes(found)))
    return "\n\n".join(part for part in parts if part) + "\n"


def judges(found: JudgeReport, pictures: Sequence[str] = ()) -> str:
    """Return the report on judges.

    Args:
        found: a report.
        pictures: names of image files in the folder of the report.
    """
    shown = {name.split(".")[0]: f"![{escaped(name)}]({name})" for name in pictures}
    parts = [f"# Judges against {escaped(found.human)}", f"**{escaped(judging.headline(found))}**"]
    parts.append("\n".join(f"- {escaped(line)}" for line in [*judging.findings(found), *judging.notes(found)]))
    if found.results:
        parts += [f"## Is the reranker worth it, by {escaped(found.measure or '')}?", shown.get("gains", "")]
        for label in judging.labels(found):
            rows = judging.gain_rows(found, label)
            parts += [f"### {escaped(judging.gain_title(found, label))}", table(judging.gain_columns(found), rows)]
    if favours := judging.favour_rows(found):
        parts += ["## Favour", table(judging.FAVOUR_COLUMNS, favours), escaped(judging.FAVOUR_NOTE)]
    if found.orders:
        parts += ["## Order of the systems", *(table(*one) for one in judging.order_tables(found))]
    parts += ["## Agreement", table(judging.AGREEMENT_COLUMNS, judging.agreement_rows(found))]
    parts += [escaped(judging.agreement_note(found)), shown.get("confusion", "")]
    for one in found.judges:
        grades, counts = one.agreement.grades, one.agreement.confusion
        pairs = table(judging.confusion_columns(grades), judging.confusion_rows(grades, counts))
        parts += [f"### Pairs by grade: {escaped(one.name)}", pairs]
    return "\n\n".join(part for part in parts if part) + "\n"


def _outcome(result: Result | Unfinished) -> str:
    if isinstance(result, Result):
        missing = f" Not written: {escaped(', '.join(result.missing))}." if result.missing else ""
        return escaped(tables.verdict(result)) + missing
    return f"{escaped(result.status)}. {escaped(result.error)}"


def _cost(part: Part) -> str:
    figures = [table(part.columns, part.rows)] if part.rows else []
    listed = "- " if len(part.notes) > 1 else ""
    notes = ["\n".join(f"{listed}{escaped(note)}" for note in part.notes)] if part.notes else []
    return f"### {escaped(part.title)}\n" + "\n\n".join(figures + notes)


def _flat(values: Any, prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append([f"{prefix}{key}", _value(value)])
    return rows


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are plain text; all columns but the first are right-aligned.

    Args:
        columns: headings.
        rows: cells, as many in each row as there are columns.
    """
    lines = ["| " + " | ".join(map(escaped, columns)) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    lines += ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]
    return "\n".join(lines)


def _code(command: Sequence[str]) -> str:
    """Return a command as a code span, quoted for a shell; the fence is longer than any run of backticks in it."""
    line = _UNPRINTABLE.sub("\ufffd", f"{command[0]} {shlex.join(command[1:])}".strip())
    fence = "`" * (1 + max((len(row) for row in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in (line[0], line[-1]) else f"{fence}{line}{fence}"


def escaped(value: str) -> str:
    """Return a value as one line of plain text in Markdown, also in a table; an address may still become a link."""
    return _LIVE.sub(_dead, _UNPRINTABLE.sub("\ufffd", " ".join(str(value).split())))


def _dead(match: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(match[0], f"\\{match[0]}")


_LIVE = re.compile(r"[<`*~|\[\]]|&(?=[#\w])|\\(?=[!-/:-@\[-`{-~]|$)|(?<![^\W_])_|_(?![^\W_])|^(?:[#>]|-(?=[ -]))")
"""Characters that begin markup; not an underscore within a word, nor ``&`` or a backslash before a blank."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which may control a terminal, and lone surrogates."""
