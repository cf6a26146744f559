"""The commands that run no trial, such as ``compare``, ``history`` and ``gate``."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from evalkit.boundary.errors import EvalkitError
from evalkit.cli.session import HOLDS


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
    "baseline": Command("RESULT", "write or update the baseline of the gate; --check FILE ...: are these whole"),
    "store": Command("[prune|check]", "show, prune or check the cached scores and indexes"),
    "slices": Command("[FILTER]", "list the slices by name: sizes, downloads, licences, what a first run takes"),
    "convert": Command("SRC DEST", "judgments, runs and collections from one format into another"),
    "info": Command("[GROUP [CHOICE]]", "list groups, their choices, and the settings of a choice"),
}
"""Every command by its name; the module NAME_command has its ``add_arguments`` and ``run``."""
_WITH_LIMITS = ("gate", "baseline")
"""The commands that need the group ``gate``."""


def run(arguments: list[str], gate_settings: Callable[[list[str]], Mapping[str, Any]]) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: those of the command line, the name of the command first.
        gate_settings: returns the group ``gate``, composed with overrides.

    Raises:
        EvalkitError: the arguments, the result or the baseline are not what they should be.
    """
    name = arguments[0]
    module = import_module(f"evalkit.cli.{name}_command")
    summary = COMMANDS[name].summary
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = _Parser(prog=f"evalkit {name}", allow_abbrev=False, description=description)
    module.add_arguments(parser)
    parsed = parser.parse_intermixed_args(arguments[1:])
    return int(module.run(parsed, gate_settings) if name in _WITH_LIMITS else module.run(parsed) or HOLDS)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise EvalkitError(f"{message}; {' '.join(self.format_usage().split())}")
