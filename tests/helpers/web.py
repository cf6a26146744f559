"""A web server on this machine that breaks off, sends something else, or is the Hugging Face hub in small."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass(frozen=True)
class File:
    """The answer for one path: its bytes and headers."""

    content: bytes
    sent: bytes | None = None
    """What is really sent, if it is something else."""
    breaks_off: int | None = None
    """After how many bytes the connection ends, each time."""
    headers: dict[str, str] = field(default_factory=dict)


def of_model(commit: str, content: bytes, sent: bytes | None = None, breaks_off: int | None = None) -> File:
    """A file of a model as the hub sends it: large ones under their SHA-256, small ones under git's hash."""
    large = len(content) > 20_000
    tag = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
    return File(content, sent, breaks_off, {"ETag": f'"{tag.hexdigest()}"', "X-Repo-Commit": commit})


@contextmanager
def serving(files: dict[str, File]) -> Iterator[tuple[str, list[str]]]:
    """Serve `files` by path; yield the address, and the requests as they come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            file = files.get(self.path.partition("?")[0])
            if file is None:
                body = json.dumps({"error": "Entry not found"}).encode()
                file = File(body, headers={"X-Error-Code": "EntryNotFound"})
                self.send_response(404)
            else:
                self.send_response(200)
            for key, value in file.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(file.content)))
            self.end_headers()
            if with_body:
                self.wfile.write((file.sent or file.content)[: file.breaks_off])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
