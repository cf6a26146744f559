"""Writes a file or a folder of files completely or not at all: under a temporary name first, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evalkit.boundary.signals import defer_signals

_UNFINISHED, _PART = ".unfinished-", ".part"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file; a write that fails leaves nothing behind, and an older file as it was.

    Args:
        path: the file.
        text: written as UTF-8; lone surrogates are written too.

    Raises:
        OSError: the file cannot be written, or the disk is full.
    """
    temporary = path.with_name(path.name + _PART)
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name with no content
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path, last: str) -> Iterator[Path]:
    """Yield a temporary folder, whose files are moved into `folder` when the block ends without an exception.

    The temporary folder is inside `folder`, which may be a mounted volume: only there it is certain to be on the same
    disk. Files of `folder` with other names stay.

    Args:
        folder: where the files go; it exists.
        last: name of the file whose presence means that all files are complete. An older one is removed first, and
            the new one is moved last.

    Raises:
        OSError: a file cannot be written, or the disk is full; then `folder` is unchanged.
    """
    temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        yield temporary
        files = sorted(temporary.iterdir(), key=lambda path: (path.name == last, path.name))
        for file in files:
            fsync(file)
        with defer_signals():
            (folder / last).unlink(missing_ok=True)
            for file in files:
                file.replace(folder / file.name)
        with suppress(OSError):
            fsync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, *files: str) -> None:
    """Remove temporary files that killed processes have left in `folder`; no other process may be writing there.

    Args:
        folder: the folder that `atomic_folder` and `write_atomically` wrote to.
        *files: names of the files that `write_atomically` writes there.
    """
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for name in files:
        (folder / (name + _PART)).unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
