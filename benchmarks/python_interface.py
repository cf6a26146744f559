"""Time what ``evalkit.evaluate`` adds to the engine that it runs.

    python benchmarks/python_interface.py --rounds 5

Both score the candidates of BM25 on the packaged collection with the packaged reranker, in one process, in turn, none
of it from a store: ``evaluate`` with protocol=none and without blend, and ``CrossEncoder``, the engine alone, which
loads and scores. What ``evaluate`` does besides is composing, reading, BM25, measures, tests and writing its data.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time

import evalkit
from evalkit.evaluation.ranking import candidates
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.slices import packaged
from evalkit.types import Hit, Run


def whole() -> evalkit.TrialResult:
    """Run a trial from Python."""
    return evalkit.evaluate(
        "dev", reranker="packaged", protocol="none", device="cpu", overrides=["blend=none", "store=off"]
    )


def engine(first: Run, depth: int) -> None:
    """Load the reranker and score the same candidates."""
    data, reranker = packaged.load(), CrossEncoder("packaged", device="cpu", store="off", max_length=256)
    reranker.check()
    reranker.load()
    reranker.score_all(candidates(first, depth), data.queries, data.docs)


def main() -> None:
    """Run the benchmark and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times that each is run, in turn")
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {"evaluate": [], "engine": []}
    with contextlib.redirect_stderr(io.StringIO()):
        trial = whole()  # imports, and compiles ranx's kernels
        ranked = trial.ranking("first_stage").groupby("query_id")
        hits = {str(q): tuple(map(Hit, of.doc_id, of.score)) for q, of in ranked}
        first, depth = Run("bm25", hits), trial.result.effective.depth
        engine(first, depth)
        for _ in range(rounds):
            for name, work in (("evaluate", whole), ("engine", lambda: engine(first, depth))):
                started = time.perf_counter()
                work()
                found[name].append(time.perf_counter() - started)
    pairs = trial.result.effective.scoring["pairs"]
    for name, seconds in found.items():
        print(f"{name:10} {statistics.median(seconds):7.2f} s (median of {rounds}, {pairs:,} pairs)")
    ratios = [one / other for one, other in zip(found["evaluate"], found["engine"])]
    print(f"evaluate / engine {statistics.median(ratios):.3f} (median of the ratios of each round)")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
