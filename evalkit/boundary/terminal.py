"""A console on which text from outside cannot issue commands, neither to the terminal nor to a CI runner."""

import os
import re
from typing import Any

from rich.console import Console
from rich.text import Text

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All control characters but tab and line feed. ESC and CSI begin sequences that move the cursor or type input."""
_CI_COMMAND = re.compile(r"(?<=:)(?=:)|(?<=#)(?=#\w*\[)")
"""Positions at which a blank disables GitHub's ``::error::``, Azure's ``##[`` and ``##vso[``, and ``##teamcity[``."""


class PlainConsole(Console):
    """A rich console that prints control characters as U+FFFD."""

    def render_str(self, text: str, **kwargs: Any) -> Text:
        """Return `text` as rich prints it; every printed string passes through here, cells of tables too.

        Args:
            text: what is printed, possibly with control characters.
            **kwargs: passed on to `rich.console.Console.render_str`.
        """
        return super().render_str(without_controls(text), **kwargs)


def without_controls(text: str) -> str:
    """Return `text` with control characters replaced and, in a CI job, with commands to its runner disabled."""
    text = _CONTROLS.sub("\ufffd", text)
    return _CI_COMMAND.sub(" ", text) if any(os.environ.get(name) for name in _CI) else text


_CI = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
