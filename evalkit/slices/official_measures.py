"""The official measures of a collection, and the relevance level they imply, from ir_datasets' documentation."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Level(NamedTuple):
    """The lowest grade that counts as relevant, and its source."""

    level: int
    source: str
    """``setting``, ``official_measures`` (of ir_datasets' documentation), or ``default``."""


def relevance_level(data: Any) -> Level:
    """Return the relevance level in the official measures of an ir_datasets id, as in RR(rel=2).

    It is 1 where they have none, or several.
    """
    stated = {int(found[1]) for name in official_measures(data) if (found := re.search(r"\brel=(\d+)", name))} - {0}
    return Level(stated.pop(), "official_measures") if len(stated) == 1 else Level(1, "default")


def official_measures(data: Any) -> list[str]:
    """Return the official measures of an ir_datasets id in the notation of ir_measures; empty if it has none."""
    documentation = data.documentation() if hasattr(data, "documentation") else None
    return [str(name) for name in (documentation or {}).get("official_measures") or ()]


def facts(data: Any, qrels: Mapping[str, Mapping[str, int]], used: int) -> dict[str, Any]:
    """Return what a result records: official measures, a level other than `used`, the meaning of the lowest grade.

    Args:
        data: an ir_datasets dataset.
        qrels: query_id -> doc_id -> grade.
        used: the relevance level that the slice uses.

    Returns:
        Some of ``official_measures``, ``official_relevance_level`` and ``lowest_grade_means``, which is given where the
        lowest grade counts as relevant.
    """
    found: dict[str, Any] = {}
    if official := official_measures(data):
        found["official_measures"] = official
    documented = relevance_level(data)
    if documented.source == "official_measures" and documented.level != used:
        found["official_relevance_level"] = documented.level
    lowest = min((grade for grades in qrels.values() for grade in grades.values()), default=0)
    if lowest >= used and (meaning := (data.qrels_defs() or {}).get(lowest)):
        found["lowest_grade_means"] = str(meaning)[:200]
    return found
