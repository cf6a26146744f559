"""Hydra's callback for a sweep: locks its folder, and writes one report of its trials, however it ended."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from evalkit.boundary import progress
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.cli import hydra_limits, quoting, run_folder, session, trial_folder
from evalkit.cli.combinations import combinations, differing
from evalkit.cli.messages import sentence
from evalkit.cli.run_folder import read_result
from evalkit.cli.session import BAD_INPUT, FAILED
from evalkit.report import terminal
from evalkit.report.folder import write_comparison, write_sweep
from evalkit.results.result import failed, not_begun
from evalkit.results.schema import Unfinished


def report(
    folder: Path,
    trials: Sequence[str] | None,
    begun: Mapping[int, str],
    failures: Mapping[int, str],
    whole: bool,
    blended: bool = False,
) -> bool:
    """Write the combined report and return whether all trials finished; nothing is written before there is a trial.

    Args:
        folder: folder of the sweep.
        trials: for each trial the settings that it stands for; None if they are not known.
        begun: number of a trial -> name of its folder, for the folders that are known.
        failures: number of a trial that failed -> its error message.
        whole: whether the sweep ended by itself; a sweep that was stopped is not compared, so that it ends at once.
        blended: whether the blend of each trial is compared as a system of its own.

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
        say(f"no result of {one.name}: {one.error}")
    done = [folder / names[n] for n, result in found.items() if result.status == "finished"]
    if whole and len(done) > 1:
        _compare(done, folder / "comparison", blended)
    return len(done) == len(results) + len(without)


def _folders(sweep: Path, trials: int | None, begun: Mapping[int, str]) -> dict[int, str]:
    """Return trial number -> name of its folder, in order, without those that an earlier sweep has left."""
    by_age = sorted(sweep.glob("[0-9]*"), key=lambda path: path.stat().st_mtime_ns)  # of one number the last made
    there = {int(number): p.name for p in by_age if (number := p.name.split("-")[0]).isdecimal()}
    found = {**there, **begun}
    return {number: found[number] for number in sorted(found) if trials is None or number < trials}


def _without(name: str, failure: str | None) -> Unfinished:
    return not_begun(name) if failure is None else failed(name, {}, {}, EvalkitError(failure))


def _compare(done: Sequence[Path], folder: Path, blended: bool) -> None:
    from evalkit.results import compare, reading

    try:
        compared = compare.side_by_side([reading.read(where) for where in done], blended=blended)
    except EvalkitError as why:
        say(f"the trials are not compared: {why}")
        return
    write_comparison(compared, folder)
    terminal.show_comparison(compared, str(folder))


class SweepReport(Callback):
    """Locks the folder of a sweep, and writes the combined report."""

    def __init__(self, blended: bool = False) -> None:
        """Start with no trial.

        Args:
            blended: whether the comparison has the blend of each trial as a system of its own.
        """
        self._blended = blended
        self.failures: dict[int, str] = {}
        """Trial number -> its error message."""
        self.folders: dict[int, str] = {}
        """Trial number -> the name of its folder, for trials started in this process."""
        self._held = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a launcher may send to another process: the lock on the folder stays here."""
        return {"_blended": self._blended, "failures": {}, "folders": {}}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder of the sweep, and end the process with one sentence if that fails.

        Args:
            config: the configuration of the sweep; ``hydra.sweep.dir`` is set to the folder.
            **kwargs: what else Hydra passes to a callback; not used.

        Raises:
            SystemExit: another run has locked the folder, or it cannot be written; the exit code is 2.
        """
        given = _given(config)
        self._trials = _trials(config, given)
        self._task = str(config.task)
        try:
            with hydra_limits.hydra_config(config):
                self._folder = Path(config.hydra.sweep.dir)
            if hydra_limits.has_packaged_out_dir(config):
                self._folder = _own_folder_of_sweep(config, self._folder)
            with read_write(config), open_dict(config):
                config.hydra.sweep.dir = str(self._folder)  # Hydra's sweeper cannot resolve ${hydra:...} yet
                with suppress(HydraException):  # Hydra will report it
                    trial_folder.note_common(config, given)
            progress.set_format(config.log_format)
            self._held.enter_context(progress.log_to(self._held.enter_context(run_folder.locked(self._folder))))
        except (EvalkitError, OmegaConfBaseException) as error:
            say(f"evalkit: {sentence(error)}")
            sys.exit(BAD_INPUT)  # Hydra would make a warning of any error here
        session.current().sweep = self

    def ended(self, trial: int, seconds: float, failure: str) -> None:
        """Record how a trial ended.

        Args:
            trial: number of the trial, from 0.
            seconds: how long it took.
            failure: its error message; empty if it finished.
        """
        progress.event("trial", trial=trial, seconds=round(seconds, 3), failure=failure or None)
        if failure:
            self.failures[trial] = failure

    def end(self, whole: bool) -> bool:
        """Write the combined report, and return whether all trials finished.

        Raises:
            EvalkitError: the report cannot be written.
        """
        with self._held:
            if self._task == "quickcheck":
                return self._end_quickchecks(whole)
            return report(self._folder, self._trials, self.folders, self.failures, whole, self._blended)

    def _end_quickchecks(self, whole: bool) -> bool:
        from evalkit.cli import quickcheck_sweep

        if not whole:
            return not self.failures
        trials = _folders(self._folder, None if self._trials is None else len(self._trials), self.folders)
        return quickcheck_sweep.report(self._folder, trials, dict(enumerate(self._trials or ())), self.failures)


def end_sweep(whole: bool) -> None:
    """Write the report of this command's sweep, if there is one; `whole` is False if it was stopped."""
    state = session.current()
    sweep, state.sweep = state.sweep, None
    if sweep is not None:
        try:
            finished = sweep.end(whole)
        except (EvalkitError, OSError) as error:
            say(f"evalkit: {sentence(error)}")
            finished = False
        if not finished:
            state.exit_code = max(state.exit_code, FAILED)


def _given(config: DictConfig) -> list[str]:
    """Return the overrides of a sweep: those of the configuration, then those of the command line."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}  # another sweeper may have none
    return [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)


def _trials(config: DictConfig, given: Sequence[str]) -> list[str] | None:
    """Return the settings in which each trial differs from the others; None with another sweeper than Hydra's own."""
    if not str(config.hydra.sweeper._target_).endswith(f".{BasicSweeper.__name__}"):
        return None
    try:
        return differing(combinations(given))
    except HydraException:
        return None  # Hydra will report it


def _own_folder_of_sweep(config: DictConfig, folder: Path) -> Path:
    """Return a folder that no other sweep started in this second has, and set it as the trials' out_dir."""
    free = run_folder.first_free(folder)
    if typed := quoting.for_hydra(f"out_dir={free}", hydra_limits.read_value):
        with read_write(config), open_dict(config):
            config.hydra.overrides.task.append(typed)
    return free
