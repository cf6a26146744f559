"""A baseline: what a trusted result was, query by query, as a small sorted JSON file to be committed and reviewed.

It holds neither times nor paths nor dates, so that a baseline from one machine holds on another.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evalkit.boundary.atomic import write_atomically
from evalkit.boundary.text import quoted
from evalkit.boundary.validation import COUNT, ID, Each, Limited, Many, find_mismatch
from evalkit.errors import EvalkitError
from evalkit.evaluation.measures import parse
from evalkit.results.gate.limits import CHECKS, STORED
from evalkit.results.reading import Finished, read_json
from evalkit.types import SCHEMA_VERSION, Hit, Settings

PerQuery = Mapping[str, Mapping[str, float]]
"""measure -> query_id -> value."""

KEPT_HITS = 20
"""Reranked passages kept for each query, with their logits."""
_SYSTEM_KEYS = (
    "name", "method", "k1", "b", "analysis", "architecture", "layers", "hidden", "parameters", "revision", "pooling",
    "normalize", "query_prefix", "doc_prefix", "prompt", "max_length", "truncation", "precision", "dtype", "tag",
)  # fmt: skip
"""What makes a system, out of what a first stage or a reranker says of itself: nothing that a machine makes."""


@dataclass(frozen=True)
class Baseline:
    """What the gate compares; a new result is brought into the same form, with the same rounding."""

    slice: Settings
    """name, lang, relevance_level, and the fingerprints of queries, docs and judgments."""
    depth: int
    first_stage: Settings
    reranker: Settings
    first: PerQuery
    reranked: PerQuery
    ceiling: Mapping[str, float]
    """Mean of each measure over perfect orders of the candidates."""
    unjudged_at_10: float
    """Of the reranked list."""
    scoring: Mapping[str, int]
    """Counts: pairs, and how many of them are tied, truncated or unscored; queries without hits or with one score."""
    top: Mapping[str, tuple[Hit, ...]]
    """query_id -> the best `KEPT_HITS` reranked passages with their logits."""
    unknown: Mapping[str, float] = field(default_factory=dict)
    """query, passage -> share of tokens that the model's vocabulary lacks, of a result that says so."""
    limits: Settings = field(default_factory=dict)
    """Limits of the gate that this baseline needs and that are not the defaults; see `own_limits.py`."""

    def mean(self, label: str, measure: str) -> float:
        """Return the mean over queries of ``first`` or ``reranked``."""
        values = getattr(self, label)[measure].values()
        return math.fsum(values) / len(values)


def of(finished: Finished) -> Baseline:
    """Return what a baseline keeps of a finished trial: measures to 6 decimals, logits to 4.

    Raises:
        EvalkitError: the result lacks a part.
    """
    try:
        effective, effect = finished.result["effective"], finished.result["effectiveness"]
        facts, depth = effective["slice"], int(effective["depth"])
        per_query = {
            label: {
                measure: {query_id: round(float(value), 6) for query_id, value in sorted(values.items())}
                for measure, values in effect["per_query"][label].items()
            }
            for label in ("first_stage", "reranked")
        }
        new = Baseline(
            slice={key: facts[key] for key in ("name", "lang", "relevance_level", "fingerprints")},
            depth=depth,
            first_stage=_system(effective["first_stage"]),
            reranker=_system(effective["reranker"]),
            first=per_query["first_stage"],
            reranked=per_query["reranked"],
            ceiling={measure: round(float(value), 6) for measure, value in effect["ceiling"]["mean"].items()},
            unjudged_at_10=round(float(effect["unjudged_at_10"]["reranked"]), 6),
            scoring={key: int(effective["scoring"][key]) for key in _COUNTS},
            top={
                query_id: tuple(
                    Hit(hit.doc_id, round(hit.score, 4))
                    for hit in finished.reranked.rankings.get(query_id, ())[: min(depth, KEPT_HITS)]
                )
                for query_id in next(iter(per_query["reranked"].values()))
            },
            unknown={
                side: round(float(share), 6)
                for side in ("query", "passage")
                if (share := effective["scoring"].get(f"unknown_{side}_share")) is not None
            },
        )
        ranked = sum(min(len(hits), depth) for hits in finished.reranked.rankings.values())
        if ranked != new.scoring["pairs"]:
            raise ValueError(f"reranked.trec ranks {ranked} of {new.scoring['pairs']} candidates")
        _check(new)
        return new
    except (EvalkitError, KeyError, TypeError, ValueError, AttributeError, StopIteration, OverflowError) as error:
        raise EvalkitError(
            f"the result in {finished.where} lacks a part that the gate needs ({type(error).__name__}: "
            f"{str(error)[:200]}); run the trial again with this version"
        ) from None


