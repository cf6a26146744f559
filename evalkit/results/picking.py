"""Picks the setting of finished results that is best within a budget, and says how good it will be on other queries."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import selection, significance
from evalkit.evaluation.pareto import dominates
from evalkit.evaluation.selection import Choose
from evalkit.results import reading
from evalkit.results.choices import Choice, choices
from evalkit.results.pick_schema import Budget, NearEqual, Pick, PickedChoice
from evalkit.results.same_data import refuse_other_data, slice_identity


def pick(places: Sequence[str], budget: Budget, measure: str | None = None, folds: int = 10, seed: int = 0) -> Pick:
    """Pick a setting from finished results on one slice.

    Args:
        places: folders of results, or of sweeps.
        budget: the limits, and what is best within them.
        measure: its name; None for the first one that all results have.
        folds: of the cross-validation that estimates the quality of the pick.
        seed: draws which query is in which fold.

    Raises:
        EvalkitError: a number is out of its range, results cannot be read or are of different data, no setting is
            within the budget, or there are fewer queries than folds.
    """
    budget.check()
    results = {where: reading.read_result(where) for place in places for where in _trials(place)}
    (first_place, first), *others = results.items()
    for where, other in others:
        refuse_other_data(
            slice_identity(first.effective.slice),
            slice_identity(other.effective.slice),
            (_queries(first.effectiveness.per_query.reranked), _queries(other.effectiveness.per_query.reranked)),
            (first_place, where),
        )
    name, found = choices(results, measure)
    affordable = _affordable(found, budget, name)
    chosen = selection.select({one.label: one.values for one in affordable}, _choose(affordable, budget), folds, seed)
    picked = next(one for one in affordable if one.label == chosen.picked)
    return Pick(
        measure=name,
        slice=first.effective.slice["name"],
        queries=len(picked.values),
        budget=budget,
        picked=picked.label,
        mean=chosen.mean,
        estimate=chosen.estimate,
        interval=chosen.interval,
        optimism=chosen.optimism,
        folds=chosen.folds,
        seed=seed,
        near_equal=_near_equal(affordable, picked, budget.within),
        command=_command(picked),
        choices=_shown(found, affordable),
        notes=_notes(found, budget),
    )


def _queries(values: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return next(iter(values.values()))


def _trials(place: str) -> list[str]:
    """Return the folders of finished trials: those of a sweep, or the place itself."""
    path = reading.result_file(place)
    folder = path.parent
    if path.exists() or not (folder / "sweep.json").exists():
        return [place]
    done = sorted(str(one.parent) for one in folder.glob("*/result.json") if _is_finished(one))
    if not done:
        raise EvalkitError(f"{place} is a sweep without a finished trial")
    return done


def _is_finished(result: Path) -> bool:
    try:
        return reading.read_outcome(result).status == "finished"
    except ValueError as wrong:
        raise EvalkitError(f"{result} is no result of evalkit: {wrong}") from None


def _affordable(found: Sequence[Choice], budget: Budget, measure: str) -> list[Choice]:
    """Return the choices within the limits of time, memory and price, the cheapest first.

    Raises:
        EvalkitError: there is none, or none has the quality; the message names the nearest.
    """
    overruns = {one.label: _overruns(one, budget) for one in found}
    if any(all(over <= 1 for over in of.values()) for of in overruns.values()):
        kept = [one for one in found if is_affordable(one, budget)]
        return sorted(kept, key=lambda one: (one.p50_ms is None, one.p50_ms or 0.0, one.memory_mb or 0.0))
    known = [one for one in found if _UNKNOWN not in overruns[one.label].values()]
    unknown = {limit for of in overruns.values() for limit, over in of.items() if over == _UNKNOWN}
    way_out = "".join(f"; {_WAYS_OUT[limit]}" for limit in _WAYS_OUT if limit in unknown)
    if not known:
        raise EvalkitError(f"no setting has a figure for every limit{way_out}")
    nearest = min(known, key=lambda one: max(overruns[one.label].values()))
    has = ", ".join(f"{limit} {_have(nearest, limit)}" for limit, over in overruns[nearest.label].items() if over > 1)
    raise EvalkitError(
        f"none of {len(found)} settings is within the budget; the nearest is {nearest.label}, with {has} "
        f"({measure} {fmean(nearest.values.values()):.4f}){way_out}"
    )


def is_affordable(one: Choice, budget: Budget) -> bool:
    """Return whether a choice is within the limits of time, memory and price.

    Args:
        one: the choice; a figure that it lacks is over any limit.
        budget: the limits; the one on quality does not count here.
    """
    over = _overruns(one, budget)
    return all(over.get(limit, 0) <= 1 for limit in _COSTS)


_UNKNOWN = float("inf")
_COSTS = ("p50 ms", "peak MiB", "price")
_WAYS_OUT = {
    "p50 ms": "some were not timed at their depth: protocol=standard measures a latency grid, protocol=none no time",
    "peak MiB": "some have no memory: protocol=none measures none",
    "price": "some have no price: run them on a GPU with protocol.price_per_gpu_hour=PRICE",
}
"""Limit -> what to do about a figure that some settings lack."""


def _overruns(one: Choice, budget: Budget) -> dict[str, float]:
    """Return limit -> what the choice has of it over what it may have; infinite where that is not known."""
    over = {}
    for limit, most, value in (
        ("p50 ms", budget.max_p50_ms, one.p50_ms),
        ("peak MiB", budget.max_memory_mb, one.memory_mb),
        ("price", budget.max_price, one.price),
    ):
        if most is not None:
            over[limit] = _UNKNOWN if value is None else value / most
    if budget.min_quality is not None:
        mean = fmean(one.values.values())
        over["mean"] = budget.min_quality / mean if mean else _UNKNOWN
    return over


def _have(one: Choice, limit: str) -> str:
    value = {
        "p50 ms": one.p50_ms, "peak MiB": one.memory_mb, "price": one.price, "mean": fmean(one.values.values()),
    }[limit]  # fmt: skip
    return f"{value:,.4g}"


def _choose(affordable: Sequence[Choice], budget: Budget) -> Choose[str]:
    """Return how a setting is picked from means; the quality limit is held against the same means."""
    costs = {"time": "p50_ms", "memory": "memory_mb"}
    cost = {one.label: getattr(one, costs[budget.prefer]) for one in affordable} if budget.prefer in costs else {}
    floor = budget.min_quality or 0.0

    def choose(means: Mapping[str, float]) -> str:
        enough = {label: mean for label, mean in means.items() if mean >= floor} or means
        known = {label: value for label in enough if (value := cost.get(label)) is not None}
        if (enough is means and floor) or not known:
            return selection.best(enough)
        return min(known, key=lambda label: (known[label], -enough[label]))

    return choose


def _near_equal(affordable: Sequence[Choice], picked: Choice, within: float) -> list[NearEqual]:
    mean = fmean(picked.values.values())
    near = [
        one for one in affordable
        if one is not picked and fmean(one.values.values()) >= mean - within and _is_cheaper(one, picked)
    ]  # fmt: skip
    tests = [significance.equivalence(picked.values, one.values, within) for one in near]
    deltas = [significance.paired_delta(picked.values, one.values) for one in near]
    ps = significance.adjust([test.p for test in tests], "holm")
    return [
        NearEqual(
            one.label, delta.mean, (delta.low, delta.high), p,
            _ratio(one.p50_ms, picked.p50_ms), _ratio(one.memory_mb, picked.memory_mb),
        )
        for one, delta, p in zip(near, deltas, ps)
    ]  # fmt: skip


def _is_cheaper(one: Choice, picked: Choice) -> bool:
    return one.p50_ms is not None and picked.p50_ms is not None and one.p50_ms < picked.p50_ms


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value and of else None


def _command(one: Choice) -> str:
    """Return the command that runs a choice: the configuration of its result, with what differs."""
    folder = reading.result_file(one.where).parent
    settings = ["--config-dir", str(folder), "--config-name", "config", *one.overrides, "out_dir=DIR"]
    return f"python -m evalkit {shlex.join(settings)}"


def _shown(found: Sequence[Choice], affordable: Sequence[Choice]) -> list[PickedChoice]:
    labels = {one.label for one in affordable}
    timed = [(one.p50_ms, fmean(one.values.values())) for one in affordable if one.p50_ms is not None]

    def on_front(one: Choice, mean: float) -> bool:
        if one.p50_ms is None or one.label not in labels:
            return False
        return not any(dominates(other, (one.p50_ms, mean)) for other in timed)

    shown = []
    for one in found:
        mean = fmean(one.values.values())
        shown.append(
            PickedChoice(
                one.label, mean, one.p50_ms, one.interpolated, one.memory_mb, one.price,
                within_budget=one.label in labels, on_front=on_front(one, mean),
            )
        )  # fmt: skip
    return shown


def _notes(found: Sequence[Choice], budget: Budget) -> list[str]:
    notes = []
    if any(one.interpolated for one in found):
        notes.append(
            "times with * are interpolated: the measured time of a query, times the ratio of the two depths in the "
            "latency grid; memory is that of the measured depth"
        )
    untimed = sum(one.p50_ms is None for one in found)
    if untimed:
        out = ", so they are not within --max-p50-ms" if budget.max_p50_ms is not None else ""
        notes.append(
            f"the time of {untimed} of {len(found)} settings is not known{out}: a first stage that was not timed, or a "
            "smaller depth of a result without a latency grid (protocol=standard measures one)"
        )
    for limit, value, name in (
        (budget.max_memory_mb, "memory_mb", "--max-memory-mb"),
        (budget.max_price, "price", "--max-price"),
    ):
        unknown = sum(getattr(one, value) is None for one in found)
        if limit is not None and unknown:
            notes.append(f"{unknown} of {len(found)} settings have no figure for {name}, so they are not within it")
    if any(one.weight is not None for one in found):
        notes.append("a blend takes the time and the memory of its reranking")
    return notes
