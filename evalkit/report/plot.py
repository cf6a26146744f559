"""The picture of a trial: each measure before and after, and what reranking did to each query."""

from pathlib import Path

from evalkit.report import tables
from evalkit.report.result import Result

_BEFORE, _AFTER, _CEILING, _WORSE = "#777777", "#0072B2", "#E69F00", "#D55E00"
"""Okabe and Ito's palette: told apart by every kind of colour vision, and in grey print."""


def before_after(result: Result, path: Path) -> None:
    """Draw the picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    effect = result["effectiveness"]
    names = list(effect["delta"])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    bars, deltas = figure.subplots(1, 2, width_ratios=[1.1, 1])
    positions = range(len(names))
    for shift, key, colour, text in (
        (-0.2, "first_stage", _BEFORE, tables.label_first(result)),
        (0.2, "reranked", _AFTER, tables.label_second(result)),
    ):
        values = [effect[key]["mean"][name] for name in names]
        drawn = bars.bar([p + shift for p in positions], values, 0.38, color=colour, label=text)
        bars.bar_label(drawn, fmt="%.3f", fontsize=8, label_type="center", color="white", fontweight="bold")
    ceiling = [effect["ceiling"]["mean"][name] for name in names]
    bars.hlines(
        ceiling,
        [p - 0.42 for p in positions],
        [p + 0.42 for p in positions],
        color=_CEILING,
        linewidth=2,
        label="perfect order of the candidates",
    )
    bars.set_xticks(list(positions), names)
    bars.set_ylim(0, 1.18)
    bars.set_ylabel("mean over queries")
    bars.legend(fontsize=8, loc="upper left", ncols=3, frameon=False)

    main = names[0]
    per_query = effect["per_query"]
    changes = sorted(
        (per_query["reranked"][main][q] - v for q, v in per_query["first_stage"][main].items()), reverse=True
    )
    deltas.bar(range(len(changes)), changes, width=1.0, color=[_AFTER if c > 0 else _WORSE for c in changes])
    deltas.axhline(0, color="black", linewidth=0.8)
    deltas.set_xlabel(f"queries, by change ({effect['wins'][main]} better, {effect['losses'][main]} worse)")
    deltas.set_ylabel(f"change of {main}")
    deltas.set_xticks([])
    figure.suptitle(tables.heading(result), fontsize=10)
    for axes in (bars, deltas):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
