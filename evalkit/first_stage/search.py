"""Searches deep enough that excluded passages do not count towards the depth, and takes the time."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evalkit.first_stage.base import FirstStage
from evalkit.types import Hit, Run, Searched, Slice


def timed_search(first_stage: FirstStage, data: Slice, depth: int) -> Searched:
    """Return the run of a first stage (see `search`), what it describes, and the time that it took.

    Args:
        first_stage: gets the judgments only if it uses them by its contract (`FirstStage.uses_judgments`).
        data: the slice.
        depth: passages of each query, 1 or more.
    """
    given = data if first_stage.uses_judgments else replace(data, qrels={})
    started = time.perf_counter()
    run, excluded = search(first_stage.search, given, depth)
    total_s = time.perf_counter() - started - first_stage.cache_s
    index_s = first_stage.index_s
    per_query_ms = None if index_s is None else max(total_s - index_s, 0.0) * 1000 / len(data.queries)
    facts = {"name": first_stage.label, **first_stage.describe(), **excluded}
    return Searched(run, facts, total_s, index_s, per_query_ms)


def search(searched: Callable[[Slice, int], Run], data: Slice, depth: int) -> tuple[Run, dict[str, Any]]:
    """Return the best `depth` passages of each query, without excluded and empty ones.

    The first stage is asked for as many more hits as the longest list of excluded passages has, and again where a
    finished run ranks empty passages.

    Args:
        searched: `FirstStage.search`.
        data: the slice.
        depth: passages of each query, 1 or more.

    Returns:
        The run, and counts of the hits within `depth` that were removed (``excluded_hits``, ``empty_hits``), without
        those that are 0.
    """
    more = max(map(len, data.excluded.values()), default=0)
    while True:
        found = searched(data, depth + more)
        allowed = {query_id: _allowed(hits, query_id, data) for query_id, hits in found.rankings.items()}
        lacking = max(
            (depth - len(allowed[query_id]) for query_id, hits in found.rankings.items() if len(hits) >= depth + more),
            default=0,
        )
        if lacking <= 0:
            break
        more += lacking
    kept = {query_id: hits[:depth] for query_id, hits in allowed.items()}
    return Run(found.name, kept), _counted(found, depth, data)


def _allowed(hits: tuple[Hit, ...], query_id: str, data: Slice) -> tuple[Hit, ...]:
    excluded = data.excluded.get(query_id, frozenset())
    if not excluded and not data.empty_docs:
        return hits
    return tuple(hit for hit in hits if hit.doc_id not in excluded and hit.doc_id not in data.empty_docs)


def _counted(found: Run, depth: int, data: Slice) -> dict[str, Any]:
    counts = {"excluded_hits": 0, "empty_hits": 0}
    for query_id, hits in found.rankings.items():
        excluded = data.excluded.get(query_id, frozenset())
        for hit in hits[:depth]:
            if hit.doc_id in excluded:
                counts["excluded_hits"] += 1
            elif hit.doc_id in data.empty_docs:
                counts["empty_hits"] += 1
    return {name: count for name, count in counts.items() if count}
