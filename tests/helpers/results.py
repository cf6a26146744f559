"""Results that are made up, as result.json holds them: every field has a value, and a test states some."""

from collections.abc import Mapping
from typing import Any


def plain_cost(**stated: Any) -> dict[str, Any]:
    """Return what reranking took on a CPU; of its parts, the fields that are stated replace the others."""
    ci95 = [1.0, 2.0]
    latency: dict[str, Any] = {
        "samples_ms": [1.5], "p50_ms": 1.5, "p90_ms": 1.5, "p95_ms": 1.5, "p99_ms": 1.5, "p50_ci95_ms": ci95,
        "p90_ci95_ms": ci95, "p95_ci95_ms": ci95, "p99_ci95_ms": ci95, "pairs_per_query": 10.0, "queries": 1,
        "repetitions": 1, "duration_s": 0.1,
    }  # fmt: skip
    throughput: dict[str, Any] = {
        "source": "scoring", "devices": 1, "pairs": 40, "tokens": 400, "padding_share": 0.0, "wall_s": 0.8,
        "tokenize_s": 0.1, "forward_s": 0.7, "end_to_end_pairs_per_s": 50.0, "model_pairs_per_s": 57.0,
        "tokenize_pairs_per_s": None, "tokens_per_s": 500.0, "flops": None, "model_flops_per_s": None,
        "matrix_flops_per_s": None, "model_mfu": None, "end_to_end_mfu": None,
    }  # fmt: skip
    whole: dict[str, Any] = {
        "first_stage_s": 0.1, "load_s": 0.1, "first_forward_ms": 2.0, "warmup_s": 0.1, "pairs": 40,
        "computed_pairs": 40, "scoring_s": 0.8, "pairs_per_s": 50.0, "tokenize_s": 0.1, "forward_s": 0.7,
        "throughput": throughput, "latency": latency, "latency_grid": None,
        "memory": {"rss_before_load_mb": 100.0, "rss_after_load_mb": 200.0, "rss_peak_mb": 300.0},
        "energy": {"joules": None, "duration_s": None, "mean_power_w": None, "joules_per_1000_pairs": None,
                   "why": "no GPU"},
        "estimate": None,
        "calibration": {"samples_ms": [2.0], "p50_ms": 2.0, "rss_before_mb": 100.0, "rss_peak_mb": 150.0},
    }  # fmt: skip
    return _with(whole, stated)


def _with(whole: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    return {**whole, **{
        name: _with(whole[name], value) if isinstance(value, dict) and isinstance(whole.get(name), dict) else value
        for name, value in stated.items()
    }}  # fmt: skip
