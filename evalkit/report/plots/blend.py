"""The picture of a blend: quality over the weight of the reranker's score."""

from typing import TYPE_CHECKING, Any

from evalkit.report.content import trial
from evalkit.report.plots import canvas
from evalkit.report.plots.titles import title
from evalkit.results import summary
from evalkit.results.schema import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def blend(result: Result) -> "Figure | None":
    """Draw the first measure over the weight, between the first stage alone and the reranker alone.

    A dotted line is the mean at weights that were chosen on other queries. None where the trial did not finish, or has
    no blend.

    Args:
        result: a result.
    """
    from matplotlib.lines import Line2D

    found = result.blend
    if result.status != "finished" or found is None:
        return None
    name = found.measure
    points = [(one.weight, one.mean[name]) for one in found.points if name in one.mean]
    if len(points) < 2:
        return None
    weights, values = [weight for weight, _ in points], [value for _, value in points]
    figure = canvas.sheet(2.7, canvas.NARROW)
    axes = figure.subplots()
    (line,) = axes.plot(weights, values, color=canvas.DARK, marker="o", markersize=4, linewidth=1.8)
    before = axes.axhline(values[0], color=canvas.BLACK, linestyle="--", linewidth=1.2)
    entries: list[tuple[Any, str]] = [
        (line, f"blended: {max(values):.3f} at best, {values[-1]:.3f} for {summary.label_second(result)} alone"),
        (before, f"{summary.label_first(result)}: {values[0]:.3f}"),
    ]
    mean = found.mean.get(name)
    if mean is not None and not found.given:
        axes.axhline(mean, color=canvas.BETTER, linestyle=":", linewidth=1.6)
        entries.append((
            Line2D([], [], color=canvas.BETTER, linestyle=":", linewidth=1.6),
            f"at weights chosen on other queries: {mean:.3f}",
        ))  # fmt: skip
    elif mean is not None:
        axes.plot([found.weight], [mean], color=canvas.BETTER, marker="D", linestyle="none", zorder=3)
        entries.append((
            Line2D([], [], color=canvas.BETTER, marker="D", linestyle="none"),
            f"at the given weight {found.weight:g}: {mean:.3f}",
        ))  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(*canvas.room([*values, *([] if mean is None else [mean])], 0.02))
    axes.set_xlabel("weight of the reranker's score")
    axes.set_ylabel(f"mean {canvas.readable(name)}")
    axes.grid(axis="y")
    canvas.legend(figure, entries, title("blend", result), subtitle=trial.heading(result))
    return figure
