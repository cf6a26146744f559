"""The base class of rerankers: everything but `score` has a default."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from evalkit.boundary.contract import default
from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.types import Pair, Scores, Settings


@dataclass(frozen=True)
class EngineFacts:
    """What an engine computes with: what the cost measurement needs to know, and results record."""

    dtype: str
    """Type of the weights as torch names it, such as ``float32``."""
    max_length: int
    """Tokens beyond which a pair is truncated."""
    batch_tokens: int | None
    """The most tokens in a batch, padding included; None without a limit."""
    devices: int
    """How many devices share the scoring of all pairs."""
    device_name: str
    """The name of the device by its manufacturer."""
    attention: str
    """The implementation of attention in use."""
    prompt: str = ""
    """What the reranker puts in front of each query before it tokenizes."""


@dataclass(frozen=True)
class CallPrice:
    """What a server charges; one of the two is None."""

    per_1000_calls: float | None
    per_million_tokens: float | None


@runtime_checkable
class Engine(Protocol):
    """A model whose tokens, weights and activations can be measured.

    A reranker without an engine is timed end to end, and its memory is that of the process.
    """

    @property
    def facts(self) -> EngineFacts:
        """The settings it computes with."""

    def tokenize(self, texts: Sequence[tuple[str, str]]) -> Any:
        """Tokenize pairs.

        Args:
            texts: (query, passage), n of them; the query already has the prompt of `EngineFacts`.

        Returns:
            An object with ``lengths``, the tokens of each pair after truncation, shape (n,), and ``batch(rows)``, which
            returns the model's input for some of the pairs.
        """

    def weights_mb(self) -> float:
        """Return the size of parameters and buffers in MiB."""

    def predicted_peak_mb(self, batch_tokens: int) -> float:
        """Return the size of weights and activations in MiB, by arithmetic, for a batch of `batch_tokens` tokens."""


class Reranker(ABC):
    """Scores candidates. Only `score` has to be implemented.

    A class does not have to inherit: members that it lacks have the defaults below. For each trial an instance is
    created from the settings of its YAML; then `check`, `load`, `prepare`, `score` and `describe` are called in this
    order, `score` several times. Any method may raise an EvalkitError, which is shown as one sentence.
    """

    name: str | None = default(None)
    """Name in results and reports; None for the name of the class."""
    computes: bool = default(True)
    """Whether scores are computed, so that time and memory are measured; False where they are looked up."""
    reranks: bool = default(True)
    """False for no reranking: the first stage's order stays, and nothing is loaded."""
    check_s: float = default(0.0)
    """Seconds of the last `load` spent on checks, which are not part of the loading time."""
    device: str = default("cpu")
    """The device whose memory is measured: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``."""
    remote: bool = default(False)
    """Whether other machines compute, whose memory and energy this process cannot measure; times are its own."""
    concurrent: bool = default(False)
    """Whether several threads may call `score` at the same time; else queries under load wait for one another."""
    price: CallPrice | None = default(None)
    """What a server charges for its calls or tokens; None for no such price."""
    engine: Engine | None = default(None)
    """The loaded model, for closer measurement; None before `load`, or where it cannot be measured."""

    @property
    def shown_name(self) -> str:
        """The name while loading, and in a result if `describe` returns no ``name``."""
        return self.name or type(self).__name__

    def check(self) -> None:
        """Check the settings before any work is done.

        Raises:
            EvalkitError: a setting is invalid or not available; the message names the valid ones.
        """

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        """Refuse a cost protocol that this reranker cannot be measured with.

        Args:
            protocol: the configuration's group ``protocol``.

        Raises:
            EvalkitError: the reranker does not support it.
        """

    def max_hits(self) -> int | None:
        """Return the largest number of passages of a query in a finished run; None for a reranker that scores.

        Called after `check`; it is the depth if the user sets none.
        """
        return None

    def load(self) -> None:
        """Prepare for scoring, such as loading a model; the time is measured apart from scoring.

        Raises:
            EvalkitError: something that is needed is not available.
        """

    def prepare(self, pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str]) -> None:
        """Compute what an application has stored before a query comes, such as the vectors of passages.

        What no application computes, such as the number of texts that are too long, belongs here too. It is called
        after `load` and before any `score`; its time is measured apart, as `Cost.preparation_s`. Nothing that depends
        on a query and a passage together may be computed here.

        Args:
            pairs: those that `score` and `score_all` will be given, or more.
            queries: as for `score`.
            docs: as for `score`.

        Raises:
            EvalkitError: it cannot be computed.
        """

    def token_offsets(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]] | None:
        """Return where the tokens of texts are, by which ``chunks=tokens`` splits passages; None without a tokenizer.

        Args:
            texts: passages, n of them. Before `load` it is called with none, to find out whether it returns None.

        Returns:
            For each text, start and end of each of its tokens in characters, in order; special tokens left out, and
            nothing truncated.
        """
        return None

    @abstractmethod
    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Compute a score for each pair; this call is timed, so scores must not be cached.

        Args:
            pairs: n distinct (query_id, doc_id); those of a query are consecutive, in first-stage order.
            queries: query_id -> text.
            docs: doc_id -> text, the title joined in front.
            on_progress: call it with the number of pairs just scored; optional, as `score` may lack this parameter.

        Returns:
            n scores in the order of `pairs`; higher is better, and only scores of the same query are compared. A pair
            with None follows the scored ones in first-stage order. A list, array or tensor of n numbers is accepted in
            place of `Scores`, which also has fields for token counts and times.

        Raises:
            EvalkitError: the pairs cannot be scored. A NaN or infinite score ends the trial with an error.
        """

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return a score for each pair as `score` does, but possibly from a store or by several devices.

        Args:
            pairs: as for `score`.
            queries: as for `score`.
            docs: as for `score`.
            on_progress: as for `score`.

        Raises:
            EvalkitError: as for `score`, or a store or device cannot be used.
        """
        return self.score(pairs, queries, docs, on_progress)

    def describe(self) -> Settings:
        """Return what was really done, for the result: JSON-ready values, by default none.

        Called after `load` and again after `score`. Reports show those of ``name``, ``model``, ``precision``,
        ``device_name``, ``max_length`` and ``batch_tokens`` that exist.
        """
        return {}


def check_texts(pairs: Sequence[Pair], docs: Mapping[str, str]) -> None:
    """Check that each passage has a text.

    Args:
        pairs: the pairs to score.
        docs: doc_id -> text.

    Raises:
        EvalkitError: a passage has none, for example because the first stage is a run of another collection.
    """
    absent = {pair.doc_id for pair in pairs if pair.doc_id not in docs}
    if absent:
        raise EvalkitError(
            f"{len(absent)} passages of the first stage have no text in this slice (e.g. {min(absent)!r}), so they "
            "cannot be scored; give a run of the same corpus, or use the full corpus (slice.corpus=full)"
        )


def texts_of(
    pairs: Sequence[Pair], queries: Mapping[str, str], docs: Mapping[str, str], prompt: str = ""
) -> list[tuple[str, str]]:
    """Return the query and the passage of each pair.

    Args:
        pairs: the pairs to score.
        queries: query_id -> text.
        docs: doc_id -> text.
        prompt: what is put in front of each query.

    Raises:
        EvalkitError: as for `check_texts`.
    """
    check_texts(pairs, docs)
    return [(prompt + queries[pair.query_id], docs[pair.doc_id]) for pair in pairs]


def logits_by_query(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> logit, without the pairs that have none.

    Args:
        pairs: n pairs.
        scores: n scores in the order of `pairs`; None for a pair without a logit.

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
