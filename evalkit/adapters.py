"""Makes a component that is not evalkit's own fit its contract, or says in one sentence why it does not fit."""

import inspect
import math
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import fields, replace
from decimal import Decimal
from enum import Enum
from numbers import Real
from pathlib import PurePath
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.first_stage.base import FirstStage
from evalkit.outside import is_unicode, quoted
from evalkit.rerankers.base import Engine, Reranker, check_texts
from evalkit.shape import COUNT, LINE, Limited, misfit
from evalkit.types import Hit, Pair, Run, Scores, Settings, Slice

Progress = Callable[[int], None]


def reranker_of(component: object, where: str | None = None) -> Reranker:
    """Return a reranker that keeps the contract, whatever the component returns; `where` names it in messages.

    Raises:
        EvalkitError: it lacks `score`, or a member of it is of the wrong kind.
    """
    if isinstance(component, _AnyReranker) or (isinstance(component, Reranker) and _is_ours(component)):
        return component
    return _AnyReranker(component, where or _name(component))


def first_stage_of(component: object, where: str | None = None) -> FirstStage:
    """Return a first stage that keeps the contract, whatever the component returns; `where` names it in messages.

    Raises:
        EvalkitError: it lacks `search`, or a member of it is of the wrong kind.
    """
    if isinstance(component, _AnyFirstStage) or (isinstance(component, FirstStage) and _is_ours(component)):
        return component
    return _AnyFirstStage(component, where or _name(component))


def slice_of(value: object, where: str) -> Slice:
    """Return the slice that a function returned.

    Raises:
        EvalkitError: it is none, or it was not made by `evalkit.slices.assemble.assemble`.
    """
    if not isinstance(value, Slice):
        raise EvalkitError(
            f"{where}: it returned {_kind(value)}, and has to return a Slice, which evalkit.slices.assemble.assemble "
            "makes"
        )
    facts = _plain_facts(value.facts, f"{where}: facts of the slice")
    if wrong := misfit(facts, _SLICE_FACTS, f"{where}: facts of the slice"):
        raise EvalkitError(f"{wrong}; evalkit.slices.assemble.assemble counts what is needed")
    return replace(value, facts={"corpus": "full", **facts})


@contextmanager
def told_in_a_sentence(where: str, doing: str) -> Iterator[None]:
    """Turn what somebody else's code raises into one sentence with the file and line, and the traceback as its cause.

    Raises:
        EvalkitError: the code raised something, or tried to end the process.
    """
    try:
        yield
    except EvalkitError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(str(error).split())[:300]
        raise EvalkitError(
            f"{where}: {doing} failed with {type(error).__name__}{f': {what}' if what else ''}{_place(error)}; "
            "HYDRA_FULL_ERROR=1 shows the traceback"
        ) from error