_COUNTS = (
    "pairs", "pairs_unscored", "truncated_pairs", "tied_pairs", "queries_with_constant_score", "queries_reordered",
    "queries_without_hits",
)  # fmt: skip


def _check(baseline: Baseline) -> None:
    """Raise a KeyError or ValueError where parts do not fit one another: nothing below looks twice."""
    if not baseline.reranked or not baseline.top:
        raise ValueError("it has no measures or no queries")
    if not all(0 <= count < 2**63 for count in baseline.scoring.values()):
        raise ValueError("a count is below 0, or beyond 64 bits")
    for part in ("queries", "docs", "judgments"):
        _ = baseline.slice["fingerprints"][part]
    _ = baseline.slice["name"], baseline.slice["relevance_level"]
    if not (baseline.first.keys() == baseline.reranked.keys() == baseline.ceiling.keys()):
        raise ValueError("its lists have different measures")
    for label in (baseline.first, baseline.reranked):
        for measure, values in label.items():
            parse(measure, baseline.depth)
            if values.keys() != baseline.top.keys():
                raise ValueError(f"{measure} is not there for each query")
            if not all(0 <= value <= 1 for value in values.values()):  # false for NaN too
                raise ValueError(f"{measure} is not between 0 and 1 for each query")
    if not all(math.isfinite(hit.score) for hits in baseline.top.values() for hit in hits):
        raise ValueError("a logit is not a finite number")
    if not all(0 <= value <= 1 for value in (*baseline.ceiling.values(), baseline.unjudged_at_10)):
        raise ValueError("a mean is not between 0 and 1")
    if not all(0 <= value <= 1 for value in baseline.unknown.values()):
        raise ValueError("a share of unknown tokens is not between 0 and 1")
    if not set(baseline.limits.get("skip", ())) <= set(CHECKS) - {"logits_finite"}:
        raise ValueError("its limits skip a check that there is not, or that cannot be skipped")


def _system(facts: Settings) -> dict[str, Any]:
    # Most rerankers have no prompt, and baselines of before know of none.
    return {key: facts[key] for key in _SYSTEM_KEYS if key in facts and (key != "prompt" or facts[key])}


def dump(baseline: Baseline) -> str:
    """Return the file's text: keys sorted, one line a query, and a checksum over all of it."""
    content = _content(baseline)
    lines = [_line("checksum", _checksum(content), " ")]
    for key, value in content.items():
        if isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values()):
            inside = ",\n".join(_line(name, inner, "  ") for name, inner in sorted(value.items()))
            lines.append(f" {json.dumps(key)}: {{\n{inside}\n }}")
        else:
            lines.append(_line(key, value, " "))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _line(key: str, value: Any, indent: str) -> str:
    return f"{indent}{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}"


def _content(baseline: Baseline) -> dict[str, Any]:
    entries = asdict(baseline) | {"schema_version": SCHEMA_VERSION}
    first, reranked, ceiling, top = (entries.pop(key) for key in ("first", "reranked", "ceiling", "top"))
    for optional in ("unknown", "limits"):  # what a baseline does not need is not in its file
        if not entries[optional]:
            del entries[optional]
    entries["means"] = {
        measure: {
            "first_stage": round(baseline.mean("first", measure), 6),
            "reranked": round(baseline.mean("reranked", measure), 6),
            "ceiling": ceiling[measure],
        }
        for measure in first
    }
    entries["measures"] = list(first)
    entries["per_query"] = {
        query_id: {
            "first_stage": {measure: values[query_id] for measure, values in first.items()},
            "reranked": {measure: values[query_id] for measure, values in reranked.items()},
            "top": [[hit[0], hit[1]] for hit in top[query_id]],
        }
        for query_id in top
    }
    return dict(sorted(entries.items()))


