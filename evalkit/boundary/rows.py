"""Rows of a table in memory: a DataFrame of pandas, polars or pyarrow, or dictionaries."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evalkit.boundary.columns import Role, find_columns
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted

Row = tuple[str, Mapping[str, Any]]
"""Place of the row, for messages, and its values by the names of their columns."""


def table_rows(source: Any, where: str) -> Iterator[Row]:
    """Yield the rows of a table, which are counted from 1.

    Args:
        source: a DataFrame that narwhals knows (pandas, polars, Modin, cuDF, pyarrow.Table), or an iterable of
            mappings, such as a list of dictionaries or a dataset of Hugging Face.
        where: names the table in messages.

    Raises:
        EvalkitError: it is neither, or a row is not a mapping.
    """
    rows = _frame_rows(source) if _is_frame(source) else source
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise EvalkitError(
            f"{where}: it is of type {type(source).__name__}; give a mapping, a DataFrame, or rows as dictionaries"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise EvalkitError(f"{where}, row {number}: {quoted(row)} is not a mapping of column names to values")
        yield f"{where}, row {number}", row


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") and not isinstance(source, Mapping)


def _frame_rows(frame: Any) -> Iterator[Mapping[str, Any]]:
    import narwhals as nw

    try:
        known = nw.from_native(frame, eager_only=True)
    except TypeError:
        raise EvalkitError(
            f"a {type(frame).__name__} is no DataFrame that can be read row by row; collect it first, or give a "
            "DataFrame of pandas or polars, or a pyarrow.Table"
        ) from None
    return iter(known.iter_rows(named=True))


class Picker:
    """Takes the values of some roles from rows, and keeps which columns they came from."""

    def __init__(self, roles: Sequence[Role], stated: Mapping[str, str] | None = None) -> None:
        self._roles = roles
        self._stated = stated
        self._by_names: dict[tuple[str, ...], dict[str, str]] = {}

    def pick(self, place: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return role -> value.

        Args:
            place: of the row, for messages.
            row: its values by the names of their columns.

        Raises:
            EvalkitError: as `evalkit.boundary.columns.find_columns`.
        """
        names = tuple(row)
        columns = self._by_names.get(names)
        if columns is None:
            columns = self._by_names[names] = find_columns(place, self._roles, names, self._stated)
        return {role: row[column] for role, column in columns.items()}

    @property
    def columns(self) -> dict[str, str]:
        """Return role -> the column that was used; several, of rows with different columns, are joined by ``|``."""
        found: dict[str, dict[str, None]] = {}
        for columns in self._by_names.values():
            for role, column in columns.items():
                found.setdefault(role, {})[column] = None
        return {role: "|".join(names) for role, names in found.items()}
