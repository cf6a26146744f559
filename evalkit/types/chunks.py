"""How passages were split before they were scored, and what truncation would have given."""

from dataclasses import dataclass

from evalkit.types.effectiveness import Effectiveness


@dataclass(frozen=True, kw_only=True)
class ChunkCounts:
    """How passages were split before they were scored."""

    by: str
    """What a chunk is made of: ``tokens`` or ``sentences``."""
    size: int
    """The most of them that a chunk has."""
    overlap: int
    """How many of them it shares with the one before."""
    aggregate: str
    """Score of a passage: ``max``, ``first`` or ``mean_top`` of those of its chunks."""
    top: int | None = None
    """With ``mean_top``: how many of the best chunks count; None otherwise."""
    passages: int
    """Different candidates."""
    split_passages: int
    """Those of two chunks or more."""
    chunks: int
    """Of all candidates, scored or not."""
    most_chunks: int
    """Of one passage."""


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How passages were split, and the ranking where they are truncated instead."""

    counts: ChunkCounts
    truncated_pairs: int | None = None
    """Pairs that would be truncated; None where that was not computed, or the reranker states no maximum length."""
    truncated: Effectiveness | None = None
    """Of the reranked run without chunks; None where it was not computed."""
