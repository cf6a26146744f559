"""Several finished results on one slice side by side: which differences are real, and which precisions are the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from evalkit.comparable import refuse_other_data
from evalkit.errors import EvalkitError
from evalkit.parity import parity, same_candidates
from evalkit.report import tables
from evalkit.report.reading import Finished
from evalkit.score_meaning import all_logits
from evalkit.significance import adjust, compare, equivalence, randomization_p
from evalkit.types import SCHEMA_VERSION

Comparison = dict[str, Any]
"""The plain form that every report of a comparison is drawn from."""


def side_by_side(
    results: Sequence[Finished],
    baseline: int = 0,
    margin: float = 0.002,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 9999,
) -> Comparison:
    """Compare finished results; `baseline` is the position of the one that the others are held against.

    p values of the randomisation test are corrected by Holm and by Benjamini and Hochberg over all systems and
    measures; those of the matrix by Holm over all pairs, for each measure. `margin` is the difference of the first
    measure that counts as none in the equivalence test.

    Raises:
        EvalkitError: fewer than two results, another slice or other judgments, or no measure that all have.
    """
    if len(results) < 2:
        raise EvalkitError("compare needs two results or more; give the folders of finished trials")
    ordered = [results[baseline], *(one for position, one in enumerate(results) if position != baseline)]
    for other in ordered[1:]:
        refuse_other_data(
            ordered[0].result["effective"]["slice"],
            other.result["effective"]["slice"],
            (_queries(ordered[0]), _queries(other)),
            (ordered[0].where, other.where),
        )
    labels = _labels(ordered)
    measures = _measures(ordered)
    values = {
        measure: {
            label: one.result["effectiveness"]["per_query"]["reranked"][measure] for label, one in zip(labels, ordered)
        }
        for measure in measures
    }
    first = measures[0]
    against = _against(values, labels, confidence, seed, resamples)
    return {
        "schema_version": SCHEMA_VERSION,
        "slice": _slice(ordered[0]),
        "baseline": labels[0],
        "measures": measures,
        "confidence": confidence,
        "seed": seed,
        "resamples": resamples,
        "systems": [_system(label, one, measures) for label, one in zip(labels, ordered)],
        "against_baseline": against,
        "matrix": {
            measure: _matrix(
                values[measure],
                labels,
                [against[label][measure]["randomization_p"] for label in labels[1:]],
                seed,
                resamples,
            )
            for measure in measures
        },
        "parity": {
            label: _parity(ordered[0], one, values[first], labels[0], label, margin, first)
            for label, one in zip(labels[1:], ordered[1:])
        },
        "queries": {query_id: ordered[0].queries.get(query_id, "") for query_id in values[first][labels[0]]},
        "per_query": values,
        "warnings": _warnings(ordered, labels, measures),
    }


def _queries(one: Finished) -> Mapping[str, float]:
    per_query = one.result["effectiveness"]["per_query"]["reranked"]
    return next(iter(per_query.values()))


def _slice(one: Finished) -> dict[str, Any]:
    facts = one.result["effective"]["slice"]
    return {key: facts[key] for key in ("name", "queries", "docs", "lang", "relevance_level", "fingerprint")}


def _labels(results: Sequence[Finished]) -> list[str]:
    """Return a name for each system; what has the same name is told apart by depth, by folder, then by path."""
    labels = [tables.label(one.result) for one in results]
    for add in (lambda one: f"depth {one.result['effective']['depth']}", lambda one: Path(one.where).name, _where):
        groups = {label: {add(one) for other, one in zip(labels, results) if other == label} for label in labels}
        labels = [f"{label}, {add(one)}" if len(groups[label]) > 1 else label for label, one in zip(labels, results)]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise EvalkitError(f"{twice} is given twice; name each result once")
    return labels


def _where(one: Finished) -> str:
    return one.where


def _measures(results: Sequence[Finished]) -> list[str]:
    having = [one.result["effectiveness"]["per_query"]["reranked"] for one in results]
    common = [measure for measure in having[0] if all(measure in others for others in having)]
    if not common:
        raise EvalkitError("the results have no measure in common; run them with the same measures.names")
    return common


def _system(label: str, one: Finished, measures: Sequence[str]) -> dict[str, Any]:
    effective = one.result["effective"]
    means = one.result["effectiveness"]["reranked"]["mean"]
    reranker = effective["reranker"]
    return {
        "label": label,
        "where": one.where,
        "depth": effective["depth"],
        "first_stage": effective["first_stage"]["name"],
        "reranker": reranker["name"],
        "precision": reranker.get("precision"),
        "mean": {measure: means[measure] for measure in measures},
        "cost": tables.cost_figures(one.result),
    }


def _against(
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    labels: Sequence[str],
    confidence: float,
    seed: int,
    resamples: int,
) -> dict[str, dict[str, Any]]:
    tests = {
        (label, measure): asdict(
            compare(of[labels[0]], of[label], confidence=confidence, seed=seed, resamples=resamples)
        )
        for label in labels[1:]
        for measure, of in values.items()
    }
    ps = [test["randomization_p"] for test in tests.values()]
    for test, holm, bh in zip(tests.values(), adjust(ps, "holm"), adjust(ps, "bh")):
        test |= {"holm_p": holm, "bh_p": bh}
    return {label: {measure: tests[label, measure] for measure in values} for label in labels[1:]}


def _matrix(
    of: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    known: Sequence[float | None],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Return the p values of all pairs, corrected; `known` are those of the first system against each other one."""
    pairs = list(combinations(range(len(labels)), 2))
    ps = [
        known[j - 1] if i == 0 else randomization_p(of[labels[i]], of[labels[j]], seed=seed, resamples=resamples)
        for i, j in pairs
    ]
    rows: list[list[float | None]] = [[None] * len(labels) for _ in labels]
    for (i, j), p in zip(pairs, adjust(ps, "holm")):
        rows[i][j] = rows[j][i] = p
    return {"labels": list(labels), "holm_p": rows}


