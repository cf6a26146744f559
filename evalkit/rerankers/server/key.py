"""The key of a server, from the environment variable that a setting names."""

import os

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError, nearest


def read_key(key_env: str | None) -> str | None:
    """Return the key, from now on redacted in everything that is written.

    Args:
        key_env: name of the variable, as the setting ``reranker.key_env`` has it; None for a server without a key.

    Raises:
        EvalkitError: this is no name of a variable, or the variable is missing, empty or holds no key.
    """
    if key_env is None:
        return None
    redaction.add_secrets({"key_env": key_env})
    if not redaction.is_variable(key_env):
        raise EvalkitError(
            "reranker.key_env takes the name of an environment variable, in capitals, such as COHERE_API_KEY, and "
            "not the key itself"
        )
    key = os.environ.get(key_env, "").strip()
    if not key:
        close = nearest(key_env, [name for name in os.environ if name.endswith("KEY")])
        raise EvalkitError(
            f"reranker.key_env={key_env}: there is no such environment variable, or it is empty"
            f"{close if close.startswith('; did') else ''}"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise EvalkitError(
            f"reranker.key_env={key_env}: this variable has blanks, line ends or characters other than ASCII, "
            "which no key has"
        )
    return key
