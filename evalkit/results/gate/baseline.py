"""A baseline: the values of a trusted result, query by query, in a small sorted JSON file to commit and review.

It has no times, paths or dates, so that a baseline from one machine can be used on another.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from evalkit.boundary.atomic import write_atomically
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.strict_json import read_json
from evalkit.boundary.text import quoted
from evalkit.boundary.typed import Count, Id, Integer, NonNegative, Number, Share, typed
from evalkit.evaluation.measure_names import parse
from evalkit.results.gate.limits import CHECKS
from evalkit.results.reading import Finished
from evalkit.results.same_data import SliceIdentity, slice_identity
from evalkit.types import SCHEMA_VERSION, Hit, Settings

PerQuery = Mapping[str, Mapping[str, float]]
"""measure -> query_id -> value."""

KEPT_HITS = 20
"""Reranked passages stored for each query, with their logits."""
_SYSTEM_KEYS = (
    "name", "method", "k1", "b", "analysis", "architecture", "layers", "hidden", "parameters", "revision", "pooling",
    "normalize", "similarity", "query_length", "query_expansion", "query_prefix", "doc_prefix", "prompt", "template",
    "instruction", "score", "max_length", "truncation", "precision", "dtype", "tag", "k", "weights", "tuning",
    "member_depth",
)  # fmt: skip
"""Settings of a first stage or a reranker that define the system; none depends on the machine."""
_SIDES: tuple[Literal["query", "passage"], ...] = ("query", "passage")


@dataclass(frozen=True)
class ScoringCounts:
    """Counts of pairs and queries: scored, truncated, tied, reordered."""

    pairs: Count
    pairs_unscored: Count
    truncated_pairs: Count
    tied_pairs: Count
    queries_with_constant_score: Count
    queries_reordered: Count
    queries_without_hits: Count


@dataclass(frozen=True)
class OwnLimits:
    """Limits of the gate that a baseline needs and that are not the defaults; None where the default holds."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # an unknown limit would be ignored silently

    max_tied_share: NonNegative | None = None
    max_below_first_stage: NonNegative | None = None
    max_truncated_share: NonNegative | None = None
    max_unknown_share: NonNegative | None = None
    max_latency_ratio: NonNegative | None = None
    max_scoring_ratio: NonNegative | None = None
    max_memory_ratio: NonNegative | None = None
    skip: Sequence[str] = ()
    """Checks that cannot pass."""


@dataclass(frozen=True)
class Means:
    """Means of one measure over the queries."""

    first_stage: Share
    reranked: Share
    ceiling: Share
    """Over perfect orders of the candidates."""


@dataclass(frozen=True)
class QueryEntry:
    """One query: its values by measure, and the best passages with their logits."""

    first_stage: Mapping[str, Share]
    reranked: Mapping[str, Share]
    top: Sequence[tuple[Id, Number]]


@dataclass(frozen=True)
class BaselineFile:
    """The definition of a baseline's file; what is None is not written."""

    checksum: str
    schema_version: Integer
    slice: SliceIdentity
    depth: Annotated[Integer, Field(gt=0)]
    first_stage: Settings
    reranker: Settings
    measures: Sequence[str]
    means: Mapping[str, Means]
    per_query: Mapping[Id, QueryEntry]
    scoring: ScoringCounts
    unjudged_at_10: Share
    unknown: Mapping[Literal["query", "passage"], Share] | None = None
    limits: OwnLimits | None = None


@dataclass(frozen=True)
class Baseline:
    """What the gate compares: the values of a baseline file, or of a new result, by measure."""

    slice: SliceIdentity
    depth: int
    first_stage: Settings
    reranker: Settings
    first: PerQuery
    reranked: PerQuery
    ceiling: Mapping[str, float]
    """Mean of each measure over perfect orders of the candidates."""
    unjudged_at_10: float
    """Of the reranked list."""
    scoring: ScoringCounts
    top: Mapping[str, tuple[Hit, ...]]
    """query_id -> the best `KEPT_HITS` reranked passages with their logits."""
    unknown: Mapping[Literal["query", "passage"], float] = field(default_factory=dict)
    """Share of tokens that the model's vocabulary lacks, where the result has it."""
    limits: Settings = field(default_factory=dict)
    """Limits of the gate that this baseline needs and that are not the defaults; see `own_limits.py`."""

    def mean(self, label: Literal["first", "reranked"], measure: str) -> float:
        """Return the mean of one measure over the queries, before or after reranking.

        Args:
            label: before (``first``) or after reranking.
            measure: its name, such as nDCG@10.
        """
        values = (self.first if label == "first" else self.reranked)[measure].values()
        return fmean(values)


