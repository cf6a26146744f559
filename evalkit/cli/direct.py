"""Runs the commands that need no Hydra without importing it, in half of the time."""

import os
import sys
from collections.abc import Sequence

from evalkit.boundary.errors import EvalkitError

COMMANDS = (("history",), ("slices",), ("baseline", "--check"))
"""How the command lines of these commands begin."""


def takes(arguments: Sequence[str]) -> bool:
    """Return whether `run` can run a command line.

    Args:
        arguments: those of the command line.
    """
    return any(tuple(arguments[: len(command)]) == command for command in COMMANDS)


def run(arguments: Sequence[str]) -> int:
    """Run a command of `COMMANDS` and return the exit code.

    Args:
        arguments: those of the command line.
    """
    from evalkit.boundary import redaction
    from evalkit.boundary.progress import say
    from evalkit.cli import commands
    from evalkit.cli.session import BAD_INPUT

    redaction.add_secrets_of_environment(os.environ)
    redaction.add_secrets_of_command(list(arguments))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = commands.run(list(arguments), lambda overrides: {})
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough, as in `history | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it once more at its end
        return 0
    except (EvalkitError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        say(f"evalkit: {error}")
        return BAD_INPUT
