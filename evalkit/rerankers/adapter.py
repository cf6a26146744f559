"""Adapts a reranker that is not evalkit's own to the contract, or explains in one sentence why it cannot."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, replace
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import (
    ForeignComponent,
    check_parameters,
    check_type,
    class_path,
    describe_type,
    errors_as_one_sentence,
    is_ours,
    refuse_awaitable,
    to_float,
    to_plain,
)
from evalkit.boundary.text import quoted
from evalkit.rerankers.base import CallPrice, Engine, Reranker, check_texts
from evalkit.types import Pair, Scores, Settings

Progress = Callable[[int], None]


def adapt_reranker(component: object, where: str | None = None) -> Reranker:
    """Return a reranker that satisfies the contract.

    Args:
        component: an instance of `Reranker`, or of a class with the same methods.
        where: names it in messages; None for the path of its class.

    Raises:
        EvalkitError: it lacks `score`, or one of its members has the wrong type.
    """
    if isinstance(component, _AdaptedReranker) or (isinstance(component, Reranker) and is_ours(component)):
        return component
    return _AdaptedReranker(component, where or class_path(component))


def _ignore_progress(done: int) -> None:
    """Do nothing: the default for `on_progress`."""


class _AdaptedReranker(Reranker):
    """A reranker that is not evalkit's own, whether or not it inherits."""

    def __init__(self, component: object, where: str) -> None:
        self._of = ForeignComponent(component, where, Reranker, {"score": "(pairs, queries, docs)"})
        self.computes = self._of.value("computes", True, bool)
        self.remote = self._of.value("remote", False, bool)
        self.concurrent = self._of.value("concurrent", False, bool)
        self.device = _device(self._of)
        self.price = _price(self._of)
        self.name = self._of.label()
        for method in ("score", "score_all"):
            self._takes_progress(method)

    @property
    def engine(self) -> Engine | None:  # type: ignore[override]  # the component's own, which may exist only after loading
        engine = self._of.attribute("engine")
        if engine is not None and not isinstance(engine, Engine) and isinstance(self._of.object, Reranker):
            raise EvalkitError(
                f"{self._of.where}: engine is {describe_type(engine)}, and has to have facts, tokenize, weights_mb and "
                "predicted_peak_mb (evalkit.rerankers.base.Engine)"
            )
        return (
            engine if isinstance(engine, Engine) else None
        )  # without inheriting, the attribute may mean something else

    def check(self) -> None:
        self._of.call("check")

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        self._of.call("check_protocol", protocol)

    def load(self) -> None:
        self._of.call("load")

    def prepare(self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]) -> None:
        self._of.call("prepare", list(pairs), queries, docs)

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = _ignore_progress,
    ) -> Scores:
        scores = self._scored("score", pairs, queries, docs, on_progress)
        if scores.from_store:
            raise EvalkitError(
                f"{self._of.where}: score returned {scores.from_store} scores from a store, and it is timed: it has to "
                "compute; score_all may look them up"
            )
        return scores

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = _ignore_progress,
    ) -> Scores:
        name = "score" if self._of.method("score_all") is None else "score_all"
        return self._scored(name, pairs, queries, docs, on_progress)

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]] | None:
        found = self._of.call("token_offsets", list(texts))
        return None if found is None else _offsets(found, texts, f"{self._of.where}: token_offsets")

    def describe(self) -> Settings:
        from evalkit.boundary.foreign_facts import RerankerFacts

        return self._of.facts(RerankerFacts)

    def _takes_progress(self, name: str) -> bool:
        """Return whether a method takes `on_progress`, which is passed by name only.

        Raises:
            EvalkitError: it does not take pairs, queries and docs.
        """
        method = self._of.method(name)
        if method is None:
            return False
        parameters = check_parameters(method, 3, f"{self._of.where}: {name}", "on_progress")
        return "on_progress" in parameters

    def _scored(
        self,
        name: str,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress,
    ) -> Scores:
        if self.computes:
            check_texts(pairs, docs)
        where, method = f"{self._of.where}: {name}", self._of.method(name)
        assert method is not None
        more = {}
        if on_progress is not _ignore_progress and self._takes_progress(name):
            more = {"on_progress": lambda n: on_progress(int(n))}
        with errors_as_one_sentence(self._of.where, name):
            # A copy, so that the component cannot change the list.
            found = refuse_awaitable(method(list(pairs), queries, docs, **more), where)
            scores = _scores(found, where)
        if len(scores.logits) != len(pairs):
            raise EvalkitError(
                f"{where} returned {len(scores.logits)} scores for {len(pairs)} pairs; it has to return one for each, "
                "in their order, and None where there is none"
            )
        if not more:
            on_progress(len(pairs))
        return scores


