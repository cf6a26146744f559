"""The gate's verdict in words: the rows and sentences that terminal, Markdown, annotations and JUnit share."""

from collections.abc import Iterator

from evalkit.report.content.numbers import grade, rank
from evalkit.results.gate.verdict import Check, Loss, Move, Verdict, figure

COLUMNS = (
    "measure",
    "baseline",
    "now",
    "change",
    "at least",
    "win/tie/loss",
    "p of a drop",
    "sees a drop of",
    "outcome",
)


def headline(verdict: Verdict) -> str:
    """Return the verdict in a sentence."""
    if verdict.holds:
        best = verdict.qualities[0]
        return (
            f"The gate holds: {best.measure} {best.before:.4f} -> {best.after:.4f} ({best.delta.mean:+.4f}); "
            f"{_count(verdict, 'passed')} checks passed{_undecided(verdict)}{_skipped(verdict)}."
        )
    names = ", ".join(check.name for check in verdict.failed)
    return (
        f"The gate fails: {len(verdict.failed)} of {len(verdict.checks)} checks: {names}{_undecided(verdict)}"
        f"{_skipped(verdict)}."
    )


def quality_rows(verdict: Verdict) -> list[list[str]]:
    """Return for each measure the cells under `COLUMNS`."""
    rows = []
    for quality in verdict.qualities:
        delta = quality.delta
        rows.append(
            [
                quality.measure,
                f"{quality.before:.4f}",
                f"{quality.after:.4f}",
                f"{delta.mean:+.4f}",
                "-" if quality.low is None else f"{quality.low:+.4f}",
                f"{delta.wins}/{delta.ties}/{delta.losses}",
                f"{quality.p:.2g}",
                "-" if quality.detectable is None else f"{quality.detectable:.4f}",
                quality.outcome,
            ]
        )
    return rows


def sensitivity(verdict: Verdict) -> str | None:
    """Return which drops the gate detects and how often it fails by chance; None without measures."""
    if not verdict.qualities:
        return None
    measures = len(verdict.qualities)
    which = f"any of the {measures} measures" if measures > 1 else "the measure"
    alarms = (
        f"Where the systems are equal, {which} fails in at most {100 * verdict.false_alarms:g} % of the cases"
        f"{', hard limits aside' if any(quality.max_drop is not None for quality in verdict.qualities) else ''}."
    )
    best = next((quality for quality in verdict.qualities if quality.detectable is not None), None)
    if best is None:
        return alarms
    return (
        f"With {verdict.queries} queries, a drop of {best.detectable:.4f} in {best.measure} alone fails the gate with "
        f"a probability of {100 * verdict.power:g} %, on top of changes that are as uneven over queries as "
        f"{best.uneven_as}; smaller ones may pass. {alarms}"
    )


def own_limits(verdict: Verdict) -> str | None:
    """Return the limits that come from the baseline, in a line; None without any."""
    return f"limits of the baseline's own: {'; '.join(verdict.own_limits)}" if verdict.own_limits else None


def alone(check: Check) -> str:
    """Return a check's message for a place that does not show its state: "undecided: " comes before a warning."""
    return f"undecided: {check.message}" if check.state == "undecided" else check.message


def state_line(verdict: Verdict, state: str) -> str | None:
    """Return the names of the checks in a state, those of time and memory with their figure; None without any.

    Args:
        verdict: the outcome of the gate.
        state: state of a check, such as ``passed``.
    """
    named = [
        check.name if check.value is None else f"{check.name} {figure(check.value)}"
        for check in verdict.checks
        if check.state == state
    ]
    return f"{state}: {', '.join(named)}" if named else None


def notable_lines(verdict: Verdict) -> Iterator[str]:
    """Yield the checks that failed, are undecided or were skipped, a line each."""
    for check in verdict.checks:
        if check.state in ("failed", "undecided", "skipped"):
            yield f"{check.state.upper()} {check.name}: {' '.join(check.message.split())}"


def loss_lines(verdict: Verdict) -> Iterator[str]:
    """Yield the queries that lost most, each with the passages whose moves cost it most; nothing where none lost."""
    if verdict.losses:
        yield "queries that lost most:"
    for loss in verdict.losses:
        yield f"  {loss_line(loss, verdict.qualities[0].measure)}"
        for move in loss.moves:
            yield f"      {move_line(move, verdict.kept)}"


def loss_line(loss: Loss, measure: str) -> str:
    """Return what a query lost.

    Args:
        loss: a query, with its value before and after.
        measure: name of the measure that is compared.
    """
    return f"{loss.query_id}: {loss.query!r}, {measure} {loss.before:.4f} -> {loss.after:.4f}"


def move_line(move: Move, kept: int) -> str:
    """Return where a passage went, and how it begins.

    Args:
        move: a passage with its ranks; ``rank_before`` is None where the baseline does not contain the passage.
        kept: number of ranks that the baseline stores for each query.
    """
    before = f"below {kept}" if move.rank_before is None else str(move.rank_before)
    return f"rank {before} -> {rank(move.rank_after)}, {grade(move.grade)}, {move.doc_id}: {_short(move.text)}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 100 else words[:99].rstrip() + "\u2026"


def _count(verdict: Verdict, state: str) -> int:
    return sum(check.state == state for check in verdict.checks)


def _undecided(verdict: Verdict) -> str:
    names = [check.name for check in verdict.undecided]
    return f"; undecided: {', '.join(names)}" if names else ""


def _skipped(verdict: Verdict) -> str:
    names = [check.name for check in verdict.checks if check.state == "skipped"]
    return f"; failed but skipped on request: {', '.join(names)}" if names else ""
