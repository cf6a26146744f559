"""Kills runs of the packaged default at random moments, and looks at what is left.

    python tools/kill_runs.py [--times 20] [--signal KILL] [--to run] [--seed 0] [-- SETTING ...]

`--to run` sends the signal to the process that the user started alone, `--to trial` to the one that does the work,
`--to all` to both, as a terminal does. After each: is result.json absent or whole, and is any process left? At the end
one undisturbed run in the same folder, whose measures must be those of a run that nobody disturbed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LEFT_S = 15.0


def main() -> None:
    """Kill, look, and exit with 1 if anything was found that should not be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "INT"))
    parser.add_argument("--to", default="run", choices=("run", "trial", "all"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    asked = parser.parse_args()
    number, chance = signal.Signals[f"SIG{asked.signal}"], random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, disturbed = Path(folder, "whole"), Path(folder, "disturbed")
        started = time.perf_counter()
        begin(whole, asked.settings).communicate()
        takes_s = time.perf_counter() - started
        print(f"undisturbed: {takes_s:.1f} s; {asked.times} times {number.name} to {asked.to}")
        seen = Counter()
        for _ in range(asked.times):
            seen[once(disturbed, asked.settings, number, asked.to, chance.uniform(0, takes_s))] += 1
        for what, times in sorted(seen.items()):
            print(f"{times:4} {what}")
        last = begin(disturbed, [*asked.settings, "overwrite=true"])
        last.communicate()
        one, other = (json.loads((where / "result.json").read_text())["effectiveness"] for where in (whole, disturbed))
        left = sorted(path.name for path in disturbed.iterdir() if path.name not in {p.name for p in whole.iterdir()})
        print(
            f"at last: exit code {last.returncode}, measures {'equal' if one == other else 'DIFFER'}, left over {left}"
        )
        if one != other or left or last.returncode or any("WRONG" in what for what in seen):
            sys.exit(1)


def begin(folder: Path, settings: list[str]) -> subprocess.Popen:
    """Start a run in a session of its own; each folder has a store of scores of its own too."""
    command = [sys.executable, "-m", "evalkit", f"out_dir={folder}", *settings]
    place = os.environ | {"EVALKIT_HOME": f"{folder}-home"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=place
    )


def once(folder: Path, settings: list[str], number: int, to: str, after_s: float) -> str:
    """Start a run, send the signal, and return what was found."""
    run = begin(folder, [*settings, "overwrite=true"])
    try:
        run.wait(after_s)
        return f"had ended, exit code {run.returncode}"
    except subprocess.TimeoutExpired:
        pass
    if to == "trial":
        trials = [p for p in of_session(run.pid) if p != run.pid and "spawn_main" in command_of(p)]
        if not trials:
            os.killpg(run.pid, signal.SIGKILL)
            return "there was no trial yet"
        os.kill(trials[0], number)
    elif to == "run":
        os.kill(run.pid, number)
    else:
        os.killpg(run.pid, number)
    _, printed = run.communicate()
    sentence = [line for line in printed.splitlines() if line.startswith("evalkit: ")]
    wrong = [] if "Traceback" not in printed else [f"WRONG: a traceback: {printed}"]
    until = time.perf_counter() + LEFT_S
    while (alive := of_session(run.pid)) and time.perf_counter() < until:
        time.sleep(0.05)
    wrong += [f"WRONG: {len(alive)} processes left: {[command_of(p) for p in alive]}"] if alive else []
    result = folder / "result.json"
    status = "no result"
    if result.exists():
        try:
            status = f"status {json.loads(result.read_text())['status']}"
        except (ValueError, KeyError) as error:
            wrong.append(f"WRONG: {error}")
    if status == "status finished" and not sentence:
        wrong.append("" if run.returncode == 0 else f"killed after the end, {len(list(folder.iterdir()))} files")
    message = sentence[-1].replace(str(folder), "DIR") if sentence and to != "run" else ""
    print(
        f"  after {after_s:5.1f} s: exit code {run.returncode}, {status} {'; '.join(filter(None, wrong))} {message}",
        flush=True,
    )
    return f"exit code {run.returncode}, {status} {'WRONG' if any('WRONG' in w for w in wrong) else ''}"


def of_session(session: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def command_of(process: int) -> str:
    """Return the beginning of a process's command line."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")[:200]
    except OSError:
        return ""


if __name__ == "__main__":
    main()
