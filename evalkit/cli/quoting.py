"""How a setting is typed whose value has characters that Hydra or the shell give a meaning."""

import re
import shlex
from collections.abc import Callable

_SETTING = re.compile(r"(?P<key>[+~]{0,2}[A-Za-z_][\w./@-]*)=(?P<value>.*)", re.DOTALL)


def as_one_text(argument: str, reads: Callable[[str], object]) -> str | None:
    """Return ``key=value`` as it is typed in a POSIX shell with the value as one text; None if the argument has no key.

    `reads` gives the value that Hydra reads in an argument; what is returned is tried with it first.
    """
    typed = for_hydra(argument, reads)
    return shlex.quote(typed) if typed else None


def for_hydra(argument: str, reads: Callable[[str], object]) -> str | None:
    """Return ``key=value`` as Hydra takes it with the value as one text; None if the argument has no key."""
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
        except Exception:  # noqa: S112 - whatever Hydra's parser ends in: this is not how to write it
            continue
    return None
