"""Reads JSON, and refuses what Python's own reader accepts: NaN, and a name that occurs twice in one object."""

import json
from pathlib import Path
from typing import Any, NoReturn

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import read_text


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        what: what it should be, for the messages: "a baseline of evalkit".

    Raises:
        EvalkitError: the file is missing, unreadable, empty, or holds something else.
    """
    return read_json_and_text(path, what)[0]


def read_json_and_text(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read a JSON object, and return the file's text with it.

    Args:
        path: the file.
        what: what it should be, for the messages: "a result of evalkit".

    Raises:
        EvalkitError: the file is missing, unreadable, empty, or holds something else.
    """
    text = read_text(path, what)
    if not text.strip():
        raise EvalkitError(f"{path} is empty; it should be {what}")
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise EvalkitError(f"{path} is not whole, or no JSON ({error}); it should be {what}") from None
    if not isinstance(value, dict):
        raise EvalkitError(f"{path} holds a {type(value).__name__}; it should be {what}")
    return value, text


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, or has NaN, Infinity, or a name twice in one object.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_repeats)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value
