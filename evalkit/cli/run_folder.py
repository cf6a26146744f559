"""The folder of a run: locked while the run lasts, and a finished result in it is replaced only if asked."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.boundary import progress, redaction
from evalkit.boundary.atomic import remove_leftovers, write_atomically
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.progress import LOG, say
from evalkit.boundary.signals import Stopped
from evalkit.results.reading import read_outcome
from evalkit.results.result import cannot_write, failed, stopped, write_result
from evalkit.results.schema import Result, Unfinished

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def claimed(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Yield the path of a new log in `folder`, which no other run may write to until the block ends.

    Incomplete files of an earlier run are removed, and so is its result, which does not belong to the files of this
    run.

    Args:
        folder: folder of the run; it is created where there is none.
        overwrite: whether a result in it may be replaced.

    Raises:
        EvalkitError: the folder holds a result and may not be overwritten, another run is at work in it, or it cannot
            be written.
    """
    _refuse_to_lose(folder, overwrite)
    with locked(folder) as log:
        _refuse_to_lose(folder, overwrite)  # another run may just have ended
        try:
            remove_leftovers(folder, "config.yaml", "quickcheck.json", "result.json")
            (folder / "result.json").unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield log


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Yield the path of a new log in `folder`, locked until the block ends, or the process does.

    Raises:
        EvalkitError: another run has locked it, or the folder cannot be written.
    """
    log = folder / LOG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        _lock(number, folder)
        try:
            if os.fstat(number).st_size:
                os.ftruncate(number, 0)
            os.write(number, (json.dumps({"event": "run", "process": os.getpid()}) + "\n").encode())
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield log
    finally:
        os.close(number)  # and with it goes the lock


def first_free(folder: Path) -> Path:
    """Return `folder`, or the first of ``folder-2``, ``folder-3``, ... that no other run has begun in; it is now taken.

    Raises:
        EvalkitError: it cannot be written.
    """

    def take(wanted: Path) -> None:
        wanted.mkdir(parents=True, exist_ok=True)  # Hydra may have made it already
        os.close(os.open(wanted / LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # whoever makes the log has it

    return _first(folder, take)


def new_folder(folder: Path) -> Path:
    """Make `folder`, or the first of ``folder-2``, ``folder-3``, ... that there is not, and return it.

    Raises:
        EvalkitError: it cannot be made.
    """
    return _first(folder, lambda wanted: wanted.mkdir(parents=True))


def _first(folder: Path, take: Callable[[Path], None]) -> Path:
    number = 1
    while True:
        wanted = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            take(wanted)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise cannot_write(wanted, error) from None
        else:
            return wanted


def write(path: Path, text: str) -> None:
    """Write one of the files of a run, completely or not at all.

    Args:
        path: path of the file.
        text: its content.

    Raises:
        EvalkitError: it cannot be written.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise cannot_write(path.parent, error) from None


def write_why(folder: Path, asked: dict[str, Any], provenance: dict[str, Any], error: BaseException) -> str:
    """Write result.json for a run that did not finish, unless its result is there, and return the sentence in it.

    A result.json that cannot be written raises nothing, because the run has already ended with an error.

    Args:
        folder: folder of the run.
        asked: the settings, without secrets.
        provenance: commit, versions and command line.
        error: the exception that ended the run.
    """
    where = progress.last_stage(folder / LOG)
    at = f" ({where})" if where else ""
    progress.event("failed", error=f"{type(error).__name__}: {error}", traceback=getattr(error, "__notes__", None))
    if (folder / "result.json").exists():
        return f"stopped{at}; the result in {folder} is whole"
    if isinstance(error, KeyboardInterrupt):
        why = f"stopped by {error.name if isinstance(error, Stopped) else 'SIGINT'}{at}"
        outcome = stopped(asked["name"], asked, provenance, why)
    else:
        outcome = failed(asked["name"], asked, provenance, error)
    outcome = replace(outcome, error=redaction.text(outcome.error))
    with suppress(OSError):
        write_result(outcome, folder)
    return f"{outcome.error}; see {folder / 'result.json'}"


def is_done(folder: Path, asked: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
    """Return whether a trial with these settings was finished in `folder` by the same evalkit.

    Args:
        folder: folder of the trial.
        asked: the settings, without secrets.
        provenance: commit, versions and command line.
    """
    found = read_result(folder / "result.json")
    return (
        asked["task"] == "trial"
        and not asked["overwrite"]
        and found is not None
        and found.status == "finished"
        and _that_matter(found.asked) == _that_matter(asked)
        and found.provenance.get("evalkit") == provenance["evalkit"]
    )


def _that_matter(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that only say where a finished run is recorded."""
    return {key: value for key, value in asked.items() if key not in _RECORDING}


_RECORDING = ("history", "tracking")


def read_result(path: Path) -> Result | Unfinished | None:
    """Return a result.json, finished or not; None where there is none that can be read."""
    try:
        return read_outcome(path)
    except (EvalkitError, ValueError):
        return None


def _lock(number: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(number)
        raise EvalkitError(
            f"another run{owner} is at work in {folder}; wait for it, or name another folder with out_dir=DIR"
        ) from None
    except OSError:
        say(f"  note: {folder} lies on a file system without locks: see that no other run writes to it")


def _owner(number: int) -> str:
    try:
        first = os.pread(number, 200, 0).splitlines()[0]
        return f" (process {int(json.loads(first)['process'])})"
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ""


def _refuse_to_lose(folder: Path, overwrite: bool) -> None:
    if not overwrite and _holds_a_result(folder / "result.json"):
        raise EvalkitError(
            f"{folder} holds a result already; name another folder with out_dir=DIR, or replace it with overwrite=true"
        )


def _holds_a_result(path: Path) -> bool:
    """Return whether there is a result worth keeping: any but that of a trial that measured nothing."""
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text("utf-8"))
        return found["status"] not in ("failed", "partial") or "effectiveness" in found
    except (ValueError, KeyError, TypeError):
        return True  # not ours, or broken: not for us to delete
