"""Rerankers that a caller hands over: a function, or an object of another library, called as it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import groupby
from typing import Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.foreign_code import class_path, describe_type, errors_as_one_sentence, refuse_awaitable, to_float
from evalkit.rerankers.adapter import adapt_reranker
from evalkit.rerankers.base import Reranker, check_texts
from evalkit.types import Pair, Scores, Settings

Texts = Sequence[tuple[str, str]]
"""(query, passage) of each pair."""

_CHUNK_PAIRS = 1024
"""Pairs that an object gets at once: enough for it to make good batches, and few enough to show progress."""


def reranker_from(value: Any) -> Reranker:
    """Return a reranker that calls a function or an object.

    The first of these that an object has is called: ``compute_score(pairs)`` (FlagEmbedding), ``predict(pairs)``
    (sentence-transformers), ``rank(query, texts)`` (rerankers), or it is a reranker by evalkit's own contract.

    Args:
        value: a function ``(query, texts) -> scores``, an instance of `evalkit.rerankers.base.Reranker` or of a class
            with the same methods, or an object of another library.

    Raises:
        EvalkitError: it is none of them.
    """
    if isinstance(value, Reranker):
        return adapt_reranker(value)
    for name, score in _INTERFACES.items():
        if callable(getattr(value, name, None)) and not isinstance(value, type):
            return CalledReranker(value, name, score)
    if hasattr(value, "score") and not isinstance(value, type):
        return adapt_reranker(value)
    if not callable(value) or isinstance(value, type):
        raise EvalkitError(
            f"reranker is {describe_type(value)}, and has to be a name, a function (query, texts) -> scores, or an "
            "object with score, predict, rank or compute_score"
        )
    try:
        signature(value).bind("query", ["text"])
    except TypeError:
        raise EvalkitError(f"reranker {_name(value)}{signature(value)} has to take (query, texts)") from None
    except ValueError:
        pass  # a compiled function may have no signature
    return CalledReranker(value, None, _by_query)


class CalledReranker(Reranker):
    """Scores pairs by calling a function or a method; what it costs is measured from outside, end to end."""

    def __init__(self, value: Any, method: str | None, score: "_Score") -> None:
        """Wrap a function or an object.

        Args:
            value: it.
            method: the method that is called; None for a function.
            score: yields the scores of pairs, some at a time.
        """
        self._value, self._method, self._score = value, method, score
        self.name = _name(value)
        self.device = _device(value)

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return what the function or the object gives for each pair.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: it failed, or did not return a number for each passage.
        """
        check_texts(pairs, docs)
        where = f"reranker {self.name}"
        logits: list[float | None] = []
        called = self._value if self._method is None else getattr(self._value, self._method)
        batches = self._score(called, [(queries[pair.query_id], docs[pair.doc_id]) for pair in pairs])
        while True:
            with errors_as_one_sentence(where, self._method or "the function"):
                expected, found = next(batches, (0, None))
            if not expected:
                break
            scores = _numbers(refuse_awaitable(found, where), expected, where)
            logits += [to_float(score, len(logits) + n, where) for n, score in enumerate(scores)]
            on_progress(expected)
        return Scores(tuple(logits))

    def describe(self) -> Settings:
        """Return its name, its class, and the method that was called."""
        kind = getattr(self._value, "__module__", "") if self._method is None else class_path(self._value)
        return {"name": self.name, "called": self._method or "function", "class": kind}


_Score = Callable[[Any, Texts], Iterator[tuple[int, object]]]
"""Yields how many pairs were scored, and what was returned for them."""


def _by_query(function: Any, texts: Texts) -> Iterator[tuple[int, Any]]:
    for query, group in groupby(texts, key=lambda pair: pair[0]):
        passages = [text for _, text in group]
        yield len(passages), function(query, passages)


def _by_rank(rank: Any, texts: Texts) -> Iterator[tuple[int, object]]:
    for count, ranked in _by_query(rank, texts):
        found: dict[int, Any] = {}
        for one in getattr(ranked, "results", ranked):  # rerankers: RankedResults; sentence-transformers: dictionaries
            if isinstance(one, Mapping):
                found[int(one["corpus_id"])] = one["score"]
            else:
                document = getattr(one, "document", one)
                found[int(document.doc_id)] = one.score
        yield count, [found.get(number) for number in range(count)]


def _by_chunk(score: Any, texts: Texts) -> Iterator[tuple[int, object]]:
    for start in range(0, len(texts), _CHUNK_PAIRS):
        chunk = [list(pair) for pair in texts[start : start + _CHUNK_PAIRS]]
        yield len(chunk), score(chunk)


_INTERFACES: Mapping[str, _Score] = {"compute_score": _by_chunk, "predict": _by_chunk, "rank": _by_rank}


def _numbers(found: object, expected: int, where: str) -> Sequence[object]:
    """Return the scores that a call gave.

    Raises:
        EvalkitError: they are not as many as passages.
    """
    plain: Any = found.tolist() if hasattr(found, "tolist") else found
    if isinstance(plain, int | float) and not isinstance(plain, bool) and expected == 1:
        plain = [plain]  # FlagEmbedding gives a single number for a single pair
    if isinstance(plain, str | Mapping) or not isinstance(plain, Iterable):
        raise EvalkitError(f"{where}: it returned {describe_type(found)}, and has to return a score for each passage")
    scores: list[object] = list(plain)
    if len(scores) != expected:
        raise EvalkitError(f"{where}: it returned {len(scores)} scores for {expected} passages")
    return scores


def _name(value: Any) -> str:
    """Return the name of a function, the last part of a model's id or path, or the name of a class."""
    if name := getattr(value, "__name__", None):
        return str(name).strip("<>")
    for path in ("name_or_path", "model_name_or_path", "config._name_or_path", "model.config._name_or_path"):
        found: Any = value
        for step in path.split("."):
            found = getattr(found, step, None)
        if isinstance(found, str) and found.strip("/"):
            return found.rstrip("/").rsplit("/", 1)[-1]
    return type(value).__name__


def _device(value: Any) -> str:
    """Return the device of an object as evalkit names it, whose memory is then measured; ``cpu`` if it has none."""
    devices = getattr(value, "target_devices", None)
    found = str(getattr(value, "device", None) or (devices[0] if isinstance(devices, list) and devices else "cpu"))
    return found if found.split(":")[0] in ("cuda", "mps") else "cpu"
