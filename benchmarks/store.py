"""The score store: the time to write and look up a pair, and its size on disk, compared with two other layouts.

    python benchmarks/store.py [--pairs 1000000] [--batch 512] [--rounds 3] [--folder DIR] [--json]

Keeps the same pairs in batches of `--batch`, one transaction each, in an order that has nothing to do with their
queries, as batches sorted by length have; then looks all of them up. Once a round each, in turn:

- evalkit: a row for each batch (evalkit/scoring/store/database.py)
- clustered: a row for each pair, WITHOUT ROWID, by space, query hash and passage hash
- plain: a row for each pair, and an index over both hashes

The other two get a log of 64 MB, with which they are twice as fast as with SQLite's default of 4 MB.

At 10,000 pairs a second there are 100 us for each: a microsecond is one percent of overhead. Times are by the clock on
the wall, and behind a slash by the processor's own, which other work on the machine does not lengthen.
"""

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evalkit.scoring.store.score_store import SPACE, ScoreStore, pair_keys

SPACE_OF_ALL = dict.fromkeys(SPACE, "benchmark")
TABLES = {
    "clustered": (
        "CREATE TABLE scores (space INTEGER, query BLOB, passage BLOB, logit REAL, tokens INTEGER, "
        "PRIMARY KEY (space, query, passage)) WITHOUT ROWID",
    ),
    "plain": (
        "CREATE TABLE scores (space INTEGER, query BLOB, passage BLOB, logit REAL, tokens INTEGER)",
        "CREATE UNIQUE INDEX by_texts ON scores (space, query, passage)",
    ),
}


@dataclass(frozen=True)
class Time:
    """Microseconds a pair."""

    wall_us: float
    cpu_us: float


class Clock:
    """Started when made."""

    def __init__(self) -> None:
        self.wall_s, self.cpu_s = time.perf_counter(), time.process_time()

    def stop(self, pairs: int) -> Time:
        """Return what has passed, for each of so many pairs."""
        wall_s, cpu_s = time.perf_counter() - self.wall_s, time.process_time() - self.cpu_s
        return Time(wall_s / pairs * 1e6, cpu_s / pairs * 1e6)


def hashing(pairs: int) -> Time:
    """Return what a key takes, for passages of 480 characters, 100 to a query."""
    passage = "a passage of some eighty words, as long as those of MS MARCO are in the mean; " * 6
    texts = [(f"query {row // 100}", f"{row} {passage}") for row in range(pairs)]
    clock = Clock()
    pair_keys(texts)
    return clock.stop(pairs)


@dataclass(frozen=True)
class Sample:
    """What one layout took in one round."""

    keep: Time
    look_up: Time
    bytes_per_pair: float
    """Once the file is closed, and its log gone."""


def by_evalkit(path: Path, hashes: np.ndarray, logits: np.ndarray, tokens: np.ndarray, batch: int) -> Sample:
    """Keep and look up with the store."""
    keys = hashes[:, :2] ^ hashes[:, 2:]
    truncated = tokens > 500
    with ScoreStore(path, SPACE_OF_ALL) as store:
        clock = Clock()
        for rows in slices(len(keys), batch):
            store.add(keys[rows], logits[rows], truncated[rows], tokens[rows])
        keep = clock.stop(len(keys))
    clock = Clock()
    with ScoreStore(path, SPACE_OF_ALL) as store:
        known = store.look_up(keys)
    look_up = clock.stop(len(keys))
    assert known.logits.tobytes() == logits.tobytes()
    return Sample(keep, look_up, path.stat().st_size / len(keys))


def by_table(layout: str, path: Path, hashes: np.ndarray, logits: np.ndarray, tokens: np.ndarray, batch: int) -> Sample:
    """Keep and look up with a row for each pair."""
    with closing(sqlite3.connect(path, isolation_level=None)) as table:
        table.execute("PRAGMA journal_mode = WAL")
        table.execute("PRAGMA synchronous = NORMAL")
        table.execute("PRAGMA wal_autocheckpoint = 16000")
        for statement in TABLES[layout]:
            table.execute(statement)
        clock = Clock()
        for rows in slices(len(hashes), batch):
            values = zip(*halves(hashes[rows]), logits[rows].tolist(), tokens[rows].tolist(), strict=True)
            table.execute("BEGIN IMMEDIATE")
            table.executemany("INSERT OR IGNORE INTO scores VALUES (1, ?, ?, ?, ?)", values)
            table.execute("COMMIT")
        keep = clock.stop(len(hashes))
        clock = Clock()
        table.execute("CREATE TEMP TABLE asked (number INTEGER PRIMARY KEY, query BLOB, passage BLOB)")
        table.execute("BEGIN")
        table.executemany("INSERT INTO asked (query, passage) VALUES (?, ?)", zip(*halves(hashes), strict=True))
        table.execute("COMMIT")
        found = table.execute(
            "SELECT logit, tokens FROM asked JOIN scores ON space = 1 AND scores.query = asked.query "
            "AND scores.passage = asked.passage ORDER BY number"
        )
        known = np.array([logit for logit, _ in found], dtype=np.float32)
        look_up = clock.stop(len(hashes))
        assert known.tobytes() == logits.tobytes()
    return Sample(keep, look_up, path.stat().st_size / len(hashes))


