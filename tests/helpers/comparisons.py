"""Comparisons that are made up: every field has a value, and a test states those that it is about."""

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.results.comparison_schema import (
    Agreement,
    ComparedSlice,
    ComparedSystem,
    Comparison,
    CorrectedTest,
    CostFigures,
    MeasureEquivalence,
    QueryTime,
    Untested,
)


def cost(**stated: Any) -> CostFigures:
    """What reranking took on a GPU."""
    figures: dict[str, Any] = {
        "pairs_per_s": 1000.0, "p50_ms": 40.0, "p50_ci95_ms": [38.0, 42.0], "p99_ms": 50.0, "p99_ci95_ms": [45.0, 60.0],
        "latency_samples": 500, "peak_mb": 3000.0, "peak_of": "GPU", "weights_mb": 2000.0, "batch_tokens": 65536,
        "device": "a GPU",
    }  # fmt: skip
    return CostFigures(**figures | stated)


def system(label: str, **stated: Any) -> ComparedSystem:
    """A system with a reranker whose first stage was not timed."""
    fields: dict[str, Any] = {
        "where": label, "side": "reranked", "own_first_stage": None, "depth": 100, "first_stage": "bm25",
        "reranker": "bge", "precision": "fp32", "runtime": None, "mean": {"nDCG@10": 0.7},
        "time": QueryTime(None, None, None), "cost": None,
    }  # fmt: skip
    return ComparedSystem(label, **fields | stated)


def paired(mean: float = 0.0, **stated: Any) -> CorrectedTest:
    """A paired test of two queries."""
    fields: dict[str, Any] = dict.fromkeys(
        ("low", "high", "bca_low", "bca_high", "t_p", "wilcoxon_p", "randomization_p", "effect_size", "detectable",
         "holm_p", "bh_p")
    )  # fmt: skip
    return CorrectedTest(mean, **fields | {"wins": 2, "ties": 0, "losses": 0, "n": 2} | stated)


def agreement(**stated: Any) -> Agreement:
    """Two scorings of the same 20 pairs."""
    fields: dict[str, Any] = {
        "pairs": 20, "max_abs": 0.125, "mean_abs": 0.01, "rms": 0.02, "tied_pairs_before": 0, "tied_pairs_after": 0,
        "queries_tied_at_top_before": 0, "queries_tied_at_top_after": 0, "same_top_1": 1.0, "top10_overlap": 1.0,
        "kendall_tau": 1.0, "rbo": 1.0, "per_query": {},
        "equivalence": MeasureEquivalence(
            measure="nDCG@10", margin=0.01, mean=0.25, low=0.1, high=0.4, p=0.9, equivalent=False
        ),
    }  # fmt: skip
    return Agreement(**fields | stated)


def comparison(
    systems: Sequence[ComparedSystem],
    against_baseline: Mapping[str, Mapping[str, CorrectedTest]] | None = None,
    **stated: Any,
) -> Comparison:
    """Systems of two queries against the first of them."""
    fields: dict[str, Any] = {
        "schema_version": 1, "slice": ComparedSlice("tiny", 43, 1234, "en", 1, "f"), "baseline": systems[0].label,
        "measures": list(systems[0].mean), "confidence": 0.95, "seed": 0, "resamples": 999, "untested": Untested(0, 0),
        "against_own_first_stage": {}, "best": None, "against_best_without": {}, "judged_only": None,
        "matrix": {}, "parity": {}, "queries": {}, "per_query": {}, "warnings": [],
    }  # fmt: skip
    return Comparison(systems=systems, against_baseline=against_baseline or {}, **fields | stated)