def _place(error: BaseException) -> str:
    """Return the last line that ran in the first file that is neither evalkit's nor the import system's."""
    if isinstance(error, SyntaxError):
        return ""  # its message has file and line
    own = str(PurePath(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((own, "<frozen"))]
    frames = [f for f in frames if not f.filename.endswith(("importlib/__init__.py", "contextlib.py"))]
    last = next((f for f in reversed(frames) if f.filename == frames[0].filename), None)
    return f" ({PurePath(last.filename).name}, line {last.lineno})" if last else ""


def _is_ours(component: object) -> bool:
    return type(component).__module__.partition(".")[0] == "evalkit"


def _name(component: object) -> str:
    return f"{type(component).__module__}.{type(component).__qualname__}"


def _kind(value: object) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class _Component:
    """A component of somebody else's with its name: its members by the contract, its methods called with care."""

    def __init__(self, component: object, where: str, contract: type, needed: Mapping[str, str]) -> None:
        self.object, self.where, self._contract = component, where, contract
        for name, signature in needed.items():
            if self.method(name) is None:
                kind = contract.__name__
                raise EvalkitError(
                    f"{where}: it has no method {name}{signature}, which is what a "
                    f"{'reranker' if kind == 'Reranker' else 'first stage'} needs (evalkit.{_MODULES[kind]}.{kind})"
                )

    def method(self, name: str) -> Callable[..., Any] | None:
        """Return the component's own method; None where it has none, or only the contract's default.

        Raises:
            EvalkitError: the name is that of something else.
        """
        if inspect.getattr_static(type(self.object), name, None) is inspect.getattr_static(self._contract, name):
            return None
        with told_in_a_sentence(self.where, name):
            found = getattr(self.object, name, None)
        if found is None:
            return None
        if not callable(found):
            raise EvalkitError(f"{self.where}: {name} is {_kind(found)}, and has to be a method")
        return found  # type: ignore[no-any-return]

    def value(self, name: str, default: Any, shape: Any) -> Any:
        """Return the component's own attribute, or the default where it has none.

        Raises:
            EvalkitError: it has not this shape.
        """
        with told_in_a_sentence(self.where, name):
            value = getattr(self.object, name, default)
        if wrong := misfit(_plain(value), shape, f"{self.where}: {name}"):
            raise EvalkitError(wrong)
        return _plain(value)

    def label(self) -> str:
        """Return the component's name, or its class's."""
        return str(self.value("name", None, _LINE_OR_NONE) or type(self.object).__name__)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method that the component may have, and return what it returns; None where it has none.

        Raises:
            EvalkitError: the method does not take this, or it raised something.
        """
        method = self.method(name)
        if method is None:
            return None
        _check_takes(method, len(arguments), f"{self.where}: {name}")
        with told_in_a_sentence(self.where, name):
            return _awaited(method(*arguments), f"{self.where}: {name}")

    def facts(self, shape: Mapping[str, Any]) -> Settings:
        """Return what the component describes, as JSON can hold it; what it gives as None is left out if it is a text.

        Raises:
            EvalkitError: it is no mapping, or a value has a form that JSON or the reports do not know.
        """
        value = self.call("describe")
        where = f"{self.where}: describe()"
        with told_in_a_sentence(self.where, "describe"):
            facts = {} if value is None else _plain_facts(value, where)
        facts = {key: one for key, one in facts.items() if one is not None or shape.get(f"{key}?") is not LINE}
        if wrong := misfit(facts, shape, where):
            raise EvalkitError(wrong)
        return facts


def _unseen(done: int) -> None:
    """Take no note of progress."""


class _AnyReranker(Reranker):
    """A reranker of somebody else's, whether or not it inherits."""

    def __init__(self, component: object, where: str) -> None:
        self._of = _Component(component, where, Reranker, {"score": "(pairs, queries, docs)"})
        self.computes = self._of.value("computes", True, bool)
        self.remote = self._of.value("remote", False, bool)
        self.device = _device(self._of)
        self.name = self._of.label()
        for method in ("score", "score_all"):
            self._takes_progress(method)

    @property
    def engine(self) -> Engine | None:  # type: ignore[override]  # the component's own, which may come with loading
        engine = getattr(self._of.object, "engine", None)
        if engine is not None and not isinstance(engine, Engine) and isinstance(self._of.object, Reranker):
            raise EvalkitError(
                f"{self._of.where}: engine is {_kind(engine)}, and has to have facts, tokenize, weights_mb and "
                "predicted_peak_mb (evalkit.rerankers.base.Engine)"
            )
        return engine if isinstance(engine, Engine) else None  # without inheriting, the name may mean something else

    def check(self) -> None:
        self._of.call("check")

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        self._of.call("check_protocol", protocol)

    def load(self) -> None:
        self._of.call("load")

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Progress = _unseen,
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
        on_progress: Progress = _unseen,
    ) -> Scores:
        name = "score" if self._of.method("score_all") is None else "score_all"
        return self._scored(name, pairs, queries, docs, on_progress)

    def describe(self) -> Settings:
        return self._of.facts(_RERANKER_FACTS)

    def _takes_progress(self, name: str) -> bool:
        """Return whether a method takes `on_progress`; it is given by this name only, as a fourth may be another.

        Raises:
            EvalkitError: it does not take pairs, queries and docs.
        """
        method = self._of.method(name)
        if method is None:
            return False
        parameters = _check_takes(method, 3, f"{self._of.where}: {name}", "on_progress")
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
        if on_progress is not _unseen and self._takes_progress(name):
            more = {"on_progress": lambda n: on_progress(int(n))}
        with told_in_a_sentence(self._of.where, name):
            # A copy: what is sorted or emptied there stays whole here.
            found = _awaited(method(list(pairs), queries, docs, **more), where)
            scores = _scores(found, where)
        if len(scores.logits) != len(pairs):
            raise EvalkitError(
                f"{where} returned {len(scores.logits)} scores for {len(pairs)} pairs; it has to return one for each, "
                "in their order, and None where there is none"
            )
        if not more:
            on_progress(len(pairs))
        return scores


