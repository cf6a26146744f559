"""The commands that run no trial: ``compare`` and ``gate`` for results, ``baseline`` for the standard, ``store``."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from evalkit.boundary.progress import say
from evalkit.boundary.text import user_path
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.results.gate.limits import Limits

NAMES = ("gate", "baseline", "compare", "store")
HOLDS, REGRESSED = 0, 1


@dataclass(frozen=True)
class Gate:
    """A gate that is ready to judge: its baseline is read and its limits are checked before any work is done."""

    path: Path
    baseline: Any
    limits: Limits
    """In force."""
    own: Mapping[str, Any]
    """Those of them that are the baseline's."""
    asked: Limits
    """What would be in force without a baseline's own limits."""
    junit: Path | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], overrides: Sequence[str], packaged: Mapping[str, Any]) -> "Gate":
        """Return the gate of the settings of the group ``gate``.

        Args:
            settings: the group as composed.
            overrides: the command line's, which go before the limits of the baseline.
            packaged: the limits of experiment=ci, which do not.

        Raises:
            EvalkitError: a limit makes no sense, or the baseline cannot be read.
        """
        from evalkit.results.gate import baseline, own_limits

        asked = _limits(settings)
        asked.check()
        path = user_path(settings["baseline"])
        junit = user_path(settings["junit"]) if settings["junit"] else None
        found = baseline.read(path)
        limits, own = own_limits.merged(asked, found.limits, _named(overrides), packaged)
        return cls(path, found, limits, own, asked, junit)

    def run(self, result: str | Path) -> int:
        """Judge a trial's folder, tell everyone who listens, and return the exit code: 0 it holds, 1 it does not.

        Raises:
            EvalkitError: result and baseline cannot be compared, or a report cannot be written.
        """
        from evalkit.report import github, junit, markdown, terminal
        from evalkit.results import reading
        from evalkit.results.gate import judge, own_limits

        try:
            judged = judge.judge(self.baseline, reading.read(result), self.limits)
            judged = own_limits.named(judged, self.own, self.asked)
        except NotFiniteError as error:
            judged = judge.not_finite(str(error))
        terminal.show_gate(judged, str(self.path))
        if self.junit:
            junit.write(judged, self.junit)
        github.append_summary(markdown.gate(judged))
        if github.wanted():
            terminal.show_lines(github.annotations(judged))
        return HOLDS if judged.holds else REGRESSED


def _limits(settings: Mapping[str, Any]) -> Limits:
    return Limits(**{key: value for key, value in settings.items() if key not in ("baseline", "junit")})


def _named(overrides: Sequence[str]) -> set[str]:
    """Return the keys of the group ``gate`` that a command line sets, such as ``skip`` for ``gate.skip=[unjudged]``."""
    keys = (override.lstrip("+~").partition("=")[0].split(".") for override in overrides)
    return {key[1] for key in keys if key[0] == "gate" and len(key) > 1}


