"""The picture of a load: what queries wait, over how many of them are answered."""

from typing import TYPE_CHECKING, Any

from evalkit.report.content import trial
from evalkit.report.plots import canvas
from evalkit.report.plots.titles import title
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def load(result: Result) -> "Figure | None":
    """Draw p50 and p99 of each load over its throughput: clients in one panel, rates in another, both on one scale.

    A load of which a percentile is not known is left out. None with fewer than two loads.
    """
    from matplotlib.lines import Line2D

    measured = result.cost.load if result.cost else None
    shown = [one for one in measured.levels if one.p50_ms is not None and one.p99_ms is not None] if measured else []
    if len(shown) < 2:
        return None
    panels = [
        (name, levels)
        for name, levels in (
            ("by clients that wait for their answers", [one for one in shown if one.clients is not None]),
            ("by queries a second that arrive", [one for one in shown if one.clients is None]),
        )
        if levels
    ]
    figure = canvas.sheet(2.9 * len(panels), canvas.NARROW)
    drawn = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    fastest = max(one.queries_per_s for one in shown)
    for axes, (name, levels) in zip(drawn, panels, strict=True):
        for key, look in _LOOKS.items():
            axes.plot([one.queries_per_s for one in levels], [getattr(one, key) for one in levels], **look)
        for one in levels:
            # To the left, where a curve that rises to the right is not; at the edge, where there is no room, above.
            at_edge = one.queries_per_s < 0.15 * fastest
            axes.annotate(
                f"{one.rate_per_s:g}" if one.clients is None else str(one.clients),
                (one.queries_per_s, one.p99_ms),
                xytext=(0, 7) if at_edge else (-7, 3),
                textcoords="offset points",
                ha="left" if at_edge else "right",
                fontsize=canvas.SMALL,
            )
        axes.set_title(name, loc="left", fontsize=canvas.SMALL)
        axes.grid(axis="both")
    times = [time for one in shown for time in (one.p50_ms, one.p99_ms) if time is not None]
    for axes in drawn:
        canvas.scale_time(axes, "y", times, "latency, ms")
    drawn[-1].set_xlim(0, fastest * 1.08 or 1)
    canvas.few_ticks(drawn[-1].xaxis, thousands=True)
    drawn[-1].set_xlabel("queries answered a second")
    canvas.legend(
        figure,
        [(Line2D([], [], **look), _WORDS[key]) for key, look in _LOOKS.items()],
        title("load", result),
        subtitle=trial.heading(result),
    )
    return figure


_LOOKS: dict[str, dict[str, Any]] = {
    "p99_ms": {"color": canvas.BLACK, "linestyle": "--", "marker": "s", "markersize": 6},
    "p50_ms": {"color": canvas.DARK, "linestyle": "-", "marker": "o", "markersize": 6},
}
_WORDS = {"p99_ms": "p99, with the number of clients or queries/s", "p50_ms": "p50"}