def _device(component: ForeignComponent) -> str:
    """Return where a reranker computes; without inheriting, a `device` that is not a text is ignored."""
    device = component.value("device", "cpu", object)
    device = str(device) if type(device).__name__ == "device" else device
    if not isinstance(device, str) and not isinstance(component.object, Reranker):
        return "cpu"
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+|:all)?", device):
        raise EvalkitError(
            f"{component.where}: device is {quoted(device)}, and has to be cpu, cuda, cuda:N or auto, the one whose "
            "memory is measured; cpu measures the process's memory alone"
        )
    return device


def _price(component: ForeignComponent) -> CallPrice | None:
    """Return what a reranker's server charges; without inheriting, a `price` of another type is ignored."""
    price = component.attribute("price")
    if isinstance(price, CallPrice) or price is None:
        return price
    if isinstance(component.object, Reranker):
        raise EvalkitError(
            f"{component.where}: price is {describe_type(price)}, and has to be a CallPrice (evalkit.rerankers.base)"
        )
    return None


def _offsets(value: object, texts: Sequence[str], where: str) -> list[list[tuple[int, int]]]:
    """Return where the tokens of each text are, checked to be ascending spans of it."""
    offsets = to_plain(value)
    check_type(offsets, list[list[list[int]]], where)
    if len(offsets) != len(texts):
        raise EvalkitError(
            f"{where} returned {len(offsets)} lists for {len(texts)} texts; it has to return one for each"
        )
    for text, of_text in zip(texts, offsets, strict=True):
        starts, ends = [span[0] for span in of_text if span], [span[-1] for span in of_text if span]
        is_in_order = starts == sorted(starts) and ends == sorted(ends) and all(map(operator.le, starts, ends))
        if not is_in_order or any(len(span) != 2 for span in of_text) or min(starts, default=0) < 0 or (
            max(ends, default=0) > len(text)
        ):  # fmt: skip
            raise EvalkitError(
                f"{where} has to return [start, end] of each token, in characters of the text and in its order"
            )
    return [[(start, end) for start, end in of_text] for of_text in offsets]


def _scores(value: object, where: str) -> Scores:
    scores = value if isinstance(value, Scores) else Scores(_numbers(value, where))
    counts: dict[str, Any] = {}
    for field in fields(Scores):
        if field.name == "logits":
            continue
        one: Any = to_plain(getattr(scores, field.name))
        one = tuple(one) if isinstance(one, list) else one
        check_type(one, field.type, f"{where}: {field.name}")
        if field.type in (int, float) and one < 0:
            raise EvalkitError(f"{where}: {field.name} is {one}, and has to be 0 or more")
        counts[field.name] = one
    return replace(scores, logits=_numbers(scores.logits, where), **counts)


def _numbers(value: object, where: str) -> tuple[float | None, ...]:
    """Return the numbers of a list, an array or a tensor; NaN and infinity are checked later."""
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "tolist"):
        if len(shape) != 1:
            raise EvalkitError(
                f"{where} returned an array of shape {tuple(shape)}, and has to return one number for each pair"
            )
        value = value.tolist()
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise EvalkitError(
            f"{where} returned {describe_type(value)}, and has to return a list of numbers, one for each pair, or a "
            "Scores (evalkit.types)"
        )
    return tuple(one if type(one) is float else to_float(one, index, where) for index, one in enumerate(value))
