"""Settings and other recorded values as text: flat names and readable values."""

from collections.abc import Iterable, Mapping
from typing import Any

Entry = Mapping[str, Any]
"""A JSON object: recorded settings, or a line of passages.jsonl."""


def flatten(values: Entry, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield each value that is not None with its dotted path, such as ``slice.name``.

    Args:
        values: name -> value, or a mapping of the same form.
        prefix: put before each path.
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def readable(value: object) -> str:
    """Return a value as text: floats rounded, lists and mappings in one line, None in them left out."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{path} {readable(found)}" for path, found in flatten(value))
    if isinstance(value, list | tuple):
        return ", ".join(readable(found) for found in value if found is not None)
    return str(value)