def of(finished: Finished) -> Baseline:
    """Return the baseline of a finished trial: measures with 6 decimals, logits with 4.

    Raises:
        EvalkitError: the result lacks a part.
    """
    try:
        effective, effect = finished.result.effective, finished.result.effectiveness
        depth = effective.depth
        scoring: Mapping[str, Any] = effective.scoring
        per_query = {
            label: {
                measure: {query_id: round(float(value), 6) for query_id, value in sorted(values.items())}
                for measure, values in of_side.items()
            }
            for label, of_side in (
                ("first_stage", effect.per_query.first_stage),
                ("reranked", effect.per_query.reranked),
            )
        }
        new = Baseline(
            slice=slice_identity(effective.slice),
            depth=depth,
            first_stage=_system(effective.first_stage),
            reranker=_system(effective.reranker),
            first=per_query["first_stage"],
            reranked=per_query["reranked"],
            ceiling={measure: round(float(value), 6) for measure, value in effect.ceiling.mean.items()},
            unjudged_at_10=round(effect.unjudged_at_10.reranked, 6),
            scoring=ScoringCounts(**{one.name: scoring[one.name] for one in fields(ScoringCounts)}),
            top={
                query_id: tuple(
                    Hit(hit.doc_id, round(hit.score, 4))
                    for hit in finished.reranked.rankings.get(query_id, ())[: min(depth, KEPT_HITS)]
                )
                for query_id in next(iter(per_query["reranked"].values()))
            },
            unknown={
                side: round(float(share), 6)
                for side in _SIDES
                if (share := scoring.get(f"unknown_{side}_share")) is not None
            },
        )
        ranked = sum(min(len(hits), depth) for hits in finished.reranked.rankings.values())
        if ranked != new.scoring.pairs:
            raise ValueError(f"reranked.trec ranks {ranked} of {new.scoring.pairs} candidates")
        if new.first.keys() != new.reranked.keys():
            raise ValueError("it has other measures before reranking than after it")
        for measure, values in (*new.first.items(), *new.reranked.items()):
            if values.keys() != new.top.keys():
                raise ValueError(f"{measure} does not have one value for each query")
        _refuse_unlike_parts(typed(BaselineFile, _content(new) | {"checksum": ""}))
        return new
    except (EvalkitError, KeyError, TypeError, ValueError, AttributeError, StopIteration, OverflowError) as error:
        raise EvalkitError(
            f"the result in {finished.where} lacks a part that the gate needs ({type(error).__name__}: "
            f"{str(error)[:200]}); run the trial again with this version"
        ) from None


def _refuse_unlike_parts(content: BaselineFile) -> None:
    """Raise a ValueError or an EvalkitError where parts contradict one another."""
    if not content.measures or not content.per_query:
        raise ValueError("it has no measures or no queries")
    if different := set(content.measures) ^ content.means.keys():
        raise ValueError(f"measures and means differ in {', '.join(map(quoted, sorted(different)[:5]))}")
    for measure in content.measures:
        parse(measure, content.depth)
    for query_id, entry in content.per_query.items():
        for side, values in (("first_stage", entry.first_stage), ("reranked", entry.reranked)):
            if missing := set(content.measures) - values.keys():
                raise ValueError(f"per_query.{query_id}.{side} has no {quoted(min(missing))}"[:200])
    for check in content.limits.skip if content.limits else ():
        if check not in CHECKS or check == "logits_finite":
            raise ValueError(f"limits.skip has {quoted(check)}, which is no check that can be skipped")


def _system(facts: Settings) -> dict[str, Any]:
    # An empty prompt is left out, as in baselines from before there were prompts.
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
    """Return the content of the file without its checksum, sorted by name."""
    found = BaselineFile(
        checksum="",
        schema_version=SCHEMA_VERSION,
        slice=baseline.slice,
        depth=baseline.depth,
        first_stage=baseline.first_stage,
        reranker=baseline.reranker,
        measures=list(baseline.first),
        means={
            measure: Means(
                first_stage=round(baseline.mean("first", measure), 6),
                reranked=round(baseline.mean("reranked", measure), 6),
                ceiling=baseline.ceiling[measure],
            )
            for measure in baseline.first
        },
        per_query={
            query_id: QueryEntry(
                first_stage={measure: values[query_id] for measure, values in baseline.first.items()},
                reranked={measure: values[query_id] for measure, values in baseline.reranked.items()},
                top=[(hit.doc_id, hit.score) for hit in hits],
            )
            for query_id, hits in baseline.top.items()
        },
        scoring=baseline.scoring,
        unjudged_at_10=baseline.unjudged_at_10,
        unknown=baseline.unknown or None,
        limits=OwnLimits(**baseline.limits) if baseline.limits else None,
    )
    entries = asdict(found)
    del entries["checksum"]
    for optional in ("unknown", "limits"):
        if entries[optional] is None:
            del entries[optional]
    if found.slice.fingerprints.excluded is None:
        del entries["slice"]["fingerprints"]["excluded"]
    if found.slice.judged_by is None:
        del entries["slice"]["judged_by"]
    if found.limits:
        entries["limits"] = _stated(found.limits)
    return dict(sorted(entries.items()))


def _stated(limits: OwnLimits) -> dict[str, Any]:
    """Return the limits that are set."""
    return {name: value for name, value in asdict(limits).items() if value is not None and value != ()}


def _checksum(content: Mapping[str, Any]) -> str:
    """Return a hash that detects an edit by hand or a failed merge; it does not protect against forgery."""
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
        return _of_file(typed(BaselineFile, content | {"checksum": stated}))
    except (EvalkitError, ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{path} is no whole baseline ({str(error)[:300]}); write it anew with python -m evalkit baseline RESULT"
        ) from None


def _of_file(content: BaselineFile) -> Baseline:
    _refuse_unlike_parts(content)
    entries = content.per_query.items()
    return Baseline(
        slice=content.slice,
        depth=content.depth,
        first_stage=content.first_stage,
        reranker=content.reranker,
        first={m: {query_id: entry.first_stage[m] for query_id, entry in entries} for m in content.measures},
        reranked={m: {query_id: entry.reranked[m] for query_id, entry in entries} for m in content.measures},
        ceiling={measure: means.ceiling for measure, means in content.means.items()},
        unjudged_at_10=content.unjudged_at_10,
        scoring=content.scoring,
        top={query_id: tuple(Hit(doc_id, score) for doc_id, score in entry.top) for query_id, entry in entries},
        unknown=content.unknown or {},
        limits=_stated(content.limits) if content.limits else {},
    )


def write(baseline: Baseline, path: Path) -> None:
    """Write the file completely or not at all.

    Args:
        baseline: what to write.
        path: the file; its folder is made.

    Raises:
        EvalkitError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump(baseline))
    except OSError as error:
        raise EvalkitError(f"cannot write {path}: {error.strerror or error}; name another file with --output") from None
