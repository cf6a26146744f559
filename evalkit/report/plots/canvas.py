"""What the pictures share: size, type, colours, labels that fit, and files that are the same bytes each time."""

import functools
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

from evalkit.report.content.trial import device
from evalkit.results.comparison_schema import ComparedSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 6.4
"""Inches, of the pictures of several systems. With type of 9 to 11 points they can still be read at half of that."""
NARROW = 4.8
"""Inches, of a trial's pictures: on a phone, at three quarters of that, the same type is still 7 to 9 points high."""
PIXELS = 960
"""Across, of every PNG."""
DPI = 150
SMALL = 9.5
"""Points, of notes, keys and numbers next to the marks."""

BLUE, ORANGE, BLACK, DARK, LIGHT, RULE = "#0072B2", "#D55E00", "#000000", "#595959", "#BFBFBF", "#DDDDDD"
"""Blue and orange (vermillion) are of Okabe and Ito's palette, which every kind of colour vision distinguishes,
and are those of the HTML report. Where lightness does not distinguish marks, a side, marker, line or hatch does."""
BETTER, WORSE = BLUE, ORANGE
"""The only meanings of the two colours in a trial's pictures; all else there is black or grey."""

MORE, LESS = ">", "<"
"""Markers that point to where the change went."""

P = ParamSpec("P")
T = TypeVar("T")


class Rows(NamedTuple):
    """Labels beneath each other, each as high as its lines need; positions are inches from the top."""

    labels: list[str]
    centres: list[float]
    height: float


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run `draw` under our settings whatever the user's own are, and leave those as they were."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        ours: dict[Any, Any] = {
            "font.family": ["DejaVu Sans"],  # comes with matplotlib: there is no machine without it
            "font.size": 11,
            "text.hinting": "none",  # letters are as wide as in the font and in the SVG
            "text.parse_math": False,  # a $ in a label is a dollar sign
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.formatter.useoffset": False,
            "axes.unicode_minus": False,  # as in the numbers that we write ourselves
            "grid.color": RULE,
            "legend.frameon": False,
            "legend.fontsize": SMALL,
            "hatch.linewidth": 0.6,
            "svg.fonttype": "path",  # letters as shapes: the same everywhere, fonts or none
            "svg.hashsalt": "evalkit",
        }
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(ours)
            return draw(*args, **kwargs)

    return drawn


def sheet(body: float, width: float = WIDTH) -> "Figure":
    """Return an empty figure, `width` inches wide, with room of `body` inches for the axes.

    Args:
        body: height of the axes, in inches.
        width: of the whole figure, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, 0), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    FigureCanvasAgg(figure)
    grow(figure, body)
    vars(figure)["_repr_png_"] = functools.partial(_png, figure)  # notebooks show it; pyplot does not know this figure
    return figure


def _png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=PIXELS / figure.get_figwidth())
    return file.getvalue()


def grow(figure: "Figure", inches: float) -> None:
    """Make `figure` higher, so that what is added takes no room from the axes; heights are tenths of an inch.

    Args:
        figure: the figure to change.
        inches: how much higher it becomes.
    """
    figure.set_size_inches(figure.get_figwidth(), math.ceil(round((figure.get_figheight() + inches) * 10, 6)) / 10)


def legend(
    figure: "Figure", entries: Sequence[tuple[Any, str]], title: str = "", lower: bool = False, subtitle: str = ""
) -> None:
    """Explain marks above the axes or below, under a title if there is one; the figure grows by what it takes.

    Short labels stand in a line, others beneath each other, long ones wrapped; a subtitle is smaller, and grey.

    Args:
        figure: the figure to change.
        entries: (mark, label), in order.
        title: above the entries.
        lower: whether the legend is below the axes.
        subtitle: below the title, smaller.
    """
    width = figure.get_figwidth()
    labels = [wrapped(label, width - 0.8, SMALL) for _, label in entries]
    in_a_line = sum(width_in(readable(label), SMALL) + 0.65 for _, label in entries) <= width
    heading, below = wrapped(title, width - 0.3, 11), wrapped(subtitle, width - 0.3, SMALL)
    drawn = figure.legend(
        [handle for handle, _ in entries],
        [str(number) for number in range(len(labels))],
        title=heading or None,
        title_fontsize=11,
        alignment="left",
        loc="outside lower left" if lower else "outside upper left",
        ncols=len(labels) if in_a_line else 1,
        labelspacing=0.35,
        borderaxespad=0.3,
    )
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)  # afterwards: matplotlib hides labels that begin with an underscore
    lines = 1 if in_a_line else sum(map(_lines, labels))
    grow(figure, 0.2 * lines + (0.21 * _lines(heading) if heading else 0.0) + 0.1)
    if below:
        from matplotlib.offsetbox import TextArea

        area = TextArea(below, textprops={"fontsize": SMALL, "color": DARK})
        area.set_figure(figure)
        drawn.get_children()[0].get_children().insert(1, area)  # the title, this, and the marks stand in one column
        grow(figure, 0.18 * _lines(below) + 0.05)


def rows(labels: Sequence[str], width: float = 2.2, least: float = 0.38) -> Rows:
    """Return `labels` wrapped at `width` inches and where they go, in rows at least `least` inches high.

    Args:
        labels: one for each row.
        width: of the labels, in inches.
        least: height of a row, in inches.
    """
    texts = [wrapped(label, width, SMALL) for label in labels]
    centres, top = [], 0.0
    for text in texts:
        height = max(least, 0.17 * _lines(text) + 0.12)
        centres.append(top + height / 2)
        top += height
    return Rows(texts, centres, top)


def few_ticks(axis: "Axis", most: int = 5, thousands: bool = False) -> None:
    """Set round numbers on an axis, few enough for half the width, thousands with a comma where there may be some.

    Args:
        axis: the axis to change.
        most: how many ticks at most.
        thousands: whether values may be 1,000 or more.
    """
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    if thousands:
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def is_logarithmic(times: Sequence[float]) -> bool:
    """Return whether times are drawn on a logarithmic axis."""
    return min(times) > 0 and max(times) / min(times) > 8


def scale_time(axes: "Axes", direction: Literal["x", "y"], times: Sequence[float], label: str) -> None:
    """Scale an axis for times: from 0, or logarithmic (as the label then states) if they differ by a factor above 8.

    Args:
        axes: the axes to change.
        direction: which of their two axes.
        times: all that are drawn, in one unit.
        label: of the axis, with the unit.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    axis = axes.xaxis if direction == "x" else axes.yaxis
    if is_logarithmic(times):
        axes.set(**{f"{direction}scale": "log", f"{direction}lim": (min(times) / 1.5, max(times) * 1.5)})
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if max(times) / min(times) < 500 else (1,)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.set_label_text(f"{label} (logarithmic)")
    else:
        axes.set(**{f"{direction}lim": (0, max(1.0, *times) * 1.15)})
        few_ticks(axis, thousands=True)
        axis.set_label_text(label)


