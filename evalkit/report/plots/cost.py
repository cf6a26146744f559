"""Pictures of cost: how latencies are spread, how they grow with depth and length, and what each system costs."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.report import tables
from evalkit.report.plots import canvas
from evalkit.report.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entry = Mapping[str, Any]


@canvas.styled
def latency(result: Result) -> "Figure | None":
    """Draw a histogram of the latencies of single queries, and beneath it the percentiles with their intervals.

    None where the trial has fewer than two samples.
    """
    import numpy as np
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    found = _cost(result).get("latency")
    if not found or len(found["samples_ms"]) < 2:
        return None
    times, names = found["samples_ms"], [name for name in _PERCENTILES if f"{name}_ms" in found]
    placed = canvas.rows(names, least=0.3)
    figure = canvas.sheet(placed.height + 2.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.9, placed.height])
    bins = min(max(math.ceil(math.sqrt(len(times))), 5), 40)
    if canvas.far_apart(times):
        axes.hist(times, np.geomspace(min(times), max(times), bins + 1), color=canvas.BLUE, edgecolor="white")
        canvas.scale_time(below, "x", times, "latency of a query, ms")
    else:
        low, high = canvas.room(times, max(0.1 * found["p50_ms"], 0.01), 0.05)
        axes.hist(times, np.linspace(low, high, bins + 1), color=canvas.BLUE, edgecolor="white")
        below.set_xlim(low, high)
        canvas.few_ticks(below.xaxis, thousands=True)
        below.set_xlabel("latency of a query, ms")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("samples")
    axes.tick_params(axis="x", labelbottom=False)
    open_ended = False
    for name, y in zip(names, placed.centres, strict=True):
        value, ends = found[f"{name}_ms"], found.get(f"{name}_ci95_ms") or ()  # older results have no intervals
        for end, edge in zip(ends, below.get_xlim()):
            below.plot([value, edge if end is None else end], [y, y], **_OPEN if end is None else _INTERVAL)
        open_ended |= None in ends
        below.plot([value], [y], **_POINT)
        canvas.beside(below, y, tables.amount(value) + (f" [{', '.join(map(_end, ends))}]" if ends else ""))
    canvas.label_rows(below, placed)
    count = len(times)
    drawn = f"{count:,} samples, {tables.amount(found['pairs_per_query'])} passages a query"
    entries: list[tuple[Any, str]] = [(Patch(color=canvas.BLUE), drawn), (Line2D([], [], **_POINT), "percentile")]
    if any(f"{name}_ci95_ms" in found for name in names):
        entries.append((Line2D([], [], **_INTERVAL), "95 % interval"))
    if open_ended:
        entries.append((Line2D([], [], **_OPEN), f"an end that {count:,} samples do not determine"))
    canvas.legend(figure, entries, tables.heading(result))
    return figure


@canvas.styled
def latency_grid(result: Result) -> "Figure | None":
    """Draw the median latency of a query over its passages, and over their length, with the spread of the samples.

    A panel is left out where its axis would have one value. None with fewer than two cells.
    """
    from matplotlib.lines import Line2D

    cells = (_cost(result).get("latency_grid") or {}).get("cells") or []
    if len(cells) < 2:
        return None
    values = {key: sorted({cell[key] for cell in cells}) for key in _OF_GRID}
    shown = [key for key in _OF_GRID if len(values[key]) > 1]
    figure = canvas.sheet(3.3)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for place, (axes, key) in enumerate(zip(panels, shown, strict=True)):
        other = "length" if key == "depth" else "depth"
        for number, value in enumerate(values[other]):
            look = _looks(number)
            line = sorted((cell for cell in cells if cell[other] == value), key=lambda cell: int(cell[key]))
            axes.plot([c[key] for c in line], [c["latency"]["p50_ms"] for c in line], color=look["color"], zorder=1)
            for cell in line:
                times = cell["latency"]["samples_ms"]
                axes.vlines(cell[key], min(times), max(times), color=look["color"], linewidth=3, alpha=0.4, zorder=1)
                axes.plot([cell[key]], [cell["latency"]["p50_ms"]], **_once(look, times))
        canvas.steps(axes, values[key], _OF_GRID[key])
        if len(shown) > 1:
            axes.set_title(f"key {'below' if place else 'above'}", loc="left", fontsize=canvas.SMALL)
        axes.grid(axis="y")
        keys = [(Line2D([], [], **_looks(n)), f"{value:,} {_UNITS[other]}") for n, value in enumerate(values[other])]
        if place == 0:
            canvas.legend(figure, keys, tables.heading(result))
    below = [] if len(shown) == 1 else keys
    below.append((Line2D([], [], color=canvas.BLACK, linewidth=3, alpha=0.4), "fastest to slowest, points: p50"))
    if any(len(cell["latency"]["samples_ms"]) == 1 for cell in cells):
        below.append((Line2D([], [], **_once(_looks(0), [0.0]) | {"linestyle": "none"}), "open: timed once"))
    canvas.legend(figure, below, lower=True)
    every = [time for cell in cells for time in cell["latency"]["samples_ms"]]
    canvas.scale_time(panels[0], "y", every, "latency of a query, ms")
    return figure


@canvas.styled
def costs(compared: Mapping[str, Any], measure: str) -> "Figure | None":
    """Draw what the systems of a comparison cost, row by row: throughput, latency, memory, and the change of `measure`.

    Systems without a cost are left out. None with fewer than two that have one.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    systems = [system for system in compared["systems"] if system.get("cost")]
    if len(systems) < 2:
        return None
    figure = canvas.sheet(2 * (0.34 * len(systems) + 0.85))
    panels = figure.subplots(2, 2).ravel()
    rows = list(range(len(systems), 0, -1))
    for axes, (key, tick, label) in zip(panels, _BARS):
        for y, system in zip(rows, systems, strict=True):
            value, end = system["cost"].get(key), system["cost"].get(tick)
            if value is not None:
                axes.barh(y, value, 0.5, color=canvas.LIGHT)
            if end is not None:
                axes.vlines(end, y - 0.36, y + 0.36, color=canvas.BLACK, linewidth=2)
            canvas.beside(axes, y, " / ".join(tables.amount(v) for v in (value, end) if v is not None))
        known = [v for s in systems for v in (s["cost"].get(key), s["cost"].get(tick)) if v is not None]
        axes.set_xlim(0, max(known, default=0) * 1.04 or 1)
        canvas.few_ticks(axes.xaxis, 3, thousands=True)
        axes.set_title(label, loc="left", fontsize=canvas.SMALL)
    _changes(panels[-1], compared, measure, list(zip(rows, systems, strict=True)))
    for axes in panels:
        axes.set_ylim(0.4, len(systems) + 0.6)
        axes.set_yticks(rows, [str(n) for n in range(1, len(systems) + 1)], fontsize=canvas.SMALL)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    labels = canvas.with_device(systems)
    canvas.legend(
        figure,
        [
            (Line2D([], [], linestyle="none"), f"{n}. {label}{' (baseline)' * (s['label'] == compared['baseline'])}")
            for n, (label, s) in enumerate(zip(labels, systems, strict=True), 1)
        ],
        f"{compared['slice']['name']}: {compared['slice']['queries']:,} queries",
    )
    canvas.legend(
        figure,
        [
            (Patch(color=canvas.LIGHT), "first figure"),
            (Line2D([], [], color=canvas.BLACK, linewidth=2, marker="|", linestyle="none"), "second figure"),
            (Line2D([], [], **_INTERVAL), f"{100 * compared['confidence']:g} % interval of the change"),
        ],
        lower=True,
    )
    return figure


