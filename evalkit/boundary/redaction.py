"""Redacts secrets in whatever is written: settings, command lines, messages.

A secret is recognised by the name of its setting (``api_key: ...``) or by its form (``hf_...``, a JSON Web Token, user
and password in a URL). Values recognised by name, and those of the environment, are also replaced in any other text; a
setting ``key_env`` names the variable of one.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "REDACTED"

_NAMES = (
    "token|secrets?|passw(?:or)?ds?|passphrase|pwd|credentials?|authorization|auth|cookie|bearer|"
    "(?:api|access|private|secret|signing|encryption)[-_]?keys?"
)
_NAME = re.compile(rf"(?:.*[_.+~/@\s-])?(?:{_NAMES})(?:[-_]?(?:id|value|header|string))?", re.IGNORECASE | re.DOTALL)
"""A setting or variable that ends in one of the words; ``batch_tokens`` does not match."""

_ASSIGNED = re.compile(
    rf"""(?P<name>(?<![A-Za-z0-9])(?:{_NAMES})["']?\s*[=:]\s*)
         (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&}}\])"']+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""``name=value`` and ``name: value`` within a text, such as an argument or the query of a URL."""

_FORMS = (
    re.compile(r"(?<=://)[^\s/@]+@"),  # user:password@host
    re.compile(r"(?<![A-Za-z0-9])hf_(?:[A-Za-z0-9]{16,}|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{8,})"),
    re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_](?:[A-Za-z]+[-_])*[A-Za-z0-9]{16,}[\w-]*"),
    re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"),
    re.compile(r"(?<![A-Za-z0-9])(?:gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,})"),
    re.compile(r"(?<![A-Za-z0-9])(?:xox[a-z]-[\w-]{10,}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,})"),
    re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"),  # a JSON Web Token: {" in base64
    re.compile(r"(?<=bearer )[\w.~+/=-]{8,}|(?<=basic )[\w.~+/=-]{12,}", re.IGNORECASE),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)

_NAMES_VARIABLE = "key_env"
"""Name of a setting whose value is the name of an environment variable that has a secret."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")

_SHORTEST = 4
"""Characters. A shorter secret is redacted in its own setting, but not in other texts."""
known_secrets: set[str] = set()
"""Secrets that this process has recognised by their names."""


def is_secret_name(name: str) -> bool:
    """Return whether the value of a setting or variable of this name is a secret."""
    return bool(_NAME.fullmatch(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)))


def is_variable(name: str) -> bool:
    """Return whether a setting ``key_env`` has the name of a variable, in capitals, and not somebody's key itself."""
    return bool(_VARIABLE.fullmatch(name)) and text(name) == name


def add_secrets(value: Any, name: str = "") -> None:
    """Register values whose name is that of a secret, so that `text` replaces them from now on.

    Args:
        value: a setting, or mappings and lists of settings.
        name: name of the setting that has the value; empty for a whole configuration.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == _NAMES_VARIABLE and isinstance(inner, str):
                _add_secret_of(inner)
            add_secrets(inner, str(key) if is_secret_name(str(key)) else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            add_secrets(inner, name)
    elif name and is_secret_name(name) and _holds_something(value):
        known_secrets.update(found for found in (str(value), repr(str(value))[1:-1]) if len(found) >= _SHORTEST)


def _add_secret_of(variable: str) -> None:
    """Register the value of a variable; what is no name of a variable is a key, given where its name belongs."""
    add_secrets(os.environ.get(variable, "").strip() if is_variable(variable) else variable, "secret")


def add_secrets_of_environment(environment: Mapping[str, str]) -> None:
    """Register the secrets among environment variables; paths and short words are not secrets."""
    for name, value in environment.items():
        if len(value) >= 2 * _SHORTEST and not value.startswith(("/", "~", ".")):
            add_secrets(value, name)


def text(message: str) -> str:
    """Return a text with everything that looks like a secret redacted."""
    for secret in sorted(known_secrets, key=len, reverse=True):
        message = message.replace(secret, REDACTED)
    message = _FORMS[0].sub(f"{REDACTED}@", message)
    for form in _FORMS[1:]:
        message = form.sub(REDACTED, message)
    return message


def settings(value: Any, name: str = "") -> Any:
    """Return JSON-ready values with every secret redacted, recognised by its name or by its form.

    Args:
        value: a value, or mappings and lists of values.
        name: name of the setting that has the value; empty for a whole configuration.
    """
    if isinstance(value, Mapping):
        return {
            text(key) if isinstance(key, str) else key: settings(inner, str(key) if is_secret_name(str(key)) else name)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [settings(inner, name) for inner in value]
    if name and is_secret_name(name) and _holds_something(value):
        return REDACTED
    return text(value) if isinstance(value, str) else value


def command(arguments: Iterable[str]) -> list[str]:
    """Return command-line arguments with every secret redacted."""
    return [_argument(one) for one in arguments]


def add_secrets_of_command(arguments: Iterable[str]) -> None:
    """Register the secrets that a command line gives as ``name=value``."""
    for one in arguments:
        key, equals, value = one.partition("=")
        if equals and is_secret_name(key):
            add_secrets(value.strip("'\""), "secret")
        for found in _ASSIGNED.finditer(one):
            add_secrets(found["value"].strip("'\""), "secret")


def _argument(one: str) -> str:
    key, equals, value = one.partition("=")
    if equals and value and is_secret_name(key):
        return f"{key}={REDACTED}"
    return text(_ASSIGNED.sub(rf"\g<name>{REDACTED}", one))


def _holds_something(value: object) -> bool:
    """Return whether a value can be a secret: it is neither empty nor true, false or null."""
    return value is not None and not isinstance(value, bool) and value not in ("", "null", REDACTED, "???")
