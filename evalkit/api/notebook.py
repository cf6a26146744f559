"""How results look in a notebook: a fragment of HTML."""

from collections.abc import Sequence

from evalkit.report.html.markup import Markup, join, tag


def fragment(
    title: str, lines: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]], warnings: Sequence[str]
) -> Markup:
    """Return a title, sentences, a table and warnings; every text is escaped.

    Args:
        title: the title.
        lines: sentences above the table; the first one is in bold.
        columns: heads of the table.
        rows: its cells, as many in each row as there are columns.
        warnings: sentences below the table.
    """
    head = tag("tr", *(tag("th", column) for column in columns))
    body = (tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    sentences = (tag("p", tag("strong", line) if number == 0 else line) for number, line in enumerate(lines))
    listed = tag("ul", *(tag("li", warning) for warning in warnings)) if warnings else None
    notes = tag("details", tag("summary", f"{len(warnings)} notes before you quote a figure"), listed)
    return tag(
        "div",
        tag("p", title),
        join(*sentences),
        tag("table", tag("thead", head), tag("tbody", *body)),
        notes if listed else None,
    )
