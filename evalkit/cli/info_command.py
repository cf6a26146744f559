"""``python -m evalkit info``: what a configuration can be made of, and the settings of each choice."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
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


def listed(group: str, config_dir: Path | None = None, families: bool = False) -> list[str]:
    """Return a line for each choice of a group: its name and its summary.

    Args:
        group: one of `describe.GROUPS`.
        config_dir: as for `describe.choices`.
        families: whether names that begin alike, ten or more, share a line.

    Raises:
        EvalkitError: there is no such folder.
    """
    found = {name: one.summary for name, one in describe.choices(group, config_dir).items()}
    alike = _families(found) if families else {}
    for start, names in alike.items():
        found = {name: summary for name, summary in found.items() if name not in names}
        found[f"{start}..."] = f"{len(names)}: {', '.join(name.removeprefix(start) for name in names)}"
    width = max(map(len, found), default=0)
    lines: list[str] = []
    for name, summary in sorted(found.items()):
        line = f"{name:<{width}}  {summary}".rstrip()
        if name.removesuffix("...") in alike:
            lines += textwrap.wrap(line, WIDTH - 2, subsequent_indent=" " * (width + 2))
        else:
            lines.append(line if len(line) <= WIDTH - 2 else f"{line[: WIDTH - 6]} ...")
    return lines


def _families(names: Iterable[str]) -> dict[str, list[str]]:
    """Return start of a name, up to an underscore -> the names with it, for the longest one that ten or more have."""
    found: dict[str, list[str]] = {}
    for name in names:
        for at in (match.end() for match in re.finditer("_", name)):
            found.setdefault(name[:at], []).append(name)
    large = {start: of_start for start, of_start in found.items() if len(of_start) >= _FAMILY}
    return {start: of for start, of in large.items() if not any(o != start and o.startswith(start) for o in large)}


_FAMILY = 10
"""Names from which on those that begin alike share a line of ``--help``."""


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``info`` to its parser."""
    parser.add_argument("group", metavar="GROUP", nargs="?", help="such as slice; default: lists the groups")
    parser.add_argument("choice", metavar="CHOICE", nargs="?", help="such as dev; default: lists the choices")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder with YAML of your own")
