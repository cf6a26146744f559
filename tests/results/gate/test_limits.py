import math
from dataclasses import fields
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate.limits import CHECKS, Limits

NUMBERS = [entry.name for entry in fields(Limits) if entry.name not in ("tolerance", "max_drop", "skip", "require")]


def test_the_defaults_and_limits_of_none_make_sense_and_any_check_may_be_skipped_but_no_other() -> None:
    Limits().check()
    some = [name for name in CHECKS if name != "logits_finite"]
    none: dict[str, Any] = {name: None for name in NUMBERS if name.startswith(("max", "min"))}
    Limits(**none, skip=some).check()
    with pytest.raises(
        EvalkitError, match=r"gate\.skip: logits_finite cannot be skipped, because NaN gives no order; use "
    ):
        Limits(skip=["logits_finite"]).check()
    with pytest.raises(EvalkitError, match=r"gate\.skip: there is no check 'score_drfit'; did you mean score_drift"):
        Limits(skip=["quality", "score_drfit"]).check()


NO_NUMBERS = [(name, value) for name in NUMBERS for value in (-0.1, math.nan, math.inf)]
NO_NUMBERS += [("tolerance.RR@10", math.nan), ("max_drop.AP", -1.0)]
NO_SHARES = [(name, value) for name in ("false_alarms", "confidence", "power") for value in (0, 1, 95.0)]


@pytest.mark.parametrize(("name", "value"), NO_NUMBERS + NO_SHARES)
def test_a_limit_is_a_number_from_zero_up_and_a_share_lies_below_one(name: Any, value: Any) -> None:
    setting, _, measure = name.partition(".")
    words = "give a share above 0 and below 1" if (name, value) in NO_SHARES else "a limit is a number from 0 up"
    settings: dict[str, Any] = {setting: {"R": 0.02, measure: value} if measure else value}
    with pytest.raises(EvalkitError, match=f"gate.{name}={value}: {words}"):
        Limits(**settings).check()


def test_a_measure_has_its_own_limit_or_that_of_its_kind() -> None:
    given, of = {"RR@10": 0.1, "RR": 0.2, "R": 0.4}, Limits().of
    assert [of(given, name) for name in ("RR@10", "RR@100", "RR(rel=2)@10", "R@50")] == [0.1, 0.2, 0.2, 0.4]
    assert of(given | {"RR(rel=2)@10": 0.5}, "RR(rel=2)@10") == 0.5
    names = ("nDCG@10", "AP@100", "R@50", "P@5", "RR(rel=2)@10", "Success@1")
    assert [of(Limits().tolerance, name) for name in names] == [0.02] * 4 + [0.04] * 2
    assert [of(Limits().max_drop, name) for name in names] == [None] * 6  # chance alone would exceed one


@pytest.mark.parametrize("name", ["ndcg", "default"])
def test_a_limit_of_a_measure_that_is_not_there_is_refused(name: Any) -> None:
    with pytest.raises(EvalkitError, match=f"gate.max_drop.{name}"):
        Limits(max_drop=Limits().max_drop | {name: 0.5}).check()
