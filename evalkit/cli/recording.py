"""Enters a finished run in the history and, where asked, in a tracker; that this fails never costs the result."""

from pathlib import Path

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import say
from evalkit.cli import history_command
from evalkit.results.history import entering, index, tracking
from evalkit.results.schema import Result


def record(result: Result, folder: Path, history: str, tracker: str = "none") -> None:
    """Enter a finished run in the history, and log it to a tracker; an error of either is one line.

    Args:
        result: its result; one that is not finished is left out.
        folder: its folder.
        history: the setting: ``auto``, ``off`` or a file.
        tracker: the setting `tracking`.
    """
    if result.status != "finished":
        return
    entry = entering.entry_of(result, folder)
    try:
        if path := history_command.path_of(history):
            index.enter(path, entry)
    except EvalkitError as error:
        say(f"  note: the result is complete, and not in the history: {error}")
    try:
        tracking.log(entry, tracker)
    except EvalkitError as error:
        say(f"  note: the result is complete, and was not logged: {error}")
