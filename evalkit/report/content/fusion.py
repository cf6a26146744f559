"""Rows and sentences about the members of a fused first stage."""

from evalkit.report.content.numbers import measure_value, number, plus_minus
from evalkit.results.schema import Fusion, Result
from evalkit.results.summary import label_first

TITLE = "What fusing gains"
FOLDS = "Weights by fold"


def columns(result: Result) -> list[str]:
    """Return the headings of `rows`."""
    main = next(iter(result.effectiveness.delta))
    return ["first stage", *result.effectiveness.delta, f"{main}: fusion - member, 95 % interval", "ms a query"]


def rows(result: Result, fusion: Fusion) -> list[list[str]]:
    """Return the fusion and each of its members: measures, what fusing adds to the first one, and time of a query.

    Args:
        result: a finished trial whose first stage is a fusion.
        fusion: its members.

    Returns:
        Cells under `columns`.
    """
    main = next(iter(result.effectiveness.delta))
    whole = result.effectiveness.first_stage.mean
    time = result.effective.first_stage_time
    found = [[label_first(result), *(measure_value(whole[name]) for name in whole), "", number(time.per_query_ms)]]
    for name, member in fusion.members.items():
        change = plus_minus(member.delta[main], *member.delta_ci95[main])
        values = (measure_value(member.mean.get(measure)) for measure in whole)
        found.append([name, *values, change, number(member.time.per_query_ms)])
    return found


def verdict(result: Result, fusion: Fusion) -> str:
    """Return one sentence: is the fusion better than its best member, in the first measure?

    Args:
        result: a finished trial whose first stage is a fusion.
        fusion: its members.
    """
    main = next(iter(result.effectiveness.delta))
    name, best = max(fusion.members.items(), key=lambda member: member[1].mean[main])
    low, high = best.delta_ci95[main]
    unsure = low is None or high is None or low <= 0 <= high
    what = "no clear difference" if unsure else "better" if best.delta[main] > 0 else "worse"
    return (
        f"The fusion against its best member, {name}: {what} in {main} ({plus_minus(best.delta[main], low, high)}); "
        "that member was found to be the best on the same queries."
    )


def fold_columns(fusion: Fusion) -> list[str]:
    """Return the headings of `fold_rows`."""
    return ["fold", "queries", *fusion.members]


def fold_rows(fusion: Fusion) -> list[list[str]]:
    """Return the weights of each fold, chosen on all other folds; none where weights were not tuned."""
    return [
        [str(number), f"{len(fold.queries):,}", *(f"{fold.weights[name]:g}" for name in fusion.members)]
        for number, fold in enumerate(fusion.folds, 1)
    ]
