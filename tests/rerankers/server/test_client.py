"""What a client does with a server that fails, over a real socket."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.server.client import Client, Manner
from evalkit.rerankers.server.protocols import PROTOCOLS, Answer, read
from tests.helpers.raw_server import accepting
from tests.helpers.rerank_server import FAULTS, Served, serving

TEI = PROTOCOLS["tei"]
BODY = {"query": "q", "texts": ["a", "bb"], "raw_scores": True}


def lengths(query: str, texts: Any) -> list[float]:
    return [float(len(text)) for text in texts]


def client(url: str, **changes: Any) -> Client:
    settings = {"key": None, "key_env": None, "timeout_s": 5.0, "retries": 3, "max_wait_s": 5.0}
    return Client(Manner(f"{url}/rerank", **settings | changes))


def ask(one: Client) -> Answer:
    return one.ask(BODY, lambda text: read(TEI, text, 2))


@pytest.mark.parametrize("fault", sorted({*FAULTS} - {"delay", "shuffled"}))
def test_what_may_pass_is_asked_again(fault: str) -> None:
    served = Served(lengths, fault=lambda number: fault if number == 0 else None)
    with serving(served) as url:
        one = client(url)
        assert ask(one).scores == (1.0, 2.0)
    cause = {"reset": "connection", "429": "status 429", "429 by date": "status 429", "503": "status 503",
             "half": "cut off"}.get(fault, "unusable answer")  # fmt: skip
    assert (one.tally.attempts, dict(one.tally.retried), len(one.tally.answered_ms)) == (2, {cause: 1}, 1)


def test_every_thread_waits_for_the_pause_that_a_server_asks_for() -> None:
    came: list[float] = []

    def score(query: str, texts: Any) -> list[float]:
        came.append(time.monotonic())
        return lengths(query, texts)

    served = Served(score, fault=lambda number: "429" if number == 0 else None)
    with serving(served) as url:
        one, began = client(url), time.monotonic()
        first = threading.Thread(target=ask, args=(one,))
        first.start()
        while not one.tally.retried:
            time.sleep(0.01)
        time.sleep(0.1)
        ask(one)
        first.join()
    assert len(came) == 2
    assert min(came) - began >= 1  # Retry-After: 1


def test_a_pause_can_be_given_as_a_date() -> None:
    served = Served(lengths, fault=lambda number: "429 in two seconds" if number == 0 else None)
    with serving(served) as url:
        began = time.monotonic()
        ask(client(url))
        assert time.monotonic() - began >= 0.9  # a date has whole seconds: the moment is up to one earlier


def test_a_pause_beyond_the_limit_is_an_error_that_names_it() -> None:
    with serving(Served(lengths, fault=lambda number: "429 for an hour")) as url:
        with pytest.raises(
            EvalkitError, match=r"answered 429, 'Model is overloaded' and asks to wait 3,600 s"
        ) as caught:
            ask(client(url))
        assert "longer than reranker.max_wait_s=5 allows" in str(caught.value)


def test_after_the_last_attempt_the_error_says_what_was_wrong_and_how_often() -> None:
    served = Served(lengths, fault=lambda number: "twice")
    with serving(served) as url, pytest.raises(EvalkitError) as caught:
        ask(client(url, retries=2))
    # Sorted by score, passage 1 comes first, and stands in the place of the last one too.
    assert str(caught.value) == (
        f"the server at {url}/rerank gave an answer that has passage 1 twice, the last of 3 attempts"
    )
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("html", "answers with HTML instead of JSON: it is a web page, not the API"),
        ("redirect", "redirects to another host, localhost, which was sent neither texts nor the key"),
    ],
)
def test_what_cannot_pass_is_asked_once(fault: str, message: str) -> None:
    there = Served(lengths)
    with serving(there) as other:
        served = Served(
            lengths, fault=lambda number: fault, redirect_to=other.replace("127.0.0.1", "localhost") + "/rerank"
        )
        with serving(served) as url, pytest.raises(EvalkitError, match=message):
            ask(client(url, key="mysecret", key_env="KEY"))
    assert len(served.asked) == 1
    assert not there.headers, "the other host was sent something"


@pytest.fixture
def secret() -> Iterator[str]:
    before = set(redaction.known_secrets)
    redaction.add_secrets("mysecret-0", "api_key")
    yield "mysecret-0"
    redaction.known_secrets.intersection_update(before)


def test_a_server_that_repeats_a_key_does_not_get_it_into_a_message(secret: str) -> None:
    served = Served(lengths, key=secret)
    with serving(served) as url:
        assert ask(client(url, key=secret, key_env="KEY")).scores == (1.0, 2.0)
        served.fault = lambda number: "echo"
        with pytest.raises(EvalkitError, match="bad header Authorization: Bearer REDACTED"):
            ask(client(url, key=secret, key_env="KEY"))
        served.fault = lambda number: None
        with pytest.raises(EvalkitError, match="refuses the key that the environment variable KEY has"):
            ask(client(url, key="another", key_env="KEY"))
        with pytest.raises(EvalkitError, match=r"wants a key \(401.*reranker\.key_env=NAME"):
            ask(client(url))
    assert secret not in repr(Manner("a", secret, None, 1, 1, 1))


def test_a_server_that_hangs_is_left_after_the_timeout() -> None:
    with serving(Served(lengths, fault=lambda number: "hang")) as url:
        began = time.monotonic()
        with pytest.raises(EvalkitError, match=r"did not answer within 0\.3 s \(reranker\.timeout_s\)"):
            ask(client(url, timeout_s=0.3, retries=1))
        assert time.monotonic() - began < 4  # twice 0.3 s, and a pause of half a second


@contextmanager
def talking(*sent: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """A server that sends the same bytes on each connection, piece by piece."""

    def answer(connection: socket.socket) -> None:
        came = connection.recv(65536)
        while came and not came.endswith(b"}"):  # what is left unread would reset the connection
            came = connection.recv(65536)
        for piece in sent:
            connection.sendall(piece)
            time.sleep(pause_s)

    with accepting(answer) as url:
        yield url


def test_a_body_that_never_ends_is_left_after_the_timeout() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with talking(head, *[b"1\r\n \r\n"] * 100, pause_s=0.05) as url:
        began = time.monotonic()
        with pytest.raises(EvalkitError, match=r"did not answer within 0\.4 s"):
            ask(client(url, timeout_s=0.4, retries=0))
        assert time.monotonic() - began < 3


def test_a_body_beyond_all_measure_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    with (
        talking(head, *[b" " * 2**20] * 80) as url,
        pytest.raises(EvalkitError, match="sent more than 64 MiB for one request"),
    ):
        ask(client(url, timeout_s=30.0))


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "broke off the connection, or does not speak HTTP there"),
        (b"", "broke off the connection, or does not speak HTTP there"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 48\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
         "refuses the request (400, 'Client sent an HTTP request to an HTTPS server.'); try https://"),
    ],
)  # fmt: skip
def test_what_is_no_such_server_is_refused_in_one_sentence(sent: bytes, message: str) -> None:
    with talking(sent) as url, pytest.raises(EvalkitError) as refused:
        ask(client(url, retries=0))
    assert str(refused.value) == f"the server at {url}/rerank {message}"


def test_http_where_the_server_does_not_speak_it_is_refused_with_the_way_out() -> None:
    with talking(b"\x15\x03\x03\x00\x02\x02\x46") as url, pytest.raises(EvalkitError) as refused:  # TLS: an alert
        client(url, retries=0).ask(BODY, lambda text: read(TEI, text, 2), is_first=True)
    assert str(refused.value).endswith("does not speak HTTP there; try https:// in its place")


def test_https_where_the_server_does_not_speak_it_is_refused_at_once() -> None:
    with serving(Served(lengths)) as url:
        one = client(url.replace("http:", "https:"))
        with pytest.raises(EvalkitError, match=r"does not speak TLS there.*try http://"):
            ask(one)
    assert one.tally.attempts == 1


def test_where_nothing_listens_the_first_request_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    one = client(url)
    with pytest.raises(EvalkitError, match=r"cannot be reached \(.*refused.*\)$"):
        one.ask(BODY, lambda text: read(TEI, text, 2), is_first=True)
    assert one.tally.attempts == 1
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(EvalkitError, match="the environment names a proxy, see HTTP_PROXY and NO_PROXY"):
        client("http://127.0.0.1:1").ask(BODY, lambda text: read(TEI, text, 2), is_first=True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"error": "Model is overloaded", "error_type": "Overloaded"}, ", 'Model is overloaded'"),
        ({"error": {"message": "no such model", "code": 404}}, ", 'no such model'"),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, ", 'Field required'"),
        ({"message": "a\nb\x1b[31m"}, ", 'a\\nb\\x1b[31m'"),
        ({"message": "x" * 500}, f", '{'x' * 80}'..."),
        ([], ""),
    ],
)
def test_a_server_s_own_message_is_shown_short_and_inert(value: Any, shown: str) -> None:
    payload = json.dumps(value).encode()
    head = b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n" % len(payload)
    with talking(head + payload) as url, pytest.raises(EvalkitError) as refused:
        ask(client(url))
    assert str(refused.value) == f"the server at {url}/rerank refuses the request (422{shown})"


def test_a_proxy_that_is_none_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://nowhere")
    with pytest.raises(EvalkitError, match="the proxy or the certificates that the environment names cannot be used"):
        client("http://127.0.0.1:1")
