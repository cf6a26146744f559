"""The systems of a comparison: every reranked ranking, its blend where asked for, and every first stage once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from evalkit.boundary.errors import EvalkitError
from evalkit.results import labels as labelling
from evalkit.results import reading, summary
from evalkit.results.comparison_schema import CostFigures, Side
from evalkit.results.provenance import state_of
from evalkit.results.reading import Finished


@dataclass(frozen=True)
class System:
    """One ranking of the slice's queries, with its measures and its time."""

    label: str
    side: Side
    finished: Finished
    """The result that it comes from; for a first stage of several results, one of them."""
    own_first_stage: str | None = None
    """Label of the first stage that it reranks; None for a first stage."""
    first_stage_ms: float | None = None
    """Mean time of the first stage for a query, without building the index; None where it was not measured."""
    also: tuple[str, ...] = ()
    """Other names of the same first stage in other results; their rankings are equal."""
    again: tuple[str, ...] = ()
    """Folders of further results without a reranker that have the same first stage."""

    @property
    def per_query(self) -> Mapping[str, Mapping[str, float]]:
        """Return measure -> query_id -> value."""
        result = self.finished.result
        if self.side == "blended":
            assert result.blend is not None
            return result.blend.per_query
        of_both = result.effectiveness.per_query
        values = of_both.first_stage if self.side == "first_stage" else of_both.reranked
        return values

    @property
    def mean(self) -> Mapping[str, float]:
        """Return measure -> mean over the queries."""
        result = self.finished.result
        if self.side == "blended":
            assert result.blend is not None
            return result.blend.mean
        effect = result.effectiveness
        means = effect.first_stage.mean if self.side == "first_stage" else effect.reranked.mean
        return means

    @property
    def cost(self) -> CostFigures | None:
        """Return the figures of the reranking's cost; None where nothing was computed, and for a blend."""
        return summary.cost_figures(self.finished.result) if self.side == "reranked" else None

    @property
    def reranking_ms(self) -> float | None:
        """Return the median time of reranking a query; None where it was not measured, 0 without a reranker.

        A blend has the time of its reranking: interpolating some hundred scores takes microseconds.
        """
        if self.side == "first_stage":
            return 0.0
        figures = summary.cost_figures(self.finished.result)
        return figures.p50_ms if figures else None


def systems_of(results: Sequence[Finished], blended: bool = False) -> list[System]:
    """Return the systems of finished results.

    First stages of several results count as one system if their measures and settings are equal, or if they are of
    different kinds (BM25 and its run file) and their rankings are equal. A result without a reranker is a first stage.
    If all results have the same first stage and none has a reranker, each is a system of its own.

    Args:
        results: the results on one slice, the baseline first.
        blended: whether the blend of a result is a system too, after its reranking.

    Returns:
        The systems in the order of the results, each first stage before the system that reranks it; the baseline is
        always the first. Labels are distinct: by settings, else by folder.

    Raises:
        EvalkitError: the same result is given twice.
    """
    if twice := labelling.duplicates([one.where for one in results]):
        raise EvalkitError(f"{twice[0]} is given twice; name each result once")
    keys = _same_first_stage(results)
    alone = {key for key, one in zip(keys, results) if not summary.reranks(one.result)}
    others = len(set(keys)) > 1 or any(summary.reranks(one.result) for one in results)  # than one first stage
    again: dict[int, list[str]] = {}
    found: list[tuple[int, System]] = []
    first_stages: dict[int, int] = {}
    for number, (key, one) in enumerate(zip(keys, results)):
        if not summary.reranks(one.result):
            if key in first_stages and others:
                again.setdefault(key, []).append(one.where)
                continue
            first_stages.setdefault(key, len(found))
            found.append((key, System(summary.label_first(one.result), "first_stage", one)))
            continue
        reranked = (key, System(summary.label(one.result), "reranked", one))
        found += [reranked] if number == 0 else []
        if key not in first_stages and key not in alone:
            first_stages[key] = len(found)
            found.append((key, System(summary.label_first(one.result), "first_stage", one)))
        found += [reranked] if number else []
        if blended and one.result.blend and one.result.blend.per_query:
            found.append((key, System(f"{summary.label(one.result)} (blended)", "blended", one)))
    labels = _labels([system for _, system in found])
    times = {key: [ms for of, one in zip(keys, results) if of == key and (ms := _first_stage_ms(one)) is not None]
             for key in keys}  # fmt: skip
    names = {key: {summary.label_first(one.result) for of, one in zip(keys, results) if of == key} for key in keys}
    first_stage_labels = {key: label for (key, system), label in zip(found, labels) if system.side == "first_stage"}
    return [
        replace(
            system,
            label=label,
            own_first_stage=None if system.side == "first_stage" else first_stage_labels[key],
            first_stage_ms=median(times[key]) if times[key] else None,
            also=tuple(sorted(names[key] - {summary.label_first(system.finished.result)}))
            if system.side == "first_stage"
            else (),
            again=tuple(again.get(key, ())) if system.side == "first_stage" else (),
        )
        for (key, system), label in zip(found, labels)
    ]


