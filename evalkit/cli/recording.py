"""Enters a finished run in the history; that this fails costs a warning, and never the result."""

from pathlib import Path

from evalkit.boundary.progress import say
from evalkit.cli import history_command
from evalkit.errors import EvalkitError
from evalkit.results.history import entering, index
from evalkit.results.schema import Result


def enter(result: Result, folder: Path, history: str) -> None:
    """Enter a finished run in the history.

    Args:
        result: its result; one that is not finished is left out.
        folder: its folder.
        history: the setting: ``auto``, ``off`` or a file.
    """
    if result.status != "finished":
        return
    try:
        if path := history_command.path_of(history):
            index.enter(path, entering.entry_of(result, folder))
    except EvalkitError as error:
        say(f"  note: the result is complete, and not in the history: {error}")
