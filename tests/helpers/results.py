"""Results made up for tests: whole ones as JSON holds them, which a test changes before they are read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from evalkit.results.reading import Finished, parse_finished
from evalkit.results.result import to_plain
from evalkit.results.schema import Result, Unfinished

Plain = dict[str, Any]

COUNTS = ("pairs", "pairs_unscored", "truncated_pairs", "tied_pairs", "queries_with_constant_score",
          "queries_reordered", "queries_without_hits")  # fmt: skip


def plain_cost(**parts: Any) -> Plain:
    """A cost as result.json holds it; `parts` replace or extend whole parts, mappings key by key."""
    throughput = {
        "source": "scoring", "devices": 1, "pairs": 100, "tokens": 1000, "padding_share": 0.0, "wall_s": 2.0,
        "tokenize_s": 0.1, "forward_s": 1.8, "end_to_end_pairs_per_s": 50.0, "model_pairs_per_s": None,
        "tokenize_pairs_per_s": None, "tokens_per_s": 500.0, "flops": None, "model_flops_per_s": None,
        "matrix_flops_per_s": None, "model_mfu": None, "end_to_end_mfu": None,
    }  # fmt: skip
    latency: Plain = {f"p{percent}_ms": 300.0 for percent in (50, 90, 95, 99)}
    latency |= {f"p{percent}_ci95_ms": [None, None] for percent in (50, 90, 95, 99)}
    latency |= {"samples_ms": [300.0], "pairs_per_query": 10.0, "queries": 1, "repetitions": 1, "duration_s": 0.3}
    whole: Plain = {
        "first_stage_s": 0.1, "load_s": 1.0, "first_forward_ms": None, "warmup_s": 0.0, "pairs": 100,
        "computed_pairs": 100, "scoring_s": 2.0, "pairs_per_s": 50.0, "tokenize_s": 0.1, "forward_s": 1.8,
        "throughput": throughput, "latency": latency, "latency_grid": None,
        "memory": {"rss_before_load_mb": 200.0, "rss_after_load_mb": 400.0, "rss_peak_mb": 700.0,
                   "cuda_allocated_peak_mb": None, "cuda_reserved_peak_mb": None, "weights_mb": 300.0,
                   "own_pass": None},
        "energy": {"joules": None, "duration_s": None, "mean_power_w": None, "joules_per_1000_pairs": None,
                   "why": "no GPU"},
        "estimate": None, "calibration": None,
    }  # fmt: skip
    return merged(whole, parts)


def plain_result(**parts: Any) -> Plain:
    """A finished result of four queries, nDCG@10 and R@100; `parts` replace or extend it, mappings key by key."""
    values = {measure: {f"q{i}": value for i in range(4)} for measure, value in (("nDCG@10", 0.5), ("R@100", 0.9))}
    means = {"nDCG@10": 0.9, "R@100": 0.9}
    whole: Plain = {
        "schema_version": 1, "status": "finished", "name": "tiny", "asked": {},
        "effective": {
            "slice": {"name": "s", "lang": "en", "queries": 4, "docs": 10, "relevance_level": 1, "fingerprint": "0",
                      "fingerprints": {"queries": "1", "docs": "2", "judgments": "3"}},
            "first_stage": {"name": "bm25"}, "reranker": {"name": "small", "max_length": 128}, "depth": 10,
            "scoring": dict.fromkeys(COUNTS, 0),
        },
        "provenance": {},
        "effectiveness": {
            "first_stage": {"mean": dict(means)}, "reranked": {"mean": dict(means)}, "ceiling": {"mean": dict(means)},
            "unjudged_at_10": {"first_stage": 0.0, "reranked": 0.0},
            "per_query": {"first_stage": values, "reranked": values},
        },
        "cost": None, "warnings": [],
    }  # fmt: skip
    return merged(whole, parts)


def merged(whole: Mapping[str, Any], parts: Mapping[str, Any]) -> Plain:
    """Return a copy of `whole` with `parts`; a mapping in both is merged."""
    found: Plain = json.loads(json.dumps(whole))
    for key, part in parts.items():
        both = isinstance(part, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], part) if both else part
    return found


def edited(finished: Finished, edit: Callable[[Plain], object]) -> Finished:
    """Return a finished trial whose result `edit` has changed, as JSON holds it."""
    plain: Plain = json.loads(json.dumps(to_plain(finished.result)))
    edit(plain)
    return replace(finished, result=parse_finished(plain))


def unchecked(plain: Mapping[str, Any]) -> Any:
    """Return a result, or an unfinished one, with these fields and no check of them: texts may be hostile.

    What is lacking is filled in, so that a test can name only what it is about.
    """
    found = {key: value for key, value in plain.items() if not (key in ("analysis", "references") and value is None)}
    if found.get("status") in ("failed", "partial") and "effectiveness" not in found:
        return structured(Unfinished, {"schema_version": 1, "error": "", "error_kind": "", **found})
    base = plain_result()
    whole = {key: base[key] for key in ("schema_version", "status", "name", "warnings")} | found
    effective = {**base["effective"], **found.get("effective", {})}
    for part in ("slice", "first_stage", "reranker", "scoring"):
        name = {"name": base["effective"][part]["name"]} if part in ("first_stage", "reranker") else {}
        effective[part] = {**(base["effective"][part] if part == "slice" else name), **effective[part]}
    effect = {**base["effectiveness"], **found.get("effectiveness", {})}
    untested = dict.fromkeys(("t_p", "wilcoxon_p", "randomization_p", "holm_p", "bh_p", "effect_size", "detectable"))
    effect["tests"] = {
        name: {"bca95": [None, None], **untested, **test} for name, test in effect.get("tests", {}).items()
    }
    cost = found.get("cost")
    more = {"effective": effective, "effectiveness": effect, "cost": cost and merged_cost(cost)}
    return structured(Result, whole | more)


def taking_plain(module: Any) -> Any:
    """Return a module whose functions take results as JSON holds them, alone or in a list."""
    return _TakingPlain(module)


class _TakingPlain:
    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *given, **named: found(*map(_read, given), **named)


def _read(given: Any) -> Any:
    if isinstance(given, list):
        return [_read(one) for one in given]
    is_result = isinstance(given, dict) and given.keys() & {"effective", "effectiveness", "status", "asked"}
    return unchecked(given) if is_result else given


def merged_cost(cost: Mapping[str, Any]) -> Plain:
    """Return a cost with what it lacks; parts that it has as None stay None."""
    found: Plain = {**plain_cost(), **cost}
    latency = plain_cost()["latency"]
    for part in ("throughput", "latency", "memory", "energy"):
        if found[part] is not None:
            found[part] = {**plain_cost()[part], **found[part]}
    if grid := found["latency_grid"]:
        cells = [{"tokens_per_pair": 1.0, **one, "latency": {**latency, **one["latency"]}} for one in grid["cells"]]
        found["latency_grid"] = {**grid, "cells": cells}
    return found


def structured(hint: Any, value: Any) -> Any:
    """Return a plain value as the dataclasses that a type hint names, unchecked."""
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin is Annotated:
        return structured(arguments[0], value)
    if origin in (Union, UnionType):
        return structured(next(one for one in arguments if one is not NoneType), value)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        names = {field.name for field in fields(hint)}
        made: Any = hint
        return made(**{name: structured(hints[name], value[name]) for name in value if name in names})
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: structured(arguments[1], one) for key, one in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence) and isinstance(value, list | tuple):
        return tuple(structured(arguments[0], one) for one in value)
    return value
