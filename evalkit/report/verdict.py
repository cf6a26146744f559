"""The gate's verdict in words: the rows and sentences that terminal, Markdown, annotations and JUnit share."""

from evalkit.gate.verdict import Loss, Move, Verdict
from evalkit.report.tables import around

COLUMNS = ("measure", "baseline", "now", "change, interval", "win/tie/loss", "tolerance", "sees a drop of")


def headline(verdict: Verdict) -> str:
    """Return the verdict in a sentence."""
    if verdict.holds:
        best = verdict.qualities[0]
        return (
            f"The gate holds: {best.measure} {best.before:.4f} -> {best.after:.4f} ({best.delta.mean:+.4f}); "
            f"{_count(verdict, 'passed')} checks passed{_skipped(verdict)}."
        )
    names = ", ".join(check.name for check in verdict.failed)
    return f"The gate fails: {len(verdict.failed)} of {len(verdict.checks)} checks: {names}{_skipped(verdict)}."


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
                around(delta.mean, delta.low, delta.high),
                f"{delta.wins}/{delta.ties}/{delta.losses}",
                f"{quality.tolerance:g}",
                "-" if quality.detectable is None else f"{quality.detectable:.4f}",
            ]
        )
    return rows


def sensitivity(verdict: Verdict) -> str | None:
    """Return what the slice can see, so that nobody trusts a few queries with a small drop."""
    best = next((quality for quality in verdict.qualities if quality.detectable is not None), None)
    if best is None:
        return None
    return (
        f"With {verdict.queries} queries, a drop of {best.detectable:.4f} in {best.measure} is seen with a probability "
        f"of {100 * verdict.power:g} %, if a change is as uneven over queries as reranking is; smaller ones may pass."
    )


def state_line(verdict: Verdict, state: str) -> str | None:
    """Return the names of the checks in a state, those about cost with their figure; None where there is none."""
    named = [
        check.name if check.value is None else f"{check.name} {check.value:.3g}"
        for check in verdict.checks
        if check.state == state
    ]
    return f"{state}: {', '.join(named)}" if named else None


def loss_line(loss: Loss, measure: str) -> str:
    """Return what a query lost."""
    return f"{loss.query_id}: {loss.query!r}, {measure} {loss.before:.4f} -> {loss.after:.4f}"


def move_line(move: Move, kept: int) -> str:
    """Return where a passage went, and how it begins; a baseline knows the first `kept` ranks."""
    before = f"below {kept}" if move.rank_before is None else str(move.rank_before)
    after = "not found" if move.rank_after is None else str(move.rank_after)
    grade = "unjudged" if move.grade is None else f"grade {move.grade}"
    return f"rank {before} -> {after}, {grade}, {move.doc_id}: {_short(move.text)}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 100 else words[:99].rstrip() + "\u2026"


def _count(verdict: Verdict, state: str) -> int:
    return sum(check.state == state for check in verdict.checks)


def _skipped(verdict: Verdict) -> str:
    names = [check.name for check in verdict.checks if check.state == "skipped"]
    return f"; failed but skipped on request: {', '.join(names)}" if names else ""
