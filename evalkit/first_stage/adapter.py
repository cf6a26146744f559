"""Adapts a first stage that is not evalkit's own to the contract, or explains in one sentence why it cannot."""

import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import (
    ForeignComponent,
    check_parameters,
    class_path,
    describe_type,
    is_ours,
    to_float,
)
from evalkit.boundary.text import quoted
from evalkit.first_stage.base import FirstStage
from evalkit.types import Hit, Run, Settings, Slice


def adapt_first_stage(component: object, where: str | None = None) -> FirstStage:
    """Return a first stage that satisfies the contract.

    Args:
        component: an instance of `FirstStage`, or of a class with the same methods.
        where: names it in messages; None for the path of its class.

    Raises:
        EvalkitError: it lacks `search`, or one of its members has the wrong type.
    """
    if isinstance(component, _AdaptedFirstStage) or (isinstance(component, FirstStage) and is_ours(component)):
        return component
    return _AdaptedFirstStage(component, where or class_path(component))


class _AdaptedFirstStage(FirstStage):
    """A first stage that is not evalkit's own, whether or not it inherits."""

    def __init__(self, component: object, where: str) -> None:
        self._of = ForeignComponent(component, where, FirstStage, {"search": "(slice, depth)"})
        self.name = self._of.label()
        self.uses_judgments = bool(self._of.value("uses_judgments", False, bool))
        search = self._of.method("search")
        assert search is not None
        check_parameters(search, 2, f"{where}: search")

    @property
    def cache_s(self) -> float:  # type: ignore[override]  # of the last search
        return float(self._of.value("cache_s", 0.0, float))

    def check(self) -> None:
        self._of.call("check")

    def search(self, data: Slice, depth: int) -> Run:
        return _run(self._of.call("search", data, depth), data, self.label, f"{self._of.where}: search")

    def describe(self) -> Settings:
        from evalkit.boundary.foreign_facts import FirstStageFacts

        return self._of.facts(FirstStageFacts)


def _run(value: object, data: Slice, name: str, where: str) -> Run:
    rankings = value.rankings if isinstance(value, Run) else value
    if not isinstance(rankings, Mapping):
        raise EvalkitError(
            f"{where} returned {describe_type(value)}, and has to return a Run (evalkit.types): query_id -> hits, best "
            "first"
        )
    if strange := [query_id for query_id in rankings if query_id not in data.queries]:
        raise EvalkitError(f"{where} returned hits for {quoted(strange[0])}, which is not a query of the slice")
    return Run(
        value.name if isinstance(value, Run) and isinstance(value.name, str) else name,
        {query_id: _hits(rankings.get(query_id, ()), query_id, where) for query_id in data.queries},
    )


def _hits(value: Any, query_id: str, where: str) -> tuple[Hit, ...]:
    hits: list[Hit] = []
    of = f"{where}: hit {{}} of query {quoted(query_id)}"
    if isinstance(value, str | Mapping | Set) or not isinstance(value, Iterable):
        raise EvalkitError(
            f"{where}: hits of query {quoted(query_id)} are {describe_type(value)}, and have to be a list"
        )
    for rank, hit in enumerate(value, 1):
        if not isinstance(hit, tuple | list) or len(hit) != 2 or not isinstance(hit[0], str):
            raise EvalkitError(f"{of.format(rank)} is {describe_type(hit)}, and has to be (doc_id, score)")
        score = to_float(hit[1], rank, where)
        if score is None or not math.isfinite(score):
            raise EvalkitError(f"{of.format(rank)} has the score {score}, and a finite number is needed")
        if hits and score > hits[-1].score:
            raise EvalkitError(
                f"{of.format(rank)} has a higher score ({score:g}) than the hit before it ({hits[-1].score:g}); hits "
                "are given best first"
            )
        hits.append(Hit(hit[0], score))
    if len({hit.doc_id for hit in hits}) < len(hits):
        raise EvalkitError(f"{where}: a passage occurs twice among the hits of query {quoted(query_id)}")
    return tuple(hits)
