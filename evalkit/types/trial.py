"""A finished trial: what was requested, what was done, and the outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evalkit.types.blend import Blend
from evalkit.types.chunks import Chunking
from evalkit.types.collection import Settings, Slice
from evalkit.types.cost import Cost
from evalkit.types.effectiveness import Effectiveness
from evalkit.types.search import Fused, Run

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Trial:
    """One slice x first stage x reranker x precision: what was requested, what was done, and the outcome."""

    name: str
    asked: Settings
    """The configuration as it was requested."""
    effective: Settings
    """What was really used: models, revisions, devices, limits and counts."""
    provenance: Settings
    """Commit, versions, platform and command."""
    slice: Slice
    first_stage: Run
    reranked: Run
    effectiveness: Mapping[str, Effectiveness]
    """Under ``first_stage``, ``reranked`` and ``ceiling`` (the best possible order of the candidates)."""
    unjudged_at_10: Mapping[str, float]
    """Share of passages without a judgment in the top 10, under ``first_stage`` and ``reranked``."""
    cost: Cost | None
    """None where nothing was computed, as for a finished run."""
    fused: Fused | None = None
    """The members of the first stage, if it is a fusion."""
    members: Mapping[str, Effectiveness] = field(default_factory=dict)
    """Measures of each of these members, by its name."""
    warnings: tuple[str, ...] = ()
    """One sentence for each caveat that the figures need (`evalkit.evaluation.caveats`)."""
    blend: Blend | None = None
    """None where nothing was reranked, or no blend was requested."""
    chunking: Chunking | None = None
    """None where passages were scored whole."""
