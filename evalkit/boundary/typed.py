"""Checks plain values, as JSON, YAML and components give them, against the types that define them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, AllowInfNan, Field, Strict, TypeAdapter, ValidationError

from evalkit.boundary.text import escape_id, quoted

T = TypeVar("T")

Text = Annotated[str, Strict()]
Boolean = Annotated[bool, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]
"""A finite number; true and false are none."""
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


def _of_64_bits(number: int) -> int:
    if abs(number) >= 2**63:
        raise ValueError("an integer of 64 bits")
    return number


Integer = Annotated[int, Strict(), AfterValidator(_of_64_bits)]
Count = Annotated[int, Strict(), Field(ge=0), AfterValidator(_of_64_bits)]


def _id(text: str) -> str:
    if not text or escape_id(text) != text:
        raise ValueError("an id without white space")
    return text


Id = Annotated[Text, AfterValidator(_id)]
"""The id of a query or passage as a TREC run can hold it."""


def _line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("a text of one line")
    return text


Line = Annotated[Text, AfterValidator(_line)]


def strict(hint: Any) -> Any:
    """Return the type, for `typed`, that a type hint of somebody's code stands for, without conversions.

    Only texts, numbers, booleans and None are checked, in lists, mappings and unions too. Whatever else a hint names is
    left to that code: a path may be given as text.

    Args:
        hint: the annotation of a parameter or a field.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return functools.reduce(or_, map(strict, arguments))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return Sequence[strict(arguments[0])]  # type: ignore[misc]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Mapping[Text, strict(arguments[1])]  # type: ignore[misc]
    return _STRICT.get(hint, Any) if isinstance(hint, type) else Any


_STRICT: Mapping[type, Any] = {str: Text, bool: Boolean, int: Integer, float: Number, NoneType: NoneType}

_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def typed(definition: type[T], value: object, where: str = "") -> T:
    """Return a plain value as the type that defines it; fields that the type does not define are left out.

    Args:
        definition: the type.
        value: mappings, lists, texts and numbers, as JSON gives them.
        where: path of the value, for the message.

    Raises:
        ValueError: what does not fit, as ``path.of.field is this, and has to be that``.
    """
    adapter: TypeAdapter[T] = _adapter(definition)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False)
    first = found[0]
    path = first["loc"]
    if first["type"] == "missing" or path[-1:] == ("[key]",):
        raise ValueError(_sentence(first, path, _expected(first), where))
    if path and _part(value, path[:-1]) == first["input"]:  # a union: each path ends with one of the alternatives
        path = path[:-1]
    alternatives = [_expected(one) for one in found if one["loc"][: len(path)] == path]
    if _accepts_null(adapter, value, path):
        alternatives.append("null")
    raise ValueError(_sentence(first, path, " or ".join(dict.fromkeys(alternatives)), where))


def typed_json(definition: type[T], text: str) -> T:
    """Return JSON as the type that defines it, without conversions: a number is no text, and true no number.

    Args:
        definition: the type; fields that it does not define are left out.
        text: JSON.

    Raises:
        ValueError: what does not fit, as ``path.of.field is this, and has to be that``.
    """
    adapter: TypeAdapter[T] = _adapter(definition)
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise ValueError(_sentence(first, first["loc"], _expected(first)))


_Path = tuple[int | str, ...]


def _part(value: Any, path: _Path) -> object:
    """Return what is at a path of keys and indices; a new object, equal to nothing, where the path leads nowhere."""
    try:
        return functools.reduce(lambda inner, key: inner[key], path, value)
    except (LookupError, TypeError):
        return object()


def _accepts_null(adapter: TypeAdapter[Any], value: Any, path: _Path) -> bool:
    """Return whether None would have been right at a path."""
    try:
        adapter.validate_python(_with_null(value, path))
    except ValidationError as error:
        return all(one["loc"][: len(path)] != path for one in error.errors(include_url=False))
    except (LookupError, TypeError):
        return False
    return True


def _with_null(value: Any, path: _Path) -> Any:
    if not path:
        return None
    changed = dict(value) if isinstance(value, Mapping) else dict(enumerate(value))
    changed[path[0]] = _with_null(changed[path[0]], path[1:])
    return changed if isinstance(value, Mapping) else list(changed.values())


def _sentence(error: Mapping[str, Any], path: _Path, expected: str, where: str = "") -> str:
    parents, last = path[:-1], path[-1] if path else ""
    if error["type"] == "missing":
        return f"{_named(parents, where)} has {f'no {quoted(last)}' if isinstance(last, str) else 'too few values'}"
    if last == "[key]":
        return f"a name in {_named(parents[:-1], where)} is {quoted(error['input'])}, and has to be {expected}"
    if error["type"] == "unexpected_keyword_argument":
        return f"{_named(parents, where)} has {quoted(last)}, which this version does not know"
    return f"{_named(path, where)} is {quoted(error['input'])}, and has to be {expected}"


def _named(path: _Path, where: str) -> str:
    parts = (part if isinstance(part, str) and part.isprintable() else quoted(part) for part in path)
    return ".".join(filter(None, (where, *parts)))[:200] or "it"


def _expected(error: Mapping[str, Any]) -> str:
    """Return what a value has to be, by the kind of pydantic's error."""
    kind, more = error["type"], error.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return words.format(more[key])
    if kind == "value_error":
        return str(more["error"])
    if kind == "literal_error":
        return str(more["expected"])
    return str(error["msg"]).removeprefix("Input should be ")


_WORDS = {
    "string_type": "a text",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "none_required": "null",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "dataclass_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_str": "a list",
    "is_instance_of": "a list",  # of Sequence, the only class that a definition asks for
}
_LIMITS = {
    "greater_than": ("above {:g}", "gt"),
    "greater_than_equal": ("{:g} or more", "ge"),
    "less_than": ("below {:g}", "lt"),
    "less_than_equal": ("{:g} or less", "le"),
    "too_short": ("a list of {} values or more", "min_length"),
    "too_long": ("a list of {} values or fewer", "max_length"),
}
