"""The parts that pages are made of: sections, tables, searchable lists of queries, and drawings of intervals."""

from collections.abc import Iterable, Mapping, Sequence

from evalkit.report.content import intervals, numbers
from evalkit.report.html.markup import Markup, document, join, picture, tag

Section = tuple[str, str, Markup]
"""Anchor, title, and the section itself."""

GLYPH = {"rise": "up", "fall": "down"}
"""The class of an arrow for each trend."""
DRAWN = "around 0"
"""The head of a column of drawings."""


def page(title: str, head: Markup, sections: Sequence[Section | None]) -> str:
    """Return the whole page, with links to the sections that are there.

    Args:
        title: title of the page.
        head: what comes before the sections.
        sections: sections in order; None is left out.
    """
    there = [found for found in sections if found]
    links = (tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in there)
    nav = tag("nav", tag("ul", *links), aria_label="Sections")
    return document(title, head, nav, tag("main", *(content for _, _, content in there)))


def section(anchor: str, title: str, *children: Markup | None) -> Section | None:
    """Return a section, or None where there is nothing to put in it.

    Args:
        anchor: id of the section, to which the link leads.
        title: its heading.
        *children: its content; None is left out.
    """
    content = join(*children)
    if not content:
        return None
    return anchor, title, tag("section", tag("h2", title), content, id=anchor)


def warnings(sentences: Sequence[str] | None) -> Section | None:
    """Return the section of warnings, or None."""
    if not sentences:
        return None
    title = "Before you quote a figure"
    listed = tag("ul", *(tag("li", str(sentence)) for sentence in sentences))
    return "warnings", title, tag("section", tag("h2", title), listed, id="warnings", class_="warnings")


def titled(title: str, *children: Markup | None) -> Markup | None:
    """Return a part of a section under its title, or None where there is nothing to put under it.

    Args:
        title: heading of the part.
        *children: its content; None is left out.
    """
    content = join(*children)
    return join(tag("h3", title), content) if content else None


def side_by_side(*children: Markup | None) -> Markup | None:
    """Return tables and pictures next to each other on a wide screen, below each other on a narrow one."""
    there = [child for child in children if child]
    return tag("div", *there, class_="beside") if there else None


def pictures(svgs: Mapping[str, str]) -> Section | None:
    """Return the section of the pictures; `svgs` maps the title of each to its text."""
    return section("pictures", "Pictures", *(picture(title, svg) for title, svg in svgs.items()))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str,
    text: Sequence[str] = (),
    marked: int | None = None,
    cards: bool = False,
) -> Markup | None:
    """Return a table with a head for each row; empty columns are left out, and there is no table without rows.

    Args:
        columns: headings.
        rows: cells, as many in each row as there are columns.
        title: name of the table for screen readers.
        text: headings of the columns of words; other columns have numbers.
        marked: position of the row that is highlighted; None for none.
        cards: whether each row is a card of names and values on a narrow screen; ARIA roles mark it as a table there
            too.
    """
    kept = [n for n in range(len(columns)) if n == 0 or any(row[n] for row in rows)]
    if not rows or len(kept) < 2:
        return None
    left = {n: "text" if columns[n] in text else "drawn" if columns[n] == DRAWN else None for n in kept}
    roles = _ROLES if cards else {}

    def head(n: int) -> Markup:
        look = " ".join(filter(None, (left[n], _long(columns[n])))) or None
        return tag("th", columns[n], scope="col", class_=look, role=roles.get("head"))

    def value(row: Sequence[str], n: int) -> Markup:
        look = " ".join(filter(None, (left[n], _long(row[n])))) or None
        label = columns[n] if cards and columns[n] != DRAWN else None
        empty = cards and not row[n]
        return tag("td", row[n], class_="empty" if empty else look, role=roles.get("cell"), data_label=label)

    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=_long(row[0]), role=roles.get("row_head")),
            *(value(row, n) for n in kept[1:]),
            class_="marked" if number == marked else None,
            role=roles.get("row"),
        )
        for number, row in enumerate(rows)
    ]
    top = tag("thead", tag("tr", *map(head, kept), role=roles.get("row")), role=roles.get("group"))
    return box(
        tag(
            "table",
            top,
            tag("tbody", *body, role=roles.get("group")),
            class_="cards" if cards else None,
            role=roles.get("table"),
        ),
        title,
    )


