"""Whether a reranker is worth it: what it gains in ranking quality, how surely, and what it costs.

Importing this package pulls in no torch, ranx or ir_datasets: the heavy parts load where they are used.
"""

from evalkit.errors import EvalkitError
from evalkit.types import Cost, Effectiveness, Hit, Run, Slice, Trial

__version__ = "0.1.0"

__all__ = ["Cost", "Effectiveness", "EvalkitError", "Hit", "Run", "Slice", "Trial", "__version__"]