class _AnyFirstStage(FirstStage):
    """A first stage of somebody else's, whether or not it inherits."""

    def __init__(self, component: object, where: str) -> None:
        self._of = _Component(component, where, FirstStage, {"search": "(slice, depth)"})
        self.name = self._of.label()
        search = self._of.method("search")
        assert search is not None
        _check_takes(search, 2, f"{where}: search")

    @property
    def cache_s(self) -> float:  # type: ignore[override]  # of the last search
        return float(self._of.value("cache_s", 0.0, float))

    def check(self) -> None:
        self._of.call("check")

    def search(self, data: Slice, depth: int) -> Run:
        return _run(self._of.call("search", data, depth), data, self.label, f"{self._of.where}: search")

    def describe(self) -> Settings:
        return self._of.facts(_FIRST_STAGE_FACTS)


def _check_takes(method: Callable[..., Any], count: int, where: str, optional: str | None = None) -> Mapping[str, Any]:
    """Return the parameters of a method that takes so many arguments by position.

    Raises:
        EvalkitError: it does not.
    """
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # of a compiled function, which does not tell
        return {}
    try:
        more = {optional: None} if optional and optional in signature.parameters else {}
        signature.bind(*[None] * count, **more)
    except TypeError:
        takes = {2: "slice, depth", 3: "pairs, queries, docs", 1: "protocol"}.get(count, "")
        raise EvalkitError(
            f"{where}{signature} has to take ({takes})" + (f", and may take {optional} besides" if optional else "")
        ) from None
    return signature.parameters


def _awaited(value: object, where: str) -> object:
    if inspect.isawaitable(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()
        raise EvalkitError(f"{where} is asynchronous, and nothing waits for it; end it with asyncio.run(...)")
    return value


def _device(component: _Component) -> str:
    """Return where a reranker computes; an attribute of this name that is no device means something else."""
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


def _scores(value: object, where: str) -> Scores:
    scores = value if isinstance(value, Scores) else Scores(_numbers(value, where))
    counts: dict[str, Any] = {}
    for field in fields(Scores):
        if field.name == "logits":
            continue
        one = _plain(getattr(scores, field.name))
        one = tuple(one) if isinstance(one, list) else one
        shape = _COUNTS.get(field.type, field.type)
        if wrong := misfit(one, shape, f"{where}: {field.name}"):
            raise EvalkitError(wrong)
        counts[field.name] = one
    return replace(scores, logits=_numbers(scores.logits, where), **counts)


def _numbers(value: object, where: str) -> tuple[float | None, ...]:
    """Return the numbers of a list, an array or a tensor; NaN and infinity are not looked at here."""
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "tolist"):
        if len(shape) != 1:
            raise EvalkitError(f"{where} returned an array of shape {tuple(shape)}, and one number a pair is needed")
        value = value.tolist()
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise EvalkitError(
            f"{where} returned {_kind(value)}, and has to return a list of numbers, one for each pair, or a "
            "Scores (evalkit.types)"
        )
    return tuple(one if type(one) is float else _number(one, number, where) for number, one in enumerate(value))


def _number(one: object, number: int, where: str) -> float | None:
    if hasattr(one, "item") and not isinstance(one, Mapping):
        with told_in_a_sentence(where, f"score {number}"):
            one = one.item()  # of numpy or torch
    if one is None:
        return None
    if isinstance(one, bool) or not isinstance(one, Real | Decimal):
        raise EvalkitError(f"{where}: score {number} is {_kind(one)}, and has to be a number, or None for none")
    try:
        return float(one)
    except OverflowError:
        return math.inf


