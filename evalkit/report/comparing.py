"""A comparison in words: the rows and sentences that terminal and Markdown share."""

from collections.abc import Mapping
from typing import Any

from evalkit.report.tables import amount, around, device, number

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
    """Return a row a system: each measure with its mark."""
    rows = []
    for system in compared["systems"]:
        row = {"system": system["label"]}
        for measure in compared["measures"]:
            row[measure] = f"{system['mean'][measure]:.4f}{mark(compared, system['label'], measure)}"
        rows.append(row)
    return rows


def cost_rows(compared: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row a system that computed: speed and memory, with their ratios to the baseline's, and what they cost.

    That is the change of the first measure with half its interval, and how far the logits are from the baseline's,
    where both scored the same candidates. Nothing where no system computed.
    """
    measure, rows = compared["measures"][0], []
    base: Mapping[str, Any] = next(
        (s.get("cost") or {} for s in compared["systems"] if s["label"] == compared["baseline"]), {}
    )
    for system in compared["systems"]:
        cost, label = system.get("cost"), system["label"]
        if not cost:
            continue
        test = (compared.get("against_baseline") or {}).get(label, {}).get(measure)
        drift = (compared.get("parity") or {}).get(label)
        rows.append(
            {
                "system": label,
                **{head: _beside(cost.get(key), base.get(key), label != compared["baseline"]) for head, key in _COST},
                f"{measure} change": around(test["mean"], test["low"], test["high"]) if test else "",
                "logits differ by": f"{drift['max_abs']:.2g} at most, {drift['rms']:.2g} rms" if drift else "",
            }
        )
    return rows


def cost_notes(compared: Mapping[str, Any]) -> list[str]:
    """Return what a reader of `cost_rows` has to know: what it is of, and what fp16 saves where fp32 stands beside."""
    costs = {system["label"]: system["cost"] for system in compared["systems"] if system.get("cost")}
    if not costs:
        return []
    peaks = {"GPU": "peak is what torch allocated on the GPU", "process": "peak is the resident set of the process"}
    told = [peaks[kind] for kind in peaks if any(cost.get("peak_of") == kind for cost in costs.values())]
    notes = ["; ".join([f"In brackets: ratios to {compared['baseline']}", *told]) + "."]
    if len({cost.get("device") for cost in costs.values()}) > 1:
        devices = ", ".join(f"{label} on {device(cost)}" for label, cost in costs.items())
        notes.append(f"The devices differ, so times and memories are not alike: {devices}.")
    open_ended = {
        label: cost["latency_samples"]
        for label, cost in costs.items()
        if cost.get("p99_ci95_ms") and cost["p99_ci95_ms"][1] is None
    }
    if open_ended:
        of = "any of them" if len(open_ended) == len(costs) else ", ".join(open_ended)
        most = max(open_ended.values())
        notes.append(f"The upper end of p99's interval is not determinable for {of}: {most:,} samples at most.")
    return notes + memory_claims(compared)


def memory_claims(compared: Mapping[str, Any]) -> list[str]:
    """Return what fp16 saves of fp32's memory, a sentence for each reranker that was measured at both on one device."""
    found = []
    for half in compared["systems"]:
        for full in compared["systems"]:
            if (half.get("precision"), full.get("precision")) == ("fp16", "fp32") and _alike(half, full):
                found.append(_memory_claim(half, full))
    return found


CLAIMED = 0.4
"""The share of memory that fp16 is often said to save."""


def _memory_claim(half: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    one, other = half["cost"], full["cost"]
    saved = 1 - one["peak_mb"] / other["peak_mb"]
    of = "GPU memory" if one.get("peak_of") == "GPU" else "the process's memory"
    parts = [f"peak of {of} {_saving(other['peak_mb'], one['peak_mb'])}"]
    if one.get("weights_mb") and other.get("weights_mb"):
        parts.insert(0, f"weights {_saving(other['weights_mb'], one['weights_mb'])}")
    tokens = [other.get("batch_tokens"), one.get("batch_tokens")]
    batches = ""
    if None not in tokens:
        same = tokens[0] == tokens[1]
        batches = f", batches of {tokens[0]:,} tokens" + ("" if same else f" at fp32 and of {tokens[1]:,} at fp16")
    verdict = "it does" if round(saved, 3) >= CLAIMED else "it does not"  # rounded as it is printed
    return (
        f"Does fp16 save {CLAIMED:.0%} of memory? Here {verdict}: {half['label']} against {full['label']}, "
        f"{', '.join(parts)}{batches}."
    )


def _saving(before: float, after: float) -> str:
    share = after / before - 1
    return f"{before:,.0f} -> {after:,.0f} MiB ({share:+.1%})"


def _alike(half: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """Return whether two systems differ in precision only, and have a peak of the same kind."""
    one, other = half.get("cost") or {}, full.get("cost") or {}
    return (
        all(half.get(key) == full.get(key) for key in ("reranker", "first_stage", "depth"))
        and all(one.get(key) == other.get(key) for key in ("device", "peak_of"))
        and one.get("peak_mb") is not None
        and bool(other.get("peak_mb"))
    )


def _beside(value: float | None, base: float | None, apart: bool) -> str:
    """Return a figure with its ratio to the baseline's, where there is one other than itself."""
    if value is None:
        return ""
    return amount(value) + (f" (\u00d7{value / base:.2f})" if apart and base else "")


_COST = (
    ("pairs/s", "pairs_per_s"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("peak MiB", "peak_mb"),
    ("weights MiB", "weights_mb"),
)


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
