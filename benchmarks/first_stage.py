"""The first stages as collections grow: time and memory of BM25 and of exact dense search, against a plain peer.

    python benchmarks/first_stage.py [--sizes 15000 150000 1500000] [--queries 100] [--rounds 3]
                                     [--json FILE] [--plot FILE.png]

BM25: evalkit's index and search compared with bm25s called plainly (its own tokenizer; the same k1, b, stopwords and
stemmer). Dense: evalkit's exact top-k compared with numpy's whole matrix of products and argpartition, on random unit
vectors of 384 dimensions; to embed them is no part of it. Each measurement is a fresh process, so that its peak
resident memory is its own; systems take turns, and the figures are medians over the rounds. `n^1.00` is growth in
proportion: the slope of a straight line through the sizes, both axes logarithmic.
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from grown_texts import Heaps, grow, read

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.process_memory import peak_resident_mb, resident_mb
from evalkit.first_stage.bm25 import BM25
from evalkit.slices.packaged import DEV
from evalkit.types import Slice

REAL = Path(__file__).parents[2] / "shared" / "data" / "msmarco-dl19"
"""TREC DL 2019's judged passages of MS MARCO, if they are next to the checkout."""
DIMENSIONS = 384
SYSTEMS = {"bm25": ("evalkit", "bm25s"), "dense": ("evalkit", "numpy")}


# --- one measurement, in a process of its own -------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What one process measures."""

    stage: str
    system: str
    passages: int
    texts: str
    """Path of a file with a passage a line; this task reads the first `passages` of them."""
    queries: tuple[str, ...]
    depth: int


@dataclass(frozen=True)
class Sample:
    """What it measured. Memory is the process's resident set in MiB, None where the platform does not report it."""

    stage: str
    system: str
    passages: int
    index_s: float | None
    index_cpu_s: float | None
    """Processor time, of all threads together: on a machine with other work the steadier figure."""
    search_ms: float
    """A query, in the mean over all of them."""
    search_cpu_ms: float
    rss_libraries_mb: float | None
    """Before texts or vectors are in memory."""
    rss_loaded_mb: float | None
    """With them."""
    rss_peak_mb: float | None
    """Of the whole process, libraries included."""
    tokens_per_doc: float | None
    vocabulary: int | None
    found: tuple[tuple[str, ...], ...]
    """The ten best passages of each query."""


def measure(task: Task) -> Sample:
    """Do the task and say what it took; meant for a fresh process."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        return (_bm25 if task.stage == "bm25" else _dense)(task)


def _bm25(task: Task) -> Sample:
    import bm25s
    import Stemmer

    libraries = resident_mb()
    with open(task.texts, encoding="utf-8") as lines:
        docs = {f"d{row}": line.rstrip("\n") for row, line in enumerate(islice(lines, task.passages))}
    loaded = resident_mb()
    k1, b, method = BM25.k1, BM25.b, BM25.method
    tokens_per_doc = vocabulary = None
    started = _clocks()
    if task.system == "evalkit":
        index = BM25(k1, b, method).index(Slice("grown", "en", {}, docs, {}, ""))
        indexed = _clocks()
        found = [[hit.doc_id for hit in index.search(query, task.depth)] for query in task.queries]
        finished = _clocks()
        tokens_per_doc, vocabulary = index.tokens_per_doc, len(index.vocabulary)
    else:
        stemmer = Stemmer.Stemmer("english")
        plain = bm25s.BM25(k1=k1, b=b, method=method)
        ids = list(docs)
        plain.index(
            bm25s.tokenize(list(docs.values()), stopwords="en", stemmer=stemmer, show_progress=False),
            show_progress=False,
        )
        indexed = _clocks()
        asked = bm25s.tokenize(list(task.queries), stopwords="en", stemmer=stemmer, show_progress=False)
        best = plain.retrieve(asked, corpus=ids, k=min(task.depth, len(ids)), show_progress=False)
        finished = _clocks()
        found = [[d for d, score in zip(*row) if score > 0] for row in zip(best.documents.tolist(), best.scores)]
    search_ms = (finished - indexed) / len(task.queries) * 1000
    return Sample(
        task.stage, task.system, task.passages, *(indexed - started).tolist(), *search_ms.tolist(),
        libraries, loaded, peak_resident_mb(), tokens_per_doc, vocabulary, tuple(tuple(hits[:10]) for hits in found),
    )  # fmt: skip


def _dense(task: Task) -> Sample:
    if task.system == "evalkit":
        import torch

        from evalkit.first_stage.dense_index import search_index

        def search(k: int) -> list[list[int]]:
            return search_index(torch.from_numpy(queries), torch.from_numpy(docs), k, torch.device("cpu"))[1]
    else:

        def search(k: int) -> list[list[int]]:
            products = queries @ docs.T
            best = np.argpartition(products, -k, axis=1)[:, -k:]
            order = np.argsort(-np.take_along_axis(products, best, axis=1), axis=1)
            return np.take_along_axis(best, order, axis=1).tolist()

    queries, docs = _unit_vectors(len(task.queries), 1), _unit_vectors(1, 2)
    search(1)  # threads start before the clock does
    libraries = resident_mb()
    docs = _unit_vectors(task.passages, 2)
    loaded = resident_mb()
    started = _clocks()
    found = search(min(task.depth, task.passages))
    search_ms = (_clocks() - started) / len(queries) * 1000
    return Sample(
        task.stage, task.system, task.passages, None, None, *search_ms.tolist(),
        libraries, loaded, peak_resident_mb(), None, None,
        tuple(tuple(f"d{row}" for row in rows[:10]) for rows in found),
    )  # fmt: skip


def _clocks() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the time on the wall and of the processor, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _unit_vectors(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    vectors = np.empty((count, DIMENSIONS), dtype=np.float32)
    draw = np.random.default_rng(seed)
    for start in range(0, count, 10_000):  # in pieces: a copy of them all would be the peak
        piece = vectors[start : start + 10_000]
        draw.standard_normal(dtype=np.float32, out=piece)
        piece /= np.linalg.norm(piece, axis=1, keepdims=True)
    return vectors


# --- memory: what a size needs and what there is ----------------------------------------------------------------------

MB_PER_PASSAGE = {("bm25", "evalkit"): 0.0015, ("bm25", "bm25s"): 0.0027}
"""MiB at the peak for a passage of MS MARCO's length, text and index: as measured at 1.5 million, and a tenth more."""
LIBRARIES_MB = 300


