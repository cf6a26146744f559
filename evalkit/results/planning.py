"""Plans a test collection: how many queries and judgments show a gain, from the differences in finished results."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.power import Needed, Spread, needed, spread_of
from evalkit.evaluation.students_t import smallest_detectable
from evalkit.results import reading, summary
from evalkit.results.plan_schema import Judging, QueryPlan, SliceAtHand, Target
from evalkit.results.same_data import chosen_measure, refuse_other_data, slice_identity
from evalkit.results.schema import Result
from evalkit.types import Run


def plan(
    places: Sequence[str], target: Target, known: Mapping[str, Mapping[str, int]], measure: str | None = None
) -> QueryPlan:
    """Plan from one finished result, or from two on the same slice.

    Args:
        places: folders of results, or their result.json. Of one result the reranked ranking is compared with its first
            stage, of two the second one's with the first one's.
        target: what is to be seen.
        known: slices at hand: choice -> language -> queries.
        measure: name of the measure; None for the first one that the results have.

    Raises:
        EvalkitError: a number of `target` is out of its range, there are more than two results, they cannot be read or
            compared, lack the measure, or have no differences to plan from.
    """
    target.check()
    if len(places) > 2:
        raise EvalkitError(f"plan takes one result or two, and got {len(places)}")
    results = [reading.read_result(where) for where in places]
    if len(results) == 2:
        refuse_other_data(
            slice_identity(results[0].effective.slice),
            slice_identity(results[1].effective.slice),
            (_any(results[0].effectiveness.per_query.reranked), _any(results[1].effectiveness.per_query.reranked)),
            (places[0], places[1]),
        )
    elif not summary.reranks(results[0]):
        raise EvalkitError(
            f"{places[0]} is of a first stage without a reranker, which differs from nothing; give a second result on "
            "the same slice"
        )
    before, after = _sides(results)
    name = chosen_measure([before, after], measure, results[0].effective.depth)
    differences = [after[name][query_id] - value for query_id, value in before[name].items()]
    try:
        spread = spread_of(differences)
    except EvalkitError as error:
        raise EvalkitError(f"{name} of {' and '.join(places)}: {error}") from None
    one = needed(target.gain, spread, target.power, target.alpha)
    several = target.comparisons > 1
    corrected = needed(target.gain, spread, target.power, target.alpha, target.comparisons) if several else None
    labels = _labels(places, results)
    return QueryPlan(
        target=target,
        measure=name,
        slice=results[0].effective.slice["name"],
        before=labels[0],
        after=labels[1],
        queries=len(differences),
        mean=fmean(differences),
        spread=spread,
        confidence=0.95,
        one=one,
        corrected=corrected,
        judging=_judging(places, results[0], parse(name, 1).cutoff),
        slices=_at_hand(known, corrected or one, spread, target),
    )


def _any(values: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return next(iter(values.values()))


def _sides(results: Sequence[Result]) -> tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]:
    """Return measure -> query_id -> value of the system before, and of the one after."""
    last = results[-1].effectiveness.per_query
    return results[0].effectiveness.per_query.reranked if len(results) == 2 else last.first_stage, last.reranked


def _labels(places: Sequence[str], results: Sequence[Result]) -> Sequence[str]:
    if len(results) == 1:
        return summary.label_first(results[0]), summary.label(results[0])
    labels = summary.labels(results)
    return labels if labels[0] != labels[1] else list(places)


def _judging(places: Sequence[str], first: Result, cutoff: int) -> Judging:
    one = reading.ranking(places[0], "reranked" if len(places) == 2 else "first_stage")
    other = reading.ranking(places[-1], "reranked")
    pooled = None
    if one is not None and other is not None:
        pools = [_top(one, query_id, cutoff) | _top(other, query_id, cutoff) for query_id in other.rankings]
        pooled = fmean(map(len, pools))
    judgments, queries = first.effective.slice.get("judgments"), first.effective.slice["queries"]
    return Judging(pooled, judgments / queries if isinstance(judgments, int) and queries else None)


def _top(run: Run, query_id: str, cutoff: int) -> set[str]:
    return {hit.doc_id for hit in run.rankings.get(query_id, ())[:cutoff]}


def _at_hand(
    known: Mapping[str, Mapping[str, int]], need: Needed, spread: Spread, target: Target
) -> Sequence[SliceAtHand]:
    return [
        SliceAtHand(
            choice,
            lang,
            queries,
            smallest_detectable(spread.value, queries, 1 - need.alpha, target.power) or 0.0,
            queries >= need.queries,
        )
        for choice, of_lang in known.items()
        for lang, queries in of_lang.items()
    ]
