"""Checks a slice that a function outside evalkit returned."""

from dataclasses import replace

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import describe_type, to_plain_facts
from evalkit.types import Slice


def check_slice(value: object, where: str) -> Slice:
    """Return the slice that a function returned, with plain facts.

    Args:
        value: what the function returned.
        where: names the function in messages.

    Raises:
        EvalkitError: it is not a `Slice`, or lacks facts that `evalkit.slices.assemble.assemble` records.
    """
    if not isinstance(value, Slice):
        raise EvalkitError(
            f"{where}: it returned {describe_type(value)}, and has to return a Slice, which "
            "evalkit.slices.assemble.assemble makes"
        )
    facts = {"corpus": "full", **to_plain_facts(value.facts, f"{where}: facts of the slice")}
    from evalkit.boundary.foreign_facts import SliceFacts
    from evalkit.boundary.typed import typed

    try:
        typed(SliceFacts, facts, f"{where}: facts of the slice")
    except ValueError as wrong:
        raise EvalkitError(f"{wrong}; evalkit.slices.assemble.assemble counts what is needed") from None
    return replace(value, facts=facts)