def _parity(
    one: Finished,
    other: Finished,
    of: Mapping[str, Mapping[str, float]],
    base: str,
    label: str,
    margin: float,
    measure: str,
) -> dict[str, Any] | None:
    """Return how far two rerankings agree, by ranks alone where one has no logits; None where `_no_parity` says why."""
    if _no_parity(one, other):
        return None
    depth, logits = one.result["effective"]["depth"], all(all_logits(f.result["effective"]) for f in (one, other))
    found = parity(one.reranked, other.reranked, depth, ranks_only=not logits)
    return asdict(found) | {"equivalence": {"measure": measure, **asdict(equivalence(of[base], of[label], margin))}}


def _no_parity(one: Finished, other: Finished) -> str | None:
    """Return why two results have no parity; None where they have one."""
    effective = [finished.result["effective"] for finished in (one, other)]
    if not all(facts["reranker"].get("reranks", True) for facts in effective):
        return "one of them has no reranker"
    if effective[0]["depth"] != effective[1]["depth"]:
        return f"one reranked to depth {effective[0]['depth']}, the other to {effective[1]['depth']}"
    try:
        same_candidates(one.reranked, other.reranked, effective[0]["depth"])
    except EvalkitError as error:  # another first stage has other candidates
        return str(error)
    return None


def _warnings(results: Sequence[Finished], labels: Sequence[str], measures: Sequence[str]) -> list[str]:
    found = []
    for label, one in zip(labels, results):
        left_out = [m for m in one.result["effectiveness"]["per_query"]["reranked"] if m not in measures]
        if left_out:
            found.append(f"{', '.join(left_out)} of {label} is left out: not every result has it")
    for label, other in zip(labels[1:], results[1:]):
        reranks = all(tables.reranks(one.result) for one in (results[0], other))
        if reranks and (why := _no_parity(results[0], other)):
            found.append(f"how far the rankings of {labels[0]} and {label} agree is not told: {why}")
    noted: dict[str, list[str]] = {}
    for label, one in zip(labels, results):
        for warning in one.result["warnings"]:
            noted.setdefault(warning, []).append(label)
    for warning, of in noted.items():
        found.append(warning if len(of) == len(labels) else f"{', '.join(of)}: {warning}")
    return found
