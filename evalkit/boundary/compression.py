"""Files compressed with gzip, bzip2 or Zstandard, recognised by their first bytes and read as a stream."""

import bz2
import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from evalkit.boundary.errors import EvalkitError

SUFFIXES = (".gz", ".bz2", ".zst")
"""Extensions that follow the one of the content, as in ``corpus.jsonl.gz``."""
_GZIP, _BZIP2, _ZSTANDARD = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"


def decompressed(file: io.BufferedReader, path: Path) -> BinaryIO:
    """Return the content of a file, as it is or decompressed.

    The name of a file does not decide: a download may have been decompressed on the way and kept its name.

    Args:
        file: opened at its beginning.
        path: names the file in messages.

    Raises:
        EvalkitError: it is compressed with Zstandard, and the package that reads it is not installed.
    """
    start = file.peek(4)
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if start.startswith(_BZIP2):
        return cast(BinaryIO, bz2.BZ2File(file))
    if start.startswith(_ZSTANDARD):
        return cast(BinaryIO, _zstandard(path).ZstdFile(file))
    return file


def open_to_write(path: Path) -> BinaryIO:
    """Open a new file for bytes, compressed as its extension says.

    Args:
        path: of the file; one that exists is overwritten.

    Raises:
        EvalkitError: as for `decompressed`.
        OSError: it cannot be written.
    """
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "wb"))
    if path.suffix == ".bz2":
        return cast(BinaryIO, bz2.open(path, "wb"))
    if path.suffix == ".zst":
        return cast(BinaryIO, _zstandard(path).ZstdFile(path, "wb"))
    return path.open("wb")


def is_damage(error: Exception) -> bool:
    """Return whether an exception means that compressed content is damaged or cut off."""
    return isinstance(error, EOFError | zlib.error) or type(error).__name__ == "ZstdError"


def without_suffix(path: Path) -> Path:
    """Return the path without the extension of a compression."""
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def _zstandard(path: Path) -> Any:
    try:
        return _module()
    except ImportError:
        raise EvalkitError(
            f"{path} is compressed with Zstandard, and the package for it is not installed; "
            "pip install 'evalkit-rerank[formats]' brings it"
        ) from None


def _module() -> Any:
    """Return ``compression.zstd``, which Python has from 3.14 on, or its backport."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd
