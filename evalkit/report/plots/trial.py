"""Pictures of one trial's effectiveness: before and after, query by query, and by depth."""

from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from evalkit.report.content import intervals, numbers, trial
from evalkit.report.plots import canvas
from evalkit.report.plots.titles import title
from evalkit.results import summary
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def before_after(result: Result) -> "Figure | None":
    """Draw each measure's mean before and after reranking with the ceiling, and below it the change with its interval.

    The interval is that of the paired change, cut where the measure would pass 0 or the ceiling. None where the trial
    did not finish, or nothing was reranked.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not _reranked(result):
        return None
    effect = result.effectiveness
    names = list(effect.delta)
    first, reranked, ceiling = effect.first_stage.mean, effect.reranked.mean, effect.ceiling.mean
    upper, lower = canvas.rows(names, 1.2, least=0.5), canvas.rows(names, 1.2, least=0.32)
    figure = canvas.sheet(upper.height + lower.height + 1.2, canvas.NARROW)
    axes, below = figure.subplots(2, 1, height_ratios=[upper.height, lower.height])
    for name, y in zip(names, upper.centres, strict=True):
        axes.barh(y - 0.11, first[name], 0.2, color=canvas.LIGHT)
        axes.barh(y + 0.11, reranked[name], 0.2, color=canvas.DARK)
        axes.vlines(ceiling[name], y - 0.23, y + 0.23, color=canvas.BLACK, linewidth=2)
        canvas.write_right_of(axes, y - 0.11, f"{first[name]:.3f}")
        canvas.write_right_of(axes, y + 0.11, f"{reranked[name]:.3f}")
    canvas.label_rows(axes, upper)
    axes.set_xlim(0, 1.01)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel("mean over queries")
    entries: list[tuple[Any, str]] = [
        (Patch(color=canvas.LIGHT), summary.label_first(result)),
        (Patch(color=canvas.DARK), summary.label_second(result)),
        (Line2D([], [], color=canvas.BLACK, linewidth=2), "ceiling: perfect order of the candidates"),
    ]
    reach, used, cut = [0.0], set(), False
    below.axvline(0, color=canvas.BLACK, linewidth=0.8)
    for name, y in zip(names, lower.centres, strict=True):
        delta, ends = effect.delta[name], effect.delta_ci95[name]
        trend = intervals.trend(*ends)
        used.add(trend)
        shown = intervals.clip(ends, delta, first[name], ceiling[name])
        written = f"{delta:+z.3f}"
        low, high = ends
        if shown is not None and low is not None and high is not None and low < high:
            reach += shown
            below.plot(shown, [y, y], color=_TRENDS[trend]["color"], linewidth=2, zorder=1)
            for end, drawn in zip(ends, shown, strict=True):
                if end == drawn:
                    below.plot([end], [y], color=_TRENDS[trend]["color"], **_END)
                cut |= end != drawn
            written = numbers.plus_minus(delta, low, high, decimals=3)
        reach.append(delta)
        below.plot([delta], [y], **_TRENDS[trend])
        canvas.write_right_of(below, y, written)
    canvas.label_rows(below, lower)
    below.set_xlim(*canvas.room(reach, 0.02))
    canvas.few_ticks(below.xaxis, 4)
    below.set_xlabel("change of the mean")
    entries += [(Line2D([], [], **_TRENDS[trend]), words) for trend, words in _WORDS.items() if trend in used]
    if len(reach) > 1 + len(names):
        unclear = ", holds 0 where not clear" if "none" in used else ""
        entries.append((Line2D([], [], color=canvas.DARK, linewidth=2), f"95 % interval (Student's t){unclear}"))
    if cut:
        entries.append((Line2D([], [], linestyle="none"), "no end mark: cut at 0 or the ceiling of the measure"))
    canvas.legend(figure, entries, title("before_after", result), subtitle=trial.heading(result))
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
    effect = result.effectiveness
    name = next(iter(effect.delta))
    before, after = effect.per_query.first_stage[name], effect.per_query.reranked[name]
    changes = sorted((after[query_id] - value for query_id, value in before.items()), reverse=True)
    if len(changes) < 2:
        return None
    figure = canvas.sheet(2.8, canvas.NARROW)
    axes = figure.subplots()
    # One shape for gains and one for losses, a step for each thousandth: seven thousand queries are no seven thousand
    # bars.
    steps = [(value, len(list(queries))) for value, queries in groupby(changes, lambda change: round(change, 3))]
    edges = list(accumulate((count for _, count in steps), initial=0))
    for side, colour in ((max, canvas.BETTER), (min, canvas.WORSE)):
        axes.stairs([side(value, 0.0) for value, _ in steps], edges, fill=True, color=colour)
    axes.axhline(0, color=canvas.BLACK, linewidth=0.8)
    axes.axhline(effect.delta[name], color=canvas.BLACK, linewidth=1.2, linestyle=":")
    axes.set_xlim(0, len(changes))
    axes.set_ylim(*canvas.room([0.0, *changes], 0.1))
    axes.set_xticks([])
    axes.set_xlabel(f"{len(changes):,} queries, ordered by change")
    axes.set_ylabel(f"change of {canvas.readable(name)}")
    canvas.legend(
        figure,
        [
            (Patch(color=canvas.BETTER), f"{effect.wins[name]:,} better"),
            (Patch(color=canvas.WORSE), f"{effect.losses[name]:,} worse"),
            (Line2D([], [], color=canvas.BLACK, linewidth=0.8), f"{effect.ties[name]:,} equal"),
            (Line2D([], [], color=canvas.BLACK, linestyle=":"), f"mean {effect.delta[name]:+z.4f}"),
        ],
        title("changes", result),
        subtitle=trial.heading(result),
    )
    return figure


@canvas.styled
def depths(result: Result) -> "Figure | None":
    """Draw the first measure over the number of candidates that are reranked, the first stage, and the ceiling.

    The ceiling is that of the trial's own depth, the last one. None where nothing was analysed, or at one depth only.
    """
    points = result.analysis.depths
    if len(points) < 2 or not _reranked(result):
        return None
    effect = result.effectiveness
    name = next(iter(effect.delta))
    first, ceiling = effect.first_stage.mean[name], effect.ceiling.mean[name]
    depth, values = [point.depth for point in points], [point.mean[name] for point in points]
    figure = canvas.sheet(2.9, canvas.NARROW)
    axes = figure.subplots()
    (line,) = axes.plot(depth, values, color=canvas.DARK, marker="o", markersize=5, linewidth=1.8)
    before = axes.axhline(first, color=canvas.BLACK, linestyle="--", linewidth=1.2)
    best = axes.axhline(ceiling, color=canvas.BLACK, linewidth=2.2)
    canvas.steps(axes, depth, "candidates reranked per query (logarithmic)")
    axes.set_ylim(*canvas.room([*values, first, ceiling], 0.05))
    axes.set_ylabel(f"mean {canvas.readable(name)}")
    axes.grid(axis="y")
    canvas.legend(
        figure,
        [
            (best, f"ceiling at depth {depth[-1]}: perfect order of the candidates, {ceiling:.3f}"),
            (line, f"{summary.label_second(result)}: {values[0]:.3f} at {depth[0]}, {values[-1]:.3f} at {depth[-1]}"),
            (before, f"{summary.label_first(result)}: {first:.3f}"),
        ],
        title("depths", result),
        subtitle=trial.heading(result),
    )
    return figure


def _reranked(result: Result) -> bool:
    """Return whether a reranking finished."""
    return bool(result.status == "finished" and result.effective.reranker.get("reranks", True))


_END: dict[str, Any] = {"marker": "|", "markersize": 8, "markeredgewidth": 2, "linestyle": "none", "zorder": 1}
_TRENDS: dict[str, dict[str, Any]] = {
    "rise": {"marker": canvas.MORE, "color": canvas.BETTER, "markersize": 8, "linestyle": "none"},
    "fall": {"marker": canvas.LESS, "color": canvas.WORSE, "markersize": 8, "linestyle": "none"},
    "none": {
        "marker": "o",
        "color": canvas.DARK,
        "markerfacecolor": "white",
        "markersize": 7,
        "linestyle": "none",
    },
}
_WORDS = {"rise": "better", "fall": "worse", "none": "not clear"}
