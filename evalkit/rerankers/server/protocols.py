"""What each protocol of a reranking server asks and answers, as plain functions of texts and JSON.

Sources: Cohere's API v2 (docs.cohere.com/reference/rerank), Voyage's API (docs.voyageai.com/docs/reranker) and the
OpenAPI document of Hugging Face's text-embeddings-inference.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.strict_json import parse_json
from evalkit.boundary.text import quoted

_LARGEST = 3.4e38
"""Scores are kept as 32-bit floats, as the models compute them."""


class UnusableAnswerError(Exception):
    """An answer that is not one score for each passage; the message says what is wrong with it."""


@dataclass(frozen=True)
class Protocol:
    """How a kind of server is asked, and where its answer has the scores."""

    name: str
    path: str
    """Where it is served, if the address names no path."""
    texts: str
    """Field of the passages."""
    count: str | None
    """Field of the number of results to return; None where all are returned."""
    results: str | None
    """Field of the answer with the results; None where the answer is their list."""
    score: str
    """Field of a result with its score."""
    batch: int
    """Passages of a request that every server of the kind takes by default."""
    fixed: Mapping[str, Any]
    """Fields that are the same in each request."""
    names_model: bool
    """Whether a request names the model; else a server has one."""

    @property
    def own_fields(self) -> tuple[str, ...]:
        """Return the fields that evalkit itself fills in for each request."""
        return tuple(
            field for field in ("query", self.texts, self.count, "model" if self.names_model else None) if field
        )


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("cohere", "/v2/rerank", "documents", "top_n", "results", "relevance_score", 1000, {}, True),
        Protocol("voyage", "/v1/rerank", "documents", "top_k", "data", "relevance_score", 1000, {}, True),
        # A text-embeddings-inference server takes 32 texts unless it was started with --max-client-batch-size.
        Protocol("tei", "/rerank", "texts", None, None, "score", 32, {"raw_scores": True, "truncate": True}, False),
    )
}
"""Voyage's differs from Cohere's by two names, and refuses a request with a field that it does not know."""


@dataclass(frozen=True)
class Answer:
    """The scores of one request, and what the server says that it took."""

    scores: tuple[float, ...]
    """In the order of the passages that were sent."""
    model: str | None = None
    """The model that the answer names."""
    billed_calls: float | None = None
    """Search units, where the server states them: Cohere counts one for each 100 passages."""
    tokens: int | None = None
    """Tokens of query and passages, where the server states them."""


def request(
    protocol: Protocol, model: str | None, extra: Mapping[str, Any], query: str, texts: Sequence[str]
) -> dict[str, Any]:
    """Return the body of a request for the scores of all `texts`.

    Args:
        protocol: of the server.
        model: the name that the server knows the model by; None where it has one only.
        extra: further fields, which take the place of `Protocol.fixed`.
        query: one query.
        texts: its passages, at least one.
    """
    body: dict[str, Any] = {**protocol.fixed, **extra, "query": query, protocol.texts: list(texts)}
    if protocol.count:
        body[protocol.count] = len(texts)
    if protocol.names_model:
        body["model"] = model
    return body


def read(protocol: Protocol, text: str, count: int) -> Answer:
    """Return the scores of an answer in the order of the passages that were sent, whatever its own order.

    Args:
        protocol: of the server.
        text: the body of the answer.
        count: how many passages were sent.

    Raises:
        UnusableAnswerError: it is no JSON, lacks a passage, has one twice, or has a score that is no finite number.
    """
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(f"is no JSON ({error})") from None
    about = _mapping(value)
    results = value if protocol.results is None else about.get(protocol.results)
    if not isinstance(results, list):
        said = next(
            (one for key in ("error", "message", "detail") if isinstance(one := _mapping(value).get(key), str)), ""
        )
        raise UnusableAnswerError(f"has no list of results {_place(protocol)}{said and ', and says: '}{said}")
    usage, meta = _mapping(about.get("usage")), _mapping(about.get("meta"))
    units = _mapping(meta.get("billed_units"))
    counts = (usage.get("total_tokens"), units.get("total_tokens"), _mapping(meta.get("tokens")).get("input_tokens"))
    model = about.get("model")
    return Answer(
        _in_order(protocol, results, count),
        model if isinstance(model, str) else None,
        _amount(units.get("search_units")),
        next((int(found) for one in counts if (found := _amount(one)) is not None), None),
    )


def _in_order(protocol: Protocol, results: Sequence[object], count: int) -> tuple[float, ...]:
    scores: dict[int, float] = {}
    for result in results:
        index, score = (
            (result.get("index"), result.get(protocol.score)) if isinstance(result, Mapping) else (None, None)
        )
        if type(index) is not int or not 0 <= index < count:
            raise UnusableAnswerError(f"has a result with {_kind(index)} as index, where {count} passages were sent")
        if index in scores:
            raise UnusableAnswerError(f"has passage {index} twice")
        # Neither NaN nor what overflows a 32-bit float compares as smaller.
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= _LARGEST:
            raise UnusableAnswerError(
                f"has {_kind(score)} as {protocol.score} of passage {index}, and no finite number"
            )
        scores[index] = float(score)
    if len(scores) < count:
        first = next(index for index in range(count) if index not in scores)
        raise UnusableAnswerError(
            f"has scores of {len(scores)} of {count} passages; that of passage {first} is missing"
        )
    return tuple(scores[index] for index in range(count))


def _kind(value: object) -> str:
    """Return what a value of the answer is; a text is not repeated, as it may be anything."""
    if isinstance(value, str):
        return "a text"
    return "nothing" if value is None else quoted(value)


def _place(protocol: Protocol) -> str:
    return f"under {protocol.results!r}" if protocol.results else "as protocol tei has it"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _amount(value: object) -> float | None:
    """Return a number of 0 or more; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


