"""Builds the object that a part of the configuration names, if it is one of evalkit's own or one the user allows."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import isabstract, isclass, isfunction, signature
from types import ModuleType
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import check_type, errors_as_one_sentence
from evalkit.boundary.text import printable_name, quoted
from evalkit.first_stage.adapter import adapt_first_stage
from evalkit.first_stage.base import FirstStage
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker
from evalkit.slices.adapter import check_slice

ALLOW = "EVALKIT_ALLOW_TARGETS"
"""The environment variable that names what else may be built: packages, modules or names, separated by commas.

The environment is the user's; a configuration may be from somebody else, so it cannot allow itself anything.
"""
_OWN = re.compile(r"(evalkit\.(slices|first_stage|rerankers)\.[A-Za-z]\w*)\.([A-Za-z]\w*)")


def build(settings: Mapping[str, Any], kind: str | None = None) -> Any:
    """Call what ``_target_`` names with the other settings, and return what it returns.

    Args:
        settings: ``_target_`` and the arguments.
        kind: the folder that one of evalkit's own components has to be from: ``slices``, ``first_stage`` or
            ``rerankers``; None for any.

    Raises:
        EvalkitError: the target is not one of evalkit's components, nor allowed, or one of another kind; or it does not
            take these settings.
    """
    target = str(settings.get("_target_"))
    own = _OWN.fullmatch(target)
    if own and kind not in (None, own[2]):
        raise EvalkitError(f"_target_={target}: this is one of evalkit.{own[2]}, and one of evalkit.{kind} is needed")
    component = _component(target)
    where = f"_target_={target}"
    given = {key: _built(value, kind) if own else value for key, value in settings.items() if key != "_target_"}
    try:
        takes = signature(component)
    except (TypeError, ValueError):
        raise EvalkitError(
            f"{where}: its parameters cannot be found out; a class or function written in Python has a signature"
        ) from None
    known = [key for key in takes.parameters if not key.startswith("_")]
    try:
        takes.bind(**given)
        if private := [key for key in given if key.startswith("_")]:
            raise TypeError(f"got an unexpected keyword argument {private[0]!r}")
    except TypeError as error:  # +key=value adds what no schema knows
        settings_are = f"its settings are {', '.join(known)}" if known else "it has no settings"
        raise EvalkitError(f"{target} {str(error)[:200]}; {settings_are}") from None
    for key, value in given.items():  # without a schema they are not checked yet
        if key in takes.parameters:
            check_type(value, takes.parameters[key].annotation, f"{target}: {key}")
    if own:
        return component(**given)
    with errors_as_one_sentence(where, "creating it from its settings" if isclass(component) else "calling it"):
        made = component(**given)
    return _FITTED[kind](made, where) if kind else made


def _built(value: object, kind: str | None) -> object:
    """Return a setting with the components of the same kind that it lists, as the members of a fusion, built."""
    if not isinstance(value, list):
        return value
    return [build(one, kind) if isinstance(one, Mapping) and "_target_" in one else one for one in value]


_FITTED: Mapping[str, Callable[[object, str], Any]] = {
    "slices": check_slice,
    "first_stage": adapt_first_stage,
    "rerankers": adapt_reranker,
}


def _component(target: str) -> Any:
    own = _OWN.fullmatch(target)
    if not own and not is_allowed(target):
        raise _refusal(target)
    module, _, name = target.rpartition(".")
    found = _imported(target, module)
    if not hasattr(found, name):
        raise EvalkitError(f"_target_={target}: there is no such component (module {module!r} has no {name!r})")
    component = getattr(found, name)
    if own and not is_allowed(target):
        # A module has other names than its component: what it imports, such as os, and its own functions.
        is_class = isclass(component) and issubclass(component, FirstStage | Reranker) and not isabstract(component)
        if not (is_class or (isfunction(component) and name == "load")) or component.__module__ != module:
            raise _refusal(target)
    elif not callable(component):
        raise EvalkitError(f"_target_={target}: it is neither a class nor a function")
    elif isabstract(component):
        lacks = ", ".join(sorted(component.__abstractmethods__))
        raise EvalkitError(f"_target_={target}: it has no method {lacks}, which its base class requires")
    return component


def _imported(target: str, module: str) -> ModuleType:
    with errors_as_one_sentence(f"_target_={target}", f"importing {module}"):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if not error.name or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module exists; one that it imports does not
            raise EvalkitError(
                f"_target_={target}: there is no such component ({error}); a module of your own has to be "
                "installed, or in a folder of PYTHONPATH"
            ) from None


def is_allowed(target: str) -> bool:
    """Return whether the environment variable `ALLOW` names `target`, or a package or module that holds it."""
    names = [name.strip() for name in os.environ.get(ALLOW, "").split(",")]
    return any(name and (target == name or target.startswith(f"{name}.")) for name in names)


def _refusal(target: str) -> EvalkitError:
    return EvalkitError(
        f"_target_={printable_name(target)}: a configuration can name only evalkit's own components (evalkit.slices, "
        f"evalkit.first_stage, evalkit.rerankers), and what {ALLOW} in the environment names, such as "
        f"{ALLOW}=my_module"
    )


def check_hydra(settings: Mapping[str, Any]) -> None:
    """Check the classes that the part ``hydra`` of a configuration names, before Hydra builds them.

    Args:
        settings: the part ``hydra``, with its interpolations unresolved.

    Raises:
        EvalkitError: a callback, launcher, sweeper or part of the logging is neither evalkit's, nor Hydra's or one of
            its plugins, nor allowed.
    """
    for path, key, value in _named(settings, "hydra"):
        fits = {"_target_": _HYDRAS_OWN, "()": _FORMATTERS, "class": _HANDLERS}.get(key, _STREAMS)
        if not fits.fullmatch(str(value)) and not is_allowed(str(value)):
            raise EvalkitError(
                f"{path}={quoted(value)}: a configuration can name only Hydra's own parts and plugins, and what "
                f"{ALLOW} in the environment names"
            )


def _named(value: object, path: str) -> Iterator[tuple[str, str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("_target_", "()", "class"):
                yield f"{path}.{key}", str(key), inner
            yield from _named(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, path)
    elif isinstance(value, str) and value.startswith(("ext://", "cfg://")):
        yield path, "", value


_HYDRAS_OWN = re.compile(
    r"evalkit\.cli\.sweep\.SweepReport|hydra\._internal\.core_plugins\.\w+\.\w+|hydra_plugins(\.\w+)+"
    r"|optuna\.samplers\.\w+"  # cli/optuna_sweeper.py says which
)
_FORMATTERS = re.compile(r"colorlog\.ColoredFormatter")
_HANDLERS = re.compile(r"logging\.(StreamHandler|FileHandler|NullHandler|Formatter)")
_STREAMS = re.compile(r"ext://sys\.std(out|err)")
