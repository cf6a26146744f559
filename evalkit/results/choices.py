"""What one can choose from finished results: a first stage, a reranker at each depth, a blend at each weight."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import blending, measures, ranking
from evalkit.evaluation.blending import BlendSettings, Lists
from evalkit.evaluation.breakdown import DEPTHS
from evalkit.evaluation.measure_names import Measure, parse
from evalkit.evaluation.score_analysis import has_all_logits
from evalkit.evaluation.trec import read_qrels
from evalkit.results import labels as labelling
from evalkit.results import reading, summary
from evalkit.results.latency_by_depth import latency_ms
from evalkit.results.same_data import chosen_measure
from evalkit.results.schema import Result
from evalkit.types import Run

Values = Mapping[str, float]
"""query_id -> value of the measure."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One setting that could be deployed, with its quality for each query and its cost."""

    label: str
    where: str
    """Folder of the result that it comes from."""
    reranks: bool
    depth: int | None
    """Passages reranked for each query; None for a first stage."""
    weight: float | None
    """The reranker's weight in a blend; None where it replaces the first stage's score, and for a first stage."""
    values: Values
    p50_ms: float | None
    """Of a query, first stage and reranking; None where it is not known."""
    interpolated: bool
    """Whether the time of reranking follows from the latency grid, and was not measured at this depth."""
    memory_mb: float | None
    """Peak of the process or GPU that reranks, at the depth of the result; 0 for a first stage, None if unknown."""
    price: float | None
    """Of 1,000 queries; 0 for a first stage, None where no price was given."""
    overrides: tuple[str, ...]
    """What to add to the settings of the result to run this choice by itself."""


def choices(results: Mapping[str, Result], measure: str | None) -> tuple[str, list[Choice]]:
    """Return the measure and every choice that finished results on one slice hold.

    Args:
        results: folder -> result.
        measure: its name; None for the first one that all results have.

    Returns:
        The measure, and the choices without repetitions of a first stage.

    Raises:
        EvalkitError: the measure is missing, or files of a result cannot be read or do not belong together.
    """
    found = list(results.values())
    name = chosen_measure([one.effectiveness.per_query.reranked for one in found], measure, found[0].effective.depth)
    labels = summary.labels(found, depth=False)
    return name, _distinct([
        one for (where, result), label in zip(results.items(), labels) for one in _of_result(where, label, result, name)
    ])  # fmt: skip


def _distinct(found: Sequence[Choice]) -> list[Choice]:
    """Return each choice once, the one whose time was measured at its depth where there are several."""
    kept: list[Choice] = []
    for one in sorted(found, key=lambda choice: (choice.p50_ms is None, choice.interpolated)):  # stable
        if not any(one.label == other.label and one.values == other.values for other in kept):
            kept.append(one)
    again = labelling.duplicates([one.label for one in kept])
    named = [replace(one, label=f"{one.label}, {Path(one.where).name}") if one.label in again else one for one in kept]
    place = {id(one): number for number, one in enumerate(found)}
    order = [place[id(one)] for one in kept]
    return [one for _, one in sorted(zip(order, named), key=lambda item: item[0])]


