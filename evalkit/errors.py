"""The one exception for a user's mistake: shown as a sentence, never as a traceback."""

import difflib
from collections.abc import Iterable


class EvalkitError(Exception):
    """What is wrong, where, and what would be right, in one sentence that a user can act on."""


class NotFiniteError(EvalkitError):
    """The model gave NaN or an infinite number as a logit: the model is broken, not the user's input."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the valid names closest to `name`; if none is close, all unless many."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; there is {', '.join(names)}" if 0 < len(names) <= 30 else ""
