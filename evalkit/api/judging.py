"""What is done with finished trials: ``evalkit.load``, ``compare``, ``gate`` and ``write_baseline``."""

from collections.abc import Sequence
from pathlib import Path

from evalkit.api.outcomes import ComparisonResult, GateResult, TrialResult
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.text import user_path
from evalkit.cli import composed, hydra_limits
from evalkit.cli.baseline_command import write
from evalkit.cli.compare_command import MARGIN
from evalkit.cli.gate_command import Gate
from evalkit.results import reading
from evalkit.results.compare import side_by_side

Finished = TrialResult | str | Path
"""A trial, or the folder of one."""


def load(folder: str | Path) -> TrialResult:
    """Return a finished trial.

    Args:
        folder: its folder, or the result.json in it.

    Raises:
        EvalkitError: there is none, it failed, or it is of another version.
    """
    return TrialResult(folder)


def compare(
    trials: Sequence[Finished], baseline: int = 0, margin: float = MARGIN, blended: bool = False
) -> ComparisonResult:
    """Compare trials on one slice: which systems differ, which are equivalent, and which reranking is worth it.

    Args:
        trials: two or more.
        baseline: position of the one that the others are compared with.
        margin: largest difference in the first measure that counts as equivalent.
        blended: whether the blend of each trial's two scores is a system as well.

    Raises:
        EvalkitError: they are of other slices, or cannot be read.
    """
    if not 0 < margin < 1:
        raise EvalkitError(f"margin={margin:g}: give a difference above 0 and below 1, such as 0.002")
    if not 0 <= baseline < len(trials):
        raise EvalkitError(f"baseline={baseline}: give the position of one of the {len(trials)} trials, from 0")
    return ComparisonResult(side_by_side([_finished(one) for one in trials], baseline, margin, blended=blended))


def gate(trial: Finished, baseline: str | Path, overrides: Sequence[str] = ()) -> GateResult:
    """Judge a trial against a baseline, as ``python -m evalkit gate`` does.

    Args:
        trial: the trial.
        baseline: the baseline's file.
        overrides: limits as on the command line, such as ``["gate.tolerance.nDCG=0.03"]``.

    Raises:
        EvalkitError: a limit makes no sense, or trial and baseline cannot be compared or read.
    """
    with hydra_limits.in_force():
        settings = composed.gate_settings(list(overrides))
    made = Gate.of({**settings, "baseline": str(baseline)}, overrides, composed.limits_of_ci())
    return GateResult(made.judge(_finished(trial)), made.path)


def write_baseline(
    trial: Finished, file: str | Path, accept_limits: bool = False, overrides: Sequence[str] = ()
) -> Path:
    """Write a trial as the baseline of the gate, if it passes its own gate, and return the file's path.

    Args:
        trial: the trial.
        file: where to write; a baseline there is replaced.
        accept_limits: whether limits that it needs to pass its own gate are written into the baseline.
        overrides: limits as on the command line.

    Raises:
        EvalkitError: it fails its own gate and `accept_limits` is false, or the file cannot be written.
    """
    path = user_path(file)
    say(baseline_written(trial, path, accept_limits, overrides))
    return path


def baseline_written(
    trial: Finished, file: Path, accept_limits: bool, overrides: Sequence[str], option: str = "accept_limits=True"
) -> str:
    """Write a baseline as `write_baseline` does, and return the sentence that says what was written.

    Args:
        trial: as for `write_baseline`.
        file: as for `write_baseline`.
        accept_limits: as for `write_baseline`.
        overrides: as for `write_baseline`.
        option: what sets `accept_limits`, for the message of a refusal.

    Raises:
        EvalkitError: as for `write_baseline`.
    """
    with hydra_limits.in_force():
        settings = composed.gate_settings(["experiment=ci", *overrides])
    return write(_finished(trial), file, settings, overrides, accept_limits, option)


def _finished(trial: Finished) -> reading.Finished:
    return trial.finished if isinstance(trial, TrialResult) else reading.read(trial)