def run(arguments: list[str], gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> int:
    """Run a command and return its exit code; `gate_settings` composes the group ``gate`` from overrides.

    Raises:
        EvalkitError: the arguments, the result or the baseline are not what they should be.
    """
    parsed = _parser(arguments[0]).parse_intermixed_args(arguments[1:])
    if arguments[0] == "gate":
        return _gate(parsed, gate_settings)
    if arguments[0] == "compare":
        _compare(parsed)
        return HOLDS
    if arguments[0] == "store":
        from evalkit.cli import store_command

        return REGRESSED if store_command.run(parsed) else HOLDS
    _write_baseline(parsed, gate_settings)
    return HOLDS


def _gate(parsed: argparse.Namespace, gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> int:
    for setting in parsed.settings:
        if not setting.lstrip("+").startswith(("gate.", "gate=")) or "=" not in setting:
            raise EvalkitError(
                f"gate takes a RESULT, --baseline FILE, --junit FILE and settings such as gate.tolerance.nDCG=0.03; "
                f"{setting!r} is none of them"
            )
    settings = dict(gate_settings(parsed.settings))
    given = {"baseline": parsed.baseline, "junit": parsed.junit}
    settings |= {key: value for key, value in given.items() if value}
    packaged = gate_settings(["experiment=ci"])
    return Gate.of(settings, parsed.settings, packaged).run(parsed.result)


def _compare(parsed: argparse.Namespace) -> None:
    from evalkit.cli import run_folder
    from evalkit.report import folder, terminal
    from evalkit.results import compare, reading

    named = [user_path(name).resolve() for name in parsed.results]
    base = user_path(parsed.baseline or parsed.results[0]).resolve()
    if base not in named:
        raise EvalkitError(f"--baseline {parsed.baseline} is none of the results that are compared")
    if not 0 < parsed.margin < 1:
        raise EvalkitError(f"--margin {parsed.margin:g}: give a difference above 0 and below 1, such as 0.002")
    output = user_path(parsed.output) if parsed.output else None
    if output and (output / "result.json").exists():
        raise EvalkitError(f"{output} holds the result of a run, whose report would be lost; name another --output")
    if output and (output / "comparison.json").exists() and not parsed.overwrite:
        raise EvalkitError(f"{output} holds a comparison already; name another --output, or add --overwrite")
    found = [reading.read(name) for name in parsed.results]
    compared = compare.side_by_side(found, named.index(base), parsed.margin)
    if output is None:
        output = run_folder.new_folder(Path("reports/runs") / f"{datetime.now():%Y%m%d-%H%M%S}-compare")
    folder.write_comparison(compared, output)
    terminal.show_comparison(compared, str(output))


def _write_baseline(parsed: argparse.Namespace, gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> None:
    """Write a result down as the standard, once it passes its own gate: by the usual limits, or by ones of its own.

    Raises:
        EvalkitError: it does not, and nobody accepted the limits that it needs.
    """
    from evalkit.results import reading
    from evalkit.results.gate import baseline, own_limits

    for setting in parsed.settings:
        if not setting.lstrip("+").startswith("gate.") or "=" not in setting:
            raise EvalkitError(f"unrecognized arguments: {setting}; baseline takes a RESULT and gate.KEY=VALUE")
    settings = gate_settings(["experiment=ci", *parsed.settings])
    output = Path(parsed.output or settings["baseline"])
    finished = reading.read(parsed.result)
    new = baseline.of(finished)
    given = _named(parsed.settings)
    limits = _limits(settings)
    # What the run itself was to be judged by goes before the defaults, but null may just be a trial's default budget.
    own = {
        name: value
        for name, value in own_limits.recorded(finished).items()
        if name not in given and value != getattr(limits, name) and not (value is None and name in own_limits.RATIOS)
    }
    if own:
        say(f"held against the settings that its own run gave the gate: {own_limits.as_arguments(own)}")
    limits = replace(limits, **own)
    limits.check()
    if failing := own_limits.failing(new, finished, limits):
        needed = own_limits.needed(new, finished, limits, failing)
        arguments = own_limits.as_arguments(needed)
        if not parsed.accept_limits:
            why = "; ".join(f"{check.name}: {' '.join(check.message.split())}" for check in failing)
            raise EvalkitError(
                f"{parsed.result} fails its own gate with nothing changed, and was not written ({why}); "
                "--accept-limits writes the limits that it needs into the baseline, or give this command and each gate "
                f"these settings: {arguments}"
            )
        new = replace(new, limits=needed)
        say(f"limits of its own, by which each gate against it judges where it sets no others: {arguments}")
    try:
        old = baseline.read(output) if output.exists() else None
    except EvalkitError as error:
        say(f"what is there is replaced: {error}")
        old = None
    baseline.write(new, output)
    measure = next(iter(new.reranked))
    after = new.mean("reranked", measure)
    if old is None or measure not in old.reranked:
        say(f"wrote {output}: {new.slice.name}, {len(new.top)} queries, {measure} {after:.4f}")
        return
    moved = sum(new.reranked[measure].get(q) != value for q, value in old.reranked[measure].items())
    before = old.mean("reranked", measure)
    say(f"updated {output}: {measure} {before:.4f} -> {after:.4f}, {moved} of {len(new.top)} queries changed")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise EvalkitError(f"{message}; {' '.join(self.format_usage().split())}")


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"evalkit {command}", allow_abbrev=False)
    if command == "compare":
        parser.description = "Set finished results on one slice side by side, with tests, parity and pictures."
        parser.add_argument("results", metavar="RESULT", nargs="+", help="folders of finished trials, two or more")
        parser.add_argument(
            "--baseline", metavar="RESULT", help="the one to hold the others against; default: the first"
        )
        parser.add_argument(
            "--margin", metavar="X", type=float, default=0.002, help="what counts as equivalent (0.002)"
        )
        parser.add_argument("--output", metavar="DIR", help="default: reports/runs/DATE-TIME-compare")
        parser.add_argument("--overwrite", action="store_true", help="replace a comparison that is there")
        return parser
    if command == "store":
        parser.description = "Show the scores and indexes that are kept, and remove those no longer wanted."
        parser.add_argument("action", metavar="prune|check", nargs="?", choices=("prune", "check"), help="or show it")
        parser.add_argument("--older-than", metavar="DAYS", type=float, help="prune what no run has used for so long")
        parser.add_argument("--space", metavar="ID", help="prune one space of scores: ID, or the start of it")
        parser.add_argument("--all", action="store_true", help="prune everything")
        parser.add_argument(
            "--path",
            metavar="FILE",
            help="a score store; default: the one in use, and the indexes beside it",
        )
        return parser
    parser.add_argument("result", metavar="RESULT", help="a trial's folder, or the result.json in it")
    if command == "gate":
        parser.description = "Judge a finished result against a baseline: exit code 0 it holds, 1 it regressed."
        parser.add_argument("settings", metavar="gate.KEY=VALUE", nargs="*", help="limits: conf/gate/standard.yaml")
        parser.add_argument("--baseline", metavar="FILE", help="default: reports/baselines/ci.json")
        parser.add_argument("--junit", metavar="FILE", help="write the verdict as JUnit XML too")
    else:
        parser.description = "Write down a result as the standard for the gate, or update what is there."
        parser.add_argument("settings", metavar="gate.KEY=VALUE", nargs="*", help="limits that its gate will have")
        parser.add_argument("--output", metavar="FILE", help="default: reports/baselines/ci.json")
        parser.add_argument(
            "--accept-limits", action="store_true", help="where it fails its own gate, write the limits that it needs"
        )
    return parser