def needed_mb(stage: str, system: str, passages: int, queries: int) -> float:
    """Estimate the peak resident memory of a measurement, in MiB."""
    if stage == "bm25":
        return LIBRARIES_MB + passages * MB_PER_PASSAGE[stage, system]
    vectors = passages * DIMENSIONS * 4
    # numpy holds products (4 bytes) and places (8) of all passages, evalkit those of a chunk.
    work = queries * passages * 12 if system == "numpy" else min(queries * min(passages, 100_000), 2**26) * 12
    return LIBRARIES_MB + (vectors + work) / 2**20


def available_mb() -> float:
    """Return the memory that is free for this process in MiB, as the kernel and a container's limit have it."""
    limits = [math.inf]
    meminfo, limit, usage = (
        Path(p) for p in ("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
    )
    if meminfo.exists():
        free = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        limits += [int(free[1]) / 1024] if free else []
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        limits.append((int(text) - int(usage.read_text())) / 2**20)
    return min(limits)


def check_memory(stages: Sequence[str], sizes: Sequence[int], queries: int) -> None:
    """Refuse what cannot fit.

    Raises:
        EvalkitError: a measurement needs more memory than is free.
    """
    free = available_mb()
    for passages in sorted(sizes):
        for stage in stages:
            for system in SYSTEMS[stage]:
                needed = needed_mb(stage, system, passages, queries)
                if needed > free:
                    raise EvalkitError(
                        f"--sizes {passages}: {stage} by {system} needs about {needed / 1024:,.1f} GiB, and "
                        f"{free / 1024:,.1f} GiB are free; ask for smaller sizes"
                        f"{' or fewer --queries' if stage == 'dense' else ''}"
                    )


# --- all of them ------------------------------------------------------------------------------------------------------


def run(
    folder: Path,
    stages: Sequence[str],
    sizes: Sequence[int],
    queries: int,
    rounds: int,
    depth: int,
    apart: Callable[[Task], Sample] | None = None,
) -> dict[str, Any]:
    """Measure all, each by `apart` (a fresh process), and return what goes into the JSON file.

    Raises:
        EvalkitError: there is not memory enough, or the texts cannot be read.
    """
    check_memory(stages, sizes, queries)
    machine = environment()
    passages, real_queries = read(folder)
    law = Heaps.through(passages)
    asked = tuple(real_queries[i % len(real_queries)] for i in range(queries))
    samples = []
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "passages.txt"
        if "bm25" in stages:
            say(f"writing {max(sizes):,} passages")
            with path.open("w", encoding="utf-8") as out:
                out.writelines(f"{text}\n" for text in islice(grow(passages), max(sizes)))
        for size, number, stage in product(sizes, range(1, rounds + 1), stages):
            for system in SYSTEMS[stage]:
                sample = (apart or fresh_process)(Task(stage, system, size, str(path), asked, depth))
                samples.append(sample)
                say(
                    f"{size:,} passages, round {number}, {stage} by {system}: "
                    + (f"index {sample.index_s:.2f} s, " if sample.index_s is not None else "")
                    + f"search {sample.search_ms:.2f} ms a query, peak {sample.rss_peak_mb or math.nan:,.0f} MiB"
                )
    return {
        "settings": {"sizes": sizes, "queries": queries, "rounds": rounds, "depth": depth, "dimensions": DIMENSIONS},
        "environment": machine,
        "texts": {
            "source": folder.name, "passages": len(passages), "queries": len(real_queries), "heaps": asdict(law),
            "grown": _grown(samples, law),
        },
        "figures": figures(samples),
        "samples": [{k: v for k, v in asdict(sample).items() if k != "found"} for sample in samples],
    }  # fmt: skip


def fresh_process(task: Task) -> Sample:
    """Measure in a process of its own.

    Raises:
        EvalkitError: it was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure, task).result()
        except BrokenProcessPool:
            raise EvalkitError(
                f"{task.stage} by {task.system} at {task.passages:,} passages was killed, as the system does when "
                "memory runs out; ask for smaller --sizes"
            ) from None


def environment() -> dict[str, Any]:
    """Return what the figures depend on; a load average above 0 means that others were at work as the run began."""
    names = ("numpy", "torch", "bm25s", "PyStemmer")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        **{name: version(name) for name in names},
    }


def _grown(samples: Sequence[Sample], law: Heaps) -> list[dict[str, Any]]:
    """Return tokens and vocabulary of each size, and the vocabulary that the law expects."""
    seen = {s.passages: s for s in samples if s.tokens_per_doc is not None}
    return [
        {
            "passages": n,
            "tokens_per_doc": sample.tokens_per_doc,
            "vocabulary": sample.vocabulary,
            "vocabulary_expected": round(law.vocabulary(round(n * (sample.tokens_per_doc or 0)))),
        }
        for n, sample in sorted(seen.items())
    ]


def _used_mb(sample: Sample) -> float | None:
    if sample.rss_peak_mb is None or sample.rss_libraries_mb is None:
        return None
    return max(sample.rss_peak_mb - sample.rss_libraries_mb, 4 / 1024)  # a page: nothing has no logarithm


MEASURES: dict[str, tuple[str, Callable[[Sample], float | None]]] = {
    "index_s": ("index, s", lambda s: s.index_s),
    "index_cpu_s": ("index, processor s", lambda s: s.index_cpu_s),
    "search_ms": ("search, ms a query", lambda s: s.search_ms),
    "search_cpu_ms": ("search, processor ms a query", lambda s: s.search_cpu_ms),
    "rss_peak_mb": ("peak memory, MiB", lambda s: s.rss_peak_mb),
    "rss_used_mb": ("memory without libraries, MiB", _used_mb),
}


def figures(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return for each stage and measure the medians by system and size, their growth, and evalkit's advantage.

    `exponent` is the h of n ** h. `times_better` is the peer's median over evalkit's: above 1 evalkit is the faster
    or smaller one. `same_top_10` is the share of the ten best passages that both found.
    """
    rows = []
    for stage in dict.fromkeys(s.stage for s in samples):
        mine = [s for s in samples if s.stage == stage]
        sizes = sorted({s.passages for s in mine})
        for name, (_, value) in MEASURES.items():
            medians: dict[str, dict[int, float]] = {}
            for system in SYSTEMS[stage]:
                for size in sizes:
                    values = [value(s) for s in mine if (s.system, s.passages) == (system, size)]
                    known = [v for v in values if v is not None]
                    if known:
                        medians.setdefault(system, {})[size] = statistics.median(known)
            if not medians:
                continue
            ours, theirs = (medians[system] for system in SYSTEMS[stage])
            rows.append(
                {
                    "stage": stage,
                    "measure": name,
                    "medians": medians,
                    "exponent": {system: exponent(by_size) for system, by_size in medians.items()},
                    "times_better": {size: theirs[size] / ours[size] for size in sizes},
                    "same_top_10": {size: _overlap([s for s in mine if s.passages == size]) for size in sizes},
                }
            )
    return rows


def exponent(by_size: dict[int, float]) -> float | None:
    """Return the slope of the least-squares line through log(size) and log(value); None for a single size."""
    if len(by_size) < 2:
        return None
    x, y = np.log(list(by_size)), np.log(list(by_size.values()))
    return float(np.polyfit(x, y, 1)[0])


def _overlap(samples: Sequence[Sample]) -> float:
    """Return the share of the best ten that both systems found, in the mean over queries."""
    ours, theirs = ({s.system: s.found for s in samples}[system] for system in SYSTEMS[samples[0].stage])
    shares = [len({*a} & {*b}) / max(len(a), len(b)) if a or b else 1.0 for a, b in zip(ours, theirs)]
    return statistics.mean(shares)


# --- what is shown ----------------------------------------------------------------------------------------------------


def say(message: str) -> None:
    """Print progress to standard error."""
    print(f"  {message}", file=sys.stderr, flush=True)


def table(result: dict[str, Any]) -> str:
    """Return the figures as a table, each measure with its growth and its ratio."""
    sizes = result["settings"]["sizes"]
    lines = [" " * 42 + "".join(f"{size:>12,}" for size in sizes) + f"{'growth':>12}"]
    for row in result["figures"]:
        lines.append(f"{row['stage']}: {MEASURES[row['measure']][0]}")
        for system, by_size in row["medians"].items():
            slope = row["exponent"][system]
            lines.append(
                f"  {system:<40}"
                + "".join(f"{_short(by_size[size]):>12}" for size in sizes)
                + (f"{f'n^{slope:.2f}':>12}" if slope is not None else "")
            )
        better = row["times_better"]
        if row["measure"] != "rss_peak_mb":  # the libraries of the two differ, and are no matter of size
            lines.append(f"  {'evalkit better, times':<40}" + "".join(f"{better[size]:>12.2f}" for size in sizes))
    for stage in dict.fromkeys(row["stage"] for row in result["figures"]):
        same = next(row["same_top_10"] for row in result["figures"] if row["stage"] == stage)
        lines.append(f"{stage}: best ten in common".ljust(42) + "".join(f"{same[size]:>12.1%}" for size in sizes))
    for name in ("tokens_per_doc", "vocabulary", "vocabulary_expected"):
        grown = {text["passages"]: text[name] for text in result["texts"]["grown"]}
        if grown:
            lines.append(f"texts: {name}".ljust(42) + "".join(f"{grown[size]:>12,}" for size in sizes))
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw each measure against the number of passages, both axes logarithmic, and write a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in result["figures"] if row["measure"] in ("index_s", "search_ms", "rss_used_mb")]
    sizes = result["settings"]["sizes"]
    columns = max(2, (len(rows) + 1) // 2)
    figure = Figure(figsize=(3.6 * columns, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, row in zip(figure.subplots(2, columns, squeeze=False).flat, rows):
        for (system, by_size), (color, line) in zip(row["medians"].items(), (("#0072B2", "o-"), ("#E69F00", "s--"))):
            slope = row["exponent"][system]
            label = system if slope is None else f"{system}, n^{slope:.2f}"
            axes.plot(list(by_size), list(by_size.values()), line, color=color, label=label)
        axes.set(xscale="log", yscale="log", title=f"{row['stage']}: {MEASURES[row['measure']][0]}", xlabel="passages")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        ticks = [step * 10**power for power in range(-4, 7) for step in (1, 2, 5) if low <= step * 10**power <= high]
        axes.set_yticks(ticks, [f"{tick:,.10g}" for tick in ticks])
        axes.grid(color="#DDDDDD")
        axes.legend(frameon=False)
    for axes in figure.axes[len(rows) :]:
        axes.set_axis_off()
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_count, nargs="+", default=[15_000, 150_000, 1_500_000], metavar="PASSAGES")
    parser.add_argument("--queries", type=_count, default=100, help="real ones, over and over if there are fewer")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--depth", type=_count, default=100, help="how many passages a query is to find")
    parser.add_argument("--stages", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--texts", type=Path, default=REAL if REAL.is_dir() else DEV / "en", metavar="BEIR_FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    for path in (options.json, options.plot):
        if path and not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    sizes = sorted(set(options.sizes))
    try:
        result = run(options.texts, options.stages, sizes, options.queries, options.rounds, options.depth)
    except EvalkitError as error:
        sys.exit(f"first_stage.py: {error}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(result, options.plot)
    print(table(result))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    main()
