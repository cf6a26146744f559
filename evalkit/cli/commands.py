"""The commands that run no trial, such as ``compare``, ``history`` and ``gate``."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from evalkit.boundary.progress import say
from evalkit.boundary.text import user_path
from evalkit.errors import EvalkitError, NotFiniteError
from evalkit.results.gate.limits import Limits

HOLDS, REGRESSED = 0, 1


@dataclass(frozen=True)
class Command:
    """How a command is called, and what it does."""

    arguments: str
    """As ``--help`` shows them."""
    summary: str
    """One line without a full stop."""


COMMANDS = {
    "compare": Command("RESULT RESULT ...", "results on one slice side by side: tests, parity and plots"),
    "history": Command("[KEY=VALUE ...]", "list finished runs, draw their trends, compare two commits"),
    "plan": Command("RESULT [RESULT] --gain X", "how many queries and judgments it takes to see a gain of that size"),
    "pick": Command("RESULT ...", "the setting that is best within a budget of time, memory and price"),
    "gate": Command("RESULT", "judge a result against a baseline: exit code 0 it passes, 1 it got worse"),
    "baseline": Command("RESULT", "write a result as the baseline of the gate, or update the one there is"),
    "store": Command("[prune|check]", "show, prune or check the cached scores and indexes"),
    "info": Command("[GROUP [CHOICE]]", "list groups, their choices, and the settings of a choice"),
}
"""Every command by its name."""


@dataclass(frozen=True)
class Gate:
    """A gate whose baseline is read and whose limits are checked, before any work is done."""

    path: Path
    baseline: Any
    limits: Limits
    """The limits that it judges by."""
    own: Mapping[str, Any]
    """Those that come from the baseline."""
    asked: Limits
    """The limits without those of the baseline."""
    junit: Path | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], overrides: Sequence[str], packaged: Mapping[str, Any]) -> "Gate":
        """Return the gate of the settings of the group ``gate``.

        Args:
            settings: the group as composed.
            overrides: those of the command line, which take precedence over the limits of the baseline.
            packaged: the limits of experiment=ci, over which the baseline takes precedence.

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
        """Judge a result and print the verdict, also as JUnit XML and for GitHub where asked for.

        Args:
            result: a trial's folder, or the result.json in it.

        Returns:
            The exit code: 0 it passes, 1 it does not.

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
    """Run a command and return its exit code.

    Args:
        arguments: those of the command line, the name of the command first.
        gate_settings: returns the group ``gate``, composed with overrides.

    Raises:
        EvalkitError: the arguments, the result or the baseline are not what they should be.
    """
    parsed = _parser(arguments[0]).parse_intermixed_args(arguments[1:])
    if arguments[0] == "gate":
        return _gate(parsed, gate_settings)
    if arguments[0] == "compare":
        from evalkit.cli import compare_command

        compare_command.run(parsed)
        return HOLDS
    if arguments[0] == "history":
        from evalkit.cli import history_command

        history_command.run(parsed)
        return HOLDS
    if arguments[0] == "plan":
        from evalkit.cli import plan_command

        plan_command.run(parsed)
        return HOLDS
    if arguments[0] == "pick":
        from evalkit.cli import pick_command

        pick_command.run(parsed)
        return HOLDS
    if arguments[0] == "info":
        from evalkit.cli import info_command

        info_command.run(parsed)
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
                f"{setting!r} is not one of them"
            )
    settings = dict(gate_settings(parsed.settings))
    given = {"baseline": parsed.baseline, "junit": parsed.junit}
    settings |= {key: value for key, value in given.items() if value}
    packaged = gate_settings(["experiment=ci"])
    return Gate.of(settings, parsed.settings, packaged).run(parsed.result)


def _write_baseline(parsed: argparse.Namespace, gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> None:
    """Write a result as the baseline, if it passes its own gate, by the usual limits or by limits of its own.

    Raises:
        EvalkitError: it does not pass, and ``--accept-limits`` is not given.
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
        if not parsed.accept_limits:
            why = "; ".join(f"{check.name}: {' '.join(check.message.split())}" for check in failing)
            raise EvalkitError(
                f"{parsed.result} fails its own gate with nothing changed, and was not written ({why}); "
                "--accept-limits writes the limits that it needs into the baseline, or give this command and each gate "
                f"these settings: {arguments}"
            )
        new = replace(new, limits=needed)
        say(f"limits stored in the baseline, which hold where a gate sets no others: {arguments}")
    try:
        old = baseline.read(output) if output.exists() else None
    except EvalkitError as error:
        say(f"the existing baseline is replaced: {error}")
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
    summary = COMMANDS[command].summary
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = _Parser(prog=f"evalkit {command}", allow_abbrev=False, description=description)
    if command == "info":
        parser.add_argument("group", metavar="GROUP", nargs="?", help="such as slice; default: lists the groups")
        parser.add_argument("choice", metavar="CHOICE", nargs="?", help="such as dev; default: lists the choices")
        parser.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder with YAML of your own")
        return parser
    if command == "plan":
        from evalkit.cli import plan_command

        plan_command.add_arguments(parser)
        return parser
    if command == "pick":
        from evalkit.cli import pick_command

        pick_command.add_arguments(parser)
        return parser
    if command == "compare":
        from evalkit.cli import compare_command

        compare_command.add_arguments(parser)
        return parser
    if command == "history":
        from evalkit.cli import history_command

        history_command.add_arguments(parser)
        return parser
    if command == "store":
        parser.add_argument(
            "action", metavar="prune|check", nargs="?", choices=("prune", "check"), help="default: show what it holds"
        )
        parser.add_argument("--older-than", metavar="DAYS", type=float, help="prune what no run has used for that long")
        parser.add_argument("--space", metavar="ID", help="prune the scores of one model and setting: ID, or its start")
        parser.add_argument("--all", action="store_true", help="prune everything")
        parser.add_argument(
            "--path",
            metavar="FILE",
            help="a score store; default: the one in use, and the indexes next to it",
        )
        return parser
    parser.add_argument("result", metavar="RESULT", help="a trial's folder, or the result.json in it")
    if command == "gate":
        parser.add_argument("settings", metavar="gate.KEY=VALUE", nargs="*", help="limits: evalkit info gate standard")
        parser.add_argument("--baseline", metavar="FILE", help="default: reports/baselines/ci.json")
        parser.add_argument("--junit", metavar="FILE", help="write the verdict as JUnit XML too")
    else:
        parser.add_argument(
            "settings", metavar="gate.KEY=VALUE", nargs="*", help="limits of the gate: evalkit info gate standard"
        )
        parser.add_argument("--output", metavar="FILE", help="default: reports/baselines/ci.json")
        parser.add_argument(
            "--accept-limits",
            action="store_true",
            help="if the result fails its own gate: write the limits that it needs",
        )
    return parser
