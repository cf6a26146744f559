"""The systems that a comparison is about: each reranked list, and each first stage beneath them once."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from evalkit.errors import EvalkitError
from evalkit.report import tables
from evalkit.report.reading import Finished


@dataclass(frozen=True)
class System:
    """One ranking of the slice's queries, and what it takes."""

    label: str
    side: Literal["first_stage", "reranked"]
    finished: Finished
    """The result that it is of; a first stage may be of several, and this is one of them."""
    own_first_stage: str | None = None
    """The label of what it reranks; None for a first stage."""
    first_stage_ms: float | None = None
    """Time of the first stage for a query, an index being there; None where it was not measured."""

    @property
    def per_query(self) -> Mapping[str, Mapping[str, float]]:
        """Return measure -> query_id -> value."""
        values: Mapping[str, Mapping[str, float]] = self.finished.result["effectiveness"]["per_query"][self.side]
        return values

    @property
    def mean(self) -> Mapping[str, float]:
        """Return measure -> mean over the queries."""
        means: Mapping[str, float] = self.finished.result["effectiveness"][self.side]["mean"]
        return means

    @property
    def cost(self) -> dict[str, Any] | None:
        """Return the figures of the reranking's cost; None where nothing was computed."""
        return tables.cost_figures(self.finished.result) if self.side == "reranked" else None

    @property
    def reranking_ms(self) -> float | None:
        """Return the median time of reranking a query; None where it was not measured, 0 without a reranker."""
        return 0.0 if self.side == "first_stage" else (self.cost or {}).get("p50_ms")


def systems_of(results: Sequence[Finished]) -> list[System]:
    """Return the systems of finished results in their order, what each result reranks just before it.

    The first result's own system is the first of all, for it is the baseline. A first stage that stands in several
    results, with the same settings and the same value for each query, is one system, and a result without a reranker
    is one. Systems of one name are told apart by what differs: their settings, else their folders.

    Raises:
        EvalkitError: the same result is given twice.
    """
    alone = {_key(one): number for number, one in enumerate(results) if not tables.reranks(one.result)}
    found: list[tuple[str, System]] = []
    first_stages: dict[str, int] = {}
    for number, one in enumerate(results):
        key = _key(one)
        if not tables.reranks(one.result):
            first_stages.setdefault(key, len(found))
            found.append((key, System(tables.label_first(one.result), "first_stage", one)))
            continue
        reranked = (key, System(tables.label(one.result), "reranked", one))
        found += [reranked] if number == 0 else []
        if key not in first_stages and key not in alone:
            first_stages[key] = len(found)
            found.append((key, System(tables.label_first(one.result), "first_stage", one)))
        found += [reranked] if number else []
    labels = _labels([system for _, system in found])
    times = {key: [ms for one in results if _key(one) == key and (ms := _first_stage_ms(one)) is not None]
             for key, _ in found}  # fmt: skip
    beneath = {key: label for (key, system), label in zip(found, labels) if system.side == "first_stage"}
    return [
        replace(
            system,
            label=label,
            own_first_stage=beneath[key] if system.side == "reranked" else None,
            first_stage_ms=median(times[key]) if times[key] else None,
        )
        for (key, system), label in zip(found, labels)
    ]


def _first_stage_ms(one: Finished) -> float | None:
    time = one.result["effective"].get("first_stage_time") or {}
    found: float | None = time.get("per_query_ms")
    return found


def _key(one: Finished) -> str:
    """Return what a first stage is the same by: what it was set to, and what each query got from it."""
    settings = dict(_settings(one.result["effective"]["first_stage"]))
    return json.dumps([settings, one.result["effectiveness"]["per_query"]["first_stage"]], sort_keys=True, default=str)


_CIRCUMSTANCES = frozenset(
    """
    attention_source batch_tokens batch_tokens_source device devices dtype empty_hits engine excluded_hits from_cache
    hidden layers model_files most_ranked_of_a_query name notes padding parameters path_reason prompt_source
    queries_of_other_slices queries_where_rank_and_score_disagree ranked_but_no_candidate reranks self_check store tag
    tf32 threads token_types tokenizer tokenizer_source tokens_per_doc weights_ignored
    """.split()  # noqa: SIM905
)
"""Facts that follow from others or from the circumstances of a run, and are no setting that tells systems apart."""


def _settings(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if key in _CIRCUMSTANCES:
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_FIRST_TO_NAME = ("max_length", "depth", "truncation", "precision", "prompt", "model", "revision", "path", "attention")


def _facts(system: System) -> dict[str, Any]:
    """Return what may tell a system from another of the same name, the likelier ones first."""
    effective = system.finished.result["effective"]
    facts = dict(_settings(effective["first_stage"]))
    if system.side == "reranked":
        facts = {f"first_stage.{key}": value for key, value in facts.items()}
        facts |= {**dict(_settings(effective["reranker"])), "depth": effective["depth"]}
    order = {key: place for place, key in enumerate(_FIRST_TO_NAME)}
    return dict(sorted(facts.items(), key=lambda fact: (order.get(fact[0], len(order)), fact[0])))


def _labels(systems: Sequence[System]) -> list[str]:
    """Return a name for each system; those of one name get what differs: settings, folder, path."""
    labels = [system.label for system in systems]
    for several in _twice(labels):
        places = [place for place, label in enumerate(labels) if label == several]
        for place, more in zip(places, _telling_apart([_facts(systems[place]) for place in places])):
            labels[place] = ", ".join([several, *more])
    for of in (lambda system: Path(system.finished.where).name, lambda system: system.finished.where):
        twice = _twice(labels)
        labels = [f"{label}, {of(one)}" if label in twice else label for label, one in zip(labels, systems)]
    if twice := _twice(labels):
        raise EvalkitError(f"{twice[0]} is given twice; name each result once")
    return labels


def _twice(labels: Sequence[str]) -> list[str]:
    return [label for label, count in Counter(labels).items() if count > 1]


def _telling_apart(facts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return for each of several systems the settings in which they differ, three of them at most."""
    differ = [key for key in facts[0] if len({repr(of.get(key)) for of in facts}) > 1]
    differ += sorted({key for of in facts for key in of if key not in facts[0]})
    return [[f"{key} {_short(of.get(key))}" for key in differ[:3]] for of in facts]


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value) if isinstance(value, bool | list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
