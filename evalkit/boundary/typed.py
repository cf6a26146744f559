"""A plain value, as JSON gives it, becomes the dataclass that defines it, or a sentence about the first misfit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AllowInfNan, Field, Strict, TypeAdapter, ValidationError

from evalkit.boundary.text import escape_id, quoted

T = TypeVar("T")

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


Id = Annotated[str, AfterValidator(_id)]
"""The id of a query or passage as a TREC run can hold it."""


def typed(adapter: TypeAdapter[T], value: object) -> T:
    """Return a plain value as the type of `adapter`; fields that it does not define are left out.

    Args:
        adapter: of the dataclass that defines the value.
        value: mappings, lists, texts and numbers, as JSON gives them.

    Raises:
        ValueError: what does not fit, as ``path.of.field is this, and has to be that``.
    """
    return _checked(lambda: adapter.validate_python(value))


def typed_json(adapter: TypeAdapter[T], text: str) -> T:
    """Return JSON as the type of `adapter`, without conversions: a number is no text, and true no number.

    Args:
        adapter: of the dataclass that defines the value; fields that it does not define are left out.
        text: JSON.

    Raises:
        ValueError: what does not fit, as ``path.of.field is this, and has to be that``.
    """
    return _checked(lambda: adapter.validate_json(text, strict=True))


def _checked(validate: Callable[[], T]) -> T:
    try:
        return validate()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise ValueError(_sentence(first))


def _sentence(error: Mapping[str, Any]) -> str:
    path = error["loc"]
    parents, last = path[:-1], path[-1] if path else ""
    if error["type"] == "missing":
        return f"{_path(parents)} has {f'no {quoted(last)}' if isinstance(last, str) else 'too few values'}"
    if last == "[key]":
        return f"a name in {_path(parents[:-1])} is {quoted(error['input'])}, and has to be {_expected(error)}"
    if error["type"] == "unexpected_keyword_argument":
        return f"{_path(parents)} has {quoted(last)}, which this version does not know"
    return f"{_path(path)} is {quoted(error['input'])}, and has to be {_expected(error)}"


def _path(parts: Sequence[int | str]) -> str:
    found = ".".join(part if isinstance(part, str) and part.isprintable() else quoted(part) for part in parts)
    return found[:200] or "it"


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
