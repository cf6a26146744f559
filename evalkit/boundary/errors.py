"""The exception for a user's mistake, which is shown as one sentence and without a traceback."""

import difflib
from collections.abc import Iterable


class EvalkitError(Exception):
    """A mistake that the user can correct; the message is one sentence: what is wrong, where, and what is valid."""


EvalkitError.__module__ = "evalkit"  # where people import it from, and the name that a traceback shows


class NotFiniteError(EvalkitError):
    """A logit is NaN or infinite: the model or its precision is at fault, not the user's input."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the end of a message about an invalid name.

    Args:
        name: what was given.
        valid: the names that would be valid.

    Returns:
        ``"; did you mean a, b?"`` with up to three close names; if none is close, a list of all names, or nothing
        where there are more than 30.
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; choose from {', '.join(names)}" if 0 < len(names) <= 30 else ""
