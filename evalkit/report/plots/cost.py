"""Pictures of cost: how latencies are spread, how they grow with depth and length, and what each system costs."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.report.content import numbers, trial
from evalkit.report.plots import canvas
from evalkit.report.plots.titles import title
from evalkit.results.comparison_schema import Comparison, CostFigures
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@canvas.styled
def latency(result: Result) -> "Figure | None":
    """Draw each latency of a single query as a dot, and beneath the percentiles of all with their intervals.

    What is so far from the others that it would squeeze those together stands at the edge, as an arrow, and its value
    is written above. None where the trial has fewer than two samples.
    """
    from matplotlib.lines import Line2D

    found = result.cost.latency if result.cost else None
    if not found or len(found.samples_ms) < 2:
        return None
    times = sorted(found.samples_ms)
    placed = canvas.rows(_PERCENTILES, least=0.3)
    figure = canvas.sheet(placed.height + 1.9, canvas.NARROW)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.2, placed.height])
    shown = _near(times)
    fast, slow = [t for t in times if t < shown[0]], [t for t in times if t > shown[-1]]
    each = math.ceil(len(shown) / _MOST_DOTS)
    dots = shown[::-1][::each][::-1]  # the slowest is among them
    axes.plot(dots, _heights(dots), **_DOT)
    axes.set_ylim(-0.1, 1.1)
    axes.set_yticks([])
    left, right = canvas.room(shown, max(0.1 * shown[len(shown) // 2], 0.01), 0.05)
    below.set_xlim(left, right)
    canvas.few_ticks(below.xaxis, thousands=True)
    below.set_xlabel("latency of a query, ms")
    axes.tick_params(axis="x", labelbottom=False)
    if fast:
        axes.plot([left] * len(fast), _heights(fast), **_DOT | {"marker": canvas.LESS, "clip_on": False})
        axes.set_title(_beyond(fast, fast[0], "down"), loc="left", fontsize=canvas.SMALL)
    if slow:
        axes.plot([right] * len(slow), _heights(slow), **_DOT | {"marker": canvas.MORE, "clip_on": False})
        axes.set_title(_beyond(slow, slow[-1], "up"), loc="right", fontsize=canvas.SMALL)
    open_ended = False
    for name, y in zip(_PERCENTILES, placed.centres, strict=True):
        value, ends = getattr(found, f"{name}_ms"), getattr(found, f"{name}_ci95_ms")
        at = min(max(value, left), right)
        for end, edge in zip(ends, (left, right)):
            to = edge if end is None else min(max(end, left), right)
            below.plot([at, to], [y, y], **_OPEN if end is None else _SPAN)
        open_ended |= None in ends
        marker = canvas.LESS if value < left else canvas.MORE if value > right else "o"
        below.plot([at], [y], **_POINT | {"marker": marker, "clip_on": False})
        canvas.write_right_of(below, y, numbers.amount(value) + (f" [{', '.join(map(_end, ends))}]" if ends else ""))
        if name in _MARKED:
            axes.axvline(value, color=canvas.BLACK, linewidth=1, linestyle=_MARKED[name], zorder=4)
    canvas.label_rows(below, placed)
    count = len(times)
    drawn = f"{count:,} samples, {numbers.amount(found.pairs_per_query)} passages a query"
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], **_DOT), drawn if each == 1 else f"{drawn}; a dot for each {each}"),
        *([(Line2D([], [], **_DOT | {"marker": canvas.MORE}), "a sample beyond the edge")] if fast or slow else []),
        *((Line2D([], [], color=canvas.BLACK, linewidth=1, linestyle=style), name) for name, style in _MARKED.items()),
    ]
    entries.append((Line2D([], [], **_SPAN, marker="o", markersize=6), "percentile, 95 % interval"))
    if open_ended:
        entries.append((Line2D([], [], **_OPEN), f"an end that {count:,} samples do not determine"))
    canvas.legend(figure, entries, title("latency", result), subtitle=trial.heading(result))
    return figure


def _near(times: Sequence[float]) -> Sequence[float]:
    """Return of ascending times those that are no further from the middle four fifths than three times their width.

    Then these have a seventh of the axis at least; of fewer than five times all are near.
    """
    n = len(times)
    if n < 5:
        return times
    least, most = times[max(1, n // 10)], times[n - 1 - max(1, n // 10)]
    reach = max(3 * (most - least), 0.25 * times[n // 2])
    return [time for time in times if least - reach <= time <= most + reach]


def _beyond(times: Sequence[float], furthest: float, way: str) -> str:
    return f"{len(times)} {'at' if len(times) == 1 else f'{way} to'} {numbers.amount(furthest)} ms"


def _heights(times: Sequence[float]) -> list[float]:
    """Return where the dots of times stand, so that neighbours do not hide each other."""
    return [n * _GOLDEN % 1 for n in range(1, len(times) + 1)]


@canvas.styled
def latency_grid(result: Result) -> "Figure | None":
    """Draw the median latency of a query over its passages, and over their length, with the spread of the samples.

    A panel is left out where its axis would have one value. None with fewer than two cells.
    """
    from matplotlib.lines import Line2D

    cells = result.cost.latency_grid.cells if result.cost and result.cost.latency_grid else ()
    if len(cells) < 2:
        return None
    values = {key: sorted({getattr(cell, key) for cell in cells}) for key in _OF_GRID}
    shown = [key for key in _OF_GRID if len(values[key]) > 1]
    figure = canvas.sheet(2.6 * len(shown), canvas.NARROW)
    panels = figure.subplots(len(shown), 1, sharey=True, squeeze=False)[:, 0]
    for place, (axes, key) in enumerate(zip(panels, shown, strict=True)):
        other = "length" if key == "depth" else "depth"
        for number, value in enumerate(values[other]):
            look = _looks(number)
            line = sorted((cell for cell in cells if getattr(cell, other) == value), key=operator.attrgetter(key))
            axes.plot(
                [getattr(c, key) for c in line],
                [c.latency.p50_ms for c in line],
                color=look["color"],
                linestyle=look["linestyle"],
                zorder=1,
            )
            for cell in line:
                times = cell.latency.samples_ms
                axes.vlines(
                    getattr(cell, key), min(times), max(times), color=look["color"], linewidth=3, alpha=0.4, zorder=1
                )
                axes.plot([getattr(cell, key)], [cell.latency.p50_ms], **_once(look, times))
        canvas.steps(axes, values[key], _OF_GRID[key])
        if len(shown) > 1:
            axes.set_title(f"key {'below' if place else 'above'}", loc="left", fontsize=canvas.SMALL)
        axes.grid(axis="y")
        keys = [(Line2D([], [], **_looks(n)), f"{value:,} {_UNITS[other]}") for n, value in enumerate(values[other])]
        if place == 0:
            canvas.legend(figure, keys, title("latency_grid", result), subtitle=trial.heading(result))
    below = [] if len(shown) == 1 else keys
    below.append((Line2D([], [], color=canvas.BLACK, linewidth=3, alpha=0.4), "fastest to slowest, points: p50"))
    if any(len(cell.latency.samples_ms) == 1 for cell in cells):
        below.append((Line2D([], [], **_once(_looks(0), [0.0]) | {"linestyle": "none"}), "open: timed once"))
    canvas.legend(figure, below, lower=True)
    every = [time for cell in cells for time in cell.latency.samples_ms]
    for axes in panels:
        canvas.scale_time(axes, "y", every, "ms")
    return figure


@canvas.styled
def costs(compared: Comparison, measure: str) -> "Figure | None":
    """Draw what the systems of a comparison cost, row by row: throughput, latency, memory, and the change of a measure.

    Systems without a cost are left out.

    Args:
        compared: a comparison.
        measure: name of the measure.

    Returns:
        The figure; None with fewer than two systems that have a cost.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    systems = [(system, system.cost) for system in compared.systems if system.cost]
    if len(systems) < 2:
        return None
    figure = canvas.sheet(2 * (0.34 * len(systems) + 0.85))
    panels = figure.subplots(2, 2).ravel()
    rows = list(range(len(systems), 0, -1))
    for axes, (ends_of, label) in zip(panels, _BARS):
        ends = [ends_of(cost) for _, cost in systems]
        for y, (value, end) in zip(rows, ends, strict=True):
            if value is not None:
                axes.barh(y, value, 0.5, color=canvas.LIGHT)
            if end is not None:
                axes.vlines(end, y - 0.36, y + 0.36, color=canvas.BLACK, linewidth=2)
            canvas.write_right_of(axes, y, " / ".join(numbers.amount(v) for v in (value, end) if v is not None))
        known = [v for pair in ends for v in pair if v is not None]
        axes.set_xlim(0, max(known, default=0) * 1.04 or 1)
        canvas.few_ticks(axes.xaxis, 3, thousands=True)
        axes.set_title(label, loc="left", fontsize=canvas.SMALL)
    _changes(panels[-1], compared, measure, [(y, system.label) for y, (system, _) in zip(rows, systems, strict=True)])
    for axes in panels:
        axes.set_ylim(0.4, len(systems) + 0.6)
        axes.set_yticks(rows, [str(n) for n in range(1, len(systems) + 1)], fontsize=canvas.SMALL)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    labels = canvas.with_device([system for system, _ in systems])
    canvas.legend(
        figure,
        [
            (Line2D([], [], linestyle="none"), f"{n}. {label}{' (baseline)' * (s.label == compared.baseline)}")
            for n, (label, (s, _)) in enumerate(zip(labels, systems, strict=True), 1)
        ],
        f"{compared.slice.name}: {compared.slice.queries:,} queries",
    )
    canvas.legend(
        figure,
        [
            (Patch(color=canvas.LIGHT), "first figure"),
            (Line2D([], [], color=canvas.BLACK, linewidth=2, marker="|", linestyle="none"), "second figure"),
            (Line2D([], [], **_INTERVAL), f"{100 * compared.confidence:g} % interval of the change"),
        ],
        lower=True,
    )
    return figure


