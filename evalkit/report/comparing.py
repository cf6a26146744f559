"""A comparison in words: the rows and sentences that terminal and Markdown share."""

from collections.abc import Mapping
from typing import Any

from evalkit.report.tables import number

SIGNIFICANT = 0.05
"""Corrected p values below this are marked."""


def heading(compared: Mapping[str, Any]) -> str:
    """Return what was compared, in a line."""
    facts = compared["slice"]
    return (
        f"{facts['name']}: {facts['queries']} queries, {facts['docs']:,} passages; {len(compared['systems'])} systems "
        f"against {compared['baseline']}"
    )


def system_rows(compared: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row a system: each measure with its mark, then speed and memory where there are any."""
    rows = []
    costs = any(system["cost"] for system in compared["systems"])
    for system in compared["systems"]:
        row = {"system": system["label"]}
        for measure in compared["measures"]:
            row[measure] = f"{system['mean'][measure]:.4f}{mark(compared, system['label'], measure)}"
        if costs:
            cost = system["cost"] or {}
            row |= {
                "pairs/s": number(cost.get("pairs_per_s"), ".3g"),
                "p50 ms": number(cost.get("p50_ms"), ".0f"),
                "peak MiB": number(cost.get("peak_mb"), ".0f"),
            }
        rows.append(row)
    return rows


def mark(compared: Mapping[str, Any], label: str, measure: str) -> str:
    """Return a sign where the system differs from the baseline after Holm's correction: + better, - worse."""
    if label == compared["baseline"]:
        return ""
    test = compared["against_baseline"][label][measure]
    if test["holm_p"] is None or test["holm_p"] >= SIGNIFICANT:
        return ""
    return " +" if test["mean"] > 0 else " -"


def mark_note(compared: Mapping[str, Any]) -> str:
    """Return what the signs mean, and what stands behind them."""
    return (
        f"+ and - differ from {compared['baseline']} at p < {SIGNIFICANT:g}: two-sided paired randomisation test "
        f"({compared['resamples']} draws, seed {compared['seed']}), Holm's correction over all systems and measures."
    )


def test_columns(compared: Mapping[str, Any]) -> list[str]:
    """Return the headings of `test_rows`."""
    percent = f"{100 * compared['confidence']:g} %"
    return [
        "system", "change", f"t, {percent}", f"BCa, {percent}", "win/tie/loss", "d", "p t", "p Wilcoxon", "p random.",
        "p Holm", "p B-H", "sees",
    ]  # fmt: skip


def test_rows(compared: Mapping[str, Any], measure: str) -> list[list[str]]:
    """Return for each system but the baseline the tests of one measure."""
    rows = []
    for label, tests in compared["against_baseline"].items():
        test = tests[measure]
        rows.append(
            [
                label,
                f"{test['mean']:+.4f}",
                _interval(test["low"], test["high"]),
                _interval(test["bca_low"], test["bca_high"]),
                f"{test['wins']}/{test['ties']}/{test['losses']}",
                number(test["effect_size"], "+.2f"),
                *(p_value(test[key]) for key in ("t_p", "wilcoxon_p", "randomization_p", "holm_p", "bh_p")),
                number(test["detectable"], ".4f"),
            ]
        )
    return rows


def matrix_rows(compared: Mapping[str, Any], measure: str) -> list[list[str]]:
    """Return the corrected p values of every system against every other one; the first cell is the system."""
    matrix = compared["matrix"][measure]
    return [
        [label, *("" if p is None else p_value(p) for p in row)]
        for label, row in zip(matrix["labels"], matrix["holm_p"])
    ]


def parity_lines(compared: Mapping[str, Any]) -> list[str]:
    """Return for each system that scored the baseline's candidates how far the two agree."""
    lines = []
    for label, found in compared["parity"].items():
        if found is None:
            continue
        same = found["equivalence"]
        verdict = "is equivalent" if same["equivalent"] else "is not shown to be equivalent"
        p = "" if same["p"] is None else f" (p = {p_value(same['p'])})".replace("= <", "<")
        lines.append(
            f"{label} {verdict} to {compared['baseline']} within {same['margin']:g} {same['measure']}{p}: logits "
            f"differ by {found['max_abs']:.3g} at most, {found['rms']:.3g} rms, over {found['pairs']} pairs; top 10 "
            f"shared {found['top10_overlap']:.1%}, Kendall's tau {found['kendall_tau']:.4f}, RBO {found['rbo']:.4f}; "
            f"tied pairs {found['tied_pairs_before']} -> {found['tied_pairs_after']}."
        )
    return lines


def p_value(p: float | None) -> str:
    """Return a p value as it is read: three digits, and no false zero."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
