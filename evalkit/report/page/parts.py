"""The parts that pages are made of: sections, tables, searchable lists of queries, and drawings of intervals."""

from collections.abc import Iterable, Mapping, Sequence

from evalkit.report.page import figures
from evalkit.report.page.markup import Markup, document, join, picture, tag

Section = tuple[str, str, Markup]
"""Anchor, title, and the section itself."""

GLYPH = {"rise": "up", "fall": "down"}
"""The class of an arrow for each trend."""
DRAWN = "around 0"
"""The head of a column of drawings."""


def page(title: str, head: Markup, sections: Sequence[Section | None]) -> str:
    """Return the whole page, with links to the sections that are there."""
    there = [found for found in sections if found]
    links = (tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in there)
    nav = tag("nav", tag("ul", *links), aria_label="Sections")
    return document(title, head, nav, tag("main", *(content for _, _, content in there)))


def section(anchor: str, title: str, *children: Markup | None) -> Section | None:
    """Return a section, or None where there is nothing to put in it."""
    content = join(*children)
    if not content:
        return None
    return anchor, title, tag("section", tag("h2", title), content, id=anchor)


def warnings(sentences: Sequence[str] | None) -> Section | None:
    """Return the section of what a reader has to know before quoting anything, or None."""
    if not sentences:
        return None
    title = "Before you quote a figure"
    listed = tag("ul", *(tag("li", str(sentence)) for sentence in sentences))
    return "warnings", title, tag("section", tag("h2", title), listed, id="warnings", class_="warnings")


def pictures(svgs: Mapping[str, str]) -> Section | None:
    """Return the section of the pictures; `svgs` maps the title of each to its text."""
    return section("pictures", "Pictures", *(picture(title, svg) for title, svg in svgs.items()))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str,
    text: Sequence[str] = (),
    marked: int | None = None,
) -> Markup | None:
    """Return a table with a head for each row; empty columns are left out, and there is no table without rows.

    `text` names the columns of words, `marked` is the position of a row to set off.
    """
    kept = [n for n in range(len(columns)) if n == 0 or any(row[n] for row in rows)]
    if not rows or len(kept) < 2:
        return None
    left = {n: "text" if columns[n] in text else "drawn" if columns[n] == DRAWN else None for n in kept}
    head = tag("tr", *(tag("th", columns[n], scope="col", class_=left[n]) for n in kept))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=_long(row[0])),
            *(cell(row[n], " ".join(filter(None, (left[n], left[n] and _long(row[n]))))) for n in kept[1:]),
            class_="marked" if number == marked else None,
        )
        for number, row in enumerate(rows)
    ]
    return box(tag("table", tag("thead", head), tag("tbody", *body)), title)


def facts(rows: Sequence[Sequence[str]], title: str) -> Markup | None:
    """Return a table of names and values, or None without rows."""
    if not rows:
        return None
    body = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows)
    return box(tag("table", tag("tbody", *body), class_="facts"), title)


def searchable(head: Markup, bodies: Sequence[Markup], kind: str) -> Markup:
    """Return a table of queries, a body for each, that the page's script makes sortable and searchable.

    Heads with ``data-column`` are sorted by; the first cell of a body, and its ``.id``, are searched.
    """
    field = tag("label", "Search ", tag("input", type="search"))
    search = tag("p", field, tag("output"), class_="search", hidden=True)
    return tag(
        "div", search, box(tag("table", head, *bodies, class_=kind), "Every query", "scroll tall"), class_="queries"
    )


def box(content: Markup, title: str, kind: str = "scroll") -> Markup:
    """Return a table in a box that scrolls where the screen is narrow, by keyboard too."""
    return tag("div", content, class_=kind, tabindex=0, role="region", aria_label=title)


def more(title: str, content: Markup | None) -> Markup | None:
    """Return what is shown on request, or None."""
    return tag("details", tag("summary", title), content) if content else None


def note(text: str) -> Markup:
    """Return a remark."""
    return tag("p", text, class_="note")


def cell(content: str, kind: str | None = None) -> Markup:
    """Return a cell of a table."""
    return tag("td", content, class_=kind or None)


def _long(content: str) -> str | None:
    return "long" if len(content) > 22 else None


def around(mean: float, interval: Sequence[float | None], most: float) -> Markup | str:
    """Return a small drawing of a difference and its interval, `most` being the end; the figures stand beside it."""
    low, high = interval
    if low is None or high is None:
        return ""
    start, middle, end = (f"{64 + 60 * value / most:.1f}" for value in (low, mean, high))
    trend = "rise" if low > 0 else "fall" if high < 0 else "none"
    return tag(
        "svg",
        tag("line", class_="zero", x1=64, x2=64, y1=0, y2=16),
        tag("line", class_="span", x1=start, x2=end, y1=8, y2=8),
        tag("circle", cx=middle, cy=8, r=3),
        class_=f"around {trend}",
        viewBox="0 0 128 16",
        aria_hidden="true",
    )


def scale(intervals: Iterable[Sequence[float | None]], means: Iterable[float]) -> float:
    """Return the largest distance from 0, for drawings that are to be compared."""
    values = [abs(end) for ends in intervals for end in ends if end is not None]
    return max([*values, *map(abs, means)], default=0) or 1.0


def change(delta: float | None) -> Markup | str:
    """Return a difference with its sign, and an arrow where it is not 0."""
    if delta is None:
        return ""
    written = figures.signed(delta)
    trend = "up" if float(written) > 0 else "down" if float(written) < 0 else None
    return tag("span", written, class_=trend)
