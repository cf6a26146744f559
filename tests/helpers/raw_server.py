"""A server below HTTP: what it does with a connection is up to the test."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread


@contextmanager
def accepting(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Call `serve` with one connection after the other and close each; yield the server's address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                serve(connection)

    thread = Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        with suppress(OSError):  # macOS: it is not connected
            listening.shutdown(socket.SHUT_RDWR)  # wakes accept(), which could take a later server's connections
        listening.close()
        thread.join(10)
