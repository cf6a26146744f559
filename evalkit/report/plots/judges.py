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

    found = _rows(report)
    if not found:
        return None
    placed = canvas.rows([text for text, _, _ in found], width=2.4)
    figure = canvas.sheet(placed.height + 0.8)
    axes = figure.subplots()
    axes.axvline(0, color=canvas.BLACK, linewidth=0.8)
    ends = [0.0]
    for (_, gain, look), y in zip(found, placed.centres, strict=True):
        low, high = gain.ci95
        text = f"{gain.mean:+z.3f}"
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=look["color"], linewidth=2, zorder=1)
            text += f" [{low:+z.3f}, {high:+z.3f}]"
            ends += [low, high]
        ends.append(gain.mean)
        axes.plot([gain.mean], [y], linestyle="none", **look)
        canvas.write_right_of(axes, y, text)
    canvas.label_rows(axes, placed)
    axes.set_xlim(*canvas.room(ends, 0.02))
    canvas.few_ticks(axes.xaxis)
    figure.supxlabel(f"gain of reranking in {canvas.readable(report.measure or '')}", fontsize=11)
    entries: list[tuple[Any, str]] = [(Line2D([], [], linestyle="none", **_HUMAN), "by the human")]
    for look, text in ((_SAME, "by a judge, the same verdict"), (_OTHER, "by a judge, another verdict")):
        if any(of is look for _, _, of in found):
            entries.append((Line2D([], [], linestyle="none", **look), text))
    entries.append((Line2D([], [], color=canvas.DARK, linewidth=2), "95 % interval (Student's t)"))
    title = f"Judged against {report.human}"
    canvas.legend(figure, entries, title)
    return figure


def _rows(report: JudgeReport) -> list[tuple[str, Gain, dict[str, Any]]]:
    """Return label, gain and look of each row; a result by the human comes once for each set of queries."""
    rows: list[tuple[str, Gain, dict[str, Any]]] = []
    several = len(labels(report)) > 1
    for label in labels(report):
        of = [one for one in report.results if one.label == label]
        sets = len({one.queries for one in of}) > 1
        for one in of:
            system, queries = f"{label}: " if several else "", f", {one.queries:,} queries" if sets else ""
            human = (f"{system}human{queries}", one.human, _HUMAN)
            if human not in rows:
                rows.append(human)
            rows.append((f"{system}{one.judge}{queries}", one.by_judge, _SAME if one.same_verdict else _OTHER))
    return rows


@canvas.styled
def confusion(report: JudgeReport) -> "Figure":
    """Draw a heat map for each judge: of the pairs with a human grade, the share with each grade of the judge.

    Args:
        report: of judges.
    """
    columns = min(len(report.judges), 2)
    lines = -(-len(report.judges) // columns)
    figure = canvas.sheet(2.9 * lines + 0.3)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for place in axes[len(report.judges) :]:
        place.set_axis_off()
    for place, one in zip(axes, report.judges):
        grades, counts = one.agreement.grades, one.agreement.confusion
        shares = [[count / max(sum(row), 1) for count in row] for row in counts]
        place.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")  # 1.3: black numbers stay readable
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                text = f"{shares[y][x]:.0%}\n{count:,}" if sum(row) else "-"
                place.text(x, y, text, ha="center", va="center", fontsize=canvas.SMALL - 1)
        for axis in (place.xaxis, place.yaxis):
            axis.set_ticks(range(len(grades)), [str(grade) for grade in grades])
        place.tick_params(length=0)
        place.set_title(canvas.wrapped(one.name, 2.6, 10), fontsize=10)
        place.set_xlabel("grade by the judge", fontsize=canvas.SMALL)
        place.set_ylabel("grade by the human", fontsize=canvas.SMALL)
    canvas.legend(figure, [], f"Pairs by grade, and share of each human grade; {report.human}")
    return figure


_HUMAN: dict[str, Any] = {"marker": "s", "markersize": 7, "color": canvas.BLACK}
_SAME: dict[str, Any] = {"marker": "o", "markersize": 7, "color": canvas.BLUE}
_OTHER: dict[str, Any] = {"marker": "X", "markersize": 8, "color": canvas.ORANGE}