def steps(axes: "Axes", values: Sequence[int], label: str) -> None:
    """Scale the horizontal axis logarithmically, with numbers at `values`, ascending, that do not run into each other.

    The last one has its number always.

    Args:
        axes: the axes to change.
        values: ascending, above 0.
        label: of the axis.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    shown: list[int] = []
    for value in reversed(values):
        if not shown or shown[-1] / value > (values[-1] / values[0]) ** 0.08:
            shown.append(value)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(shown[::-1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(label)


def label_rows(axes: "Axes", placed: Rows) -> None:
    """Set the rows' labels on the vertical axis, the first on top.

    Args:
        axes: the axes to change.
        placed: labels and their places, as `rows` returns them.
    """
    axes.set_yticks(placed.centres, placed.labels, fontsize=SMALL)
    axes.set_ylim(placed.height, 0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def write_right_of(axes: "Axes", y: float, text: str) -> None:
    """Write `text` to the right of the axes, at `y` in data units.

    Args:
        axes: the axes.
        y: height, in data units.
        text: one line.
    """
    axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)


def room(values: Sequence[float], least: float, share: float = 0.08) -> tuple[float, float]:
    """Return limits around `values` with a margin, at least `least` apart: equal values are not blown up.

    Args:
        values: what is drawn.
        least: smallest distance between the limits.
        share: of the range of the values, as margin on each side.
    """
    low, high = min(values), max(values)
    extra = max((high - low) * share, (least - (high - low)) / 2)
    return low - extra, high + extra


def readable(text: str) -> str:
    r"""Return `text` with white space as single blanks and what DejaVu Sans has no glyph for as ``\uXXXX``.

    An escape rather than a box, as two names in another script should not come to look the same.
    """
    glyphs = _glyphs()
    return "".join(
        c if ord(c) in glyphs else c.encode("unicode_escape").decode("ascii") for c in " ".join(str(text).split())
    )


def wrapped(text: str, width: float, size: float) -> str:
    """Return `text`, made readable, in lines of at most `width` inches at `size` points; nothing is cut off.

    Lines end at blanks and after / _ + : , . = @ - that no digit follows; elsewhere only in what is longer than a line.

    Args:
        text: of any length.
        width: in inches.
        size: of the type, in points.
    """
    lines = [""]
    for piece in re.findall(r".+?(?:\s+|[/_+:,.=@-](?!\d)|$)", readable(text)):
        if width_in(lines[-1] + piece.rstrip(), size) <= width:
            lines[-1] += piece
            continue
        lines.append("")
        for c in piece:
            if width_in(lines[-1] + c, size) > width:
                lines.append("")
            lines[-1] += c
    return "\n".join(line.strip() for line in lines if line.strip())


def with_device(systems: Sequence[ComparedSystem]) -> list[str]:
    """Return the systems' labels, with the device where there are several, whose times are not comparable."""
    several = len({s.cost.device for s in systems if s.cost}) > 1
    return [f"{s.label} on {device(s.cost)}" if several and s.cost else s.label for s in systems]


@styled
def save(figure: "Figure", stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, return both paths, and close the figure: it is empty afterwards.

    The same input gives the same bytes, with one version of matplotlib; letters are shapes in the SVG.

    Args:
        figure: the figure.
        stem: path of the files without extension.

    Raises:
        OSError: a file cannot be written.
    """
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    try:
        figure.savefig(png, dpi=PIXELS / figure.get_figwidth(), metadata={"Software": None})
        figure.set_layout_engine("none")  # where everything goes is found once: it takes a third of the time
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    finally:
        figure.clear()
    return [png, svg]


def _lines(text: str) -> int:
    return text.count("\n") + 1


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def width_in(text: str, size: float) -> float:
    """Return the width of a line of text in inches.

    Args:
        text: one line.
        size: of the type, in points.
    """
    return sum(map(_advance, text)) * size / 72


@functools.cache
def _advance(character: str) -> float:
    """Return how far a character moves the pen, in units of the type's size."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    font.set_size(100, 72)
    return float(font.load_char(ord(character)).linearHoriAdvance) / 65536 / 100
