"""Checks a slice that a function outside evalkit returned."""

from dataclasses import replace

from evalkit.boundary.foreign_code import describe_type, to_plain_facts
from evalkit.boundary.validation import COUNT, LINE, find_mismatch
from evalkit.errors import EvalkitError
from evalkit.types import Slice


def check_slice(value: object, where: str) -> Slice:
    """Return the slice that a function returned, with plain facts.

    Raises:
        EvalkitError: it is not a `Slice`, or lacks facts that `evalkit.slices.assemble.assemble` records.
    """
    if not isinstance(value, Slice):
        raise EvalkitError(
            f"{where}: it returned {describe_type(value)}, and has to return a Slice, which "
            "evalkit.slices.assemble.assemble makes"
        )
    facts = to_plain_facts(value.facts, f"{where}: facts of the slice")
    if wrong := find_mismatch(facts, _SLICE_FACTS, f"{where}: facts of the slice"):
        raise EvalkitError(f"{wrong}; evalkit.slices.assemble.assemble counts what is needed")
    return replace(value, facts={"corpus": "full", **facts})


_SLICE_FACTS = {
    "queries": COUNT,
    "docs": COUNT,
    "judged_docs_without_text": COUNT,
    "queries_without_relevant": COUNT,
    "corpus?": LINE,
    "fingerprints": dict.fromkeys(("queries", "docs", "judgments"), LINE),
}