def facts(rows: Sequence[Sequence[str]], title: str) -> Markup | None:
    """Return a table of names and values, or None without rows.

    Args:
        rows: a name and a value in each row.
        title: name of the table for screen readers.
    """
    if not rows:
        return None
    body = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows)
    return box(tag("table", tag("tbody", *body), class_="facts"), title)


def searchable(head: Markup, bodies: Sequence[Markup], kind: str) -> Markup:
    """Return a table of queries, a body for each, that the page's script makes sortable and searchable.

    Heads with ``data-column`` are sorted by; the first cell of a body, and its ``.id``, are searched.

    Args:
        head: the element ``thead``.
        bodies: an element ``tbody`` for each query.
        kind: class of the table.
    """
    field = tag("label", "Search ", tag("input", type="search"))
    hint = tag("span", "Sort by any column: press its head.")
    search = tag("p", field, tag("output"), hint, class_="search", hidden=True)
    return tag(
        "div", search, box(tag("table", head, *bodies, class_=kind), "Every query", "scroll tall"), class_="queries"
    )


def box(content: Markup, title: str, kind: str = "scroll") -> Markup:
    """Return a table in a box that scrolls where the screen is narrow, by keyboard too.

    Args:
        content: the table.
        title: name of the box for screen readers.
        kind: classes of the box.
    """
    return tag("div", content, class_=kind, tabindex=0, role="region", aria_label=title)


def more(title: str, content: Markup | None) -> Markup | None:
    """Return an element that shows its content when it is opened, or None without content.

    Args:
        title: the line that is always visible.
        content: what is shown on request.
    """
    return tag("details", tag("summary", title), content) if content else None


def note(text: str) -> Markup:
    """Return a remark."""
    return tag("p", text, class_="note")


def cell(content: str, kind: str | None = None) -> Markup:
    """Return a cell of a table.

    Args:
        content: text, which is escaped, or `Markup`.
        kind: class of the cell; None for none.
    """
    return tag("td", content, class_=kind or None)


def _long(content: str) -> str | None:
    return "long" if len(content) > 22 and not isinstance(content, Markup) else None


def interval_drawing(mean: float, interval: Sequence[float | None], most: float) -> Markup | str:
    """Return a small drawing of a difference and its interval; empty where the interval is not known.

    Args:
        mean: the difference.
        interval: lower and upper end; None for an end that is not known.
        most: the scale is from -`most` to `most`, above 0; see `scale`.
    """
    low, high = interval
    if low is None or high is None:
        return ""
    start, middle, end = (f"{64 + 60 * value / most:.1f}" for value in (low, mean, high))
    trend = intervals.trend(low, high)
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
    """Return the largest distance from 0, for drawings that are to be compared.

    Args:
        intervals: lower and upper end of each interval; None for an end that is not known.
        means: the differences.

    Returns:
        A number above 0; 1 where all values are 0.
    """
    values = [abs(end) for ends in intervals for end in ends if end is not None]
    return max([*values, *map(abs, means)], default=0) or 1.0


def change(delta: float | None) -> Markup | str:
    """Return the difference of one query with its sign, and an arrow where it is not 0."""
    if delta is None:
        return ""
    written = numbers.signed(delta)
    trend = "up" if float(written) > 0 else "down" if float(written) < 0 else None
    return tag("span", written, class_=trend)


def mean_change(delta: float, interval: Sequence[float | None]) -> Markup:
    """Return a mean difference with its sign, and an arrow only where its interval leaves out 0.

    Args:
        delta: the mean difference.
        interval: lower and upper end; None for an end that is not known.
    """
    return tag("span", numbers.signed(delta), class_=GLYPH.get(intervals.trend(*interval)))


_ROLES = {
    "table": "table",
    "group": "rowgroup",
    "row": "row",
    "head": "columnheader",
    "row_head": "rowheader",
    "cell": "cell",
}
