"""The picture of a slice's history: the first measure and the latency run by run, with the commits between them."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evalkit.report.plots import canvas
from evalkit.results.history.entry import HistoryEntry
from evalkit.results.history.leaderboards import Leaderboard

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS: list[dict[str, Any]] = [
    {"color": canvas.BLUE, "marker": "o", "linestyle": "-"},
    {"color": canvas.ORANGE, "marker": "s", "linestyle": "--"},
    {"color": canvas.BLACK, "marker": "^", "linestyle": "-."},
    {"color": canvas.DARK, "marker": "D", "linestyle": ":"},
    {"color": canvas.BLUE, "marker": "v", "linestyle": "--", "markerfacecolor": "white"},
    {"color": canvas.ORANGE, "marker": "P", "linestyle": "-", "markerfacecolor": "white"},
]
"""Of the settings at the top of the leaderboard, which differ in marker and line too."""
_REST: dict[str, Any] = {"color": canvas.LIGHT, "marker": ".", "linestyle": "-"}
_LABEL_IN = 0.19
"""Room that a vertical label takes, in inches."""
_MOST_LINES = 60
"""Commits between which lines are drawn; more would hide what they separate."""


@canvas.styled
def trend(board: Leaderboard) -> "Figure":
    """Draw the first measure of each run, and below it the median latency where it was measured.

    Args:
        board: a leaderboard with one run or more.
    """
    from matplotlib.lines import Line2D

    runs, settings = board.runs, len(board.standings)
    timed = any(run.p50_ms is not None for _, run in runs)
    figure = canvas.sheet(4.6 if timed else 3.0)
    grid = figure.subplots(2 if timed else 1, sharex=True, squeeze=False, height_ratios=(3, 2) if timed else (1,))
    axes = [row[0] for row in grid]
    size = 6 if len(runs) <= 30 else 4 if len(runs) <= 120 else 2.5
    for place in reversed(range(settings)):  # the best on top of the others
        of_setting = [(x, run) for x, (of, run) in enumerate(runs, 1) if of == place]
        look = _look(place, settings) | {"markersize": size, "linewidth": 1.0 if len(runs) <= 120 else 0.7}
        axes[0].plot([x for x, _ in of_setting], [run.after for _, run in of_setting], **look)
        times = [(x, run.p50_ms) for x, run in of_setting if run.p50_ms is not None]
        if timed:
            axes[1].plot([x for x, _ in times], [ms for _, ms in times], **look)
    values = [run.after for _, run in runs]
    axes[0].set_ylim(*canvas.room(values, 0.05))
    canvas.few_ticks(axes[0].yaxis)
    axes[0].set_ylabel(f"mean {canvas.readable(board.measure)}")
    if timed:
        canvas.scale_time(axes[1], "y", [run.p50_ms for _, run in runs if run.p50_ms is not None], "p50, ms")
        axes[1].set_ylabel(axes[1].get_ylabel().replace(" (log", "\n(log"))
    for one in axes:
        one.grid(axis="y")
    axes[0].set_xlim(0.5, len(runs) + 0.5)
    _mark_commits(axes, [run for _, run in runs])
    _date(axes[-1], [run for _, run in runs])
    named = min(settings, len(_LOOKS))
    entries = [(Line2D([], [], **_look(n, settings)), board.standings[n].label) for n in range(named)]
    if settings > named:
        entries.append((Line2D([], [], **_REST), f"{settings - named} other settings"))
    canvas.legend(figure, entries, f"{board.slice}, {board.queries} queries")
    return figure


def _look(place: int, settings: int) -> dict[str, Any]:
    return _LOOKS[place] if place < len(_LOOKS) else _REST


def _mark_commits(axes: "Sequence[Axes]", runs: Sequence[HistoryEntry]) -> None:
    """Draw a line where the commit changes, and write its first characters on top, as many as there is room for."""
    groups = [(commit, [x for x, _ in of]) for commit, of in groupby(enumerate(runs, 1), key=lambda one: one[1].commit)]
    if not any(commit for commit, _ in groups):
        return
    if len(groups) <= _MOST_LINES:
        for _, places in groups[1:]:
            for one in axes:
                one.axvline(places[0] - 0.5, color=canvas.RULE, linewidth=0.8, zorder=0)
    least = _LABEL_IN * len(runs) / (canvas.WIDTH - 1.2)  # in runs
    shown: list[tuple[float, str]] = []
    for commit, places in reversed(groups):  # the newest one always
        middle = (places[0] + places[-1]) / 2
        if commit and (not shown or shown[-1][0] - middle >= least):
            shown.append((middle, commit[:7]))
    top = axes[0].secondary_xaxis("top")
    top.set_xticks([x for x, _ in shown], [name for _, name in shown], rotation=90, fontsize=canvas.SMALL - 1.5)
    top.tick_params(length=2, color=canvas.DARK, labelcolor=canvas.DARK)
    top.spines["top"].set_visible(False)
    canvas.grow(axes[0].figure, 0.65)  # type: ignore[arg-type]  # no figure within a figure


def _date(axes: "Axes", runs: Sequence[HistoryEntry]) -> None:
    """Write the day of some runs below them."""
    from matplotlib.ticker import NullLocator

    steps = min(len(runs), 4)
    places = [round(1 + step * (len(runs) - 1) / max(steps - 1, 1)) for step in range(steps)]
    days = [(runs[place - 1].ended or "unknown")[:10] for place in places]
    shown = [
        (place, day) for number, (place, day) in enumerate(zip(places, days)) if number == 0 or day != days[number - 1]
    ]
    axes.set_xticks([place for place, _ in shown], [day for _, day in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("run, by the time at which it ended")
