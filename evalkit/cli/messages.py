"""Error messages of one sentence, for exceptions of Hydra, OmegaConf and the file system."""

import re
import sys
from dataclasses import fields
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.cli import hydra_limits, own_texts, quoting
from evalkit.cli.config import SCHEMAS, Config, Measures, PrecisionChoice, conf_dir
from evalkit.cli.describe import GROUPS, choices
from evalkit.cost.protocol import CostProtocol

_EXTRAS = {("hydra/sweeper", "optuna"): "optuna"}
"""Choices of Hydra's own groups -> the extra whose plugin has them."""


def sentence(error: Exception) -> str:
    """Return the message of an exception as one sentence that names a way out."""
    if isinstance(error, EvalkitError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        whole = str(error.missing_cfg_file)
        group, _, name = whole.partition("/")
        if group in _ANY and "/" in name:
            return _place_as_choice(group, name)
        group, _, name = whole.rpartition("/")
        options = [option for option in error.options or () if not option.startswith("schema_")]
        if extra := _EXTRAS.get((group, name)):
            return f"{group}={name} comes with an extra: pip install 'evalkit-rerank[{extra}]'"
        elsewhere = "".join(f"; {other}={name} is there" for other in GROUPS if _has_choice(other, name))
        way_out = nearest(name, options) or (f"; python -m evalkit info {group} lists what there is" if group else "")
        return f"there is no {group or 'config'} {name!r}{elsewhere}{way_out}"
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
        if ambiguous[1].lstrip("+").startswith("passages="):
            return f"{first_line[:200]}; for a list write {own_texts.LIST}, and to try several files add --multirun"
        as_text = _as_one_text(ambiguous[1], "for one text with a comma")
        return f"{first_line}; to try one value after the other add --multirun, for a list write key=[a,b]{as_text}"
    unknown = re.match(r"Key '(.+)' not in '(\w+)'", details)
    if unknown:
        asked, names = _quoted(first_line) or repr(unknown[1]), _settings_of(unknown[2])
        elsewhere = _elsewhere(asked.strip("'"))
        if elsewhere or names:
            return f"there is no setting {asked}{elsewhere or nearest(unknown[1], names)}"
    way_out = ""
    if merged := re.fullmatch(r"Error merging override (.+)", first_line):
        way_out = _as_one_text(merged[1], "to have it as text") if "to string" in details else ""
    elif isinstance(error, InterpolationKeyError) or isinstance(cause, InterpolationKeyError):
        typed = next((one for one in sys.argv[1:] if "${" in one), "")
        way_out = _as_one_text(typed, "to have ${ as text")
    return (f"{first_line}: {details}" if details else first_line) + way_out


_ANY = {
    "reranker": "cross_encoder reranker.model",
    "first_stage": "dense first_stage.model",
    "slice": "beir slice.path",
}
"""Group -> its choice that takes any hub id or path, and the setting for it."""


def _place_as_choice(group: str, place: str) -> str:
    """Return the message for a hub id or a path where the name of a choice is expected."""
    ready = next((path.stem for path in sorted((conf_dir() / group).glob("*.yaml")) if _model_of(path) == place), None)
    right = f"{group}={ready}" if ready else f"{group}={_ANY[group]}={place}"
    which = ", which has this model" if ready else ""
    what = "a path" if group == "slice" else "a hub id or a path"
    return f"{group}={place}: this is {what}, and {group}= takes the name of a choice; write {right}{which}"


def _has_choice(group: str, name: str) -> bool:
    return re.fullmatch(r"\w+", name) is not None and (conf_dir() / group / f"{name}.yaml").is_file()


def _model_of(path: Path) -> str | None:
    found = re.search(r"^model: *(\S+)", path.read_text("utf-8"), re.MULTILINE)
    return found[1] if found else None


def _elsewhere(key: str) -> str:
    """Return which choice of its group has a setting; empty where none has, or the key has no group."""
    group, _, name = key.rpartition(".")
    if group and name in GROUPS:
        return f"; {name} is a group of its own: write {name}=CHOICE, with one of {', '.join(choices(name))}"
    having = [
        choice.removeprefix("schema_")
        for (of, choice), schema in SCHEMAS.items()
        if of is not None and of == (group or _GROUP_OF.get(name)) and name in {one.name for one in fields(schema)}
    ]
    if not having:
        return ""
    if not group:
        return f"; did you mean {_GROUP_OF[name]}.{name}?"
    *others, last = [f"{group}={choice}" for choice in having]
    return f" with this {group}; {', '.join(others)}{' or ' if others else ''}{last} has it"


_GROUP_OF = {"path": "slice", "dataset": "slice", "lang": "slice", "queries": "slice", "model": "reranker"}
"""Settings that people write without their group -> the group."""


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
    if argument.lstrip("+").startswith("passages=["):
        return (
            f"cannot read the argument {argument[:200]!r}; write {own_texts.LIST}, with the outer quotes, "
            "or name a file, passages=FILE, whose texts may have any characters"
        )
    message = f"cannot read the argument {argument!r}; settings are written key=value"
    if typed := quoting.as_one_text(argument, hydra_limits.read_value):
        return f"{message}, and this value with quotes, since some of its characters have a meaning: {typed}"
    return f"{message}, and nothing else is accepted"


def _as_one_text(argument: str, purpose: str) -> str:
    typed = quoting.as_one_text(argument, hydra_limits.read_value)
    return f"; {purpose} write {typed}" if typed else ""
