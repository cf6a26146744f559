"""What a reranker is: the contract, with a default for all but `score`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from evalkit.boundary.contract import default
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.types import Pair, Scores, Settings


@dataclass(frozen=True)
class EngineFacts:
    """What an engine computes with: what the cost measurement needs to know, and results record."""

    dtype: str
    """Type of the weights as torch names it, such as ``float32``."""
    max_length: int
    """Tokens of a pair, beyond which it is cut."""
    batch_tokens: int | None
    """The most tokens that are computed at a time; None where there is no such limit."""
    devices: int
    """How many devices share the scoring of all pairs."""
    device_name: str
    """The device as its maker names it."""
    attention: str
    """The implementation of attention in use."""
    prompt: str = ""
    """What the reranker puts in front of each query before it tokenizes."""


@runtime_checkable
class Engine(Protocol):
    """A model of one's own that can be measured more closely: tokens, weights, activations.

    A reranker without one is timed end to end, and its memory is that of the process.
    """

    @property
    def facts(self) -> EngineFacts:
        """What it computes with."""

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> Any:
        """Return (query, passage) texts as an object with ``lengths`` (tokens of each) and ``batch(rows)``."""

    def weights_mb(self) -> float:
        """Return the size of parameters and buffers in MiB."""

    def predicted_peak_mb(self, batch_tokens: int) -> float:
        """Return weights and activations in MiB, by arithmetic, for a batch of so many tokens."""


class Reranker(ABC):
    """Scores candidates: `score` is all that has to be written.

    A class that has `score` without inheriting is as good: what else it lacks is as here. An instance is made once for
    each trial, from the settings of its YAML; then `check`, `load`, `score` and `describe` are called, in this order,
    `score` several times. An EvalkitError may be raised anywhere, and is shown as one sentence.
    """

    name: str | None = default(None)
    """What results and reports call it; None for the class's name."""
    computes: bool = default(True)
    """Whether scoring is work, whose time and memory are worth measuring; False where scores are looked up."""
    reranks: bool = default(True)
    """Whether there is a reranker at all; False leaves the first stage's order, and nothing is loaded or scored."""
    check_s: float = default(0.0)
    """Seconds of the last `load` that went into checks, and are no part of the time to load."""
    device: str = default("cpu")
    """Where it computes, ``cpu``, ``cuda``, ``cuda:N`` or ``auto``: the device whose memory is measured."""
    remote: bool = default(False)
    """Whether other machines compute, whose memory, latency and energy cannot be measured from here."""
    engine: Engine | None = default(None)
    """After `load`: a model whose tokens and weights can be asked for; None where there is none, or it is unknown."""

    @property
    def label(self) -> str:
        """What it is called while it loads, and in a result where `describe` gives no ``name``."""
        return self.name or type(self).__name__

    def check(self) -> None:
        """Find what is wrong with the settings, before any work is done.

        Raises:
            EvalkitError: a setting cannot be had; the sentence says what can.
        """

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        """Refuse a cost protocol (the configuration's group ``protocol``) that this reranker cannot be measured by.

        Raises:
            EvalkitError: it cannot.
        """

    def max_hits(self) -> int | None:
        """Return how many passages a finished run ranks of the query that has most; None for what is no finished run.

        Called after `check`; the depth is that where the user names none.
        """
        return None

    def load(self) -> None:
        """Get ready to score; its time is measured apart from scoring.

        Raises:
            EvalkitError: what is needed cannot be had.
        """

    @abstractmethod
    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return a score for each pair, computed now: this is what is timed.

        Args:
            pairs: (query_id, doc_id), n of them, each once; those of a query follow one another, in first-stage order.
            queries: query_id -> text.
            docs: doc_id -> text, the title joined in front.
            on_progress: takes how many more pairs are done; a `score` without this parameter is not given it.

        Returns:
            n scores in the order of `pairs`, higher is better, comparable within a query; None for a pair that has
            none, which then follows the scored ones in first-stage order. A component of yours may return a list, an
            array or a tensor of n numbers instead of `Scores`, which has room for counts of tokens and times too.

        Raises:
            EvalkitError: the pairs cannot be scored. A score that is NaN or infinite ends the trial.
        """

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return a score for each pair, as `score` does, by any means: from a store, or on several devices."""
        return self.score(pairs, queries, docs, on_progress)

    def describe(self) -> Settings:
        """Return what was really done, for the result: JSON-ready values, by default nothing.

        Called after `load` and again after `score`. Reports show ``name``, ``model``, ``precision``, ``device_name``,
        ``max_length`` and ``batch_tokens``, those that are there.
        """
        return {}


def check_texts(pairs: Sequence[Pair], docs: Mapping[str, str]) -> None:
    """Check that each passage has a text.

    Raises:
        EvalkitError: one has none, as where the run of another collection is the first stage.
    """
    absent = {pair.doc_id for pair in pairs if pair.doc_id not in docs}
    if absent:
        raise EvalkitError(
            f"{len(absent)} passages of the first stage have no text in this slice (e.g. {min(absent)!r}), so they "
            "cannot be scored; give the run of this very corpus, or, where it is cut, all of it (slice.corpus=full)"
        )


def logits_by_query(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> logit, without the pairs that have none.

    Raises:
        NotFiniteError: a logit is NaN or infinite.
    """
    logits: dict[str, dict[str, float]] = {}
    for pair, logit in zip(pairs, scores.logits, strict=True):
        if logit is None:
            continue
        if not math.isfinite(logit):
            raise NotFiniteError(
                f"the reranker gave {logit} as logit for query {pair.query_id!r} and passage {pair.doc_id!r}; a wider "
                "precision (bf16 or fp32) may help, or the weights are broken"
            )
        logits.setdefault(pair.query_id, {})[pair.doc_id] = logit
    return logits
