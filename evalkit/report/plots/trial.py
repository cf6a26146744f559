"""Pictures of one trial's effectiveness: before and after, query by query, and by depth."""

from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from evalkit.report import tables
from evalkit.report.plots import canvas
from evalkit.report.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def before_after(result: Result) -> "Figure | None":
    """Draw each measure's mean before and after reranking, the interval of the change, and the ceiling.

    The interval is that of the paired change, set upon the first stage's mean: it is not one of the reranked mean.
    None where the trial did not finish, or nothing was reranked.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not _reranked(result):
        return None
    effect = result["effectiveness"]
    names = list(effect["delta"])
    first, reranked, ceiling = (effect[key]["mean"] for key in ("first_stage", "reranked", "ceiling"))
    placed = canvas.rows(names, 1.6, least=0.62)
    figure = canvas.sheet(placed.height + 0.6)
    axes = figure.subplots()
    right = [1.0]
    for name, y in zip(names, placed.centres, strict=True):
        axes.barh(y - 0.13, first[name], 0.24, color=canvas.LIGHT)
        axes.barh(y + 0.13, reranked[name], 0.24, color=canvas.BLUE)
        axes.vlines(ceiling[name], y - 0.27, y + 0.27, color=canvas.BLACK, linewidth=2)
        low, high = effect["delta_ci95"][name]
        if low is not None and low < high:
            right.append(first[name] + high)
            axes.plot([first[name] + low, right[-1]], [y + 0.13] * 2, **_INTERVAL)
        canvas.beside(axes, y - 0.13, f"{first[name]:.3f}")
        canvas.beside(axes, y + 0.13, f"{reranked[name]:.3f} ({effect['delta'][name]:+z.3f})")
    canvas.label_rows(axes, placed)
    axes.set_xlim(0, max(right) + 0.01)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel("mean over queries")
    entries = [
        (Patch(color=canvas.LIGHT), tables.label_first(result)),
        (Patch(color=canvas.BLUE), tables.label_second(result)),
        (Line2D([], [], color=canvas.BLACK, linewidth=2), "ceiling: perfect order of the candidates"),
    ]
    if len(right) > 1:
        entries.append((Line2D([], [], **_INTERVAL), "95 % interval of the change, from the first stage's mean"))
    canvas.legend(figure, entries, tables.heading(result))
    return figure


@canvas.styled
def deltas(result: Result) -> "Figure | None":
    """Draw the change of the first measure for each query, ordered, gains above and losses below.

    None where the trial did not finish, nothing was reranked, or there are fewer than two queries.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not _reranked(result):
        return None
    effect = result["effectiveness"]
    name = next(iter(effect["delta"]))
    before, after = (effect["per_query"][key][name] for key in ("first_stage", "reranked"))
    changes = sorted((after[query_id] - value for query_id, value in before.items()), reverse=True)
    if len(changes) < 2:
        return None
    figure = canvas.sheet(3.2)
    axes = figure.subplots()
    # One shape for gains and one for losses, a step for each thousandth: seven thousand queries are no seven thousand
    # bars.
    steps = [(value, len(list(queries))) for value, queries in groupby(changes, lambda change: round(change, 3))]
    edges = list(accumulate((count for _, count in steps), initial=0))
    for side, colour in ((max, canvas.BLUE), (min, canvas.ORANGE)):
        axes.stairs([side(value, 0.0) for value, _ in steps], edges, fill=True, color=colour)
    axes.axhline(0, color=canvas.BLACK, linewidth=0.8)
    axes.axhline(effect["delta"][name], color=canvas.BLACK, linewidth=1.2, linestyle=":")
    axes.set_xlim(0, len(changes))
    axes.set_ylim(*canvas.room([0.0, *changes], 0.1))
    axes.set_xticks([])
    axes.set_xlabel(f"{len(changes):,} queries, ordered by change")
    axes.set_ylabel(f"change of {canvas.readable(name)}")
    canvas.legend(
        figure,
        [
            (Patch(color=canvas.BLUE), f"{effect['wins'][name]:,} better"),
            (Patch(color=canvas.ORANGE), f"{effect['losses'][name]:,} worse"),
            (Line2D([], [], color=canvas.BLACK, linewidth=0.8), f"{effect['ties'][name]:,} equal"),
            (Line2D([], [], color=canvas.BLACK, linestyle=":"), f"mean {effect['delta'][name]:+z.4f}"),
        ],
        tables.heading(result),
    )
    return figure


@canvas.styled
def depths(result: Result) -> "Figure | None":
    """Draw the first measure over the number of candidates that are reranked, the first stage, and the ceiling.

    The ceiling is that of the trial's own depth, the last one. None where nothing was analysed, or at one depth only.
    """
    points = (result.get("analysis") or {}).get("depths") or []
    if len(points) < 2 or not _reranked(result):
        return None
    effect = result["effectiveness"]
    name = next(iter(effect["delta"]))
    first, ceiling = (effect[key]["mean"][name] for key in ("first_stage", "ceiling"))
    depth, values = [point["depth"] for point in points], [point["mean"][name] for point in points]
    figure = canvas.sheet(3.4)
    axes = figure.subplots()
    (line,) = axes.plot(depth, values, color=canvas.BLUE, marker="o", markersize=5, linewidth=1.8)
    before = axes.axhline(first, color=canvas.BLACK, linestyle="--", linewidth=1.2)
    best = axes.axhline(ceiling, color=canvas.ORANGE, linewidth=2.2)
    canvas.steps(axes, depth, "candidates reranked per query (logarithmic)")
    axes.set_ylim(*canvas.room([*values, first, ceiling], 0.05))
    axes.set_ylabel(f"mean {canvas.readable(name)}")
    axes.grid(axis="y")
    canvas.legend(
        figure,
        [
            (best, f"ceiling at depth {depth[-1]}: perfect order of the candidates, {ceiling:.3f}"),
            (line, f"{tables.label_second(result)}: {values[0]:.3f} at {depth[0]}, {values[-1]:.3f} at {depth[-1]}"),
            (before, f"{tables.label_first(result)}: {first:.3f}"),
        ],
        tables.heading(result),
    )
    return figure


def _reranked(result: Result) -> bool:
    """Tell whether there is an after: a trial may have failed, or be one of a first stage by itself."""
    return bool(result["status"] == "finished" and result["effective"]["reranker"].get("reranks", True))


_INTERVAL: dict[str, Any] = {
    "color": canvas.ORANGE,
    "linewidth": 2,
    "marker": "|",
    "markersize": 8,
    "markeredgewidth": 2,
}
