"""Entries of the history that are made up: a test states what it is about."""

from dataclasses import replace
from typing import Any

from evalkit.results.history.entry import HistoryEntry

ENTRY = HistoryEntry(
    folder="/runs/1",
    ended="2026-11-26T22:54:02.000+00:00",
    name="dev",
    commit="1a2b3c" + "0" * 34,
    dirty=False,
    evalkit="0.1.0",
    slice="dev/en",
    fingerprint="f",
    relevance_level=1,
    queries=74,
    first_stage="bm25",
    reranker="packaged",
    depth=20,
    runtime="torch",
    precision="fp32",
    device="a CPU",
    settings={"first_stage.k1": 0.9, "reranker.max_length": 256},
    measure="nDCG@10",
    before=0.5,
    after=0.7,
    delta=0.2,
    delta_low=0.15,
    delta_high=0.25,
    verdict="helped",
    means_before={"nDCG@10": 0.5, "RR(rel=2)@10": 0.4},
    means={"nDCG@10": 0.7, "RR(rel=2)@10": 0.6},
    p50_ms=174.25,
    peak_mib=722.5,
)


def entry(folder: str = "/runs/1", **stated: Any) -> HistoryEntry:
    """A run on dev/en; `after` is the mean of the first measure too."""
    if "after" in stated:
        stated = {"means": {"nDCG@10": stated["after"], "RR(rel=2)@10": 0.6}} | stated
    return replace(ENTRY, folder=folder, **stated)
