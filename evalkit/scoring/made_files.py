"""Files that evalkit made of a model, on disk: made once, in a process of its own, under all that they depend on."""

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evalkit.boundary.cache_dirs import cache_folder
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import stage
from evalkit.boundary.spawning import without_main

_COMPLETE = "made_of.json"
"""The file that is written last: what the entry depends on."""

_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Made:
    """A kind of files that evalkit makes."""

    folder: str
    """Below evalkit's own folder."""
    what: str
    """What they are, for messages."""
    otherwise: str
    """The setting that does without them, for messages."""


GRAPHS = Made("graphs", "the graphs of runtimes", "a finished graph (reranker.graph=FILE), or runtime=torch")


def cached(made: Made, label: str, made_of: Mapping[str, Any], job: Callable[..., None], *arguments: Any) -> Path:
    """Return the folder of an entry, which `job` fills if it is not there yet.

    The job runs in a process of its own, so that what it needs of memory is not that of the trial.

    Args:
        made: The kind of files.
        label: What is done, for the progress.
        made_of: Everything that the files depend on, JSON-ready: the key of the entry.
        job: Called with an empty folder and `arguments`; a function of a module.
        *arguments: Can be pickled.

    Raises:
        EvalkitError: the cache cannot be written, the disk is full, the process died, or what the job raises.
    """
    root = cache_folder(made.what, made.otherwise) / made.folder
    key = json.dumps(made_of, sort_keys=True)
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:32]
    if (folder / _COMPLETE).is_file():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=root))
    except OSError as error:
        raise EvalkitError(
            f"{root}: {made.what} are stored there, and it cannot be written ({error.strerror}); set EVALKIT_HOME=DIR "
            f"to a folder that can, or use {made.otherwise}"
        ) from None
    try:
        with stage(label):
            in_own_process(label, made.otherwise, job, unfinished, *arguments)
        (unfinished / _COMPLETE).write_text(key, "utf-8")
        with suppress(OSError):  # another process has made the same entry in the meantime
            os.replace(unfinished, folder)
    except OSError as error:
        advice = "free some space, or set EVALKIT_HOME=DIR" if error.errno in _SPACE_ERRORS else "set EVALKIT_HOME=DIR"
        raise EvalkitError(f"{label}: {root} cannot be written ({error.strerror}); {advice}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def in_own_process(label: str, otherwise: str, job: Callable[..., None], *arguments: Any) -> None:
    """Run a job in a process of its own, and raise what it raises.

    Args:
        label: What is done, for messages.
        otherwise: The setting that does without it, for messages.
        job: A function of a module.
        *arguments: Can be pickled.

    Raises:
        EvalkitError: the process died.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            with without_main():
                submitted = process.submit(_quietly, job, *arguments)
            submitted.result()
        except BrokenProcessPool:
            raise EvalkitError(
                f"{label}: the process that does it was ended, most likely because memory did not suffice; free some, "
                f"or use {otherwise}"
            ) from None


def _quietly(job: Callable[..., None], *arguments: Any) -> None:
    """Run a job without what libraries print: this process's progress is that of its parent."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        job(*arguments)
