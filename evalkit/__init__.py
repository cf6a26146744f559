"""Measures whether a reranker is worth it: its gain in ranking quality, how certain that is, and its cost.

    import evalkit

    trial = evalkit.evaluate(queries, docs, qrels, reranker=my_function)
    trial.verdict

Importing this package imports neither torch nor any other library: these are loaded where they are used. It has to be
quick, for pytest imports it at each start (`evalkit.api.pytest_plugin`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from evalkit.boundary.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.api.evaluate import evaluate
    from evalkit.api.judging import compare, gate, load, write_baseline
    from evalkit.api.outcomes import ComparisonResult, GateResult, TrialResult
    from evalkit.api.slices import make_slice
    from evalkit.types import Cost, Effectiveness, Hit, Run, Slice, Trial

__version__ = "0.1.0"

__all__ = [
    "ComparisonResult",
    "Cost",
    "Effectiveness",
    "EvalkitError",
    "GateResult",
    "Hit",
    "Run",
    "Slice",
    "Trial",
    "TrialResult",
    "__version__",
    "compare",
    "evaluate",
    "gate",
    "load",
    "make_slice",
    "write_baseline",
]

_HOMES = {
    "evaluate": "api.evaluate",
    "compare": "api.judging",
    "gate": "api.judging",
    "load": "api.judging",
    "write_baseline": "api.judging",
    "make_slice": "api.slices",
    "TrialResult": "api.outcomes",
    "ComparisonResult": "api.outcomes",
    "GateResult": "api.outcomes",
    **dict.fromkeys(("Cost", "Effectiveness", "Hit", "Run", "Slice", "Trial"), "types"),
}
"""Name -> the module below evalkit that has it."""


def __getattr__(name: str) -> Any:
    """Import a part of the interface when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    return getattr(import_module(f"evalkit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
