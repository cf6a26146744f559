"""Calls components that are not evalkit's own: errors become one sentence, returned values plain Python values."""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from numbers import Real
from pathlib import PurePath
from typing import Any, get_args, get_type_hints

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import is_unicode, quoted
from evalkit.types import Settings


@contextmanager
def errors_as_one_sentence(where: str, doing: str) -> Iterator[None]:
    """Turn what a component raises into one sentence with file and line; the exception itself becomes the cause.

    Args:
        where: names the component at the start of the message.
        doing: what the block does, such as the name of the method that it calls.

    Raises:
        EvalkitError: the code raised an exception, or tried to exit the process.
    """
    try:
        yield
    except EvalkitError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(str(error).split())[:300]
        raise EvalkitError(
            f"{where}: {doing} failed with {type(error).__name__}{f': {what}' if what else ''}{_place(error)}; "
            "HYDRA_FULL_ERROR=1 shows the traceback"
        ) from error


def _place(error: BaseException) -> str:
    """Return the last line that ran in the outermost file outside evalkit and the import system."""
    if isinstance(error, SyntaxError):
        return ""  # its message has file and line
    own = str(PurePath(__file__).parent.parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((own, "<frozen"))]
    frames = [f for f in frames if not f.filename.endswith(("importlib/__init__.py", "contextlib.py"))]
    last = next((f for f in reversed(frames) if f.filename == frames[0].filename), None)
    return f" ({PurePath(last.filename).name}, line {last.lineno})" if last else ""


def is_ours(component: object) -> bool:
    """Return whether a component's class is evalkit's own."""
    return type(component).__module__.partition(".")[0] == "evalkit"


def class_path(component: object) -> str:
    """Return the dotted path of a component's class."""
    return f"{type(component).__module__}.{type(component).__qualname__}"


