"""Whether two results may be compared: the same queries, passages and judgments, or the message says which differ."""

from collections.abc import Iterable

from evalkit.errors import EvalkitError
from evalkit.types import Settings


def refuse_other_data(
    before: Settings, after: Settings, queries: tuple[Iterable[str], Iterable[str]], names: tuple[str, str]
) -> None:
    """Compare the ``effective.slice`` of two results, and their query ids; `names` is how a message calls the two.

    Raises:
        EvalkitError: slice, relevance level, queries, passages or judgments differ.
    """
    one, other = names
    same_data = before["fingerprints"] == after["fingerprints"]
    if before["name"] != after["name"] and not same_data:
        raise EvalkitError(
            f"{one} is of slice {before['name']}, {other} of {after['name']}; only results of one slice can be compared"
        )
    if before["relevance_level"] != after["relevance_level"]:
        raise EvalkitError(
            f"{one} counts grade {before['relevance_level']} and above as relevant, {other} "
            f"{after['relevance_level']} and above; use the same slice.relevance_level"
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
    differ = [
        words
        for part, words in (
            ("queries", "texts of queries"),
            ("docs", "passages"),
            ("judgments", "judgments"),
            ("excluded", "passages that may not be retrieved (slice.identical_ids, excluded_ids)"),
        )
        if before["fingerprints"].get(part) != after["fingerprints"].get(part)
    ]
    if differ:
        raise EvalkitError(
            f"the {' and the '.join(differ)} of {other} are not those of {one} (slice {after['name']}, another "
            "fingerprint), so figures cannot be compared; go back to the same data"
        )


def _some(ids: list[str]) -> str:
    cut = [one if len(one) <= 40 else f"{one[:40]}..." for one in ids[:5]]
    return ", ".join(cut) + (", ..." if len(ids) > 5 else "")
