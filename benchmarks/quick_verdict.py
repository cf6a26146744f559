"""How long `python -m evalkit` takes to the table on the screen and to its end, in turn with another checkout.

    python benchmarks/quick_verdict.py [--before CHECKOUT] [--rounds 3] [--json FILE] [-- SETTING ...]

A round runs the packaged default twice in each checkout: with every score computed, and every score in the store.
Both run in this environment, so that only evalkit differs. Seconds are those of the clock; processor seconds of the
process and its children are given too, since they vary less on a machine with other work.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
TABLE = "nDCG@10"
"""The first line of standard output with it is the table's."""


def main() -> None:
    """Run, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("settings", nargs="*", help="further settings for evalkit")
    parsed = parser.parse_args()
    checkouts = {"before": parsed.before.resolve()} if parsed.before else {}
    checkouts["now"] = HERE
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(parsed.rounds + 1):  # the first fills stores and caches
            for name, checkout in checkouts.items():
                for store in ("off", f"{scratch}/{name}.sqlite"):
                    row = f"{name}, {'scores computed' if store == 'off' else 'scores in the store'}"
                    out = f"hydra.run.dir={scratch}/{name}-{number}-{store == 'off'}"
                    taken = timed(checkout, [f"store={store}", out, *parsed.settings])
                    print(f"round {number}: {row}: " + ", ".join(f"{key} {one:.1f} s" for key, one in taken.items()))
                    if number:
                        found.setdefault(row, []).append(taken)
    medians = {
        row: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for row, rounds in found.items()
    }
    print("\n| | to the table, s | to the end, s | processor, s |\n| --- | ---: | ---: | ---: |")
    for row, figures in medians.items():
        print(f"| {row} | {figures['table']:.1f} | {figures['end']:.1f} | {figures['processor']:.1f} |")
    for kind in ("scores computed", "scores in the store") if parsed.before else ():
        now, before = medians[f"now, {kind}"], medians[f"before, {kind}"]
        print(f"{kind}: " + ", ".join(f"{key} {now[key] / before[key]:.2f}" for key in now) + " of before")
    if parsed.json:
        parsed.json.write_text(json.dumps({"rounds": found, "medians": medians}, indent=1) + "\n", "utf-8")


def timed(checkout: Path, settings: list[str]) -> dict[str, float]:
    """Return the seconds of one run of the packaged default."""
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(checkout)}
    used_s, started = processor_s(), time.perf_counter()
    table_s = 0.0
    command = [sys.executable, "-m", "evalkit", *settings]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if TABLE in line and not table_s:
                table_s = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} in {checkout} ended with {process.returncode}")
    return {"table": table_s, "end": time.perf_counter() - started, "processor": processor_s() - used_s}


def processor_s() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