# --- addresses


def endpoint(protocol: Protocol, url: str) -> str:
    """Return the address that requests are sent to.

    Args:
        protocol: of the server.
        url: the address of the server, with or without the path; one that ends in ``/rerank`` is used as it is.

    Raises:
        EvalkitError: it is no address of a web server, or has parts that do not belong there.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port or an IPv6 address that is none
        known = False
    if not known or not url.isprintable() or " " in url:
        raise EvalkitError(
            f"reranker.url={_shown(url)}: give the address of the server with http:// or https:// in front, such as "
            "http://127.0.0.1:8080"
        )
    if parts.username is not None or parts.password is not None:
        raise EvalkitError(
            "reranker.url has a user or password in it, which would be written wherever the address is; name the "
            "environment variable that has the key with reranker.key_env=NAME"
        )
    if parts.query or parts.fragment:
        raise EvalkitError(
            f"reranker.url={_shown(url)}: give the address without what follows ? or #; fields of the request belong "
            "into reranker.extra, and a key into the environment variable that reranker.key_env names"
        )
    path = parts.path.rstrip("/")
    if not path:
        path = protocol.path
    elif not path.endswith("/rerank"):
        path += "/rerank"
    return urlunsplit(parts._replace(path=path))


def about(protocol: Protocol, address: str) -> dict[str, str]:
    """Return the addresses at which a server describes itself: what each has -> address.

    Args:
        protocol: of the server.
        address: what `endpoint` returned.
    """
    parts = urlsplit(address)
    base = parts.path.removesuffix("/rerank")
    if protocol.name == "tei":
        return {"info": _at(parts, f"{base}/info")}
    if base.endswith(("/v1", "/v2")):
        base = base[:-3]
    return {"models": _at(parts, f"{base}/v1/models"), "version": _at(parts, f"{base}/version")}


def origin(address: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of an address.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _at(parts: SplitResult, path: str) -> str:
    return urlunsplit(parts._replace(path=path))


def _shown(url: str) -> str:
    """Return an address for a message without what may be a key: a user with a password, and a query."""
    return quoted(re.sub(r"[^/\s]*@", "", re.split("[?#]", url)[0]))
