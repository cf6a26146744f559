"""The picture of a pick: every setting's quality over its time, the budget, and the setting that was picked."""

from typing import TYPE_CHECKING, Any

from evalkit.report.content.numbers import amount
from evalkit.report.plots import canvas
from evalkit.report.plots.numbered import number_points
from evalkit.results.pick_schema import Pick

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def settings(pick: Pick) -> "Figure | None":
    """Draw the mean of the measure over the time of a query for every setting, and number those on the front.

    Args:
        pick: a pick; settings whose time is unknown are left out.

    Returns:
        The figure; None with fewer than two settings whose time is known.
    """
    from matplotlib.lines import Line2D

    timed = [(one, one.p50_ms) for one in pick.choices if one.p50_ms is not None]
    if len(timed) < 2:
        return None
    front = sorted(((ms, one.mean, one) for one, ms in timed if one.on_front), key=lambda point: point[:2])
    figure = canvas.sheet(3.6)
    axes = figure.subplots()
    for one, ms in timed:
        axes.plot([ms], [one.mean], linestyle="none", **(_WITHIN if one.within_budget else _BEYOND))
    axes.plot(
        [ms for ms, _, _ in front], [mean for _, mean, _ in front],
        color=canvas.BLUE, linewidth=1.4, drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    for ms, mean, one in front:
        axes.plot([ms], [mean], linestyle="none", **(_PICKED if one.label == pick.picked else _FRONT))
    picked = next(((one, ms) for one, ms in timed if one.label == pick.picked), None)
    if picked and not picked[0].on_front:
        axes.plot([picked[1]], [picked[0].mean], linestyle="none", **_PICKED)
    limit = pick.budget.max_p50_ms
    times = [ms for _, ms in timed]
    if limit is not None:
        axes.axvline(limit, color=canvas.BLACK, linewidth=0.8, linestyle="--")
        times = [*times, limit]
    canvas.scale_time(axes, "x", times, "time of a query, first stage and reranking, ms")
    axes.set_ylim(*canvas.room([one.mean for one, _ in timed], 0.02, 0.15))
    canvas.few_ticks(axes.yaxis, most=8)
    axes.set_ylabel(f"mean {canvas.readable(pick.measure)}")
    axes.grid()
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], linestyle="none", **(_PICKED if one.label == pick.picked else _FRONT)),
         f"{number}. {one.label}: {mean:.3f}, {amount(ms)}\u00a0ms{' (interpolated)' if one.interpolated else ''}"
         f"{'; picked' if one.label == pick.picked else ''}")
        for number, (ms, mean, one) in enumerate(front, 1)
    ]  # fmt: skip
    front_line = Line2D([], [], color=canvas.BLUE, linewidth=1.4)
    entries.append((front_line, "front: no other within the budget is both faster and better"))
    if any(one.within_budget and not one.on_front for one, _ in timed):
        entries.append((Line2D([], [], linestyle="none", **_WITHIN), "other settings within the budget"))
    if any(not one.within_budget for one, _ in timed):
        entries.append((Line2D([], [], linestyle="none", **_BEYOND), "beyond the budget"))
    if limit is not None:
        line = Line2D([], [], color=canvas.BLACK, linewidth=0.8, linestyle="--")
        entries.append((line, f"limit: {limit:g} ms a query"))
    canvas.legend(figure, entries, f"{pick.slice}: {pick.queries:,} queries", lower=True)
    number_points(figure, axes, [(ms, mean) for ms, mean, _ in front])
    return figure


_FRONT: dict[str, Any] = {"marker": "o", "markersize": 7, "color": canvas.BLUE}
_PICKED: dict[str, Any] = {"marker": "*", "markersize": 14, "color": canvas.BLUE}
_WITHIN: dict[str, Any] = {
    "marker": "o", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": canvas.BLUE,
}  # fmt: skip
_BEYOND: dict[str, Any] = {"marker": "x", "markersize": 5, "color": canvas.DARK}
