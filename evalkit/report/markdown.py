"""report.md: one trial, or a sweep, for a reader who was not there."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from evalkit.gate.verdict import Verdict
from evalkit.report import tables, verdict
from evalkit.report.result import Result


def trial(result: Result, plot: str | None = None) -> str:
    """Return the report of one finished trial."""
    provenance, effective = result["provenance"], result["effective"]
    parts = [f"# {_text(result['name'])}: is the reranker worth it?", f"**{tables.verdict(result)}**"]
    if cost := tables.cost_line(result):
        parts.append(_text(cost))
    parts += [
        f"## Effectiveness\n{_text(tables.heading(result))}. Binary measures count grade "
        f"{result['effectiveness']['relevance_level']} and above as relevant. The interval is Student's t over the "
        "paired per-query differences. The ceiling is what a perfect order of the same candidates would reach.",
        _table(tables.effectiveness_columns(result), tables.effectiveness_rows(result)),
        f"Unjudged passages in the top 10: {result['effectiveness']['unjudged_at_10']['first_stage']:.1%} before, "
        f"{result['effectiveness']['unjudged_at_10']['reranked']:.1%} after.",
    ]
    if plot:
        parts.append(f"![{_text(result['name'])}: before and after]({plot})")
    if result["warnings"]:
        parts.append("## Before you quote a figure\n" + "\n".join(f"- {_text(w)}" for w in result["warnings"]))
    if result["cost"]:
        parts.append("## Cost\n" + _table(["quantity", "value"], _cost_rows(result["cost"])))
    parts += [
        "## What was done\n" + _table(["what", "value"], _flat(effective)),
        "## Where it comes from\n" + _table(["what", "value"], _flat(provenance)),
        f"Command: {_code(provenance['command'])}",
    ]
    return "\n\n".join(parts) + "\n"


def sweep(results: Sequence[Result]) -> str:
    """Return the combined report of a sweep."""
    rows = tables.sweep_rows(results)
    parts = ["# Sweep: the trials side by side", _table(list(rows[0]), [list(row.values()) for row in rows])]
    parts.append("\n".join(f"- {_text(tables.label(result))}: {_outcome(result)}" for result in results))
    notes = dict.fromkeys(note for result in results for note in result.get("warnings", ()))
    if notes:
        parts.append("## Before you quote a figure\n" + "\n".join(f"- {_text(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def gate(judged: Verdict) -> str:
    """Return the gate's verdict, as a CI job's summary shows it."""
    mark = "\u2705" if judged.holds else "\u274c"
    parts = [f"## {mark} {_text(verdict.headline(judged))}"]
    if judged.failed:
        parts.append("\n".join(f"- **{_text(check.name)}**: {_text(check.message)}" for check in judged.failed))
    if judged.changed:
        parts.append("Not the baseline's system:\n\n" + "\n".join(f"- {_text(line)}" for line in judged.changed))
    if judged.qualities:
        parts.append(_table(verdict.COLUMNS, verdict.quality_rows(judged)))
    if seen := verdict.sensitivity(judged):
        parts.append(_text(seen))
    if judged.losses:
        parts.append("### Queries that lost most")
    for loss in judged.losses:
        lines = [f"**{_text(verdict.loss_line(loss, judged.qualities[0].measure))}**", ""]
        parts.append("\n".join(lines + [f"- {_text(verdict.move_line(move, judged.kept))}" for move in loss.moves]))
    checks = "\n".join(f"- {_text(check.name)}: {check.state}; {_text(check.message)}" for check in judged.checks)
    parts.append(f"<details><summary>All checks</summary>\n\n{checks}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _outcome(result: Result) -> str:
    return tables.verdict(result) if result["status"] == "finished" else f"failed. {_text(result['error'])}"


def _cost_rows(cost: dict[str, Any]) -> list[list[str]]:
    rows = _flat({key: value for key, value in cost.items() if key != "latency"})
    latency = {k: v for k, v in (cost["latency"] or {}).items() if k != "samples_ms"}
    return rows + [[f"latency of a query, {key}", value] for key, value in _flat(latency)]


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


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(map(_text, columns)) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    lines += ["| " + " | ".join(map(_text, row)) + " |" for row in rows]
    return "\n".join(lines)


def _code(command: Sequence[str]) -> str:
    """Return a command as a code span, quoted for a shell; the fence is longer than any row of backticks inside."""
    line = f"{command[0]} {shlex.join(command[1:])}".strip()
    fence = "`" * (1 + max((len(row) for row in re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}"


def _text(value: str) -> str:
    """Keep a value from breaking the table or starting markup."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())
