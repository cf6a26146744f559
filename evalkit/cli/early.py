"""Starts the process of a trial while the command line is still being read, as its imports take seconds."""

import re
from collections.abc import Sequence

from evalkit.boundary import cache_dirs
from evalkit.cli import process

_EVERY_TRIAL = ("evalkit.cli.tasks", "evalkit.trial", "evalkit.report.folder")
_DEFAULT_PARTS = ("bm25s", "evalkit.scoring.spec", "evalkit.scoring.loading.model_checks")
"""What BM25 and the packaged reranker import before the memory of the process is watched."""
_CHOOSING = ("first_stage", "reranker", "experiment")
"""Groups whose settings may replace BM25 or the packaged reranker."""


def start(arguments: Sequence[str]) -> None:
    """Start the process of a trial, if the command line is one of a single trial.

    It imports nothing that the trial may not need: a library in memory changes the memory that is measured.

    Args:
        arguments: those of the command line.
    """
    if all(_is_setting(one) for one in arguments):
        process.start_early(imports(arguments) if cache_dirs.are_writable() else ())


def _is_setting(argument: str) -> bool:
    """Return whether an argument is ``key=value``, and no option or command."""
    return "=" in argument and not argument.startswith("-")


def imports(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that a trial with these settings imports before anything is measured.

    Args:
        arguments: settings, each ``key=value``.
    """
    keys = [re.split("[=.@]", one.lstrip("+~"))[0] for one in arguments if one != "experiment=ci"]
    return _EVERY_TRIAL if set(keys) & set(_CHOOSING) else (*_EVERY_TRIAL, *_DEFAULT_PARTS)
