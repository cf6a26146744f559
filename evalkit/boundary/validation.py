"""Checks a plain value, as JSON and YAML give it, against a type or a table of types."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from evalkit.boundary.text import quoted

Shape = Any
"""A class or another type hint, one of the shapes below, or a table of name -> shape.

A key of the table that ends in ``?`` is optional. Keys that are not in the table are ignored.
"""


class Limited(NamedTuple):
    """A value of the shape `of` for which `holds` is true; `words` describe such values in messages."""

    of: Shape
    holds: Callable[[Any], bool]
    words: str


class Each(NamedTuple):
    """A mapping from texts of shape `key` to values of shape `of`."""

    of: Shape
    key: Shape = str


class Many(NamedTuple):
    """A list of values of shape `of`."""

    of: Shape


def find_mismatch(value: object, shape: Shape, where: str) -> str | None:
    """Return the first mismatch as ``WHERE is VALUE, and has to be SHAPE``; None if `value` has the shape.

    Integers have at most 64 bits, numbers are finite, and booleans are neither.

    Args:
        value: as JSON or YAML gives it.
        shape: what it has to be.
        where: path of the value, for the message.
    """
    if isinstance(shape, Limited):
        return find_mismatch(value, shape.of, where) or (
            None if shape.holds(value) else _mismatch(where, value, shape.words)
        )
    if isinstance(shape, Each):
        if not isinstance(value, Mapping):
            return _mismatch(where, value, "a mapping")
        keys = (find_mismatch(key, shape.key, f"a name in {where}") for key in value)
        values = (find_mismatch(inner, shape.of, _below(where, key)) for key, inner in value.items())
        return next(filter(None, keys), None) or next(filter(None, values), None)
    if isinstance(shape, Many):
        if not isinstance(value, list | tuple):
            return _mismatch(where, value, "a list")
        return next(filter(None, (find_mismatch(one, shape.of, where) for one in value)), None)
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return _mismatch(where, value, "a mapping")
        return next(filter(None, (_field(value, name, of, where) for name, of in shape.items())), None)
    return _of_hint(value, shape, where)


def _field(value: Mapping[str, Any], name: str, shape: Shape, where: str) -> str | None:
    key = name.removesuffix("?")
    if key not in value:
        return None if name.endswith("?") else f"{where} has no {key!r}"
    return find_mismatch(value[key], shape, _below(where, key))


def _below(where: str, key: str) -> str:
    return f"{where}.{key if key.isprintable() else quoted(key)}"


def _of_hint(value: object, hint: Any, where: str) -> str | None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        found = [find_mismatch(value, one, where) for one in arguments]
        if None in found:
            return None
        return _mismatch(where, value, " or ".join(_WORDS.get(one, "something else") for one in arguments))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return find_mismatch(value, Many(arguments[0]), where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return find_mismatch(value, Each(arguments[1]), where)
    if hint in _WORDS and not _FITS[hint](value):
        return _mismatch(where, value, _WORDS[hint])
    return None


def _mismatch(where: str, value: object, words: str) -> str:
    return f"{where[:200]} is {quoted(value)}, and has to be {words}"


LINE = Limited(str, lambda text: "\n" not in text and "\r" not in text, "a text of one line")
COUNT = Limited(int, lambda number: number >= 0, "0 or more")

_FITS: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
    float: lambda value: _FITS[int](value) or (isinstance(value, float) and math.isfinite(value)),
    NoneType: lambda value: value is None,
}
_WORDS: dict[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    NoneType: "null",
}
