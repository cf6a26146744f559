"""Results made up for tests: a test states what it is about, and required fields that it leaves out get a value."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from evalkit.results.reading import Finished, parse_finished
from evalkit.results.result import to_plain
from evalkit.results.schema import Result

Plain = dict[str, Any]

COUNTS = ("pairs", "pairs_unscored", "truncated_pairs", "tied_pairs", "queries_with_constant_score",
          "queries_reordered", "queries_without_hits")  # fmt: skip


_HEX = "hex of "
_INTERVAL = [None, None]
_LATENCY = {
    "samples_ms": [1.0], **dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms"), 1.0),
    **dict.fromkeys(("p50_ci95_ms", "p90_ci95_ms", "p95_ci95_ms", "p99_ci95_ms"), _INTERVAL), "pairs_per_query": 10.0,
    "queries": 1, "repetitions": 1, "duration_s": 0.001,
}  # fmt: skip
_COST = {
    "first_stage_s": 1.0, "load_s": 1.0, "first_forward_ms": None, "warmup_s": 1.0, "pairs": 10, "computed_pairs": 10,
    "scoring_s": 1.0, "pairs_per_s": 10.0, "tokenize_s": 1.0, "forward_s": 1.0, "latency": None, "latency_grid": None,
    "estimate": None,
    "throughput": {
        "source": "scoring", "devices": 1, "pairs": 10, "tokens": 100, "padding_share": 0.5, "wall_s": 1.0,
        "tokenize_s": 1.0, "forward_s": 1.0, "end_to_end_pairs_per_s": 10.0, "tokens_per_s": 100.0,
        **dict.fromkeys(("model_pairs_per_s", "tokenize_pairs_per_s", "flops", "model_flops_per_s",
                         "matrix_flops_per_s", "model_mfu", "end_to_end_mfu")),
    },
    "memory": dict.fromkeys(("rss_before_load_mb", "rss_after_load_mb", "rss_peak_mb")),
    "energy": dict.fromkeys(("joules", "duration_s", "mean_power_w", "joules_per_1000_pairs")),
}  # fmt: skip
_TEST = {"bca95": _INTERVAL, **dict.fromkeys(
    ("t_p", "wilcoxon_p", "randomization_p", "holm_p", "bh_p", "effect_size", "detectable"))}  # fmt: skip
_RESULT = {
    "schema_version": 1, "status": "finished", "name": "tiny", "warnings": [],
    "effective": {
        "slice": {"name": "tiny", "lang": "en", "fingerprint": "f", "relevance_level": 1, "queries": 1, "docs": 1,
                  "fingerprints": {}},
        "first_stage": {"name": "bm25"}, "reranker": {"name": "bge"}, "depth": 10, "scoring": {"pairs_unscored": 0},
    },
    "effectiveness": {
        "first_stage": {"mean": {}}, "reranked": {"mean": {}}, "ceiling": {"mean": {}},
        "unjudged_at_10": {"first_stage": 0.0, "reranked": 0.0},
    },
}  # fmt: skip


def plain_cost(**parts: Any) -> Plain:
    """A cost as result.json holds it, timed on a CPU; `parts` replace or extend it, mappings key by key."""
    memory = {"rss_peak_mb": 700.0, "cuda_allocated_peak_mb": None, "weights_mb": 300.0, "own_pass": None}
    latency = _LATENCY | {"samples_ms": [300.0]} | {f"p{percent}_ms": 300.0 for percent in (50, 90, 95, 99)}
    measured = {"pairs_per_s": 50.0, "latency": latency, "memory": memory, "calibration": None}
    return merged(_COST, merged(measured, parts))


def plain_result(**parts: Any) -> Plain:
    """A finished result of four queries, nDCG@10 and R@100; `parts` replace or extend it, mappings key by key."""
    values = {measure: {f"q{i}": value for i in range(4)} for measure, value in (("nDCG@10", 0.5), ("R@100", 0.9))}
    sides = {side: {"mean": {"nDCG@10": 0.9, "R@100": 0.9}} for side in ("first_stage", "reranked", "ceiling")}
    whole = {
        "asked": {}, "provenance": {}, "cost": None,
        "effective": {
            "slice": {"name": "s", "fingerprints": {"queries": "1", "docs": "2", "judgments": "3"}},
            "reranker": {"name": "small", "max_length": 128}, "scoring": dict.fromkeys(COUNTS, 0),
        },
        "effectiveness": sides | {"per_query": {"first_stage": values, "reranked": values}},
    }  # fmt: skip
    return merged(merged(_RESULT, whole), parts)


def result_of(plain: Mapping[str, Any]) -> Result:
    """Return the result whose result.json has this content."""
    return parse_finished(json.dumps(plain))


def merged(whole: Mapping[str, Any], parts: Mapping[str, Any]) -> Plain:
    """Return a copy of `whole` with `parts`; a mapping in both is merged."""
    found: Plain = copy.deepcopy(dict(whole))
    for key, part in parts.items():
        both = isinstance(part, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], part) if both else part
    return found


def edited(finished: Finished, edit: Callable[[Plain], object]) -> Finished:
    """Return a finished trial whose result `edit` has changed, as JSON holds it."""
    plain: Plain = json.loads(json.dumps(to_plain(finished.result)))
    edit(plain)
    return replace(finished, result=result_of(plain))


def complete(stated: Mapping[str, Any]) -> Result:
    """Return the result whose result.json holds what is `stated`."""
    plain = merged(_RESULT, stated)
    if per_query := stated.get("effectiveness", {}).get("per_query"):
        plain["effectiveness"]["per_query"] = dict(per_query)
    effect, cost = plain["effectiveness"], plain.get("cost")
    if not any(effect[side]["mean"] for side in ("first_stage", "reranked")):
        for side in ("first_stage", "reranked", "ceiling"):
            effect[side] = {"mean": {"nDCG@10": 0.5}}
    if "per_query" not in effect:
        effect["per_query"] = {
            side: {name: {"q1": value} for name, value in effect[side]["mean"].items()}
            for side in ("first_stage", "reranked")
        }
    if "tests" in effect:
        effect["tests"] = {name: merged(_TEST, test) for name, test in effect["tests"].items()}
    if cost is not None:
        plain["cost"] = cost = merged(_COST, cost)
        if cost["latency"] is not None:
            cost["latency"] = merged(_LATENCY, cost["latency"])
        if cost["latency_grid"] is not None:
            cells = cost["latency_grid"]["cells"]
            cost["latency_grid"] = cost["latency_grid"] | {"cells": [_cell(cell) for cell in cells]}
    found: Result = _mapped(result_of(_mapped(plain, _as_line)), _as_stated)
    return found


def _as_line(text: str) -> str:
    """Return a text that a file may have in place of one that it may not: of several lines, or no Unicode."""
    return text if text.isprintable() else _HEX + text.encode("utf-8", "surrogatepass").hex()


def _as_stated(text: str) -> str:
    code = text.removeprefix(_HEX)
    return text if code == text else bytes.fromhex(code).decode("utf-8", "surrogatepass")


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return `value` with each text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)})
    return value


def _cell(stated: Mapping[str, Any]) -> dict[str, Any]:
    cell = {"tokens_per_pair": 64.0, **stated}
    return cell | {"latency": merged(_LATENCY, cell["latency"])}
