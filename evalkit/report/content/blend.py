"""Rows and sentences of a blend: the reranker's score interpolated with the first stage's."""

from collections import Counter

from evalkit.report.content.numbers import interval, measure_value, plus_minus, signed
from evalkit.results.schema import Blend, Change, Result
from evalkit.results.summary import label_first, label_second

_METHODS = {
    "min_max": "scores scaled to 0 and 1 per query",
    "z_score": "scores in standard deviations from their mean per query",
    "rank": "ranks",
    "rrf": "reciprocal ranks",
}
_ORDER = {"hurt": -1, "helped": 1}
"""Verdict -> its place; of any other, 0."""


def claim(result: Result) -> str | None:
    """Return a sentence on the blend where it changes the verdict, else None.

    That is where it is clearly better than the first stage and the reranking, or where reranking hurt, or made no
    clear difference, and the blend does better than that. The first measure decides.
    """
    blend, name = result.blend, next(iter(result.effectiveness.delta))
    if blend is None:
        return None
    before, replaced = blend.against_first_stage.get(name), blend.against_reranked.get(name)
    if name not in blend.mean or before is None or replaced is None:
        return None
    if before.verdict == replaced.verdict == "helped":
        return (
            f"Blended with the first stage's score it is better than both: {name} {measure_value(blend.mean[name])} "
            f"({_by(before, f' over {label_first(result)}')}; {_by(replaced, ' over the reranking')}; "
            f"{_chosen(blend)})."
        )
    if _ORDER.get(before.verdict, 0) > _ORDER.get(result.effectiveness.verdict[name], 0):
        return (
            f"Blended with the first stage's score instead, it {before.verdict}: {name} "
            f"{measure_value(result.effectiveness.first_stage.mean[name])} -> {measure_value(blend.mean[name])} "
            f"({_by(before)}; {_chosen(blend)})."
        )
    return None


def _by(change: Change, what: str = "") -> str:
    ends = interval(*change.ci95)
    return f"{signed(change.mean)}{what}" + (f", 95 % interval {ends}" if ends else "")


def _chosen(blend: Blend) -> str:
    return f"weight {blend.weight:g}" if blend.given else "weights chosen on other queries"


def intro(result: Result) -> str:
    """Return what is blended, and how its weight was chosen, for a result with a blend."""
    blend = result.blend
    assert blend is not None
    what = (
        "The score of a candidate is w times the reranker's and 1 - w times the first stage's "
        f"({_METHODS.get(blend.method, blend.method)}); at w = 0 it is {label_first(result)} alone, at w = 1 the "
        "reranker alone."
    )
    if blend.given:
        return f"{what} The weight {blend.weight:g} was given."
    best = f"Over all queries, w = {blend.weight:g} is best in {blend.measure}"
    if blend.why:
        return f"{what} {best}, on the queries that it was chosen on; there is no other figure: {blend.why}."
    times = Counter(fold.weight for fold in blend.folds)
    weights = ", ".join(f"{weight:g} ({times[weight]}x)" for weight in sorted(times))
    return (
        f"{what} {best}. To choose a weight and measure it on the same queries is optimistic: the table has each query "
        f"at the weight that is best on the other {len(blend.folds) - 1} of {len(blend.folds)} parts of the queries "
        f"(seed {blend.seed}); these weights are {weights}."
    )


def curve_rows(result: Result) -> list[list[str]]:
    """Return a row for each weight: the weight, and the mean of each measure."""
    points = result.blend.points if result.blend else ()
    return [
        [f"{one.weight:g}", *(measure_value(one.mean.get(m)) for m in result.effectiveness.delta)] for one in points
    ]


def rows(result: Result) -> list[list[str]]:
    """Return a row for each measure, under `columns`: first stage, replaced, blended, and its two changes."""
    blend, effect = result.blend, result.effectiveness
    if blend is None:
        return []
    return [
        [
            name,
            measure_value(effect.first_stage.mean.get(name)),
            measure_value(effect.reranked.mean.get(name)),
            measure_value(mean),
            *(_change(side.get(name)) for side in (blend.against_first_stage, blend.against_reranked)),
        ]
        for name, mean in blend.mean.items()
    ]


def _change(change: Change | None) -> str:
    return plus_minus(change.mean, *change.ci95) if change else ""


def columns(result: Result) -> list[str]:
    """Return the headings of `rows`."""
    return [
        "measure", label_first(result), f"{label_second(result)} (replaced)", "blended",
        "blended - first stage, 95 %", "blended - replaced, 95 %",
    ]  # fmt: skip
