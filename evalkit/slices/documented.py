"""What ir_datasets' documentation of a collection says of how it is measured: official measures, relevant grades."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Level(NamedTuple):
    """The lowest grade that counts as relevant, and where that comes from."""

    level: int
    source: str
    """``setting``, ``official_measures`` (of ir_datasets' documentation), or ``default``."""


def level(data: Any) -> Level:
    """Return the one level that the official measures of an ir_datasets id state, as in RR(rel=2), else 1.

    Where they state several, none of them can be that of all measures, and it is 1.
    """
    stated = {int(found[1]) for name in measures(data) if (found := re.search(r"\brel=(\d+)", name))} - {0}
    return Level(stated.pop(), "official_measures") if len(stated) == 1 else Level(1, "default")


def measures(data: Any) -> list[str]:
    """Return the official measures of an ir_datasets id in the notation of ir_measures; none where it states none."""
    documentation = data.documentation() if hasattr(data, "documentation") else None
    return [str(name) for name in (documentation or {}).get("official_measures") or ()]


def facts(data: Any, qrels: Mapping[str, Mapping[str, int]], used: int) -> dict[str, Any]:
    """Return what a result says of the documentation: official measures, another level, what the lowest grade means."""
    found: dict[str, Any] = {}
    if official := measures(data):
        found["official_measures"] = official
    documented = level(data)
    if documented.source == "official_measures" and documented.level != used:
        found["official_relevance_level"] = documented.level
    lowest = min((grade for grades in qrels.values() for grade in grades.values()), default=0)
    if lowest >= used and (meaning := (data.qrels_defs() or {}).get(lowest)):
        found["lowest_grade_means"] = str(meaning)[:200]
    return found