def _of_result(where: str, label: str, result: Result, name: str) -> Iterator[Choice]:
    per_query, effective = result.effectiveness.per_query, result.effective
    first_ms = effective.first_stage_time.per_query_ms
    yield Choice(
        label=summary.label_first(result), where=where, reranks=False, depth=None, weight=None,
        values=per_query.first_stage[name], p50_ms=first_ms, interpolated=False, memory_mb=0.0, price=0.0,
        overrides=("reranker=none",) if summary.reranks(result) else (),
    )  # fmt: skip
    if not summary.reranks(result):
        return
    figures, estimate = summary.cost_figures(result), result.cost.estimate if result.cost else None

    def reranking(depth: int, values: Values, weight: float | None = None) -> Choice:
        ms = latency_ms(result.cost, effective.depth, depth)
        shown = f"{label}, depth {depth}"
        per_pair = estimate.per_million_pairs if estimate else None
        return Choice(
            label=shown if weight is None else f"{shown} (blend {weight:g})",
            where=where, reranks=True, depth=depth, weight=weight, values=values,
            p50_ms=None if ms is None or first_ms is None else first_ms + ms,
            interpolated=ms is not None and depth != effective.depth,
            memory_mb=figures.peak_mb if figures else None,
            price=None if per_pair is None else per_pair * depth / 1000,
            overrides=(
                *((f"depth={depth}",) if depth != effective.depth else ()),
                *((f"blend.weight={weight:g}",) if weight is not None else ()),
            ),
        )  # fmt: skip

    yield reranking(effective.depth, per_query.reranked[name])
    runs = _Runs.of(where)
    if runs is None:
        return
    measure = parse(name, effective.depth)
    runs.check(measure, result, per_query.reranked[name])
    for depth in DEPTHS:
        if depth < effective.depth:
            yield reranking(depth, runs.at_depth(depth, measure, effective.slice["relevance_level"]))
    if result.blend and has_all_logits(effective.reranker, effective.scoring):
        for weight, values in runs.blends(result, measure):
            yield reranking(effective.depth, values, weight)


@dataclass(frozen=True)
class _Runs:
    """The rankings and judgments in the folder of a result."""

    where: str
    first: Run
    reranked: Run
    qrels: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, where: str) -> "_Runs | None":
        """Return those of a folder; None where a file is missing, as in a result without its folder."""
        first, reranked = reading.ranking(where, "first_stage"), reading.ranking(where, "reranked")
        qrels = reading.result_file(where).with_name("qrels.trec")
        if first is None or reranked is None or not qrels.is_file():
            return None
        return cls(where, first, reranked, read_qrels(qrels))

    def check(self, measure: Measure, result: Result, values: Values) -> None:
        """Check that the files give the values of result.json.

        Raises:
            EvalkitError: they do not.
        """
        ours = self.at_depth(result.effective.depth, measure, result.effective.slice["relevance_level"])
        if ours.keys() != values.keys() or any(abs(ours[q] - values[q]) > 1e-6 for q in values):
            raise EvalkitError(
                f"{self.where}: its runs and judgments do not give the {measure} of its result.json; they are of "
                "another trial, or were changed. Run the trial again"
            )

    def at_depth(self, depth: int, measure: Measure, relevance_level: int) -> Values:
        """Return the values, had the best `depth` candidates of each query been reranked: in the same order."""
        rankings = {}
        for query_id, hits in self.first.rankings.items():
            place = {hit.doc_id: -float(rank) for rank, hit in enumerate(self.reranked.rankings[query_id])}
            rankings[query_id] = ranking.rerank(hits, place, depth)
        return self._values(Run(f"depth {depth}", rankings), measure, relevance_level)

    def blends(self, result: Result, measure: Measure) -> Iterator[tuple[float, Values]]:
        """Yield the weights between 0 and 1 of a result's blend, and the values at each."""
        assert result.blend is not None
        asked = result.asked.get("blend", {})
        settings = BlendSettings(method=result.blend.method, k=asked.get("k", BlendSettings.k))
        depth = result.effective.depth
        logits = {
            query_id: {hit.doc_id: hit.score for hit in self.reranked.rankings[query_id][: len(hits[:depth])]}
            for query_id, hits in self.first.rankings.items()
        }
        run_at = blending.runs(settings, Lists(self.first, self.reranked, logits, depth))
        for weight in (point.weight for point in result.blend.points if 0 < point.weight < 1):
            yield weight, self._values(run_at(weight), measure, result.effective.slice["relevance_level"])

    def _values(self, run: Run, measure: Measure, relevance_level: int) -> Values:
        return measures.evaluate(run, self.qrels, [measure], relevance_level).per_query[str(measure)]
