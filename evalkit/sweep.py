"""What came of the trials of a sweep: one report, however the sweep ended."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit import compare
from evalkit.boundary.progress import say
from evalkit.errors import EvalkitError
from evalkit.report import reading, terminal
from evalkit.report.folder import write_comparison, write_sweep
from evalkit.report.result import Result, failed, not_begun
from evalkit.run_folder import read_result


def report(
    folder: Path, trials: Sequence[str] | None, begun: Mapping[int, str], failures: Mapping[int, str], whole: bool
) -> bool:
    """Write the combined report and return whether all trials finished; nothing is written before there is a trial.

    `trials` are the settings that each of them stands for, or None if nobody knows; `begun` are the folders that are
    known, and `failures` the sentences that were said of those that failed. Unless the sweep is `whole`, its trials
    are not compared: who stops it is waiting.

    Raises:
        EvalkitError: the folder cannot be written.
    """
    names = _folders(folder, None if trials is None else len(trials), begun)
    found = {n: result for n, name in names.items() if (result := read_result(folder / name / "result.json"))}
    if not (found or failures):
        return True
    without = [_without(name, failures.get(n)) for n, name in enumerate(trials or ()) if n not in found]
    results = list(found.values())
    write_sweep(results, folder, without)
    if results:
        terminal.show_sweep(results, str(folder))
    for one in without:
        say(f"no result of {one['name']}: {one['error']}")
    done = [folder / names[n] for n, result in found.items() if result["status"] == "finished"]
    if whole and len(done) > 1:
        _compare(done, folder / "comparison")
    return len(done) == len(results) + len(without)


def _folders(sweep: Path, trials: int | None, begun: Mapping[int, str]) -> dict[int, str]:
    """Return trial number -> name of its folder, in order, without those that an earlier sweep has left."""
    there = {int(number): p.name for p in sweep.glob("*-*") if (number := p.name.split("-")[0]).isdecimal()}
    found = {**there, **begun}
    return {number: found[number] for number in sorted(found) if trials is None or number < trials}


def _without(name: str, failure: str | None) -> Result:
    return not_begun(name) if failure is None else failed(name, {}, {}, EvalkitError(failure))


def _compare(done: Sequence[Path], folder: Path) -> None:
    try:
        compared = compare.side_by_side([reading.read(where) for where in done])
    except EvalkitError as why:
        say(f"the trials are not compared with one another: {why}")
        return
    write_comparison(compared, folder)
    terminal.show_comparison(compared, str(folder))
