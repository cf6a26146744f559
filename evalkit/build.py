"""Turns a part of the configuration into the object it names, and lets it name nothing but evalkit's own."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from evalkit.errors import EvalkitError


def build(settings: Mapping[str, Any]) -> Any:
    """Call what ``_target_`` names with the other settings.

    Raises:
        EvalkitError: the target is not one of evalkit's components, or the settings are not the ones it takes.
    """
    target = str(settings["_target_"])
    module, _, name = target.rpartition(".")
    if not module.startswith(("evalkit.slices.", "evalkit.first_stage.", "evalkit.rerankers.")):
        raise EvalkitError(
            f"_target_={target}: a configuration can name evalkit's own components only "
            "(evalkit.slices, evalkit.first_stage, evalkit.rerankers)"
        )
    try:
        component = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EvalkitError(f"_target_={target}: there is no such component ({error})") from None
    given = {key: value for key, value in settings.items() if key != "_target_"}
    takes = signature(component)
    try:
        takes.bind(**given)
    except TypeError as error:  # +key=value adds what no schema knows
        known = [key for key in takes.parameters if not key.startswith("_")]
        raise EvalkitError(f"{target} {error}; its settings are {', '.join(known)}") from None
    return component(**given)
