"""``python -m evalkit info``: what a configuration can be made of, and the settings of each choice."""

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from omegaconf import OmegaConf

from evalkit.boundary.terminal import without_controls
from evalkit.boundary.text import user_path
from evalkit.cli import describe, hydra_limits
from evalkit.cli.describe import GROUPS, Choice
from evalkit.report import terminal

WIDTH = 100
"""Columns of what is printed for people."""


def run(parsed: argparse.Namespace) -> None:
    """Print the groups, the choices of one, or the settings of one choice.

    Raises:
        EvalkitError: there is no such group, choice or folder, or the choice cannot be composed.
    """
    config_dir = user_path(parsed.config_dir).resolve() if parsed.config_dir else None
    if parsed.group is None:
        lines = _groups(config_dir)
    elif parsed.choice is None:
        describe.check_group(parsed.group)
        lines = _group(parsed.group, config_dir)
    else:
        lines = _choice(describe.choice(parsed.group, parsed.choice, config_dir), config_dir)
    terminal.show_lines([without_controls(line) for line in lines])


def listed(group: str, config_dir: Path | None = None) -> list[str]:
    """Return a line for each choice of a group: its name and its summary.

    Args:
        group: one of `describe.GROUPS`.
        config_dir: as for `describe.choices`.

    Raises:
        EvalkitError: there is no such folder.
    """
    found = describe.choices(group, config_dir)
    width = max(map(len, found), default=0)
    lines = [f"{name:<{width}}  {one.summary}".rstrip() for name, one in found.items()]
    return [line if len(line) <= WIDTH - 2 else f"{line[: WIDTH - 6]} ..." for line in lines]


def heading(group: str) -> str:
    """Return the line above the choices of a group: what they are, and which is the default."""
    chosen = describe.defaults().get(group)
    return f"{group}: {GROUPS[group]}" + (f" (default: {chosen})" if chosen else "")


def _groups(config_dir: Path | None) -> Iterator[str]:
    yield "Groups of the configuration; python -m evalkit info GROUP lists the choices of one:"
    yield ""
    for group, what in GROUPS.items():
        names = ", ".join(describe.choices(group, config_dir))
        yield f"{group:<12} {what}"
        yield from _wrapped(names, 13)


def _group(group: str, config_dir: Path | None) -> Iterator[str]:
    yield heading(group)
    yield ""
    yield from (f"  {line}" for line in listed(group, config_dir))
    yield ""
    yield f"Choose one with {group}=NAME; python -m evalkit info {group} NAME shows its settings."


def _choice(chosen: Choice, config_dir: Path | None) -> Iterator[str]:
    yield f"{chosen.group}={chosen.name}"
    for text in chosen.comment:
        yield from _wrapped(text, 2)
    yield f"  File: {chosen.path}"
    if chosen.group in describe.COMBINING:
        yield ""
        yield "What it sets:"
        yield from (f"  {line}" for line in _body(chosen.path))
        return
    cfg = hydra_limits.composed([f"{chosen.group}={chosen.name}"], config_dir)
    node = cfg[chosen.group]
    schema = OmegaConf.get_type(node)
    about = describe.key_comments(chosen.path)
    if isinstance(schema, type) and schema is not dict:
        about |= describe.descriptions(schema)
    settings = OmegaConf.to_container(node, resolve=False)
    assert isinstance(settings, dict)
    if target := settings.pop("_target_", None):
        yield f"  Component: {target}"
    yield ""
    if not settings:
        yield "It has no settings."
        return
    yield "Settings and their values with this choice; for another value, add KEY=VALUE to the command:"
    yield ""
    for key, value in sorted(settings.items(), key=lambda item: item[1] != "???"):
        yield from _wrapped(f"{chosen.group}.{key}{_shown(value)}", 2)
        yield from _wrapped(about.get(str(key), ""), 6)


def _wrapped(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False)


def _shown(value: object) -> str:
    """Return ``=VALUE`` as it is written on the command line, or a reference to where the value comes from."""
    if value == "???":
        return "=...  (required)"
    if isinstance(value, str):
        if variable := re.fullmatch(r"\$\{oc\.env:(\w+),(.*)\}", value):
            return f"={variable[2]}  (or what the environment variable {variable[1]} holds)"
        if other := re.fullmatch(r"\$\{([\w.]+)\}", value):
            return f"  (that of {other[1]})"
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return f"  ({len(value)} entries)"
    return f"={written(value)}"


def written(value: object) -> str:
    """Return a value as it is written in YAML on one line and, but for quotes, on the command line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w.,/@:+-]+", value) else repr(value)
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _body(path: Path) -> list[str]:
    """Return the lines of a YAML file below the comment at its top."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    start = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return lines[start:]
