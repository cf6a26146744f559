"""Writes a file, or a folder of them, whole or not at all: under a temporary name first, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evalkit.boundary.signals import defer_signals

_UNFINISHED, _PART = ".unfinished-", ".part"


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8, lone surrogates of broken texts included; nothing is left of a write that fails.

    Raises:
        OSError: it cannot be written there, or the disk is full.
    """
    temporary = path.with_name(path.name + _PART)
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a rename that outlives a power cut must not outlive what it names
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path, last: str) -> Iterator[Path]:
    """Yield a temporary folder inside of `folder`, whose files move up into it when the block has ended well.

    `last` names the file that says that all is there: an older one goes before the others come, and the new one comes
    after them. Inside of `folder`, and not beside it, since only there it is surely on the same disk: `folder` may be
    a volume of its own, and may hold files that are not ours.

    Raises:
        OSError: it cannot be written there, or the disk is full; then `folder` is as it was.
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
    """Remove what processes that were killed have left half done in `folder`; no other may be at work there.

    `files` are those that `write_atomically` writes.
    """
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for name in files:
        (folder / (name + _PART)).unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to the disk itself."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
