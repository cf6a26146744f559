"""Sends requests to one server: several at a time, again where that may help, never elsewhere.

Only this file knows the HTTP client. It checks certificates, and it takes a proxy from the environment
(``HTTPS_PROXY``, ``NO_PROXY``), as curl does.
"""

import json
import random
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.request import getproxies

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.strict_json import parse_json
from evalkit.boundary.text import quoted
from evalkit.rerankers.server.protocols import UnusableAnswerError, origin

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed: RFC 9110, and RFC 6585 for 429."""
_FIRST_WAIT_S, _LONGEST_BACK_OFF_S = 0.5, 30.0
_LARGEST_ANSWER = 64 * 2**20
"""Bytes. The scores of 10,000 passages take one."""
_LONGEST_CONNECT_S = 10.0
_ABOUT_S = 5.0
"""Seconds for what a server says of itself, which it need not say."""


@dataclass(frozen=True)
class Manner:
    """Where and how a server is asked."""

    address: str
    key: str | None = field(repr=False)
    """Sent as ``Authorization: Bearer KEY``; None for none."""
    key_env: str | None
    """The variable that has the key, for messages."""
    timeout_s: float
    """Seconds for one attempt."""
    retries: int
    """Further attempts after one that failed."""
    max_wait_s: float
    """The longest wait that a server may ask for."""


class Tally:
    """What the requests to a server came to; several threads add to it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.attempts = 0
        self.retried: Counter[str] = Counter()
        """Why an attempt was followed by another one -> how often."""
        self.answered_ms: list[float] = []
        """Time of each attempt that was answered, in the order of the answers."""
        self.models: set[str] = set()
        """The models that answers name."""

    def sent(self) -> None:
        """Count an attempt."""
        with self._lock:
            self.attempts += 1

    def answered(self, seconds: float, model: str | None) -> None:
        """Add an attempt that was answered.

        Args:
            seconds: from sending the request to the end of its answer.
            model: the model that the answer names; None if it names none.
        """
        with self._lock:
            self.answered_ms.append(seconds * 1000)
            if model is not None:
                self.models.add(model)

    def again(self, cause: str) -> None:
        """Count an attempt that is followed by another one."""
        with self._lock:
            self.retried[cause] += 1


class _FailedError(Exception):
    """An attempt that failed, after which another one may succeed."""

    def __init__(self, cause: str, said: str, wait_s: float | None = None, unreachable: bool = False) -> None:
        super().__init__(said)
        self.cause, self.said, self.wait_s, self.unreachable = cause, said, wait_s, unreachable


