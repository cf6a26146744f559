"""Limits that a baseline needs to pass its own gate: found when it is written, applied when it is used.

A check such as `truncated` looks at a result alone, so that a sound slice can fail it with nothing changed.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.budgets import figures
from evalkit.results.gate.judge import judge
from evalkit.results.gate.limits import STORED, Limits
from evalkit.results.gate.verdict import Check, Verdict
from evalkit.results.reading import Finished
from evalkit.types import Settings

RATIOS = ("max_latency_ratio", "max_scoring_ratio", "max_memory_ratio")
_ROOM = 2.0
"""Factor from the measured figure to a new limit, as in experiment=ci."""
_LITTLE_ROOM = 1.5
"""Factor from the measured figure to a limit below which the limit is called tight."""


def failing(new: Baseline, finished: Finished, limits: Limits) -> tuple[Check, ...]:
    """Return the checks that a result fails against itself; a budget that it has no figure for is not one of them.

    Args:
        new: the values of the result that becomes the baseline.
        finished: the same result, whole.
        limits: the limits in force.

    Raises:
        EvalkitError: a limit makes no sense.
    """
    has = figures(finished.result.cost)
    lacking = {name: None for name in RATIOS if STORED[name] not in has}
    # Unknown tokens are checked against the limit alone, not against the new baseline's own share.
    return judge(replace(new, unknown={}), finished, replace(limits, **lacking)).failed  # type: ignore[arg-type]


def needed(new: Baseline, finished: Finished, limits: Limits, checks: Collection[Check]) -> dict[str, Any]:
    """Return the settings with which `checks`, all those that fail, pass: limits, or a check to be skipped.

    Args:
        new: the values of the result that becomes the baseline.
        finished: the same result, whole.
        limits: the limits in force.
        checks: all that fail, as `failing` returns them.
    """
    pairs = max(new.scoring.pairs, 1)
    measure = next(iter(new.reranked))
    below = new.mean("first", measure) - new.mean("reranked", measure)
    ratios = figures(finished.result.cost)
    found = {
        "max_tied_share": _up(new.scoring.tied_pairs / pairs, 2),
        # With the room that the measure itself has, or the next run of the same system would fail by chance.
        "max_below_first_stage": _up(below + limits.of(limits.tolerance, measure), 3),
        "max_truncated_share": _up(new.scoring.truncated_pairs / pairs, 2),
        "max_unknown_share": _up(max(new.unknown.values(), default=0.0), 2),
        **{name: _up(_ROOM * ratios.get(STORED[name], 0.0), 1) for name in RATIOS},
    }
    names = {check.name for check in checks}
    settings: dict[str, Any] = {name: value for name, value in found.items() if STORED[name] in names}
    if rest := sorted(names - {STORED[name] for name in settings}):
        settings["skip"] = rest
    return settings


def tight(finished: Finished, limits: Limits) -> dict[str, float]:
    """Return wider limits for the ratios that pass with so little room that the next run may fail by noise alone.

    Args:
        finished: the result that becomes the baseline.
        limits: the limits in force.
    """
    found = figures(finished.result.cost)
    measured = {name: found[STORED[name]] for name in RATIOS if STORED[name] in found}
    limit_of: dict[str, float | None] = {name: getattr(limits, name) for name in measured}
    return {
        name: _up(_ROOM * value, 1)
        for name, value in measured.items()
        if (limit := limit_of[name]) is not None and value <= limit < _LITTLE_ROOM * value
    }


def as_arguments(settings: Mapping[str, Any]) -> str:
    """Return settings as the command line takes them."""
    return " ".join(
        f"'gate.skip=[{','.join(value)}]'"
        if name == "skip"
        else f"gate.{name}={'null' if value is None else f'{value:g}'}"
        for name, value in settings.items()
    )


def merged(
    limits: Limits, stored: Settings, given: Collection[str], packaged: Mapping[str, Any]
) -> tuple[Limits, dict[str, Any]]:
    """Return the limits in force, and those of them that are the baseline's.

    A limit of the baseline holds unless the user sets another: by name on the command line (`given`), or in a file,
    which shows in a value that is neither the default nor, in `packaged`, that of experiment=ci.

    Args:
        limits: the limits as configured.
        stored: the baseline's own limits.
        given: names of the limits set on the command line.
        packaged: the values in experiment=ci.
    """
    defaults = Limits()
    own: dict[str, Any] = {}
    for name, value in stored.items():
        now = getattr(limits, name)
        if name == "skip":
            if name not in given and (more := [check for check in value if check not in now]):
                own[name] = [*now, *more]
        elif name not in given and (now == getattr(defaults, name) or (name in packaged and now == packaged[name])):
            own[name] = value
    return replace(limits, **own), own


def named(verdict: Verdict, own: Mapping[str, Any], limits: Limits) -> Verdict:
    """Return the verdict with the source of each limit that is the baseline's; `limits` would hold without it.

    Args:
        verdict: the verdict to complete.
        own: the limits in force that are the baseline's.
        limits: the limits that would hold without them.
    """
    sources = {STORED[name]: f"{name} {value:g}" for name, value in own.items() if name != "skip"}
    sentences = [f"{name} {own[name]:g} (else {_shown(getattr(limits, name))})" for name in own if name != "skip"]
    if skipped := [check for check in own.get("skip", ()) if check not in limits.skip]:
        sentences.append(f"skip {', '.join(skipped)}")
    checks = tuple(
        replace(check, message=f"{check.message} [{sources[check.name]} is the baseline's own limit]")
        if check.name in sources
        else check
        for check in verdict.checks
    )
    return replace(verdict, own_limits=tuple(sentences), checks=checks)


def recorded(finished: Finished) -> dict[str, Any]:
    """Return the limits that a result's own run was to be judged by, those that may be stored and make sense."""
    asked = finished.result.asked
    gate = asked.get("gate") if isinstance(asked, Mapping) else None
    if not isinstance(gate, Mapping):
        return {}
    found = {name: gate[name] for name in (*STORED, "skip") if name in gate}
    try:
        Limits(**found).check()
    except (EvalkitError, TypeError, ValueError, AttributeError):
        return {}
    return {name: value for name, value in found.items() if name == "skip" or _is_limit(value)}


def _is_limit(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:g}"


def _up(value: float, digits: int) -> float:
    """Round up, so that what was measured is not above its own limit."""
    return float(math.ceil(round(value * 10**digits, 6)) / 10**digits)
