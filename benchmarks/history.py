"""Time how long it takes to list a history of 1,000 and 10,000 runs.

    python benchmarks/history.py

Each size is listed by ``python -m evalkit history --limit 0`` in a process of its own, start of Python included, in
turn with a process that does nothing but read as many result.json (copies of reports/examples/dev/result.json), which
is what a list without an index would have to do, and with ``python -c pass``.
"""

import argparse
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evalkit.results import reading
from evalkit.results.history import index
from evalkit.results.history.entering import entry_of
from evalkit.results.history.entry import HistoryEntry

EXAMPLE = Path(__file__).parents[1] / "reports" / "examples" / "dev"
READ = """
import sys
from pathlib import Path
from evalkit.results.history.entering import below
below(sys.argv[1:])
"""


def made_up(number: int, folder: Path) -> list[HistoryEntry]:
    """Return so many runs of eight settings on three slices, a commit for every ten runs."""
    draw, first = random.Random(0), entry_of(reading.read_result(EXAMPLE), EXAMPLE)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = []
    for run in range(number):
        setting, of_slice = run % 8, run % 3
        drift = 0.02 * run / number + draw.gauss(0, 0.003)
        after, p50_ms = 0.6 + 0.02 * setting + drift, (20 + 40 * setting) * draw.uniform(0.9, 1.1)
        found.append(replace(
            first,
            folder=str(folder / f"{run:06}"),
            ended=(start + timedelta(hours=run)).isoformat(timespec="milliseconds"),
            commit=f"{random.Random(run // 10).getrandbits(160):040x}",
            slice=("dev/en", "dev/de", "dev/zh")[of_slice],
            fingerprint=str(of_slice),
            runtime=("torch", "onnxruntime")[setting % 2],
            precision=("fp32", "int8")[setting // 2 % 2],
            reranker=("packaged", "minilm-l6")[setting // 4],
            settings={**first.settings, "reranker.model": ("packaged", "minilm-l6")[setting // 4]},
            after=after,
            delta=after - first.before,
            delta_low=after - first.before - 0.03,
            delta_high=after - first.before + 0.03,
            means=dict(first.means) | {first.measure: after},
            p50_ms=p50_ms,
        ))  # fmt: skip
    return found


@dataclass(frozen=True)
class Time:
    """Milliseconds of a process, by the clock on the wall and by the processor's own."""

    wall_ms: float
    processor_ms: float


def timed(command: Sequence[str]) -> Time:
    """Return the time that a process takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Time(wall_s * 1000, processor_s * 1000)


def main() -> None:
    """Measure each size in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--read", type=int, default=1000, help="results that are read without an index; 0 for none")
    options = parser.parse_args()
    python = sys.executable
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = {"python -c pass": [python, "-c", "pass"]}
        for runs in options.runs:
            path = folder / f"{runs}.sqlite"
            began = time.perf_counter()
            index.replace_all(path, made_up(runs, folder))
            print(f"{runs:,} runs: {path.stat().st_size / 1e6:.1f} MB, made in {time.perf_counter() - began:.2f} s")
            listed = [python, "-m", "evalkit", "history", "--path", str(path)]
            commands |= {
                f"the newest 30 of {runs:,}": listed,
                f"all {runs:,}": [*listed, "--limit", "0"],
                f"{runs:,}, filtered and sorted": [*listed, "slice=dev/de", "reranker=minilm", "--sort", "nDCG@10"],
            }
        if options.read:
            for run in range(options.read):
                (folder / "results" / f"{run:06}").mkdir(parents=True)
                shutil.copy(EXAMPLE / "result.json", folder / "results" / f"{run:06}")
            commands[f"{options.read:,} result.json, no index"] = [python, "-c", READ, str(folder / "results")]
        taken: dict[str, list[Time]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                taken[name].append(timed(command))
        print(f"{'medians, ms':32} {'wall':>8} {'processor':>10}   fastest and slowest, wall")
        for name, times in taken.items():
            wall, processor = (sorted(getattr(one, of) for one in times) for of in ("wall_ms", "processor_ms"))
            medians = f"{statistics.median(wall):8,.0f} {statistics.median(processor):10,.0f}"
            print(f"{name:32} {medians}   {wall[0]:,.0f} to {wall[-1]:,.0f}")


if __name__ == "__main__":
    main()
