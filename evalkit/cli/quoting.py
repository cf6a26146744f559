"""Quotes a setting whose value has characters with a meaning for Hydra or the shell."""

import re
import shlex
from collections.abc import Callable

_SETTING = re.compile(r"(?P<key>[+~]{0,2}[A-Za-z_][\w./@-]*)=(?P<value>.*)", re.DOTALL)


def as_one_text(argument: str, reads: Callable[[str], object]) -> str | None:
    """Return ``key=value`` quoted for a POSIX shell and Hydra, so that the whole value is one text.

    Args:
        argument: ``key=value`` as the user meant it.
        reads: returns the value that Hydra reads in an argument; the quoted form is verified with it.

    Returns:
        The quoted argument; None if the argument has no key, or cannot be quoted.
    """
    typed = for_hydra(argument, reads)
    return shlex.quote(typed) if typed else None


def for_hydra(argument: str, reads: Callable[[str], object]) -> str | None:
    """Do as `as_one_text`, for Hydra only, without the quotes of a shell.

    Args:
        argument: as for `as_one_text`.
        reads: as for `as_one_text`.

    Returns:
        The quoted argument; None if the argument has no key, or cannot be quoted.
    """
    found = _SETTING.fullmatch(argument)
    if not found:
        return None
    key, value = found["key"], found["value"]
    for quote in ('"', "'"):
        quoted = re.sub(rf"(\\*){quote}", rf"\1\1\\{quote}", value)
        quoted = re.sub(r"\\+$", lambda slashes: slashes[0] * 2, quoted)
        # OmegaConf takes ${ for a reference to another setting; with a backslash before, it is text.
        quoted = re.sub(r"(\\*)\$\{", r"\1\1\\${", quoted)
        typed = f"{key}={quote}{quoted}{quote}"
        try:
            if reads(typed) == value:
                return typed
        except Exception:  # noqa: S112 - Hydra's parser raises many types: this quoting does not work
            continue
    return None
