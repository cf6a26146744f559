"""A terminal to which texts from outside are letters, never commands, and a CI server's log to which they are none."""

import os
import re
from typing import Any

from rich.console import Console
from rich.text import Text

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line feed. ESC and CSI begin what moves the cursor, sets a title or answers for the user."""
_OBEYED = re.compile(r"(?<=:)(?=:)|(?<=#)(?=#\w*\[)")
"""Where ``::error::`` of GitHub, ``##[`` and ``##vso[`` of Azure and ``##teamcity[`` are parted by a blank."""


class PlainConsole(Console):
    """A rich console that prints any text as it is, control characters as U+FFFD."""

    def render_str(self, text: str, **kwargs: Any) -> Text:
        """Return `text` as rich prints it: whatever is printed as a text goes through here, cells of tables too."""
        return super().render_str(without_controls(text), **kwargs)


def without_controls(text: str) -> str:
    """Return `text` without what a terminal would obey and, in a CI job, without what its runner would."""
    text = _CONTROLS.sub("\ufffd", text)
    return _OBEYED.sub(" ", text) if any(os.environ.get(name) for name in _CI) else text


_CI = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION")
