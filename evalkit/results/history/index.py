"""The SQLite file of the history: one row a run, which can be made again from the folders of the runs."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from evalkit.boundary import sqlite_file
from evalkit.results.history.entry import HistoryEntry

_FIELDS = [field.name for field in fields(HistoryEntry)]
_AS_JSON = ("settings", "means_before", "means")
_INTEGERS = ("dirty", "relevance_level", "queries", "depth")
_NUMBERS = ("before", "after", "delta", "delta_low", "delta_high", "p50_ms", "peak_mib")
_REQUIRED = (
    "folder", "name", "slice", "fingerprint", "relevance_level", "queries", "first_stage", "depth", "settings",
    "measure", "before", "after", "means_before", "means",
)  # fmt: skip


def _column(name: str) -> str:
    kind = "INTEGER" if name in _INTEGERS else "REAL" if name in _NUMBERS else "TEXT"
    return f'"{name}" {kind}' + (" PRIMARY KEY" if name == "folder" else "") + " NOT NULL" * (name in _REQUIRED)


KIND = sqlite_file.FileKind(
    name="history",
    noun="history",
    setting="history",
    application_id=0x45564B48,  # "EVKH"
    schema_version=1,
    tables={"runs": f"CREATE TABLE runs ({', '.join(map(_column, _FIELDS))})"},
    busy_timeout_s=10.0,  # a run writes for milliseconds, and its user should not wait for long
    wal=False,  # one row a run: the plain journal is as fast, and can be read without permission to write
    replacement=" and make a new one with `python -m evalkit history --rebuild FOLDER`",
)


def enter(path: Path, entry: HistoryEntry) -> None:
    """Enter a run; an earlier run in the same folder is replaced.

    Args:
        path: the file, which is created if it does not exist.
        entry: the run.

    Raises:
        EvalkitError: the file cannot be written, is damaged or no history, or is locked by another process.
    """
    with _writing(path) as connection:
        _insert(connection, [entry])


def replace_all(path: Path, entries: Iterable[HistoryEntry]) -> int:
    """Replace all runs in one transaction, and return how many there were.

    Args:
        path: as for `enter`.
        entries: the runs from now on.

    Raises:
        EvalkitError: as for `enter`; then all is as before.
    """
    with _writing(path) as connection:
        before = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        connection.execute("DELETE FROM runs")
        _insert(connection, entries)
    return int(before)


def read(path: Path) -> Sequence[HistoryEntry]:
    """Return all runs, the newest first; none where the file does not exist.

    Args:
        path: the file.

    Raises:
        EvalkitError: the file cannot be read, or is damaged or no history.
    """
    with sqlite_file.translate_errors(path, KIND):
        if not path.exists():
            return []
        with closing(sqlite_file.connect(path, KIND)) as connection:
            if errors := sqlite_file.integrity_errors(connection, at_most=1):
                raise sqlite_file.damaged_error(path, KIND, errors[0])
            rows = connection.execute(
                f"SELECT {_NAMES} FROM runs ORDER BY ended DESC, folder"  # noqa: S608 - names of our own fields
            ).fetchall()
    try:
        return [_entry(row) for row in rows]
    except (ValueError, TypeError, RecursionError) as error:
        raise sqlite_file.damaged_error(path, KIND, str(error)) from None


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection, whose writes are committed together when the block ends."""
    with (
        sqlite_file.translate_errors(path, KIND),
        closing(sqlite_file.connect(path, KIND)) as connection,
        sqlite_file.transaction(connection),
    ):
        yield connection


_NAMES = ", ".join(f'"{name}"' for name in _FIELDS)


def _insert(connection: sqlite3.Connection, entries: Iterable[HistoryEntry]) -> None:
    places = ", ".join("?" * len(_FIELDS))
    connection.executemany(
        f"INSERT OR REPLACE INTO runs ({_NAMES}) VALUES ({places})",  # noqa: S608 - names of our own fields
        map(_row, entries),
    )


def _row(entry: HistoryEntry) -> list[Any]:
    plain = asdict(entry)
    return [_mended(json.dumps(plain[name]) if name in _AS_JSON else plain[name]) for name in _FIELDS]


def _mended(value: Any) -> Any:
    """Return a value that SQLite takes: half a character, as names of files may hold, is replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _entry(row: Sequence[Any]) -> HistoryEntry:
    """Return the entry of a row; the file may come from elsewhere, so that each value is checked."""
    values = dict(zip(_FIELDS, row, strict=True))
    for name in _AS_JSON:
        values[name] = json.loads(values[name])
        if not isinstance(values[name], dict):
            raise ValueError(f"{name} is no mapping")
    for name, value in values.items():
        if name in _AS_JSON or (value is None and name not in _REQUIRED):
            continue
        kinds = int if name in _INTEGERS else (int, float) if name in _NUMBERS else str
        if not isinstance(value, kinds):
            raise ValueError(f"{name} is of another type")
    if not all(isinstance(value, int | float) for of in ("means", "means_before") for value in values[of].values()):
        raise ValueError("a mean is no number")
    return HistoryEntry(**values | {"dirty": None if values["dirty"] is None else bool(values["dirty"])})