def _checksum(content: Mapping[str, Any]) -> str:
    """Return a hash that shows an edit by hand or a merge gone wrong; no secret, and no protection against a forger."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        EvalkitError: there is none, or it is empty, cut short, edited by hand, or of another schema version.
    """
    if not os.path.exists(path):  # pathlib's own raises an error for a name that is too long
        raise EvalkitError(
            f"there is no baseline at {path}; make one of a result that you trust: "
            f"python -m evalkit baseline RESULT --output {path} (the same command with task=trial makes the result)"
        )
    content = read_json(path, "a baseline of evalkit")
    if "checksum" not in content:
        raise EvalkitError(
            f"{path} is no baseline: it has no checksum; write it with python -m evalkit baseline RESULT"
        )
    if content.get("schema_version") != SCHEMA_VERSION:
        raise EvalkitError(
            f"{path} has schema version {quoted(content.get('schema_version'))}, and this evalkit reads "
            f"{SCHEMA_VERSION}; write it anew with python -m evalkit baseline RESULT"
        )
    stated = content.pop("checksum")
    if stated != _checksum(content):
        raise EvalkitError(
            f"{path} was changed since it was written: its checksum does not match; write it anew with "
            "python -m evalkit baseline RESULT"
        )
    try:
        if wrong := find_mismatch(content, _SHAPE, "it"):
            raise ValueError(wrong)
        per_query = content["per_query"]

        def values(label: str) -> dict[str, dict[str, float]]:
            return {m: {q: float(entry[label][m]) for q, entry in per_query.items()} for m in content["measures"]}

        found = Baseline(
            slice=dict(content["slice"]),
            depth=content["depth"],
            first_stage=dict(content["first_stage"]),
            reranker=dict(content["reranker"]),
            first=values("first_stage"),
            reranked=values("reranked"),
            ceiling={measure: float(entry["ceiling"]) for measure, entry in content["means"].items()},
            unjudged_at_10=float(content["unjudged_at_10"]),
            scoring={key: content["scoring"][key] for key in _COUNTS},
            top={q: tuple(Hit(d, float(score)) for d, score in entry["top"]) for q, entry in per_query.items()},
            unknown={side: float(share) for side, share in content.get("unknown", {}).items()},
            limits=dict(content.get("limits", {})),
        )
        _check(found)
        return found
    except (EvalkitError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise EvalkitError(
            f"{path} is no whole baseline ({type(error).__name__}: {str(error)[:200]}); write it anew with "
            "python -m evalkit baseline RESULT"
        ) from None


_FROM_0 = Limited(float, lambda number: number >= 0, "a number from 0 up")
_SHAPE = {
    "slice": {
        "name": str,
        "relevance_level": int,
        "fingerprints": dict.fromkeys(("queries", "docs", "judgments"), str),
    },
    "depth": Limited(int, lambda number: number > 0, "1 or more"),
    "first_stage": Each(Any),
    "reranker": Each(Any),
    "measures": list[str],
    "means": Each({"ceiling": float}),
    "unjudged_at_10": float,
    "scoring": dict.fromkeys(_COUNTS, COUNT),
    "unknown?": {"query?": float, "passage?": float},
    "limits?": {**dict.fromkeys((f"{name}?" for name in STORED), _FROM_0), "skip?": list[str]},
    "per_query": Each(
        {
            "first_stage": Each(float),
            "reranked": Each(float),
            "top": Many(
                Limited(list, lambda hit: len(hit) == 2 and not find_mismatch(hit[0], ID, ""), "an id and a score")
            ),
        },
        ID,
    ),
}


def write(baseline: Baseline, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        EvalkitError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump(baseline))
    except OSError as error:
        raise EvalkitError(f"cannot write {path}: {error.strerror or error}; name another file with --output") from None
