"""The values that flow through evalkit: frozen and plain; nothing here imports anything else of evalkit."""

from evalkit.types.blend import Blend, BlendFold, BlendPoint
from evalkit.types.chunks import ChunkCounts, Chunking
from evalkit.types.collection import Pair, Settings, Slice
from evalkit.types.cost import Calibration, Cost, CostEstimate, Energy, Memory, MemoryPass, Throughput
from evalkit.types.effectiveness import Effectiveness
from evalkit.types.latency import GridCell, Interval, Latency, LatencyGrid, Load, LoadLevel
from evalkit.types.scores import Scores
from evalkit.types.search import Fused, Hit, Run, Searched, TunedFold
from evalkit.types.trial import SCHEMA_VERSION, Trial

__all__ = [
    "SCHEMA_VERSION",
    "Blend",
    "BlendFold",
    "BlendPoint",
    "Calibration",
    "ChunkCounts",
    "Chunking",
    "Cost",
    "CostEstimate",
    "Effectiveness",
    "Energy",
    "Fused",
    "GridCell",
    "Hit",
    "Interval",
    "Latency",
    "LatencyGrid",
    "Load",
    "LoadLevel",
    "Memory",
    "MemoryPass",
    "Pair",
    "Run",
    "Scores",
    "Searched",
    "Settings",
    "Slice",
    "Throughput",
    "Trial",
    "TunedFold",
]
