"""Checks that two results can be compared: the same slice, queries, passages and judgments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.boundary.typed import Integer
from evalkit.errors import EvalkitError


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of the data."""

    queries: str
    docs: str
    judgments: str
    excluded: str | None = None
    """Of the passages that may not be retrieved for a query; None where there are none."""


@dataclass(frozen=True)
class SliceIdentity:
    """What two results must have in common to be compared."""

    name: str
    lang: str
    relevance_level: Integer
    fingerprints: Fingerprints


def slice_identity(facts: Mapping[str, Any]) -> SliceIdentity:
    """Return the identity of a slice from the ``effective.slice`` of a result."""
    hashes = facts["fingerprints"]
    return SliceIdentity(
        facts["name"],
        facts["lang"],
        facts["relevance_level"],
        Fingerprints(hashes["queries"], hashes["docs"], hashes["judgments"], hashes.get("excluded")),
    )


def refuse_other_data(
    before: SliceIdentity, after: SliceIdentity, queries: tuple[Iterable[str], Iterable[str]], names: tuple[str, str]
) -> None:
    """Refuse to compare two results whose data differ.

    Args:
        before: the slice of the first result.
        after: the slice of the second.
        queries: the query ids of both.
        names: the names of both in messages.

    Raises:
        EvalkitError: the slice, relevance level, queries, passages or judgments differ.
    """
    one, other = names
    same_data = before.fingerprints == after.fingerprints
    if before.name != after.name and not same_data:
        raise EvalkitError(
            f"{one} is of slice {before.name}, {other} of {after.name}; only results of one slice can be compared"
        )
    if before.relevance_level != after.relevance_level:
        raise EvalkitError(
            f"{one} counts grade {before.relevance_level} and above as relevant, {other} "
            f"{after.relevance_level} and above; use the same slice.relevance_level"
        )
    first, second = (set(ids) for ids in queries)
    missing, extra = sorted(first - second), sorted(second - first)
    if missing or extra:
        parts = [f"lacks {len(missing)} of them ({_some(missing)})"] if missing else []
        parts += [f"has {len(extra)} others ({_some(extra)})"] if extra else []
        raise EvalkitError(
            f"{one} has {len(first)} queries, and {other} {' and '.join(parts)}; run it on the same slice, with the "
            "same slice.queries and slice.seed"
        )
    old, new = before.fingerprints, after.fingerprints
    differ = [
        words
        for is_other, words in (
            (old.queries != new.queries, "texts of queries"),
            (old.docs != new.docs, "passages"),
            (old.judgments != new.judgments, "judgments"),
            (old.excluded != new.excluded, "passages that may not be retrieved (slice.identical_ids, excluded_ids)"),
        )
        if is_other
    ]
    if differ:
        raise EvalkitError(
            f"the {' and the '.join(differ)} of {other} are not those of {one} (slice {after.name}, another "
            "fingerprint), so figures cannot be compared; go back to the same data"
        )


def _some(ids: list[str]) -> str:
    cut = [one if len(one) <= 40 else f"{one[:40]}..." for one in ids[:5]]
    return ", ".join(cut) + (", ..." if len(ids) > 5 else "")
