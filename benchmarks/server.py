r"""Compare a model behind a server with the same model in this process.

    python benchmarks/server.py
    python benchmarks/server.py --url http://127.0.0.1:8080 --model BAAI/bge-reranker-base --device cuda
    python benchmarks/server.py --url http://127.0.0.1:7997/rerank --protocol cohere --served-model packaged \
        --extra '{"raw_scores": true}' --scores logit                    # infinity, docs/servers.md has the command

Without ``--url`` a server around evalkit's own engine, that of the tests, is started in a process of its own. Both are
asked in turn: all pairs, then single queries. Printed are medians over the rounds, and ratios of the server to the
model in this process; on a busy machine only the ratios mean something.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.cost.latency import percentile, time_ms
from evalkit.rerankers.base import Reranker
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.rerankers.http import Http
from evalkit.slices import packaged
from evalkit.types import Pair, Slice

PERCENTS = (50, 90, 99)


@contextmanager
def own_server(model: str) -> Iterator[str]:
    """Run the server of the tests in a process of its own; yield its address."""
    command = [sys.executable, "-m", "tests.helpers.rerank_server", "--model", model]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def measured(reranker: Reranker, data: Slice, queries: list[list[Pair]]) -> tuple[float, list[float], list[float]]:
    """Return pairs a second over all pairs, the milliseconds of each query alone, and the scores."""
    pairs = [pair for of_query in queries for pair in of_query]
    started = time.perf_counter()
    scores = reranker.score_all(pairs, data.queries, data.docs)
    rate = len(pairs) / (time.perf_counter() - started)

    def one(of_query: list[Pair]) -> Callable[[], object]:
        return lambda: reranker.score(of_query, data.queries, data.docs)

    return rate, [time_ms(one(of_query)) for of_query in queries], [score or 0.0 for score in scores.logits]


def main() -> None:
    """Measure both in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a server; without it one is started")
    parser.add_argument("--protocol", default="tei")
    parser.add_argument("--served-model", help="the name that the server knows the model by; not for tei")
    parser.add_argument("--extra", type=json.loads, default={}, help="JSON: further fields of each request")
    parser.add_argument("--scores", help="as reranker.scores: what the server returns")
    parser.add_argument("--key-env", help="name of the variable that has the key")
    parser.add_argument("--model", default="packaged", help="of this process")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    data = packaged.load(queries=given.queries)
    queries = [[Pair(query, doc) for doc in list(data.docs)[: given.depth]] for query in data.queries]
    here = CrossEncoder(
        given.model, max_length=given.max_length, truncation="longest_first", device=given.device,
        precision=given.precision,
    )  # fmt: skip
    here.check()
    here.load()
    with own_server(given.model) if not given.url else _at(given.url) as url:
        there = Http(
            url, given.protocol, given.served_model, key_env=given.key_env, concurrency=given.concurrency,
            timeout_s=600.0, extra=given.extra, scores=given.scores,
        )  # fmt: skip
        there.check()
        there.load()
        both: dict[str, Reranker] = {"here": here, "server": there}
        rates: dict[str, list[float]] = {name: [] for name in both}
        times: dict[str, list[float]] = {name: [] for name in both}
        scores: dict[str, list[float]] = {}
        for number in range(given.rounds + 1):
            for name, reranker in both.items():
                rate, taken, scores[name] = measured(reranker, data, queries)
                if number:  # the first round warms up
                    rates[name].append(rate)
                    times[name] += taken
    print(f"{given.queries} queries with {given.depth} passages, {given.rounds} rounds, {given.concurrency} clients")
    _print("pairs/s", *(statistics.median(rates[name]) for name in both))
    for percent in PERCENTS:
        _print(f"p{percent} of a query, ms", *(percentile(times[name], percent) for name in both))
    print(f"scores differ by {max(abs(a - b) for a, b in zip(scores['here'], scores['server'])):.3g} at most")
    print(f"requests: {there.describe()['requests']}")


@contextmanager
def _at(url: str) -> Iterator[str]:
    yield url


def _print(what: str, here: float, server: float) -> None:
    print(f"{what:24} here {here:9.1f}   server {server:9.1f}   server/here {server / here:.2f}")


if __name__ == "__main__":
    main()
