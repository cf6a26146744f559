"""What comes from outside, as evalkit can hold it: lines of UTF-8, ids that a TREC run can write, true Unicode."""

import codecs
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from evalkit.errors import EvalkitError

LONGEST_LINE = 64 * 2**20
"""Bytes. A longer line is no passage but a file without line ends, and would be read into memory whole."""


def read_lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line that is not blank; only a line feed ends one, and a BOM is dropped.

    Raises:
        EvalkitError: there is no such file, or it is no regular one; a line is not UTF-8, or beyond `LONGEST_LINE`.
    """
    with _opened(path, what) as file:
        for number, raw in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if len(raw) >= LONGEST_LINE:
                raise EvalkitError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; is it {what}?")
            if raw.strip():
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise EvalkitError(f"cannot read {path}, line {number}, as {what}: {_undecodable(error)}") from None
                yield number, text


def read_text(path: Path, what: str) -> str:
    """Return the text of a file of ours, in which a lone surrogate may stand as it was written.

    Raises:
        EvalkitError: there is no such file, it is no regular one, or it is no text.
    """
    with _opened(path, what) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise EvalkitError(f"cannot read {path} as {what}: {_undecodable(error)}") from None


@contextmanager
def _opened(path: Path, what: str) -> Iterator[BinaryIO]:
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever, and a device may never end
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise EvalkitError(f"cannot read {path} as {what}: it is {kind}, not a file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise EvalkitError(f"there is no {path}; it should be {what}") from None
    except (OSError, ValueError) as error:  # a ValueError of a name that holds a NUL
        raise EvalkitError(f"cannot read {path} as {what}: {getattr(error, 'strerror', None) or error}") from None


def _undecodable(error: UnicodeDecodeError) -> str:
    if error.object[:2] == b"\x1f\x8b":
        return "it is compressed (gzip); unpack it first"
    return f"it is not UTF-8 ({error.reason} at byte {error.start})"


def escape_id(item: str) -> str:
    """Return an id as files of white-space separated columns can hold it: itself, as a rule.

    In an id with white space, a control character or a lone surrogate, these and ``%`` are percent-encoded as in a URL:
    ``page 7`` is ``page%207``. An id without them stays as it is, ``%`` included, and so does one encoded before.
    """
    if item.isprintable() and " " not in item:
        return item
    return _ENCODED.sub(_percent, item) if _UNSTORABLE.search(item) else item


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


_UNSTORABLE = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ENCODED = re.compile("[%\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate: half of a character, as JSON can write it and UTF-8 cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def replace_surrogates(text: str) -> str:
    """Return `text` with U+FFFD, the character that stands for a broken one, for each lone surrogate."""
    return text if is_unicode(text) else _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_integer(text: str) -> int:
    """Return an integer of up to 18 digits: what 64 bits hold.

    Raises:
        ValueError: it is none, or written as Python alone takes it, such as ``1_000``.
    """
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("no integer of up to 18 digits")
    return int(text)


_INTEGER = re.compile("[+-]?[0-9]{1,18}")


def parse_number(text: str) -> float:
    """Return a number.

    Raises:
        ValueError: it is none, or written as Python alone takes it, such as ``1_000``.
    """
    if "_" in text or not text.isascii():
        raise ValueError("no number")
    return float(text)


def quoted(value: object) -> str:
    """Return a value for a message: a text in quotes with its control characters escaped, cut after 80 characters.

    Of a list or a mapping it is said what it is: its own words may be without end.
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if not isinstance(value, str):
        return str(value)[:80]
    return repr(value) if len(value) <= 80 else f"{value[:80]!r}..."


def printable_name(name: str) -> str:
    """Return a name for a message: as it is, unless it is long or cannot be printed, and then as `quoted`."""
    return name if name.isprintable() and len(name) <= 200 else quoted(name)


def user_path(text: str | Path) -> Path:
    """Return the path with ``~`` as the user's home; one of a user that there is not stays as it is."""
    return Path(os.path.expanduser(text))  # pathlib's own raises a RuntimeError there


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder; a name that no file can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