def halves(hashes: np.ndarray) -> Iterator[list[bytes]]:
    """Yield the query hashes and the passage hashes as bytes."""
    for half in (hashes[:, :2], hashes[:, 2:]):
        packed = half.tobytes()
        yield [packed[start : start + 16] for start in range(0, len(packed), 16)]


def slices(count: int, batch: int) -> Iterator[slice]:
    """Yield the rows of each batch."""
    for start in range(0, count, batch):
        yield slice(start, start + batch)


def main() -> None:
    """Measure each layout in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the files are written; default: the system's temporary folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, (options.pairs, 4), dtype=np.uint64)
    hashes[:, :2] = hashes[draw.integers(0, max(1, options.pairs // 100), options.pairs), :2]  # 100 pairs a query
    logits = draw.standard_normal(options.pairs).astype(np.float32)
    tokens = draw.integers(20, 513, options.pairs)
    samples: dict[str, list[Sample]] = {"evalkit": [], "clustered": [], "plain": []}
    hashed = []
    for _ in range(options.rounds):
        hashed.append(hashing(min(options.pairs, 100_000)))
        for layout, taken in samples.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                path = Path(folder) / "scores.sqlite"
                if layout == "evalkit":
                    taken.append(by_evalkit(path, hashes, logits, tokens, options.batch))
                else:
                    taken.append(by_table(layout, path, hashes, logits, tokens, options.batch))
    show(options, median(hashed), samples)


def median(times: Iterable[Time]) -> Time:
    """Return the medians of both clocks."""
    taken = list(times)
    return Time(statistics.median(one.wall_us for one in taken), statistics.median(one.cpu_us for one in taken))


def show(options: argparse.Namespace, hashed: Time, samples: dict[str, list[Sample]]) -> None:
    """Print medians, and their ratios to evalkit's."""
    medians = {
        layout: Sample(
            median(sample.keep for sample in taken),
            median(sample.look_up for sample in taken),
            statistics.median(sample.bytes_per_pair for sample in taken),
        )
        for layout, taken in samples.items()
    }
    if options.json:
        facts = {**vars(options), "sqlite": sqlite3.sqlite_version, "hashing": asdict(hashed)}
        print(json.dumps(facts | {"layouts": {layout: asdict(sample) for layout, sample in medians.items()}}))
        return
    print(
        f"{options.pairs:,} pairs in batches of {options.batch}, SQLite {sqlite3.sqlite_version}, medians of "
        f"{options.rounds}, us a pair, wall/processor; hashing the texts: {hashed.wall_us:.2f}/{hashed.cpu_us:.2f}"
    )
    print(f"{'layout':10} {'keep':>14} {'look up':>14} {'overhead at 10,000 pairs/s':>28} {'bytes a pair':>14}")
    for layout, one in medians.items():
        wall, cpu = (sum(getattr(part, of) for part in (hashed, one.keep, one.look_up)) for of in ("wall_us", "cpu_us"))
        print(
            f"{layout:10} {both(one.keep):>14} {both(one.look_up):>14} {f'{wall:.1f} % / {cpu:.1f} %':>28} "
            f"{one.bytes_per_pair:14.1f}"
        )
    ours = medians["evalkit"]
    for layout, one in medians.items():
        if one is not ours:
            print(
                f"{layout} / evalkit, wall: keep {one.keep.wall_us / ours.keep.wall_us:.0f}, look up "
                f"{one.look_up.wall_us / ours.look_up.wall_us:.0f}, "
                f"bytes {one.bytes_per_pair / ours.bytes_per_pair:.1f}"
            )


def both(one: Time) -> str:
    """Return a time by both clocks."""
    return f"{one.wall_us:.2f}/{one.cpu_us:.2f}"


if __name__ == "__main__":
    main()