def _first_stage_ms(one: Finished) -> float | None:
    found = one.result.effective.first_stage_time.per_query_ms
    return found


def _same_first_stage(results: Sequence[Finished]) -> list[int]:
    """Return for each result the number of the first one with the same first stage."""
    runs: dict[int, Rankings | None] = {}

    def ranked(number: int) -> Rankings | None:
        if number not in runs:
            one = results[number]
            run = reading.first_stage(one) if summary.reranks(one.result) else one.reranked
            ids = {q: [hit.doc_id for hit in hits] for q, hits in run.rankings.items()} if run else None
            runs[number] = ids
        return runs[number]

    def same(one: int, other: int) -> bool:
        facts = [results[number].result.effective.first_stage for number in (one, other)]
        values = [results[number].result.effectiveness.per_query.first_stage for number in (one, other)]
        common = values[0].keys() & values[1].keys()  # another depth has another recall
        if not common or any(values[0][measure] != values[1][measure] for measure in common):
            return False
        before, after = (dict(labelling.settings(of)) for of in facts)
        if before == after and facts[0]["name"] == facts[1]["name"]:
            return True
        if any(before[key] != after[key] for key in before.keys() & after.keys() - {"path"}):
            return False  # other settings, even if the rankings of these queries are equal
        first, second = ranked(one), ranked(other)
        return first is not None and second is not None and _same_rankings(first, second)

    found: list[int] = []
    for number in range(len(results)):
        found.append(next((one for one in dict.fromkeys(found) if same(one, number)), number))
    return found


Rankings = Mapping[str, Sequence[str]]


def _same_rankings(before: Rankings, after: Rankings) -> bool:
    """Return whether two runs list the same passages in the same order, as far as both were searched."""
    depth = min(max(map(len, run.values()), default=0) for run in (before, after))
    return before.keys() == after.keys() and all(before[q][:depth] == after[q][:depth] for q in before)


def _commit(system: System) -> str:
    commit, dirty = state_of(system.finished.result.provenance)
    return f"{commit[:10]}{'+' if dirty else ''}" if commit else ""


def _labels(systems: Sequence[System]) -> list[str]:
    """Return a distinct label for each system: with the settings that differ, else the commit, the folder, its path."""
    labels = labelling.distinct_labels(
        [
            labelling.Labelled(one.label, asdict(one.finished.result.effective), one.side == "first_stage")
            for one in systems
        ]
    )
    commits = {label: [_commit(one) for one, of in zip(systems, labels) if of == label] for label in labels}
    by_commit = [label for label, of in commits.items() if len(of) > 1 and len(set(of) - {""}) == len(of)]
    labels = [f"{label}, commit {_commit(one)}" if label in by_commit else label for label, one in zip(labels, systems)]
    for of in (lambda system: Path(system.finished.where).name, lambda system: system.finished.where):
        twice = labelling.duplicates(labels)
        labels = [f"{label}, {of(one)}" if label in twice else label for label, one in zip(labels, systems)]
    if twice := labelling.duplicates(labels):
        raise EvalkitError(f"{twice[0]} is given twice; name each result once")
    return labels
