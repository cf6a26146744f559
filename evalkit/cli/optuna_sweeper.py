"""Optuna's sweeper for Hydra: which of its settings a configuration may set, and what a trial returns to it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted

TARGET = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
SAMPLERS = re.compile(r"optuna\.samplers\.(TPE|Random|NSGAII)Sampler")
"""Samplers that take numbers only. Hydra's own sweeper does what a grid sampler would."""

NOTHING_FINISHED = "No trials are completed yet."
"""What Optuna raises as a ValueError at the end of a sweep whose trials all failed."""

_ANYWHERE = ("_target_", "n_trials", "n_jobs", "direction", "study_name", "max_failure_rate", "params", "sampler")
_QUALITY, _AND_TIME = ("maximize",), ("maximize", "minimize")


def check(found: Mapping[str, Any]) -> None:
    """Check the settings of the sweeper, before Hydra builds it.

    Args:
        found: ``hydra.sweeper``.

    Raises:
        EvalkitError: a setting would run code or write elsewhere, or the direction is not one of what trials return.
    """
    for key, value in found.items():
        if key not in _ANYWHERE and value not in (None, {}):
            raise EvalkitError(
                f"hydra.sweeper.{key}={quoted(value)}: with Optuna's sweeper a command can set "
                f"{', '.join(_ANYWHERE[1:])}; the study is held in memory, and its results are those of the sweep"
            )
    sampler = found.get("sampler")
    for key, value in sampler.items() if isinstance(sampler, Mapping) else ():
        if key == "_target_":
            if not SAMPLERS.fullmatch(str(value)):
                raise EvalkitError(
                    f"hydra.sweeper.sampler={quoted(value)}: choose hydra/sweeper/sampler=tpe, random or nsgaii; "
                    "without Optuna a sweep is over all combinations"
                )
        elif not (value is None or isinstance(value, bool | int | float)):
            raise EvalkitError(f"hydra.sweeper.sampler.{key}={quoted(value)}: give a number")
    directions_of(found)


def directions_of(sweeper: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in which direction each value that a trial returns is better.

    Args:
        sweeper: ``hydra.sweeper``.

    Raises:
        EvalkitError: the directions are not those of a measure, or of a measure and a time.
    """
    stated = sweeper.get("direction")
    several = stated if isinstance(stated, list | tuple) else [stated]
    given = tuple(str(getattr(one, "name", one)).rpartition(".")[2] for one in several)
    if given not in (_QUALITY, _AND_TIME):
        raise EvalkitError(
            f"hydra.sweeper.direction={','.join(given)}: trials return their first measure, which is to be large; add "
            "hydra.sweeper.direction=maximize, or hydra.sweeper.direction=[maximize,minimize] for the measure and the "
            "median time of a query"
        )
    return given


def objective(folder: Path, directions: tuple[str, ...]) -> float | tuple[float, float]:
    """Return the values of a finished trial for Optuna: the mean of its first measure, and the median time of a query.

    The measure is that of the reranked run, or of the blend where a weight is set (`blend.weight`).

    Args:
        folder: The folder of the trial.
        directions: As `directions_of` returns them.

    Raises:
        EvalkitError: the trial measured no time, and that was asked for.
    """
    from evalkit.results import reading

    result = reading.read_result(folder)
    measure = next(iter(result.effectiveness.reranked.mean))
    blend = result.blend
    blended = blend.mean.get(measure) if blend is not None and blend.given else None
    quality = result.effectiveness.reranked.mean[measure] if blended is None else blended
    if directions == _QUALITY:
        return quality
    latency = result.cost.latency if result.cost else None
    if latency is None or latency.p50_ms is None:
        raise EvalkitError(f"{folder.name}: no time of a query was measured, as hydra.sweeper.direction asks for; "
                           "choose another protocol, such as protocol=quick")  # fmt: skip
    return quality, latency.p50_ms
