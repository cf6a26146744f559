"""A finished run in one row: what was run, at which commit, and its key figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Text = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """A row of the history; None where a figure was not measured, or is not known."""

    folder: str
    """The absolute path, by which a run is identified."""
    ended: str | None
    """UTC, as ISO 8601 with milliseconds; of older results when they started."""
    name: str
    commit: str | None
    """Of the folder that it ran in, else of evalkit's own checkout."""
    dirty: bool | None
    """Whether tracked files differed from the commit."""
    evalkit: str | None
    """Version."""
    slice: str
    fingerprint: str
    """Of queries, passages and judgments."""
    relevance_level: int
    queries: int
    first_stage: str
    reranker: str | None
    """None for a first stage alone."""
    depth: int
    runtime: str | None
    precision: str | None
    device: str | None
    settings: Mapping[str, Text]
    """Further settings of both components as they were asked for, such as ``reranker.max_length``."""
    measure: str
    """The first one of the result, as the five fields below."""
    before: float
    after: float
    delta: float | None
    """None without a reranker, as its interval and verdict."""
    delta_low: float | None
    """Ends of the 95 % interval of the mean difference (Student's t)."""
    delta_high: float | None
    verdict: str | None
    means_before: Mapping[str, float]
    """measure -> mean of the first stage."""
    means: Mapping[str, float]
    """measure -> mean of the result's ranking."""
    p50_ms: float | None
    """Median latency of reranking one query."""
    peak_mib: float | None
    """Peak memory on the GPU, else of the process."""

    @property
    def is_there(self) -> bool:
        """Return whether the folder still has a result."""
        return Path(self.folder, "result.json").is_file()


def system(entry: HistoryEntry) -> str:
    """Return what was run on a slice, in words: ``bm25 + packaged at int8 in onnxruntime``."""
    if entry.reranker is None:
        return entry.first_stage
    at = f" at {entry.precision}" if entry.precision else ""
    runtime = f" in {entry.runtime}" if entry.runtime and entry.runtime != "torch" else ""
    return f"{entry.first_stage} + {entry.reranker}{at}{runtime}"


IDENTITY = ("fingerprint", "relevance_level", "first_stage", "reranker", "depth", "runtime", "precision", "device")
"""The fields that have to be equal in two runs of one setting, where both have them."""


def is_same_setting(one: HistoryEntry, other: HistoryEntry) -> bool:
    """Return whether two runs are of one setting: equal in all that both of them record.

    What only one of them records does not count: a newer evalkit has settings that an older one does not know.

    Args:
        one: a run.
        other: another run.
    """
    for field in IDENTITY:
        values = getattr(one, field), getattr(other, field)
        if field == "reranker":
            if values[0] != values[1]:
                return False
        elif None not in values and values[0] != values[1]:
            return False
    return all(one.settings[key] == other.settings[key] for key in one.settings.keys() & other.settings.keys())
