"""Single values of a table as ids, texts, grades, scores and ranks; each error names the place of the value."""

import math
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import parse_integer, parse_number, quoted


def to_id(value: Any, place: str, what: str) -> str:
    """Return an id as a text; a whole number becomes its digits.

    Args:
        value: of the table.
        place: of the value, for messages.
        what: names the id in messages, such as ``query id``.

    Raises:
        EvalkitError: it is missing, empty, or neither a text nor a whole number.
    """
    if type(value) is str and value:  # nearly always
        return value
    value = _plain(value)
    if is_missing(value) or value == "":
        raise EvalkitError(f"{place}: the {what} is missing")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    hint = "; read the column as text (dtype=str)" if isinstance(value, float) and value.is_integer() else ""
    raise EvalkitError(f"{place}: the {what} is {quoted(value)}, and has to be a text or a whole number{hint}")


def id_text(item: object) -> str:
    """Return an id of a JSON file as a text.

    Raises:
        TypeError: it is neither a text nor a whole number.
    """
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise TypeError("an id is a text or a whole number")
    return str(item)


def to_text(value: Any, place: str, what: str) -> str:
    """Return a text.

    Args:
        value: of the table.
        place: of the value, for messages.
        what: names the value in messages, such as ``text``.

    Raises:
        EvalkitError: it is missing, or not a text.
    """
    if type(value) is str:  # nearly always
        return value
    if is_missing(value):
        raise EvalkitError(f"{place}: the {what} is missing")
    if not isinstance(value, str):
        raise EvalkitError(f"{place}: the {what} is {quoted(value)}, and has to be a text")
    return str(value)


def to_grade(value: Any, place: str) -> int:
    """Return a grade; 2.0 is the grade 2.

    Args:
        value: of a row or a document, as its reader gave it.
        place: file and line, or frame and row, for the message.

    Raises:
        EvalkitError: it is missing, or not a whole number.
    """
    try:
        return parse_grade(value)
    except ValueError:
        raise EvalkitError(
            f"{place}: {_described('grade', value)}; a grade is a whole number, such as 0, 1 or 2.0"
        ) from None


def parse_grade(value: Any) -> int:
    """Return a grade; 2.0 is the grade 2.

    Raises:
        ValueError: it is not a whole number.
    """
    number = _whole_number(value)
    if number is None:
        raise ValueError("a grade is a whole number")
    return number


def to_score(value: Any, place: str) -> float:
    """Return a score.

    Args:
        value: of a row or a document, as its reader gave it.
        place: file and line, or frame and row, for the message.

    Raises:
        EvalkitError: it is missing, or not a finite number.
    """
    number = _number(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise EvalkitError(f"{place}: {_described('score', value)}; a score is a finite number")
    return float(number)


def to_rank(value: Any, place: str) -> int:
    """Return a rank, 1 for the best.

    Args:
        value: of a row or a document, as its reader gave it.
        place: file and line, or frame and row, for the message.

    Raises:
        EvalkitError: it is missing, or not a whole number.
    """
    number = _whole_number(value)
    if number is None:
        raise EvalkitError(f"{place}: {_described('rank', value)}; a rank is a whole number, 1 for the best")
    return number


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, NaN, and pandas' NA and NaT."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (_is_float(value) and math.isnan(value))


def _is_float(value: Any) -> bool:
    return isinstance(_plain(value), float)


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as one of Python."""
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def _number(value: Any) -> Any:
    """Return the number that a text stands for, and other values as they are; None if it stands for none."""
    value = _plain(value)
    if not isinstance(value, str):
        return value
    for parse in (parse_integer, parse_number):
        try:
            return parse(value)
        except ValueError:
            pass
    return None


def _whole_number(value: Any) -> int | None:
    """Return the whole number that a value stands for, such as 2 for 2.0 and "2"; None if it stands for none."""
    number = _number(value)
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _described(what: str, value: Any) -> str:
    return f"the {what} is missing" if is_missing(value) or value == "" else f"the {what} is {quoted(value)}"
