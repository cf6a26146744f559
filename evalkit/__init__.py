"""Measures whether a reranker is worth it: its gain in ranking quality, how certain that is, and its cost.

Importing this package does not import torch, ranx or ir_datasets: these are loaded where they are used.
"""

from evalkit.errors import EvalkitError
from evalkit.types import Cost, Effectiveness, Hit, Run, Slice, Trial

__version__ = "0.1.0"

__all__ = ["Cost", "Effectiveness", "EvalkitError", "Hit", "Run", "Slice", "Trial", "__version__"]
