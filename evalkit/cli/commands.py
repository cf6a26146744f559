"""The commands that run no trial, such as ``compare``, ``history`` and ``gate``."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from evalkit.cli.session import HOLDS, REGRESSED
from evalkit.errors import EvalkitError


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
    "judges": Command("HUMAN LABELS ...", "agreement of labels with a human, and the verdict by each"),
    "clicks": Command("LOG --output FILE", "estimate labels from a log of clicks, corrected for position"),
    "gate": Command("RESULT", "judge a result against a baseline: exit code 0 it passes, 1 it got worse"),
    "baseline": Command("RESULT", "write a result as the baseline of the gate, or update the one there is"),
    "store": Command("[prune|check]", "show, prune or check the cached scores and indexes"),
    "info": Command("[GROUP [CHOICE]]", "list groups, their choices, and the settings of a choice"),
}
"""Every command by its name."""


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
        from evalkit.cli import gate_command

        return gate_command.run(parsed, gate_settings)
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
    if arguments[0] == "judges":
        from evalkit.cli import judges_command

        judges_command.run(parsed)
        return HOLDS
    if arguments[0] == "clicks":
        from evalkit.cli import clicks_command

        clicks_command.run(parsed)
        return HOLDS
    if arguments[0] == "info":
        from evalkit.cli import info_command

        info_command.run(parsed)
        return HOLDS
    if arguments[0] == "store":
        from evalkit.cli import store_command

        return REGRESSED if store_command.run(parsed) else HOLDS
    from evalkit.cli import baseline_command

    baseline_command.run(parsed, gate_settings)
    return HOLDS


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
    if command == "judges":
        from evalkit.cli import judges_command

        judges_command.add_arguments(parser)
        return parser
    if command == "clicks":
        from evalkit.cli import clicks_command

        clicks_command.add_arguments(parser)
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
