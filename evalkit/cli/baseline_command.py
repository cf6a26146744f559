"""``python -m evalkit baseline``: a result written as the baseline of the gate, and baselines checked."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.boundary.text import read_text, user_path
from evalkit.cli.gate_command import limits_of, named_in
from evalkit.cli.session import HOLDS, REGRESSED

if TYPE_CHECKING:
    from evalkit.results.reading import Finished


def run(parsed: argparse.Namespace, gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> int:
    """Write a result as the baseline, or check baselines, and return the exit code.

    Args:
        parsed: the arguments of ``baseline``, of argparse.
        gate_settings: composes the group ``gate`` from overrides of Hydra.

    Returns:
        `HOLDS`, or `REGRESSED` if ``--check`` found a baseline that is not as evalkit wrote it.

    Raises:
        EvalkitError: an argument makes no sense, or as for `write`.
    """
    if parsed.check:
        if parsed.result or parsed.output or parsed.accept_limits:
            raise EvalkitError("--check takes baselines and nothing else")
        return HOLDS if check(parsed.check) else REGRESSED
    if not parsed.result:
        raise EvalkitError("the following arguments are required: RESULT, or --check FILE")
    from evalkit.results import reading

    for setting in parsed.settings:
        if not setting.lstrip("+").startswith("gate.") or "=" not in setting:
            raise EvalkitError(f"unrecognized arguments: {setting}; baseline takes a RESULT and gate.KEY=VALUE")
    settings = gate_settings(["experiment=ci", *parsed.settings])
    output = Path(parsed.output or settings["baseline"])
    say(write(reading.read(parsed.result), output, settings, parsed.settings, parsed.accept_limits))
    return HOLDS


def check(files: Sequence[str]) -> bool:
    """Print for each baseline whether it is whole and as evalkit wrote it, and return whether all are.

    Args:
        files: their paths.
    """
    from evalkit.results.gate import baseline

    sound = True
    for path in map(user_path, files):
        try:
            found = baseline.read(path)
            if read_text(path, "a baseline of evalkit").replace("\r\n", "\n") != baseline.dump(found):
                raise EvalkitError(
                    f"{path} was formatted by another program: its values are as evalkit wrote them and its lines are "
                    "not, so that the next update would change all of them; restore the file, and exclude it there"
                )
        except EvalkitError as error:
            say(f"evalkit: {error}")
            sound = False
        else:
            say(f"{path}: whole; {found.slice.name}, {len(found.top)} queries")
    return sound


def write(
    finished: "Finished",
    output: Path,
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
    accept_limits: bool = False,
    option: str = "--accept-limits",
) -> str:
    """Write a result as the baseline, if it passes its own gate, by the usual limits or by limits of its own.

    Args:
        finished: the result.
        output: the file; a baseline in it is replaced.
        settings: the group ``gate``, composed with `overrides` over experiment=ci.
        overrides: the settings that take precedence over those of the result's own run, as on the command line.
        accept_limits: whether limits that it needs to pass are written into the baseline.
        option: what sets `accept_limits` where the message is read.

    Returns:
        A sentence that says what was written, and what changed.

    Raises:
        EvalkitError: it does not pass and `accept_limits` is false, or the file cannot be written.
    """
    from evalkit.results.gate import baseline, own_limits

    new = baseline.of(finished)
    given = named_in(overrides)
    limits = limits_of(settings)
    # The limits of the run itself take precedence over the defaults, but null may just be a trial's default.
    own = {
        name: value
        for name, value in own_limits.recorded(finished).items()
        if name not in given and value != getattr(limits, name) and not (value is None and name in own_limits.RATIOS)
    }
    if own:
        say(f"judged by the gate settings of its own run: {own_limits.as_arguments(own)}")
    limits = replace(limits, **own)
    limits.check()
    if failing := own_limits.failing(new, finished, limits):
        needed = own_limits.needed(new, finished, limits, failing)
        arguments = own_limits.as_arguments(needed)
        if not accept_limits:
            why = "; ".join(f"{check.name}: {' '.join(check.message.split())}" for check in failing)
            raise EvalkitError(
                f"{finished.where} fails its own gate with nothing changed, and was not written ({why}); "
                f"{option} writes the limits that it needs into the baseline, or give this command and each gate "
                f"these settings: {arguments}"
            )
        new = replace(new, limits=needed)
        say(f"limits stored in the baseline, which hold where a gate sets no others: {arguments}")
    if close := own_limits.tight(finished, limits):
        say(
            f"{', '.join(close)}: so close to the limit that a slow moment of the machine can fail a gate; more "
            f"room, if each gate is given it: {own_limits.as_arguments(close)}"
        )
    try:
        old = baseline.read(output) if output.exists() else None
    except EvalkitError as error:
        say(f"the existing baseline is replaced: {error}")
        old = None
    baseline.write(new, output)
    measure = next(iter(new.reranked))
    after = new.mean("reranked", measure)
    if old is None or measure not in old.reranked:
        return f"wrote {output}: {new.slice.name}, {len(new.top)} queries, {measure} {after:.4f}"
    moved = sum(new.reranked[measure].get(q) != value for q, value in old.reranked[measure].items())
    before = old.mean("reranked", measure)
    return f"updated {output}: {measure} {before:.4f} -> {after:.4f}, {moved} of {len(new.top)} queries changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``baseline`` to its parser."""
    parser.add_argument("result", metavar="RESULT", nargs="?", help="a trial's folder, or the result.json in it")
    parser.add_argument(
        "settings", metavar="gate.KEY=VALUE", nargs="*", help="limits of the gate: evalkit info gate standard"
    )
    parser.add_argument("--output", metavar="FILE", help="default: reports/baselines/ci.json")
    parser.add_argument(
        "--accept-limits", action="store_true", help="if the result fails its own gate: write the limits that it needs"
    )
    parser.add_argument(
        "--check",
        metavar="FILE",
        nargs="+",
        help="only say whether these baselines are whole and as evalkit wrote them",
    )
