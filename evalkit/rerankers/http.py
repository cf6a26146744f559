"""A server as the reranker: whatever is served under one of the protocols of `evalkit.rerankers.server.protocols`."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.boundary import redaction
from evalkit.boundary.cache_dirs import store_path
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say, stage
from evalkit.boundary.text import printable_name, quoted
from evalkit.rerankers.base import CallPrice, Reranker, texts_of
from evalkit.rerankers.server import protocols
from evalkit.rerankers.server.facts import read_facts, short
from evalkit.rerankers.server.key import read_key
from evalkit.rerankers.server.protocols import PROTOCOLS, Answer, Protocol
from evalkit.rerankers.server.requests import Batch, Billed, batches
from evalkit.rerankers.server.threads import as_they_end
from evalkit.types import Pair, Scores, Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from evalkit.rerankers.server.client import Client
    from evalkit.scoring.store.score_store import ScoreStore

SCORES = ("auto", "logit", "relevance")
_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_PINNED = (("model", "model_id"), ("revision", "model_sha"))
"""Setting -> what a server of protocol tei states, and no other one does."""


@dataclass
class Http(Reranker):
    """The server at `url`, asked by `concurrency` clients; a pair's score is what the server answers.

    The queries and passages leave this machine. Times are those that a client sees; memory and energy are the server's
    and are not measured.
    """

    url: str
    """Address of the server: of its API, or of the server if the path is the protocol's usual one."""
    protocol: str = "cohere"
    """What the server speaks: cohere (also Jina, vLLM, infinity, LiteLLM, Xinference), voyage, or tei."""
    model: str | None = None
    """Name that the server knows the model by; for tei, which has one only, an error if it states another."""
    revision: str | None = None
    """Version of the model, if you know it; an error if a tei server states another commit."""
    key_env: str | None = None
    """Name of the environment variable that has the key, in capitals; null for none."""
    extra: Any = None
    """Further fields of each request, such as {max_tokens_per_doc: 512}; null for none."""
    scores: str = "auto"
    """What the scores are: logit, relevance (such as 0 to 1), or auto: logit for tei unless extra has raw_scores."""
    concurrency: int = 4
    """Requests under way at a time."""
    batch_size: int | None = None
    """Most passages of a request; null for the server's limit, if it states one, else 32 for tei and 1000."""
    timeout_s: float = 60.0
    """Seconds for an attempt to get an answer."""
    retries: int = 5
    """Further attempts where one fails in a way that may pass."""
    max_wait_s: float = 120.0
    """Longest wait that a server may ask for (Retry-After), in seconds."""
    price_per_1000_calls: float | None = None
    """Price of 1,000 calls, or of 1,000 search units where the server states them; null for none."""
    price_per_million_tokens: float | None = None
    """Price of a million tokens, as the server counts them; null for none."""
    store: str = "off"
    """Where scored pairs are stored for later runs: auto, off, or a file; needs a known model and revision."""
    name: str | None = None
    """Name in results and reports; null for the model's."""
    computes = True
    remote = True
    """Times are those of the client; this process has neither the model's memory nor its energy."""
    concurrent = True
    """Each call of `score` sends requests of its own, and what they share (`Client`, its `Tally`) is for any thread."""

    def __post_init__(self) -> None:
        self._client: Client | None = None
        self._info: dict[str, Any] = {}
        self._batch = 0
        self._under_load_ms: list[float] = []

    @property
    def shown_name(self) -> str:
        """Return the setting `name`, else the model, else the host."""
        stated = self.model or self._info.get("model_id") or urlsplit(self.url).hostname or "http"
        return self.name or printable_name(str(stated))

    @property
    def price(self) -> CallPrice | None:  # type: ignore[override]  # from two settings
        """Return what calls or tokens cost; None where no price is given."""
        if self.price_per_1000_calls is None and self.price_per_million_tokens is None:
            return None
        return CallPrice(self.price_per_1000_calls, self.price_per_million_tokens)

    # --- before scoring

    def check(self) -> None:
        """Check all settings, then ask the server what it is and for the scores of one query with two short passages.

        Raises:
            EvalkitError: a setting is invalid, the server is not there, refuses the key, or has not got the model.
        """
        self._check_settings()
        address = protocols.endpoint(self._protocol, self.url)
        key = read_key(self.key_env)
        if self.store != "off":
            from evalkit.scoring.store.database import check_writable

            check_writable(store_path(self.store))
        self._connect(address, key)

    def check_protocol(self, protocol: Mapping[str, Any]) -> None:
        """Refuse a protocol that compares the times of the server with a workload on this machine.

        Raises:
            EvalkitError: it has ``calibrate``.
        """
        if protocol.get("calibrate"):
            raise EvalkitError(
                "protocol.calibrate=true times a fixed workload on this machine, and reranker=http is computed by "
                "another one; use protocol=quick or protocol=standard"
            )

    def load(self) -> None:
        """Connect to the server, unless `check` has.

        Raises:
            EvalkitError: as for `check`.
        """
        if self._client is None:
            self.check()

    def _check_settings(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise EvalkitError(f"reranker.protocol={self.protocol}: choose from {', '.join(PROTOCOLS)}")
        if self.scores not in SCORES:
            raise EvalkitError(f"reranker.scores={self.scores}: choose from {', '.join(SCORES)}")
        protocol = self._protocol
        if protocol.names_model and not self.model:
            raise EvalkitError(
                f"reranker.protocol={self.protocol} names the model in each request; add reranker.model=NAME"
            )
        for setting, least, what in (("concurrency", 1, "a number of 1 or more"), ("retries", 0, "0 or more"),
                                     ("batch_size", 1, "a number of passages, 1 or more, or null"),
                                     ("max_wait_s", 0, "a number of seconds, 0 or more"),
                                     ("price_per_1000_calls", 0, "a price, or null for none"),
                                     ("price_per_million_tokens", 0, "a price, or null for none")):  # fmt: skip
            value = getattr(self, setting)
            if value is not None and not least <= value < float("inf"):
                raise EvalkitError(f"reranker.{setting}={value}: give {what}")
        if not 0 < self.timeout_s < float("inf"):
            raise EvalkitError(f"reranker.timeout_s={self.timeout_s:g}: give a number of seconds above 0")
        if self.price_per_1000_calls is not None and self.price_per_million_tokens is not None:
            raise EvalkitError(
                "reranker.price_per_1000_calls and reranker.price_per_million_tokens are two ways to pay; give one"
            )
        if self.extra is not None and not isinstance(self.extra, Mapping):
            raise EvalkitError(
                f"reranker.extra={quoted(self.extra)}: give fields, such as {{raw_scores: true}}, or null"
            )
        if taken := [name for name in self._extra if name in protocol.own_fields]:
            raise EvalkitError(f"reranker.extra.{taken[0]}: evalkit fills in {', '.join(protocol.own_fields)} itself")

    @property
    def _extra(self) -> dict[str, Any]:
        return dict(self.extra or {})

    @property
    def _protocol(self) -> Protocol:
        return PROTOCOLS[self.protocol]

    def _connect(self, address: str, key: str | None) -> None:
        from evalkit.rerankers.server.client import Client, Manner

        client = Client(Manner(address, key, self.key_env, self.timeout_s, self.retries, self.max_wait_s))
        with stage("asking the server"):
            try:
                self._info = read_facts(client, self._protocol, address, self.model)
                self._check_kind()
                self._batch = self._batch_size()
                docs = ("Snow is white.", "Grass is green.")[: self._batch]
                self._ask(client, Batch("Which colour has snow?", docs, tuple(range(len(docs)))), is_first=True)
                self._check_pinned()  # last: a server that cannot be asked states nothing
            except BaseException:
                client.close()
                raise
        self._client = client

    def _check_kind(self) -> None:
        kind = self._info.get("model_type")
        if kind not in (None, "reranker", "classifier"):
            raise EvalkitError(f"reranker.url={self.url}: the server has a model of kind {kind}, and no reranker")

    def _check_pinned(self) -> None:
        """Check that a server which states its model has the one that the settings name."""
        for setting, key in _PINNED:
            asked, stated = getattr(self, setting), self._info.get(key)
            if None not in (asked, stated) and asked != stated:
                raise EvalkitError(
                    f"reranker.{setting}={asked}: the server at {self.url} has {printable_name(str(stated))}"
                )

    def _batch_size(self) -> int:
        """Return the most passages of a request: as it is set, else what the server takes, else the protocol's."""
        limit = self._info.get("max_client_batch_size")
        limit = limit if type(limit) is int and limit > 0 else None
        if limit is not None and self.batch_size is not None and self.batch_size > limit:
            raise EvalkitError(
                f"reranker.batch_size={self.batch_size}: the server takes {limit} passages a request at most "
                "(its max_client_batch_size)"
            )
        return self.batch_size or limit or self._protocol.batch

    # --- scoring

    def score(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Ask the server for the score of each pair, by up to `concurrency` requests at a time.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: a passage has no text, or the server refuses, is not there, or fails in every attempt.
        """
        texts = texts_of(pairs, queries, docs)
        logits = _unknown(len(texts))
        billed = Billed()
        with closing(self._answers(texts, range(len(texts)))) as answers:  # an error below ends the other requests too
            for batch, answer in answers:
                logits[list(batch.rows)] = answer.scores
                billed.add(answer)
                on_progress(len(batch.rows))
        return Scores(tuple(logits.tolist()), billed_calls=billed.calls, billed_tokens=billed.tokens)

    def score_all(
        self,
        pairs: Sequence[Pair],
        queries: Mapping[str, str],
        docs: Mapping[str, str],
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> Scores:
        """Return the score of each pair as `score` does, unless the store has it.

        Each answer is stored when it arrives, so that an interrupted run goes on where it stopped. Pairs with the same
        two texts are asked for once.

        Args:
            pairs: as for `Reranker.score`.
            queries: as for `Reranker.score`.
            docs: as for `Reranker.score`.
            on_progress: as for `Reranker.score`.

        Raises:
            EvalkitError: as for `score`, or the store cannot be used.
        """
        texts = texts_of(pairs, queries, docs)
        if self.store == "off" or (why := self._no_store()):
            if self.store != "off":
                say(f"  no score is stored: {why}")
            return self._score_missing(texts, _unknown(len(texts)), on_progress, None)
        from evalkit.scoring.store.score_store import ScoreStore, pair_keys

        path = store_path(self.store)
        with ScoreStore(path, self._space()) as store:
            known = store.look_up(pair_keys(texts)).logits
            say(f"  {_count_known(known):,} of {len(texts):,} scores are in the store ({path})")
            return self._score_missing(texts, known, on_progress, store)

    def _score_missing(
        self,
        texts: Sequence[tuple[str, str]],
        logits: "npt.NDArray[np.float32]",
        on_progress: Callable[[int], None],
        store: "ScoreStore | None",
    ) -> Scores:
        """Ask for the scores that are NaN, each distinct pair of texts once, and store them."""
        import numpy as np

        from evalkit.scoring.store.score_store import pair_keys

        there = _count_known(logits)
        on_progress(there)
        same: dict[tuple[str, str], list[int]] = {}
        for row in np.flatnonzero(np.isnan(logits)).tolist():
            same.setdefault(texts[row], []).append(row)
        billed, before = Billed(), len(self._asked.tally.answered_ms)
        with closing(self._answers(texts, [rows[0] for rows in same.values()])) as answers:
            for batch, answer in answers:
                scores = np.asarray(answer.scores, dtype=np.float32)
                if store is not None:
                    none = np.zeros(len(scores), dtype=np.int32)  # which pairs the server truncates is not known
                    keys = pair_keys([texts[row] for row in batch.rows])
                    store.add(keys, scores, none.astype(np.bool_), none)
                rows = [same[texts[row]] for row in batch.rows]
                for of_text, score in zip(rows, scores, strict=True):
                    logits[of_text] = score
                billed.add(answer)
                on_progress(sum(map(len, rows)))
        self._under_load_ms = self._asked.tally.answered_ms[before:]
        return Scores(
            tuple(logits.tolist()),
            computed_pairs=len(same),
            from_store=there,
            billed_calls=billed.calls,
            billed_tokens=billed.tokens,
        )

    @property
    def _asked(self) -> "Client":
        assert self._client is not None, "load() comes first"
        return self._client

    def _answers(
        self, texts: Sequence[tuple[str, str]], rows: Sequence[int]
    ) -> Generator[tuple[Batch, Answer], None, None]:
        """Yield each request with its answer, in the order of the answers."""
        client, asked = self._asked, batches(texts, rows, self._batch)

        def job(batch: Batch) -> Callable[[Event], Answer]:
            return lambda stop: self._ask(client, batch, stop=stop)

        with closing(as_they_end([job(batch) for batch in asked], self.concurrency)) as ended:
            for number, answer in ended:
                yield asked[number], answer

    def _ask(self, client: "Client", batch: Batch, is_first: bool = False, stop: Event | None = None) -> Answer:
        protocol = self._protocol
        body = protocols.request(protocol, self.model, self._extra, batch.query, batch.docs)
        return client.ask(body, lambda text: protocols.read(protocol, text, len(batch.docs)), stop, is_first)

    # --- what is recorded

    @property
    def _known_revision(self) -> str | None:
        stated = self._info.get("model_sha")
        return self.revision or (str(stated) if stated else None)

    @property
    def _known_model(self) -> str | None:
        stated = self._info.get("model_id")
        return self.model or (str(stated) if stated else None)

    def _no_store(self) -> str | None:
        """Return why scores of this server cannot be stored; None where they can."""
        if self._known_model is None or self._known_revision is None:
            missing = "its model" if self._known_model is None else "the version of its model"
            return (
                f"the server does not state {missing}, so that scores of another one could be taken for its own; "
                "reranker.model and reranker.revision can give both"
            )
        return None

    def _space(self) -> dict[str, Any]:
        """Return everything that a score depends on besides the two texts, as far as it is known."""
        info = self._info
        unknown = "the server's"
        return {
            "model": self._known_model,
            "revision": self._known_revision,
            "tokenizer": unknown,
            "precision": info.get("model_dtype", unknown),
            "device": unknown,
            "attention": unknown,
            "max_length": info.get("max_input_length", info.get("max_model_len")),
            "truncation": unknown,
            "engine": " ".join(str(info[key]) for key in ("version", "sha", "docker_label") if key in info) or unknown,
            "torch": unknown,
            "protocol": self.protocol,
            "address": self._asked.manner.address,
            "extra": redaction.settings(self._extra),
            "batch_size": self._batch,  # a listwise model scores passages together
        }

    @property
    def _are_logits(self) -> bool:
        raw = {**self._protocol.fixed, **self._extra}.get("raw_scores") is True
        return self.scores == "logit" or (self.scores == "auto" and self.protocol == "tei" and raw)

    def describe(self) -> Settings:
        """Return the server, what it says of itself, how it was asked, and the requests with their times."""
        info, tally = self._info, self._asked.tally
        why = None if self.store == "off" else self._no_store()
        return {
            "name": self.shown_name,
            "model": self._known_model,
            "revision": self._known_revision,
            "device": "a server",
            # Only a model with a precision has logits, which comparisons show the differences of.
            **({"precision": _DTYPES.get(str(dtype := info.get("model_dtype", "not stated")), str(dtype))}
               if self._are_logits else {}),
            "max_length": info.get("max_input_length", info.get("max_model_len")),
            "protocol": self.protocol,
            "address": self._asked.manner.address,
            "server": dict(info),
            "extra": self._extra,
            "scores": "logit" if self._are_logits else "relevance",
            "batch_size": self._batch,
            "concurrency": self.concurrency,
            "store": "off" if why else self.store,
            "store_off_because": why,
            "requests": {
                "attempts": tally.attempts,
                "answered": len(tally.answered_ms),
                "retried": dict(sorted(tally.retried.items())),
                "while_scoring_all_ms": _percentiles(self._under_load_ms),
            },
            "notes": self._notes(),
        }  # fmt: skip

    def _notes(self) -> list[str]:
        """Return what a reader of the result has to know of the model that answered."""
        others = sorted(self._asked.tally.models - {self.model}) if self._protocol.names_model else []
        if others:
            shown = [short(one) for one in others[:3]]
            return [f"the server was asked for the model {self.model} and says that it used {', '.join(shown)}"]
        given = [name for name, key in _PINNED if getattr(self, name) is not None and key not in self._info]
        if self._protocol.names_model:
            given = [name for name in given if name != "model"]  # each request names it
        if given:
            names = " and ".join(f"reranker.{name}" for name in given)
            return [f"{names} could not be checked, for the server does not state it"]
        return []


def _unknown(count: int) -> "npt.NDArray[np.float32]":
    import numpy as np

    return np.full(count, np.nan, dtype=np.float32)


def _count_known(logits: "npt.NDArray[np.float32]") -> int:
    import numpy as np

    return int((~np.isnan(logits)).sum())


def _percentiles(samples_ms: Sequence[float]) -> dict[str, float] | None:
    """Return percentiles by nearest rank, as for latencies; None without samples."""
    if not samples_ms:
        return None
    import numpy as np

    ranks = (50, 90, 95, 99)
    values = np.percentile(samples_ms, ranks, method="inverted_cdf").tolist()
    return {f"p{rank}": round(value, 3) for rank, value in zip(ranks, values, strict=True)}
