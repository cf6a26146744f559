"""Pictures of several systems on one slice: quality against time, and change with its interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalkit.evaluation.pareto import dominates
from evalkit.report.plots import canvas
from evalkit.report.plots.numbered import number_points
from evalkit.results.comparison_schema import ComparedSystem, Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def tradeoff(systems: Sequence[ComparedSystem], measure: str) -> "Figure | None":
    """Draw the mean of a measure over the time of a query, and the Pareto front: none is faster and better.

    The time is of the whole path; a line leads from each first stage to each system that reranks it, so that its length
    is the time of reranking and its rise the gain. Where no first stage was timed, as in older results, the time is
    that of reranking.

    Args:
        systems: those of a comparison, with a reranker and without; those whose time is unknown are left out.
        measure: name of the measure.

    Returns:
        The figure; None with fewer than two systems whose time is known.
    """
    from matplotlib.lines import Line2D

    whole = any(_time(s, True) is not None for s in systems)
    timed = [s for s in systems if _time(s, whole) is not None]
    if len(timed) < 2:
        return None
    points = [(float(_time(s, whole) or 0.0), s.mean[measure]) for s in timed]
    front = sorted({p for p in points if not any(dominates(other, p) for other in points)})
    figure = canvas.sheet(3.6)
    axes = figure.subplots()
    axes.plot(*zip(*front, strict=True), color=canvas.BLUE, linewidth=1.4, drawstyle="steps-post", zorder=1)
    at = {s.label: point for s, point in zip(timed, points, strict=True)}
    lines = [(at[s.own_first_stage], at[s.label]) for s in timed if s.own_first_stage in at]
    for one, other in lines:
        axes.plot(*zip(one, other, strict=True), color=canvas.DARK, linewidth=1, linestyle=":", zorder=0)
    looks = [(_ON if p in front else _OFF) | _shape(s) for s, p in zip(timed, points, strict=True)]
    for (x, y), look in zip(points, looks, strict=True):
        axes.plot([x], [y], linestyle="none", **look)
    canvas.scale_time(
        axes,
        "x",
        [x for x, _ in points],
        f"time of {'a query, first stage and reranking' if whole else 'reranking a query'}, ms",
    )
    axes.set_ylim(*canvas.room([y for _, y in points], 0.02, 0.15))
    canvas.few_ticks(axes.yaxis, most=8)
    axes.set_ylabel(f"mean {canvas.readable(measure)}")
    axes.grid()
    names = canvas.with_device(timed)
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], linestyle="none", **look), f"{number}. {name}: {y:.3f}, {_parts(system, x)}")
        for number, (name, system, (x, y), look) in enumerate(zip(names, timed, points, looks, strict=True), 1)
    ]
    entries.append(
        (Line2D([], [], color=canvas.BLUE, linewidth=1.4), "Pareto front (filled): no other is both faster and better")
    )
    if lines:
        entries.append(
            (Line2D([], [], color=canvas.DARK, linewidth=1, linestyle=":"), "from a first stage to its reranking")
        )
    if any(s.side == "first_stage" for s in timed):
        entries.append((Line2D([], [], linestyle="none", **_OFF | {"marker": "s"}), "square: without a reranker"))
    if any(s.side == "blended" for s in timed):
        entries.append(
            (
                Line2D([], [], linestyle="none", **_OFF | {"marker": "D"}),
                "diamond: blended with the first stage's score",
            )
        )
    canvas.legend(figure, entries, lower=True)
    number_points(figure, axes, points)
    return figure


def _time(system: ComparedSystem, whole: bool) -> float | None:
    """Return the time of a query in ms: of the whole path, or of reranking alone, all that older results know."""
    if whole:
        return system.time.total_ms
    return system.cost.p50_ms if system.cost else None


def _parts(system: ComparedSystem, x: float) -> str:
    text, time = f"{_ms(x)} ms", system.time
    if system.side != "first_stage" and time.first_stage_ms is not None and time.reranking_p50_ms is not None:
        text += f" = {_ms(time.first_stage_ms)} + {_ms(time.reranking_p50_ms)}"
    peak = system.cost.peak_mb if system.cost else None
    figures = [text] if peak is None else [text, f"{peak:,.0f} MiB"]
    return "; ".join(figure.replace(" ", "\u00a0") for figure in figures)  # a line breaks between figures only


def _ms(x: float) -> str:
    return f"{x:,.{0 if x >= 10 else 1 if x >= 0.1 else 3}f}"


def _shape(system: ComparedSystem) -> dict[str, Any]:
    return {"marker": {"first_stage": "s", "reranked": "o", "blended": "D"}[system.side]}


@canvas.styled
def forest(compared: Comparison, measure: str) -> "Figure | None":
    """Draw each system's change of a measure against the baseline with its BCa interval, largest change on top.

    A filled marker stands for a Holm-adjusted p below 1 - confidence, an open one for all else.

    Args:
        compared: a comparison.
        measure: name of the measure.

    Returns:
        The figure; None without a system other than the baseline.
    """
    from matplotlib.lines import Line2D

    order = sorted(
        ((label, tests[measure]) for label, tests in compared.against_baseline.items()), key=lambda item: -item[1].mean
    )
    if not order:
        return None
    alpha = round(1 - compared.confidence, 9)
    placed = canvas.rows([label for label, _ in order])
    title = f"{compared.slice.name}: {compared.slice.queries:,} queries"
    figure = canvas.sheet(placed.height + 0.8)
    axes = figure.subplots()
    ends = [0.0]
    axes.axvline(0, color=canvas.BLACK, linewidth=0.8)
    for (_, found), y in zip(order, placed.centres, strict=True):
        text = f"{found.mean:+z.3f}"
        ends.append(found.mean)
        low, high = found.bca_low, found.bca_high
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=canvas.BLUE, linewidth=2, zorder=1)
            text += f" [{low:+z.3f}, {high:+z.3f}]"
            ends += [low, high]
        sure = found.holm_p is not None and found.holm_p < alpha
        axes.plot([found.mean], [y], linestyle="none", **(_ON if sure else _OFF))
        canvas.write_right_of(axes, y, text)
    canvas.label_rows(axes, placed)
    axes.set_xlim(*canvas.room(ends, 0.02))
    canvas.few_ticks(axes.xaxis)
    against = canvas.wrapped(f"change of {measure} against {compared.baseline}", 5.5, 11)
    figure.supxlabel(against, fontsize=11)
    canvas.grow(figure, 0.2 * against.count("\n"))
    canvas.legend(
        figure,
        [
            (Line2D([], [], **_ON, linestyle="none"), f"clear: p < {alpha:.2g}, randomisation test, Holm-adjusted"),
            (Line2D([], [], **_OFF, linestyle="none"), "not clear"),
            (
                Line2D([], [], color=canvas.BLUE, linewidth=2),
                f"{compared.confidence * 100:g} % interval (bootstrap, BCa)",
            ),
        ],
        title,
    )
    return figure


_ON: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": canvas.BLUE, "markeredgecolor": canvas.BLUE}
_OFF: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": canvas.BLUE}
