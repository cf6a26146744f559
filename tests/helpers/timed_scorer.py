"""A scorer that takes a given time, for loads of several queries at once."""

import threading
import time
from collections.abc import Callable

from evalkit.boundary.errors import EvalkitError


class Scorer:
    """Takes `seconds` for a query, and notes which thread asked for which, and how many did at once."""

    def __init__(self, seconds: float = 0.005, fails: Callable[[int], bool] = lambda number: False) -> None:
        self.seconds, self.fails = seconds, fails
        self.queries: list[int] = []
        self.threads: set[int] = set()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, query: int) -> None:
        with self._lock:
            number = len(self.queries)
            self.queries.append(query)
            self.threads.add(threading.get_ident())
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self._lock:
            self.now -= 1
        if self.fails(number):
            raise EvalkitError("the server is tired")
