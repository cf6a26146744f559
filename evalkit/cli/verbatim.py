"""Settings that are texts keep the characters as typed, where YAML and Hydra would read a number or a boolean.

``slice.name=12e4567`` would be ``inf``, ``revision=1e10`` ``10000000000.0``, and ``lang: no`` in a YAML file ``False``.
The schemas of `evalkit.cli.config` define which settings are texts. ``query`` and ``passages`` are natural language: a
comma, an apostrophe or a Chinese character in them would have a meaning for Hydra's grammar, or none.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import yaml

from evalkit.cli import quoting
from evalkit.cli.config import SCHEMAS


@cache
def texts() -> frozenset[str]:
    """Return the dotted names of the settings that are texts in every schema that has them."""
    kinds: dict[str, set[bool]] = {}
    for (group, _), schema in SCHEMAS.items():
        for name, hint in _hints(schema, group or ""):
            kinds.setdefault(name, set()).add(hint is str)
    return frozenset(name for name, kind in kinds.items() if kind == {True})


def _hints(schema: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(schema)
    for key in (one.name for one in fields(schema)):
        hint = hints[key]
        name = f"{prefix}.{key}".lstrip(".")
        alone = [one for one in get_args(hint) if one is not NoneType]
        if hasattr(hint, "__dataclass_fields__"):
            yield from _hints(hint, name)
        else:
            yield name, alone[0] if len(alone) == 1 and NoneType in get_args(hint) else hint


_NUMBER = r"[+-]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][+-]?\d[\d_]*)?|[+-]?(inf|nan)|true|false"
_READ_OTHERWISE = re.compile(_NUMBER, re.IGNORECASE | re.ASCII)
"""What Hydra's grammar may read as a number or a boolean; needless quotes do no harm."""
_OVERRIDE = re.compile(r"(\+{0,2}([\w.]+)=)(.*)", re.DOTALL)


def arguments(given: Iterable[str], reads: Callable[[str], object]) -> list[str]:
    """Return the arguments of the command line, with quotes around texts that look like numbers or booleans.

    In a list for a sweep, ``slice.name=1e3,2e3``, each value is quoted. All of ``query=...`` is one text, and so is
    each element of ``passages=[...]``, with quotes or without.

    Args:
        given: the arguments.
        reads: returns the value that Hydra reads in an argument; what is quoted is verified with it.
    """
    return [_quoted(argument, reads) for argument in given]


def _quoted(argument: str, reads: Callable[[str], object]) -> str:
    match = _OVERRIDE.fullmatch(argument)
    if match and match[2] == "query":
        return match[1] + (_as_one(match[3], reads) or match[3])
    if match and match[2] == "passages":
        return match[1] + (_as_list(match[3], reads) or match[3])
    if match is None or match[2] not in texts():
        return argument
    values = match[3].split(",")
    quoted = [f"'{value}'" if _READ_OTHERWISE.fullmatch(value) else value for value in values]
    return match[1] + ",".join(quoted)


_IN_QUOTES = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_ALREADY_ONE = re.compile(rf"\s*(?:{_IN_QUOTES}|null|)\s*", re.DOTALL)
_ELEMENT = re.compile(rf"\s*(?:(?P<quoted>{_IN_QUOTES})\s*|(?P<plain>[^,]*))(?:,|\Z)", re.DOTALL)


def _as_one(value: str, reads: Callable[[str], object]) -> str | None:
    """Return a value in quotes, unless it has them; None where that cannot be."""
    if _ALREADY_ONE.fullmatch(value):
        return value
    typed = quoting.for_hydra(f"query={value}", reads)
    return typed and typed.removeprefix("query=")


def _as_list(value: str, reads: Callable[[str], object]) -> str | None:
    """Return a list with each element in quotes; None where it is no list, or its elements cannot be told apart."""
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]") and inner[1:-1].strip()):
        return None
    inner, place, found = inner[1:-1], 0, []
    while place <= len(inner) and (match := _ELEMENT.match(inner, place)):
        one = match["quoted"] or _of_plain(match["plain"].strip(), reads)
        if one is None:
            return None
        found.append(one)
        place = match.end() + (match.end() == len(inner) and not match[0].endswith(","))
    return f"[{','.join(found)}]"


def _of_plain(text: str, reads: Callable[[str], object]) -> str | None:
    """Return an element without quotes as one with them; None if a bracket or quote opens here and ends elsewhere."""
    if text.count("[") != text.count("]") or (text[:1] in ("'", '"') and text.count(text[0]) % 2):
        return None
    return _as_one(text, reads) if text not in ("", "null") else f'"{text}"'


def restored(path: Path, package: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield path and characters of each text in a YAML file that YAML would read as a number or a boolean.

    Args:
        path: the file.
        package: the dotted place of its content in the configuration; "" for the top. The keys of
            ``hydra.sweeper.params`` are names of settings.
    """
    for place, typed in _plain_in(path, path.stat().st_mtime_ns):
        name = ".".join([package, *place]).lstrip(".").removeprefix("hydra.sweeper.params.")
        if name in texts() and _IN_YAML.fullmatch(typed):
            yield place, typed


_IN_YAML = re.compile(
    rf"{_NUMBER}|yes|no|on|off|[+-]?\.(inf|nan)|[+-]?0[xob][0-9a-f_]+|[+-]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?",
    re.IGNORECASE | re.ASCII,
)
"""What OmegaConf's YAML may read as a number or a boolean."""


@lru_cache(maxsize=256)  # Hydra loads a file for each composition; a sweep composes each trial
def _plain_in(path: Path, mtime_ns: int) -> tuple[tuple[tuple[str, ...], str], ...]:
    with path.open(encoding="utf-8") as file:
        return tuple(_plain(yaml.compose(file, Loader=yaml.SafeLoader), ()))


def _plain(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each unquoted scalar that is in mappings only, not in lists."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _plain(value, (*place, str(key.value)))
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        yield place, node.value