def describe_type(value: object) -> str:
    """Return the type of a value with its article, such as ``a list``, or ``nothing`` for None."""
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class ForeignComponent:
    """A component that is not evalkit's own, whose members are checked against a base class."""

    def __init__(self, component: object, where: str, contract: type, needed: Mapping[str, str]) -> None:
        self.object, self.where, self._contract = component, where, contract
        for name, signature in needed.items():
            if self.method(name) is None:
                what = "reranker" if contract.__name__ == "Reranker" else "first stage"
                raise EvalkitError(
                    f"{where}: it has no method {name}{signature}, which is what a "
                    f"{what} needs ({contract.__module__}.{contract.__name__})"
                )

    def method(self, name: str) -> Callable[..., Any] | None:
        """Return the component's own method; None where it has none or inherits the base class's default.

        Raises:
            EvalkitError: the attribute is not a method.
        """
        if inspect.getattr_static(type(self.object), name, None) is inspect.getattr_static(self._contract, name):
            return None
        with errors_as_one_sentence(self.where, name):
            found = getattr(self.object, name, None)
        if found is None:
            return None
        if not callable(found):
            raise EvalkitError(f"{self.where}: {name} is {describe_type(found)}, and has to be a method")
        return found  # type: ignore[no-any-return]

    def value(self, name: str, default: Any, hint: Any) -> Any:
        """Return the component's attribute as a plain value, or `default` where it has none.

        Args:
            name: name of the attribute.
            default: the value of a component without the attribute.
            hint: the type that the value has to have.

        Raises:
            EvalkitError: the value has another type than `hint`, or a property of this name raised an exception.
        """
        with errors_as_one_sentence(self.where, name):
            value = to_plain(getattr(self.object, name, default))
        check_type(value, hint, f"{self.where}: {name}")
        return value

    def attribute(self, name: str) -> Any:
        """Return the component's attribute, or None where it has none.

        Raises:
            EvalkitError: a property of this name raised an exception.
        """
        with errors_as_one_sentence(self.where, name):
            return getattr(self.object, name, None)

    def label(self) -> str:
        """Return the component's `name`, or else the name of its class.

        Raises:
            EvalkitError: `name` is not a text of one line, or a property of this name raised an exception.
        """
        name = self.value("name", None, str | None) or type(self.object).__name__
        if "\n" in name or "\r" in name:
            raise EvalkitError(f"{self.where}: name is {quoted(name)}, and has to be a text of one line")
        return str(name)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an optional method and return its result; None where the component lacks it.

        Args:
            name: name of the method.
            *arguments: its positional arguments.

        Raises:
            EvalkitError: the attribute is not a method, does not take these arguments, is asynchronous, or raised an
                exception.
        """
        method = self.method(name)
        if method is None:
            return None
        check_parameters(method, len(arguments), f"{self.where}: {name}")
        with errors_as_one_sentence(self.where, name):
            return refuse_awaitable(method(*arguments), f"{self.where}: {name}")

    def facts(self, definition: type) -> Settings:
        """Return what `describe` returns as JSON-ready values; those that are None and may not be are left out.

        Args:
            definition: a TypedDict (`evalkit.boundary.foreign_facts`); further facts are not checked.

        Raises:
            EvalkitError: it is not a mapping, a value cannot be written as JSON, or one has another type.
        """
        from evalkit.boundary.typed import Line, typed

        value = self.call("describe")
        where = f"{self.where}: describe()"
        with errors_as_one_sentence(self.where, "describe"):
            facts = {} if value is None else to_plain_facts(value, where)
        types = get_type_hints(definition, include_extras=True)
        facts = {key: one for key, one in facts.items() if one is not None or types.get(key) != Line}
        try:
            typed(definition, facts, where)
        except ValueError as wrong:
            raise EvalkitError(str(wrong)) from None
        return facts


def check_type(value: object, hint: Any, where: str) -> None:
    """Check a plain value against a type hint; see `evalkit.boundary.typed.strict` for what is checked.

    Args:
        value: a text, a number, a boolean or None, or lists and mappings of them.
        hint: the type that it has to have.
        where: names the value in the message.

    Raises:
        EvalkitError: it has another type; a number is infinite, or an integer has more than 64 bits.
    """
    if type(value) in (get_args(hint) or (hint,)) and (not isinstance(value, int | float) or abs(value) < 2**63):
        return  # most settings end here, so that a trial of evalkit's own components does without pydantic
    from evalkit.boundary.typed import strict, typed

    try:
        typed(strict(hint), value, where)
    except ValueError as wrong:
        raise EvalkitError(str(wrong)) from None


def check_parameters(
    method: Callable[..., Any], count: int, where: str, optional: str | None = None
) -> Mapping[str, Any]:
    """Return the parameters of a method that takes `count` positional arguments.

    Args:
        method: a method of a component, bound to its instance.
        count: number of positional arguments.
        where: names the method in the message.
        optional: a keyword argument that the method may have, and that the message then mentions; None for none.

    Returns:
        Name -> parameter; empty for a compiled function without a signature, which is not checked.

    Raises:
        EvalkitError: the method does not take `count` positional arguments.
    """
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # a compiled function may have no signature
        return {}
    try:
        more = {optional: None} if optional and optional in signature.parameters else {}
        signature.bind(*[None] * count, **more)
    except TypeError:
        takes = {2: "slice, depth", 3: "pairs, queries, docs", 1: "protocol"}.get(count, "")
        raise EvalkitError(
            f"{where}{signature} has to take ({takes})" + (f", and may take {optional} besides" if optional else "")
        ) from None
    return signature.parameters


def refuse_awaitable(value: object, where: str) -> object:
    """Return `value`.

    Args:
        value: what a method returned.
        where: names the method in the message.

    Raises:
        EvalkitError: it is a coroutine or another awaitable.
    """
    if inspect.isawaitable(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()
        raise EvalkitError(f"{where} is asynchronous, and evalkit does not await it; wrap it in asyncio.run(...)")
    return value


def to_float(one: object, index: int, where: str) -> float | None:
    """Return a number of any library as a float, infinity where it is too large for one; None stays None.

    Args:
        one: a number of Python, numpy or torch, or None.
        index: position of the score, for the message.
        where: names the component in the message.

    Raises:
        EvalkitError: it is not a number.
    """
    if hasattr(one, "item") and not isinstance(one, Mapping):
        with errors_as_one_sentence(where, f"score {index}"):
            one = one.item()  # of numpy or torch
    if one is None:
        return None
    if isinstance(one, bool) or not isinstance(one, Real | Decimal):
        raise EvalkitError(f"{where}: score {index} is {describe_type(one)}, and has to be a number, or None for none")
    try:
        return float(one)
    except OverflowError:
        return math.inf


def to_plain_facts(value: object, where: str) -> dict[str, Any]:
    """Return a mapping with JSON-ready values.

    Args:
        value: what a component returned.
        where: names the component in the message.

    Raises:
        EvalkitError: it is not a mapping, or a value cannot be written as JSON; the message names it.
    """
    if not isinstance(value, Mapping):
        raise EvalkitError(f"{where} is {describe_type(value)}, and has to be a mapping of names to values")
    facts = to_plain(value)
    if wrong := _no_json(facts, where):
        raise EvalkitError(f"{wrong}, which JSON cannot hold")
    return dict(facts)


def to_plain(value: Any) -> Any:
    """Return a value with paths, devices, types, arrays and sets as texts, numbers and lists; others as they are."""
    if hasattr(value, "item") and not isinstance(value, Mapping) and not getattr(value, "shape", ()):
        return value.item()  # a number of numpy or torch
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    if isinstance(value, Set):
        return sorted((to_plain(inner) for inner in value), key=str)
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    if isinstance(value, PurePath | Decimal) or type(value).__name__.lower() in ("device", "dtype"):
        return str(value)
    return value


def _no_json(value: Any, where: str) -> str | None:
    if isinstance(value, dict):
        return next(filter(None, (_no_json(inner, f"{where}[{key!r}]") for key, inner in value.items())), None)
    if isinstance(value, list):
        return next(filter(None, (_no_json(inner, where) for inner in value)), None)
    if isinstance(value, str):
        return None if is_unicode(value) else f"{where} has a lone surrogate"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} is {value}"
    return None if value is None or isinstance(value, bool | int) else f"{where} is {describe_type(value)}"
