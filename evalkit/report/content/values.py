"""Numbers and other values as a reader wants them; what is not there is an empty text."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.report.content.numbers import number

Entry = Mapping[str, Any]


def signed(value: float) -> str:
    """Return a difference with its sign and four digits; what rounds to 0 has a plus."""
    return f"{round(value, 4) + 0.0:+.4f}"


def value(of: float | None) -> str:
    """Return a measure with four digits."""
    return number(of, ".4f")


def count(value: int | None) -> str:
    """Return a count, thousands apart."""
    return number(value, ",")


def share(value: float | None) -> str:
    """Return a share in per cent."""
    return number(value, ".1%")


def p(value: float | None) -> str:
    """Return a p value with three digits, or as below 0.001."""
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """Return both ends of an interval of a difference."""
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def grade(value: int | None) -> str:
    """Return a passage's grade, or that it has none."""
    return "unjudged" if value is None else f"grade {value}"


def rank(value: int | None) -> str:
    """Return a rank, or that there is none."""
    return "not found" if value is None else str(value)


def lang(value: object) -> str | None:
    """Return a language's tag for ``lang=``, or None where it is none."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", value) else None


def flat(values: Entry, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield each value that is there under its dotted path."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def plain(value: object) -> str:
    """Return a value for a reader: rounded, lists and mappings in a line, without what is null."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{path} {plain(found)}" for path, found in flat(value))
    if isinstance(value, list | tuple):
        return ", ".join(plain(found) for found in value if found is not None)
    return str(value)
