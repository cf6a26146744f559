"""A part of a report's section on cost: a table with a title, and sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Row = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A table under a title, and sentences beneath it; either may be missing."""

    title: str
    columns: Row
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def without_empty_columns(title: str, columns: Row, rows: Sequence[Row], notes: Iterable[str]) -> Part:
    """Return a part without the columns that hold nothing.

    Args:
        title: of the part.
        columns: its headings; the first column always stays.
        rows: its rows, as long as `columns`.
        notes: sentences beneath it.
    """
    shown = [n for n in range(len(columns)) if n == 0 or any(row[n] for row in rows)]
    cells = tuple(tuple(row[n] for n in shown) for row in rows)
    return Part(title, tuple(columns[n] for n in shown), cells, tuple(notes))
