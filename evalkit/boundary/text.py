"""Untrusted text: reads lines of UTF-8, escapes ids for TREC files, repairs Unicode, parses numbers, quotes values."""

import codecs
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from evalkit.boundary.compression import decompressed, is_damage
from evalkit.boundary.errors import EvalkitError

LONGEST_LINE = 64 * 2**20
"""Bytes. A longer line means a file without line ends, which would be read into memory as a whole."""


def read_lines(path: Path, what: str, *, blank_too: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of each line that is not blank; only a line feed ends a line, a BOM is dropped.

    Args:
        path: the file, which may be compressed (`evalkit.boundary.compression`).
        what: what it should contain, for messages, such as "a TREC run".
        blank_too: whether blank lines are yielded as well.

    Raises:
        EvalkitError: the file does not exist, is not a regular file, or is damaged; a line is not UTF-8, or beyond
            `LONGEST_LINE`.
    """
    with opened(path, what) as file:
        for number, raw in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if len(raw) >= LONGEST_LINE:
                raise EvalkitError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; is it {what}?")
            if blank_too or raw.strip():
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise EvalkitError(f"cannot read {path}, line {number}, as {what}: {_undecodable(error)}") from None
                yield number, text


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that evalkit wrote, in which lone surrogates are allowed.

    Args:
        path: the file.
        what: what it should contain, for messages.

    Raises:
        EvalkitError: the file does not exist, is not a regular file, or is not UTF-8.
    """
    with opened(path, what, as_it_is=True) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise EvalkitError(f"cannot read {path} as {what}: {_undecodable(error)}") from None


@contextmanager
def opened(path: Path, what: str, *, as_it_is: bool = False) -> Iterator[BinaryIO]:
    """Open a regular file for reading, decompressed.

    Args:
        path: the file.
        what: what it should contain, for messages.
        as_it_is: whether a compressed file is not decompressed.

    Raises:
        EvalkitError: it does not exist, is not a regular file, cannot be read, or its compression is damaged.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe may block for ever, and a device may never end
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise EvalkitError(f"cannot read {path} as {what}: it is {kind}, not a file")
        with path.open("rb") as file:
            yield file if as_it_is else decompressed(file, path)
    except FileNotFoundError:
        raise EvalkitError(f"there is no {path}; it should be {what}") from None
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
        raise EvalkitError(f"cannot read {path} as {what}: {getattr(error, 'strerror', None) or error}") from None
    except Exception as error:
        if not is_damage(error):
            raise
        raise EvalkitError(f"cannot read {path} as {what}: its compression is damaged or cut off ({error})") from None


def _undecodable(error: UnicodeDecodeError) -> str:
    if error.object[:2] == b"\x1f\x8b":
        return "it is compressed (gzip); unpack it first"
    if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "it is UTF-16, as some spreadsheets write it; save it as UTF-8"
    return f"it is not UTF-8 ({error.reason} at byte {error.start})"


def escape_id(item: str) -> str:
    """Return an id as TREC files, whose columns are separated by white space, can store it.

    Most ids are returned unchanged. In an id with white space, a control character or a lone surrogate, these and ``%``
    are percent-encoded as in a URL: ``page 7`` becomes ``page%207``. Escaping twice is the same as escaping once.
    """
    if item.isprintable() and " " not in item:
        return item
    return _ESCAPED.sub(_percent, item) if _NEEDS_ESCAPING.search(item) else item


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


_NEEDS_ESCAPING = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPED = re.compile("[%\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate (half a character, which JSON can express and UTF-8 cannot)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def replace_surrogates(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD, the replacement character."""
    return text if is_unicode(text) else _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_integer(text: str) -> int:
    """Parse an integer of up to 18 digits, which fits into 64 bits.

    Raises:
        ValueError: it is not one, or is written as only Python allows, such as ``1_000``.
    """
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("not an integer of up to 18 digits")
    return int(text)


_INTEGER = re.compile("[+-]?[0-9]{1,18}")


def parse_number(text: str) -> float:
    """Parse a number.

    Raises:
        ValueError: it is not one, or is written as only Python allows, such as ``1_000``.
    """
    if "_" in text or not text.isascii():
        raise ValueError("not a number")
    return float(text)


def quoted(value: object) -> str:
    """Return a value for a message.

    A text is put in quotes, with control characters escaped, and cut after 80 characters. Of a list or a mapping only
    the type is given, as its content may be long.
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if not isinstance(value, str):
        return str(value)[:80]
    return repr(value) if len(value) <= 80 else f"{value[:80]!r}..."


def printable_name(name: str) -> str:
    """Return a name for a message: unchanged, or `quoted` where it is long or not printable."""
    return name if name.isprintable() and len(name) <= 200 else quoted(name)


def user_path(text: str | Path) -> Path:
    """Return the path with ``~`` expanded; ``~name`` of an unknown user is left unchanged."""
    return Path(os.path.expanduser(text))  # Path.expanduser raises RuntimeError for an unknown user


def is_folder(path: Path) -> bool:
    """Return whether the folder exists; False for a name that is not valid."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
