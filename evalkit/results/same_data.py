"""Checks that results can be compared: the same slice, queries, passages and judgments, and a common measure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.typed import Integer
from evalkit.evaluation.judged_by import judged_by
from evalkit.evaluation.measure_names import parse


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
    judged_by: str | None = None
    """In words; None for the collection's judgments, and for qrels that name no judge."""


def slice_identity(facts: Mapping[str, Any]) -> SliceIdentity:
    """Return the identity of a slice from the ``effective.slice`` of a result."""
    hashes = facts["fingerprints"]
    return SliceIdentity(
        facts["name"],
        facts["lang"],
        facts["relevance_level"],
        Fingerprints(hashes["queries"], hashes["docs"], hashes["judgments"], hashes.get("excluded")),
        judged_by(facts),
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
    if before.judged_by != after.judged_by and _differ_in_judgments_alone(before.fingerprints, after.fingerprints):
        raise EvalkitError(
            f"{other} is judged by {_judge(after)}, and {one} by {_judge(before)}, so figures cannot be compared; "
            "run both with the same slice.qrels and slice.judge, or see how far the judges agree: python -m evalkit "
            "judges HUMAN_QRELS LABELS --results RESULT"
        )
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


def _differ_in_judgments_alone(one: Fingerprints, other: Fingerprints) -> bool:
    return one != other and replace(one, judgments=other.judgments) == other


def _judge(of: SliceIdentity) -> str:
    return of.judged_by or "the collection's judgments or qrels without a judge's name"


def _some(ids: list[str]) -> str:
    cut = [one if len(one) <= 40 else f"{one[:40]}..." for one in ids[:5]]
    return ", ".join(cut) + (", ..." if len(ids) > 5 else "")


def common_measures(having: Sequence[Collection[str]]) -> list[str]:
    """Return the measures that all results have, in the order of the first one.

    Args:
        having: the names of the measures of each result.

    Raises:
        EvalkitError: there is none.
    """
    common = [name for name in having[0] if all(name in others for others in having)]
    if not common:
        raise EvalkitError("the results have no measure in common; run them with the same measures.names")
    return common


def chosen_measure(having: Sequence[Collection[str]], asked: str | None, depth: int) -> str:
    """Return the measure that ``--measure`` names, or the first one that all results have.

    Args:
        having: the names of the measures of each result.
        asked: as it was typed; None for the first one.
        depth: what ``depth`` stands for in a name.

    Raises:
        EvalkitError: the results do not have it, or have none in common.
    """
    common = common_measures(having)
    name = common[0] if asked is None else str(parse(asked, depth))
    if name not in common:
        raise EvalkitError(f"--measure {asked}: the results have {', '.join(common)}, and not {name}")
    return name