def _changes(axes: "Axes", compared: Entry, measure: str, rows: Sequence[tuple[int, Entry]]) -> None:
    ends = [0.0]
    axes.axvline(0, color=canvas.BLACK, linewidth=0.8)
    for y, system in rows:
        test = compared["against_baseline"].get(system["label"], {}).get(measure)
        if test is None:
            canvas.beside(axes, y, "baseline" if system["label"] == compared["baseline"] else "")
            continue
        if test["low"] is not None:
            axes.plot([test["low"], test["high"]], [y, y], **_INTERVAL)
            ends += [test["low"], test["high"]]
        axes.plot([test["mean"]], [y], **_POINT)
        ends.append(test["mean"])
        canvas.beside(axes, y, f"{test['mean']:+z.4f}")
    axes.set_xlim(*canvas.room(ends, 0.002))
    canvas.few_ticks(axes.xaxis, 3)
    axes.set_title(f"change of {canvas.readable(measure)}", loc="left", fontsize=canvas.SMALL)


def _cost(result: Result) -> Entry:
    return result.get("cost") or {}


def _end(value: float | None) -> str:
    return "?" if value is None else tables.amount(value)


def _looks(number: int) -> dict[str, Any]:
    """Return colour and marker of a line: three colours that differ in grey, six markers."""
    colours, markers = (canvas.BLACK, canvas.BLUE, canvas.ORANGE), "os^Dv*"
    return {"color": colours[number % 3], "marker": markers[number % 6], "markersize": 6}


def _once(look: dict[str, Any], times: Sequence[float]) -> dict[str, Any]:
    return look if len(times) > 1 else look | {"markerfacecolor": "white"}


_PERCENTILES = ("p50", "p90", "p95", "p99")
_OF_GRID = {"depth": "passages of a query", "length": "tokens a pair"}
"""What the cells of a grid differ in, and what their axes say."""
_UNITS = {"depth": "passages", "length": "tokens a pair"}
_BARS = (
    ("pairs_per_s", "", "pairs/s, end to end"),
    ("p50_ms", "p99_ms", "latency of a query, ms: p50 / p99"),
    ("peak_mb", "weights_mb", "memory, MiB: peak / weights"),
)
_INTERVAL: dict[str, Any] = {"color": canvas.BLUE, "linewidth": 2, "zorder": 1}
_OPEN: dict[str, Any] = {"color": canvas.BLUE, "linewidth": 1.5, "linestyle": ":", "zorder": 1}
_POINT: dict[str, Any] = {"marker": "o", "markersize": 6, "color": canvas.BLACK, "linestyle": "none"}