class Client:
    """A connection to one server, for any number of threads."""

    def __init__(self, manner: Manner) -> None:
        """Prepare the connection; nothing is sent.

        Raises:
            EvalkitError: the environment names a proxy or certificates that cannot be used.
        """
        import httpx2

        self.manner, self.tally = manner, Tally()
        self._resume_s = 0.0
        """Until then (by the monotonic clock) nothing is sent, as the server asked for a pause."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "evalkit"}
        if manner.key is not None:
            headers["Authorization"] = f"Bearer {manner.key}"
        try:
            self._http = httpx2.Client(
                headers=headers,
                timeout=httpx2.Timeout(manner.timeout_s, connect=min(manner.timeout_s, _LONGEST_CONNECT_S)),
                # The caller's threads are the limit: under load there are more of them than reranker.concurrency.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                follow_redirects=False,  # another host would get the texts and the key
            )
        except (ValueError, OSError, ImportError, httpx2.InvalidURL) as error:
            raise EvalkitError(
                f"reranker=http: the proxy or the certificates that the environment names cannot be used "
                f"({_inert(str(error))}); see HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
            ) from None
        weakref.finalize(self, self._http.close)  # nothing says when a reranker is no longer needed

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def ask(
        self,
        body: Mapping[str, Any],
        read: Callable[[str], T],
        stop: Event | None = None,
        is_first: bool = False,
    ) -> T:
        """Send a request, again where an attempt fails, and return what `read` makes of the answer.

        Args:
            body: JSON-ready.
            read: raises `UnusableAnswerError` where the answer is none.
            stop: set when nobody waits any more.
            is_first: whether it is the very first request, which is not sent again to a server that is not there.

        Raises:
            EvalkitError: the server refuses, is not there, or every attempt failed.
        """
        stop = stop or Event()
        payload = self._encoded(body)
        for attempt in range(self.manner.retries + 1):
            self._pause(stop)
            if stop.is_set():
                break
            self.tally.sent()
            started = time.perf_counter()
            try:
                try:
                    answer = read(self._post(payload))
                except UnusableAnswerError as error:
                    raise _FailedError("unusable answer", f"gave an answer that {_inert(str(error))}") from None
            except _FailedError as failed:
                if attempt == self.manner.retries or (is_first and failed.unreachable):
                    raise self._given_up(failed, attempt + 1, is_first) from None
                self.tally.again(failed.cause)
                self._back_off(failed, attempt, stop)
            else:
                self.tally.answered(time.perf_counter() - started, getattr(answer, "model", None))
                return answer
        raise EvalkitError(f"{self._server} was not asked any more, as another request failed")

    def about(self, address: str) -> dict[str, Any] | None:
        """Return the JSON object that the server has at an address, which describes it; None where it has none.

        Args:
            address: of the same server.
        """
        import httpx2

        for attempt in range(self.manner.retries + 1):
            try:
                self._pause(Event())
                value = parse_json(self._read("GET", address, None, min(_ABOUT_S, self.manner.timeout_s)))
            except (_FailedError, httpx2.RemoteProtocolError, httpx2.ReadError) as error:
                failed = error if isinstance(error, _FailedError) else _FailedError("connection", "")
                if (failed.wait_s or 0) > self.manner.max_wait_s:
                    return None
                self._back_off(failed, attempt, Event())
            except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, EvalkitError, ValueError, RecursionError):
                return None
            else:
                return value if isinstance(value, dict) else None
        return None

    # --- one attempt

    def _post(self, payload: bytes) -> str:
        import httpx2

        timeout_s = self.manner.timeout_s
        try:
            return self._read("POST", self.manner.address, payload, timeout_s)
        except httpx2.TimeoutException:
            said = f"did not answer within {timeout_s:g} s (reranker.timeout_s)"
            raise _FailedError("timeout", said, unreachable=True) from None
        except httpx2.ConnectError as error:
            self._refuse_tls(str(error))
            by = (
                "; the environment names a proxy, see HTTP_PROXY and NO_PROXY"
                if _has_proxy(self.manner.address)
                else ""
            )
            said = f"cannot be reached ({_inert(str(error))}){by}"
            raise _FailedError("connection", said, unreachable=True) from None
        except httpx2.RemoteProtocolError:
            raise _FailedError("cut off", "broke off the connection, or does not speak HTTP there") from None
        except httpx2.DecodingError as error:
            raise _FailedError(
                "unusable answer", f"sent a body that cannot be decoded ({_inert(str(error))})"
            ) from None
        except httpx2.TransportError as error:
            known = str(error) or type(error).__name__
            raise _FailedError("connection", f"broke off the connection ({_inert(known)})") from None
        except (httpx2.InvalidURL, UnicodeError):
            raise EvalkitError(f"reranker.url={self.manner.address}: this is no address of a web server") from None

    def _read(self, method: str, address: str, payload: bytes | None, timeout_s: float) -> str:
        """Return the body of an answer with a status of success.

        Raises:
            HTTPError: of the HTTP client.
            _FailedError: a status after which the request may be sent again.
            EvalkitError: any other status, or a body that is too long.
        """
        import httpx2

        ends_s = time.monotonic() + timeout_s
        body = bytearray()
        with self._http.stream(method, address, content=payload) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _LARGEST_ANSWER:
                    raise EvalkitError(f"{self._server} sent more than {_LARGEST_ANSWER >> 20} MiB for one request")
                if time.monotonic() > ends_s:  # the client's own limit is one for each piece of the body
                    raise httpx2.ReadTimeout("")
        text = body.decode("utf-8", errors="replace")
        if not response.is_success:
            raise self._refusal(response, text)
        if text.lstrip()[:1] == "<":
            raise EvalkitError(
                f"{self._server} answers with HTML instead of JSON: it is a web page, not the API; give the full "
                "address of the API, with its path, as reranker.url"
            )
        return text

    # --- what went wrong

    @property
    def _server(self) -> str:
        return f"the server at {self.manner.address}"

    def _refusal(self, response: "httpx2.Response", text: str) -> Exception:
        status = response.status_code
        said = _message(text)
        if status in _AGAIN:
            return _FailedError(
                f"status {status}", f"answered {status}{said}", _wait_s(response.headers.get("Retry-After"))
            )
        return EvalkitError(f"{self._server} {self._explained(response, said)}")

    def _explained(self, response: "httpx2.Response", said: str) -> str:
        status = response.status_code
        if response.is_redirect:
            return self._redirected(response.headers.get("Location", ""))
        if status in (401, 403):
            if self.manner.key is None:
                return f"wants a key ({status}{said}): name the environment variable that has it, reranker.key_env=NAME"
            return f"refuses the key that the environment variable {self.manner.key_env} has ({status}{said})"
        if status in (404, 405):
            return (
                f"has no such address or no such model ({status}{said}); give the full address, with its path, as "
                "reranker.url, and a model that the server has as reranker.model"
            )
        if status == 413:
            return f"refuses a request of this size (413{said}); lower reranker.batch_size"
        hint = "; try https://" if "HTTPS" in said and self.manner.address.startswith("http:") else ""
        return f"refuses the request ({status}{said}){hint}"

    def _redirected(self, location: str) -> str:
        try:
            there = origin(location)
        except ValueError:
            there = ("", None, None)
        if there[1] is None or there == origin(self.manner.address):
            return f"redirects to {_inert(location)}; give that address as reranker.url"
        return (
            f"redirects to another host, {_inert(there[1])}, which was sent neither texts nor the key; if you trust "
            "it, give its address as reranker.url"
        )

    def _refuse_tls(self, error: str) -> None:
        if "CERTIFICATE_VERIFY_FAILED" in error:
            raise EvalkitError(
                f"{self._server} has a certificate that cannot be verified ({_inert(error)}); SSL_CERT_FILE can name "
                "the certificate of your own authority"
            )
        if "SSL" in error:
            raise EvalkitError(f"{self._server} does not speak TLS there ({_inert(error)}); try http:// in its place")

    def _given_up(self, failed: _FailedError, attempts: int, is_first: bool) -> EvalkitError:
        times = "" if attempts == 1 else f", the last of {attempts} attempts"
        more = "; raise reranker.retries or lower reranker.concurrency" if failed.cause == "status 429" else ""
        if is_first and failed.cause == "cut off" and self.manner.address.startswith("http:"):
            more = "; try https:// in its place"
        return EvalkitError(f"{self._server} {failed.said}{times}{more}")

    # --- waiting

    def _back_off(self, failed: _FailedError, attempt: int, stop: Event) -> None:
        """Wait before the next attempt: as long as the server asks, else twice as long each time, less up to a half.

        The random part keeps clients that failed together from coming back together.

        Raises:
            EvalkitError: the server asks for more than `Manner.max_wait_s`.
        """
        most_s = self.manner.max_wait_s
        if failed.wait_s is not None:
            if failed.wait_s > most_s:
                raise EvalkitError(
                    f"{self._server} {failed.said} and asks to wait {failed.wait_s:,.0f} s (Retry-After), longer than "
                    f"reranker.max_wait_s={most_s:g} allows"
                )
            self._resume_s = max(self._resume_s, time.monotonic() + failed.wait_s)  # for the other threads too
            return
        wait_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_BACK_OFF_S, most_s)
        stop.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311

    def _pause(self, stop: Event) -> None:
        while not stop.is_set() and (left_s := self._resume_s - time.monotonic()) > 0:
            stop.wait(left_s)

    def _encoded(self, body: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (UnicodeEncodeError, ValueError, TypeError) as error:
            raise EvalkitError(
                f"a request to {self._server} cannot be written as JSON ({_inert(str(error))}); check reranker.extra"
            ) from None


def _message(text: str) -> str:
    """Return what a server says of an error, shortened, quoted and without secrets; empty for a web page."""
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        value = "" if text.lstrip()[:1] == "<" else text.strip()
    for name in ("error", "message", "detail"):
        if isinstance(value, Mapping) and value.get(name):
            value = value[name]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):  # FastAPI's list of what is wrong
        value = value[0].get("msg", "")
    return f", {quoted(redaction.text(value))}" if isinstance(value, str) and value else ""


def _inert(text: str) -> str:
    """Return somebody else's text for a message: short, without secrets, on one line."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in redaction.text(text)).split())
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _has_proxy(address: str) -> bool:
    """Return whether the environment names a proxy for addresses of this kind."""
    return bool({origin(address)[0], "all"} & set(getproxies()))


def _wait_s(header: str | None) -> float | None:
    """Return the seconds that a Retry-After asks for: a number, or a date (RFC 9110); None where it is neither."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0) if header.strip().isdigit() else _until_s(parsedate_to_datetime(header))
    except (ValueError, TypeError, OverflowError):
        return None


def _until_s(moment: datetime) -> float:
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)