def _run(value: object, data: Slice, name: str, where: str) -> Run:
    rankings = value.rankings if isinstance(value, Run) else value
    if not isinstance(rankings, Mapping):
        raise EvalkitError(
            f"{where} returned {_kind(value)}, and has to return a Run (evalkit.types): query_id -> hits, best first"
        )
    if strange := [query_id for query_id in rankings if query_id not in data.queries]:
        raise EvalkitError(f"{where} returned hits for {quoted(strange[0])}, which is no query of the slice")
    return Run(
        value.name if isinstance(value, Run) and isinstance(value.name, str) else name,
        {query_id: _hits(rankings.get(query_id, ()), query_id, where) for query_id in data.queries},
    )


def _hits(value: Any, query_id: str, where: str) -> tuple[Hit, ...]:
    hits: list[Hit] = []
    of = f"{where}: hit {{}} of query {quoted(query_id)}"
    if isinstance(value, str | Mapping | Set) or not isinstance(value, Iterable):
        raise EvalkitError(f"{where}: hits of query {quoted(query_id)} are {_kind(value)}, and have to be a list")
    for rank, hit in enumerate(value, 1):
        if not isinstance(hit, tuple | list) or len(hit) != 2 or not isinstance(hit[0], str):
            raise EvalkitError(f"{of.format(rank)} is {_kind(hit)}, and has to be (doc_id, score)")
        score = _number(hit[1], rank, where)
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


def _plain_facts(value: object, where: str) -> dict[str, Any]:
    """Return a mapping with values that JSON can hold.

    Raises:
        EvalkitError: it is no mapping, or a value has no form in JSON; the sentence names it.
    """
    if not isinstance(value, Mapping):
        raise EvalkitError(f"{where} is {_kind(value)}, and has to be a mapping of names to values")
    plain = _plain(value)
    if wrong := _no_json(plain, where):
        raise EvalkitError(f"{wrong}, which JSON cannot hold")
    return dict(plain)


def _plain(value: Any) -> Any:
    """Return a value with paths, devices, types, arrays and sets as texts, numbers and lists; others as they are."""
    if hasattr(value, "item") and not isinstance(value, Mapping) and not getattr(value, "shape", ()):
        return value.item()  # a number of numpy or torch
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Set):
        return sorted((_plain(inner) for inner in value), key=str)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, PurePath | Decimal) or type(value).__name__.lower() in ("device", "dtype"):
        return str(value)
    return value


def _no_json(value: Any, where: str) -> str | None:
    if isinstance(value, dict):
        return next(filter(None, (_no_json(inner, f"{where}[{key!r}]") for key, inner in value.items())), None)
    if isinstance(value, list):
        return next(filter(None, (_no_json(inner, where) for inner in value)), None)
    if isinstance(value, str):
        return None if is_unicode(value) else f"{where} has half of a character"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} is {value}"
    return None if value is None or isinstance(value, bool | int) else f"{where} is {_kind(value)}"


_MODULES = {"Reranker": "rerankers.base", "FirstStage": "first_stage.base"}
_COUNTS: Mapping[Any, Any] = {int: COUNT, float: Limited(float, lambda number: number >= 0, "0 or more")}
_LINE_OR_NONE = Limited(str | None, lambda text: text is None or LINE.holds(text), LINE.words)
_RERANKER_FACTS = {
    "name?": LINE,
    "reranks?": bool,
    "model?": LINE,
    "precision?": LINE,
    "device?": LINE,
    "device_name?": LINE,
    "devices?": int | None,
    "batch_tokens?": int | None,
    "max_length?": int | None,
}
"""What reports and the gate read of what a reranker describes."""
_FIRST_STAGE_FACTS = {"name?": LINE, "from_cache?": bool}
_SLICE_FACTS = {
    "queries": COUNT,
    "docs": COUNT,
    "judged_docs_without_text": COUNT,
    "queries_without_relevant": COUNT,
    "corpus?": LINE,
    "fingerprints": dict.fromkeys(("queries", "docs", "judgments"), LINE),
}