def _changes(axes: "Axes", compared: Comparison, measure: str, rows: Sequence[tuple[int, str]]) -> None:
    ends = [0.0]
    axes.axvline(0, color=canvas.BLACK, linewidth=0.8)
    for y, label in rows:
        if label == compared.baseline:
            canvas.write_right_of(axes, y, "baseline")
            continue
        test = compared.against_baseline[label][measure]
        if test.low is not None and test.high is not None:
            axes.plot([test.low, test.high], [y, y], **_INTERVAL)
            ends += [test.low, test.high]
        axes.plot([test.mean], [y], **_POINT)
        ends.append(test.mean)
        canvas.write_right_of(axes, y, f"{test.mean:+z.4f}")
    axes.set_xlim(*canvas.room(ends, 0.002))
    canvas.few_ticks(axes.xaxis, 3)
    axes.set_title(f"change of {canvas.readable(measure)}", loc="left", fontsize=canvas.SMALL)


def _end(value: float | None) -> str:
    return "?" if value is None else numbers.amount(value)


def _looks(number: int) -> dict[str, Any]:
    """Return colour, line and marker: three greys, three strokes and six markers distinguish the lines."""
    colours, strokes, markers = (canvas.BLACK, "#777777", "#AAAAAA"), ("-", "--", ":"), "os^Dv*"
    return {
        "color": colours[number % 3],
        "linestyle": strokes[number // 3 % 3],
        "marker": markers[number % 6],
        "markersize": 6,
    }


def _once(look: dict[str, Any], times: Sequence[float]) -> dict[str, Any]:
    return look if len(times) > 1 else look | {"markerfacecolor": "white"}


_MARKED: dict[str, Any] = {"p50": "-", "p90": "--", "p99": ":"}
"""The percentiles that are lines among the samples, and their strokes."""
_MOST_DOTS = 2000
_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, without the whole part, spread evenly however many there are: neighbours do not hide each other."""
_DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": canvas.LIGHT,
    "markeredgecolor": canvas.DARK,
    "markeredgewidth": 0.6,
    "linestyle": "none",
    "zorder": 3,
}
_PERCENTILES = ("p50", "p90", "p95", "p99")
_OF_GRID = {"depth": "passages of a query", "length": "tokens a pair"}
"""The two dimensions of a grid, and the labels of their axes."""
_UNITS = {"depth": "passages", "length": "tokens a pair"}
_BARS: tuple[tuple[Callable[[CostFigures], tuple[float | None, float | None]], str], ...] = (
    (lambda cost: (cost.pairs_per_s, None), "pairs/s, end to end"),
    (lambda cost: (cost.p50_ms, cost.p99_ms), "latency of a query, ms: p50 / p99"),
    (lambda cost: (cost.peak_mb, cost.weights_mb), "memory, MiB: peak / weights"),
)
"""Each panel's bar and tick, and its title."""
_INTERVAL: dict[str, Any] = {"color": canvas.BLUE, "linewidth": 2, "zorder": 1}
_SPAN: dict[str, Any] = {"color": canvas.DARK, "linewidth": 2, "zorder": 1}
_OPEN: dict[str, Any] = {"color": canvas.DARK, "linewidth": 1.5, "linestyle": ":", "zorder": 1}
_POINT: dict[str, Any] = {"marker": "o", "markersize": 6, "color": canvas.BLACK, "linestyle": "none"}
