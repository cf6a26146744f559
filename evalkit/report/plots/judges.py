"""Pictures of judges: the gain of reranking under each, and how a judge's grades relate to the human's."""

from typing import TYPE_CHECKING, Any

from evalkit.report.content.judges import labels
from evalkit.report.plots import canvas
from evalkit.results.judges_schema import Gain, JudgeReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@canvas.styled
def gains(report: JudgeReport) -> "Figure | None":
    """Draw the gain of each result by the human and by each judge, with its interval.

    Args:
        report: of judges.

    Returns:
        The figure; None without results.
    """
    from matplotlib.lines import Line2D

    groups = {label: _rows(report, label) for label in labels(report)}
    if not groups:
        return None
    placed = [canvas.rows([text for text, _, _ in rows], width=2.4) for rows in groups.values()]
    titles = [canvas.wrapped(label, 5.5, 10) for label in groups]
    figure = canvas.sheet(sum(one.height for one in placed) + 0.8)
    canvas.grow(figure, sum(0.25 + 0.17 * title.count("\n") for title in titles))
    heights = [one.height for one in placed]
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights).flatten()
    ends = [0.0]
    for axes, rows, places, title in zip(panels, groups.values(), placed, titles, strict=True):
        axes.axvline(0, color=canvas.BLACK, linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=10)
        for (_, gain, look), y in zip(rows, places.centres, strict=True):
            low, high = gain.ci95
            figures = f"{gain.mean:+z.3f}"
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=look["color"], linewidth=2, zorder=1)
                figures += f" [{low:+z.3f}, {high:+z.3f}]"
                ends += [low, high]
            ends.append(gain.mean)
            axes.plot([gain.mean], [y], linestyle="none", **look)
            canvas.write_right_of(axes, y, figures)
        canvas.label_rows(axes, places)
    panels[-1].set_xlim(*canvas.room(ends, 0.02))
    canvas.few_ticks(panels[-1].xaxis)
    figure.supxlabel(f"gain of reranking in {canvas.readable(report.measure or '')}", fontsize=11)
    entries: list[tuple[Any, str]] = [(Line2D([], [], linestyle="none", **_HUMAN), f"by {report.human}, human")]
    for look, text in ((_SAME, "by a judge, the same verdict"), (_OTHER, "by a judge, another verdict")):
        if any(of is look for rows in groups.values() for _, _, of in rows):
            entries.append((Line2D([], [], linestyle="none", **look), text))
    entries.append((Line2D([], [], color=canvas.DARK, linewidth=2), "95 % interval (Student's t)"))
    canvas.legend(figure, entries)
    return figure


def _rows(report: JudgeReport, label: str) -> list[tuple[str, Gain, dict[str, Any]]]:
    """Return judge, gain and look of each row of a result; the human comes once for each set of queries."""
    of = [one for one in report.results if one.label == label]
    several = len({one.queries for one in of}) > 1
    rows: list[tuple[str, Gain, dict[str, Any]]] = []
    for one in of:
        queries = f", {one.queries:,} queries" if several else ""
        human = (f"human{queries}", one.human, _HUMAN)
        if human not in rows:
            rows.append(human)
        rows.append((f"{one.judge}{queries}", one.by_judge, _SAME if one.same_verdict else _OTHER))
    return rows


@canvas.styled
def confusion(report: JudgeReport) -> "Figure":
    """Draw a heat map for each judge: of the pairs with a human grade, the share with each grade of the judge.

    Args:
        report: of judges.
    """
    from matplotlib.patches import Rectangle

    columns = min(len(report.judges), 2)
    lines = -(-len(report.judges) // columns)
    figure = canvas.sheet(2.9 * lines + 0.3)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for place in axes[len(report.judges) :]:
        place.set_axis_off()
    for place, one in zip(axes, report.judges):
        grades, counts = one.agreement.grades, one.agreement.confusion
        shares = [[count / max(sum(row), 1) for count in row] for row in counts]
        place.imshow(shares, cmap="Blues", vmin=0, vmax=2, aspect="auto")  # 2: black numbers can be read on it
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                text = f"{shares[y][x]:.0%}\n{count:,}" if count else "0"
                place.text(x, y, text, ha="center", va="center", fontsize=canvas.SMALL - 1)
            place.add_patch(Rectangle((y - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=canvas.BLACK, linewidth=0.8))
        for axis in (place.xaxis, place.yaxis):
            axis.set_ticks(range(len(grades)), [str(grade) for grade in grades])
        place.tick_params(length=0)
        place.set_title(canvas.wrapped(one.name, 2.6, 10), fontsize=10)
        place.set_xlabel("grade by the judge", fontsize=canvas.SMALL)
        place.set_ylabel("grade by the human", fontsize=canvas.SMALL)
    note = "share of the pairs with that human grade, and their number; framed: the same grade"
    canvas.legend(figure, [], f"Grades of the pairs that both have judged; human: {report.human}", subtitle=note)
    return figure


_HUMAN: dict[str, Any] = {"marker": "s", "markersize": 7, "color": canvas.BLACK}
_SAME: dict[str, Any] = {"marker": "o", "markersize": 7, "color": canvas.BLUE}
_OTHER: dict[str, Any] = {"marker": "X", "markersize": 8, "color": canvas.ORANGE}
