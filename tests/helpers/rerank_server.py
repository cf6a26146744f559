"""A reranking server around evalkit's own engine, by the documents of each protocol, with faults on request.

``python -m tests.helpers.rerank_server --port 8080`` starts one by itself; it prints its address.
"""

import argparse
import json
import math
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from evalkit.rerankers.cross_encoder import PACKAGED, CrossEncoder

MODEL, COMMIT = "evalkit/packaged", "0123456789abcdef0123456789abcdef01234567"
FAULTS = ("delay", "reset", "429", "429 by date", "503", "half", "shuffled", "twice", "missing", "nan", "no json")
"""What may happen to a request, each of which a client has to live through."""


@dataclass
class Served:
    """What a server is, what happens to its requests, and what came."""

    score: Callable[[str, Sequence[str]], list[float]] | None = None
    """Query and passages -> logits; None for the packaged model."""
    key: str | None = None
    """Requests without it are refused."""
    fault: Callable[[int], str | None] = lambda number: None
    """Number of a request, from 0 -> one of `FAULTS` or of what `Handler` knows besides; None for none."""
    model: str = MODEL
    commit: str | None = COMMIT
    kind: str = "reranker"
    names_model_as: str | None = None
    """The model that an answer names; None for the one that was asked for."""
    batch: int = 32
    """TEI's --max-client-batch-size."""
    silent_about_itself: int = 0
    """How many requests for a description fail first."""
    redirect_to: str = ""
    delay_s: float = 0.2
    counts_tokens: bool = True
    """Whether answers have ``usage``."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of requests for scores."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of all requests."""
    happened: Counter[str] = field(default_factory=Counter)
    """Fault -> how often."""
    scored: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(query, passage) -> how often its score was sent in a whole answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, served: Served) -> None:
        self.served = served
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """Cohere's v2 and Voyage's v1 ``rerank``, TEI's ``rerank`` and ``info``, vLLM's ``models`` and ``version``."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        served = self.server.served
        self._note()
        if not self._is_allowed():
            return
        if served.silent_about_itself:
            served.silent_about_itself -= 1
            self._write(503, b"starting", "text/plain")
        elif self.path == "/info":
            self._send(200, {
                "model_id": served.model, "model_sha": served.commit, "model_dtype": "float32",
                "model_type": {served.kind: {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
                "max_concurrent_requests": 512, "max_input_length": 256, "max_batch_tokens": 16384,
                "max_batch_requests": None, "max_client_batch_size": served.batch, "auto_truncate": False,
                "tokenization_workers": 2, "version": "1.8.0", "sha": "cafe", "docker_label": "sha-cafe",
            })  # fmt: skip
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": served.model, "object": "model", "owned_by": "evalkit",
                                                         "root": served.model, "max_model_len": 256}]})  # fmt: skip
        elif self.path == "/version":
            self._send(200, {"version": "0.16.0"})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        served = self.server.served
        self._note()
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_allowed():
            return
        body = json.loads(raw)
        with served.lock:
            number = len(served.asked)
            served.asked.append(body)
            fault = served.fault(number)
            if fault:
                served.happened[fault] += 1
        if self._failed_before_scoring(fault):
            return
        problem, answer, texts = self._answer(body, fault)
        if problem is not None:
            self._send(problem, answer)
            return
        payload = json.dumps(answer).encode()
        if fault in ("half", "no json"):
            self._send_half(payload, says_whole=fault == "half")
            return
        if fault not in ("twice", "missing", "nan"):
            with served.lock:
                served.scored.update((body["query"], text) for text in texts)
        self._write(200, payload, "application/json")

    def _failed_before_scoring(self, fault: str | None) -> bool:
        served = self.server.served
        if fault == "delay":
            time.sleep(served.delay_s)
        elif fault == "hang":
            time.sleep(3600)
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return True
        elif fault is not None and fault.startswith("429"):
            in_s = 2 if fault == "429 in two seconds" else 1
            after = {"429": "1", "429 for an hour": "3600"}.get(fault, formatdate(time.time() + in_s, usegmt=True))
            self._send(429, {"error": "Model is overloaded", "error_type": "Overloaded"}, {"Retry-After": after})
            return True
        elif fault == "503":
            self._write(503, b"<html><body>Service Unavailable</body></html>", "text/html")
            return True
        elif fault == "html":
            self._write(200, b"<!doctype html><title>Sign in</title>", "text/html")
            return True
        elif fault == "redirect":
            self._send(307, {}, {"Location": served.redirect_to})
            return True
        elif fault == "echo":  # a server that repeats what it was sent, and a gateway that does so with headers
            self._send(400, {"message": f"bad header Authorization: {self.headers['Authorization']}"})
            return True
        return False

    def _answer(self, body: Mapping[str, Any], fault: str | None) -> tuple[int | None, Any, Sequence[str]]:
        """Return the status of a refusal or None, the answer, and the texts that it has scores of."""
        served = self.server.served
        if self.path == "/rerank" and "texts" in body:
            texts, count = body["texts"], len(body["texts"])
            if count > served.batch:
                message = f"batch size {count} > maximum allowed batch size {served.batch}"
                return 413, {"error": message, "error_type": "Validation"}, ()
            logits = _packaged(body["query"], texts) if served.score is None else served.score(body["query"], texts)
            raw = body.get("raw_scores", False)
            results = [{"index": i, "score": one if raw else _sigmoid(one)} for i, one in enumerate(logits)]
            return None, _faulty(_by_score(results, "score"), "score", fault), texts
        names = {"/v2/rerank": ("top_n", "results"), "/rerank": ("top_n", "results"), "/v1/rerank": ("top_k", "data")}
        if self.path not in names:
            return 404, {"detail": "Not Found"}, ()
        count_name, results_name = names[self.path]
        if body.get("model") != served.model:
            return (
                404,
                {"message": f"model '{body.get('model')}' not found, make sure the correct model ID was used"},
                (),
            )
        if unknown := set(body) - {"model", "query", "documents", count_name, "raw_scores", "return_documents"}:
            return 400, {"detail": f"Argument '{min(unknown)}' is not supported by our API"}, ()
        texts = body["documents"]
        logits = _packaged(body["query"], texts) if served.score is None else served.score(body["query"], texts)
        raw = body.get("raw_scores", False)
        results = [{"index": i, "relevance_score": one if raw else _sigmoid(one)} for i, one in enumerate(logits)]
        results = _faulty(_by_score(results, "relevance_score")[: body[count_name]], "relevance_score", fault)
        answer: dict[str, Any] = {results_name: results, "model": served.names_model_as or served.model}
        if results_name == "results":
            answer["meta"] = {"api_version": {"version": "2"}, "billed_units": {"search_units": -(-len(texts) // 100)}}
        if served.counts_tokens:
            answer["usage"] = {"total_tokens": sum(len(f"{body['query']} {text}".split()) for text in texts)}
        return None, answer, texts

    def _note(self) -> None:
        with self.server.served.lock:
            self.server.served.headers.append({name.lower(): value for name, value in self.headers.items()})

    def _is_allowed(self) -> bool:
        served = self.server.served
        if served.key is None or self.headers["Authorization"] == f"Bearer {served.key}":
            return True
        self._send(401, {"message": f"invalid api token {self.headers['Authorization'] or ''}"})
        return False

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._write(status, json.dumps(value).encode(), "application/json", headers)

    def _send_half(self, payload: bytes, says_whole: bool) -> None:
        half = payload[: len(payload) // 2]
        self._write(200, half, "application/json", length=len(payload if says_whole else half))
        self.close_connection = True

    def _write(
        self,
        status: int,
        payload: bytes,
        kind: str,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload) if length is None else length))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def _by_score(results: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return sorted(results, key=lambda one: -one[name])


def _faulty(results: list[dict[str, Any]], name: str, fault: str | None) -> list[dict[str, Any]]:
    if fault == "shuffled":
        return results[::-1]
    if fault == "twice":
        return [*results[:-1], results[0]]
    if fault == "missing":
        return results[:-1]
    if fault == "nan":
        return [{**results[0], name: math.nan}, *results[1:]]
    return results


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


_engine_lock = threading.Lock()
_engines: dict[str, CrossEncoder] = {}


def engine(model: str = PACKAGED) -> CrossEncoder:
    """Return evalkit's own engine, loaded once."""
    with _engine_lock:
        if model not in _engines:
            one = CrossEncoder(model, max_length=256, truncation="longest_first", device="cpu", self_check=False)
            one.load()
            _engines[model] = one
        return _engines[model]


def scoring(model: str | Path) -> Callable[[str, Sequence[str]], list[float]]:
    """Return a function from a query and passages to the logits of a model, for one thread at a time."""
    one = engine(str(model))

    def score(query: str, texts: Sequence[str]) -> list[float]:
        with _engine_lock:
            found: list[float] = one.scorer.score([(query, text) for text in texts]).logits.tolist()
            return found

    return score


def _packaged(query: str, texts: Sequence[str]) -> list[float]:
    return scoring(PACKAGED)(query, texts)


@contextmanager
def serving(served: Served, port: int = 0) -> Iterator[str]:
    """Serve on this machine while the block runs; yield the address."""
    server = _Server(port, served)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    parser.add_argument("--model", default=PACKAGED, help="what evalkit's own engine loads")
    given = parser.parse_args()
    with serving(Served(scoring(given.model), key=given.key), given.port) as address:
        print(address, flush=True)  # noqa: T201
        threading.Event().wait()
