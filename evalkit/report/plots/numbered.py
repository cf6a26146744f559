"""Numbers next to the points of a picture, which its legend explains."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.report.plots import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def number_points(figure: "Figure", axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    """Write 1, 2, ... next to the points, each at the first free place around its point within the axes.

    Args:
        figure: finished but for the numbers.
        axes: those of the points.
        points: x and y of each, in data coordinates.
    """
    figure.draw_without_rendering()  # only now is it known where in the picture the points lie
    spots = [tuple(axes.transData.transform(point) * 72 / figure.dpi) for point in points]
    left, bottom, right, top = (float(edge) * 72 / figure.dpi for edge in axes.bbox.extents)
    taken: list[tuple[float, float]] = []

    def is_free(at: tuple[float, float]) -> bool:
        within = left + 6 < at[0] < right - 6 and bottom + 6 < at[1] < top - 6
        return within and all(math.dist(at, t) > 13 for t in taken) and all(math.dist(at, s) > 9 for s in spots)

    around = [
        (11 * ring * math.cos(angle), 11 * ring * math.sin(angle))
        for ring in range(1, 20)
        for angle in (math.radians(45 + 45 / ring * turn) for turn in range(8 * ring))
    ]
    for number, (point, (x, y)) in enumerate(zip(points, spots, strict=True), 1):
        dx, dy = next((move for move in around if is_free((x + move[0], y + move[1]))), around[0])
        taken.append((x + dx, y + dy))
        far = math.hypot(dx, dy) > 17
        text = axes.annotate(
            str(number),
            point,
            (dx, dy),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=canvas.SMALL,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2} if far else None,
        )
        text.set_in_layout(False)  # the layout on which its place depends stays as it is
