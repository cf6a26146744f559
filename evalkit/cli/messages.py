"""Error messages of one sentence, for exceptions of Hydra, OmegaConf and the file system."""

import re
import sys
from dataclasses import fields

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from evalkit.cli import hydra_limits, quoting
from evalkit.cli.config import SCHEMAS, Config, Measures, PrecisionChoice
from evalkit.cost.protocol import CostProtocol
from evalkit.errors import EvalkitError, nearest


def sentence(error: Exception) -> str:
    """Return the message of an exception as one sentence that names a way out."""
    if isinstance(error, EvalkitError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = [option for option in error.options or () if not option.startswith("schema_")]
        return f"there is no {group or 'config'} {name!r}{nearest(name, options)}"
    if isinstance(error, OSError) and hasattr(
        error, "__notes__"
    ):  # from the trial's process, where it need not be about the results
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"cannot write the results{where}: {error.strerror or error}; name another folder with out_dir=DIR"
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    lines = (str(error).strip() or type(error).__name__).splitlines()
    first_line = lines[0].rstrip(".")
    if first_line.endswith("raised while composing config:") and lines[1:]:
        first_line = f"{first_line.partition(': ')[0]}: {lines[1].strip()}"
    cause = error.__cause__
    details = str(cause).strip().splitlines()[0] if isinstance(cause, OmegaConfBaseException) else ""
    if ambiguous := re.fullmatch(r"Ambiguous value for argument '(.+)'", first_line):
        as_text = _as_one_text(ambiguous[1], "for one text with a comma")
        return f"{first_line}; to try one value after the other add --multirun, for a list write key=[a,b]{as_text}"
    unknown = re.match(r"Key '(.+)' not in '(\w+)'", details)
    if unknown and (names := _settings_of(unknown[2])):
        return f"there is no setting {_quoted(first_line) or repr(unknown[1])}{nearest(unknown[1], names)}"
    way_out = ""
    if merged := re.fullmatch(r"Error merging override (.+)", first_line):
        way_out = _as_one_text(merged[1], "to have it as text") if "to string" in details else ""
    elif isinstance(error, InterpolationKeyError) or isinstance(cause, InterpolationKeyError):
        typed = next((one for one in sys.argv[1:] if "${" in one), "")
        way_out = _as_one_text(typed, "to have ${ as text")
    return (f"{first_line}: {details}" if details else first_line) + way_out


def _settings_of(schema: str) -> list[str]:
    """Return the settings of a schema of `config.SCHEMAS`, or a part of one, by the name of its class."""
    parts = (Config, PrecisionChoice, Measures, CostProtocol)
    known = {one.__name__: one for one in (*SCHEMAS.values(), *parts)}
    return [one.name for one in fields(known[schema]) if not one.name.startswith("_")] if schema in known else []


def _quoted(text: str) -> str | None:
    found = re.search(r"'([^']+)'", text)
    return repr(found[1]) if found else None


def _unreadable(argument: str) -> str:
    """Return the message for an argument that Hydra's parser refuses."""
    message = f"cannot read the argument {argument!r}; settings are written key=value"
    if typed := quoting.as_one_text(argument, hydra_limits.read_value):
        return f"{message}, and this value with quotes, since some of its characters have a meaning: {typed}"
    return f"{message}, and nothing else is accepted"


def _as_one_text(argument: str, purpose: str) -> str:
    typed = quoting.as_one_text(argument, hydra_limits.read_value)
    return f"; {purpose} write {typed}" if typed else ""
