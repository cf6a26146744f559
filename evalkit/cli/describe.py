"""The groups of the configuration, their choices and settings, each with its description.

A choice is described by the comment at the top of its YAML, a setting by the string below the field of its schema:
``--help``, ``info`` and the reference of settings show these, so that there is one place for each description.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path

import yaml

from evalkit.boundary.errors import EvalkitError, nearest
from evalkit.cli.config import conf_dir

GROUPS = {
    "slice": "queries, passages and relevance judgments",
    "first_stage": "finds the candidates of each query",
    "reranker": "orders the candidates anew: what is measured",
    "precision": "number format of every model",
    "deployment": "a runtime with a precision, for sweeps over both",
    "runtime": "what computes the reranker: torch, ONNX Runtime or OpenVINO",
    "measures": "what is measured of a ranking",
    "protocol": "what is measured of time and memory, and for how long",
    "chunks": "long passages split, and every part of them scored",
    "blend": "both scores interpolated, compared with the reranking",
    "executor": "where the pairs are scored",
    "gate": "limits that a result has to keep, for task=gate",
    "experiment": "choices and settings that belong together, under one name",
}
"""Group of the configuration -> what its choices are."""

COMBINING = ("deployment", "experiment")
"""The groups whose choices set other groups and settings, and have no settings of their own."""

_LONGEST_HEADER = 50
"""Lines at the top of a YAML file in which its description is looked for."""


@dataclass(frozen=True)
class Choice:
    """One YAML file of a group."""

    group: str
    name: str
    path: Path

    @property
    def comment(self) -> list[str]:
        """The lines of the comment at the top of the file, without ``# @package``."""
        return [line for line in _header(self.path) if not line.startswith("@package")]

    @property
    def summary(self) -> str:
        """The first line of the comment, or ""."""
        return next(iter(self.comment), "")


def choices(group: str, config_dir: Path | None = None) -> dict[str, Choice]:
    """Return the choices of a group by name, evalkit's own and those in a folder of the user's.

    Args:
        group: one of `GROUPS`.
        config_dir: the folder of ``--config-dir``; a name that evalkit has too is evalkit's, as for Hydra.

    Raises:
        EvalkitError: there is no such folder.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise EvalkitError(f"--config-dir {config_dir}: there is no such folder")
    found: dict[str, Choice] = {}
    for folder in (conf_dir(), config_dir):
        for path in sorted((folder / group).glob("*.yaml")) if folder else ():
            found.setdefault(path.stem, Choice(group, path.stem, path))
    return found


def choice(group: str, name: str, config_dir: Path | None = None) -> Choice:
    """Return one choice of a group.

    Args:
        group: one of `GROUPS`.
        name: name of the choice.
        config_dir: as for `choices`.

    Raises:
        EvalkitError: there is no such group, choice or folder.
    """
    check_group(group)
    found = choices(group, config_dir)
    if name not in found:
        way_out = nearest(name, found) or f"; python -m evalkit info {group} lists what there is"
        raise EvalkitError(f"there is no {group} {name!r}{way_out}")
    return found[name]


@cache
def defaults() -> dict[str, str]:
    """Return group -> the choice that is taken where none is named, as conf/config.yaml has it."""
    listed = yaml.safe_load((conf_dir() / "config.yaml").read_text("utf-8"))["defaults"]
    pairs = [pair for one in listed if isinstance(one, dict) for pair in one.items()]
    return {group: name for group, name in pairs if group in GROUPS and name}


def check_group(name: str) -> None:
    """Check that there is a group of that name.

    Raises:
        EvalkitError: there is none.
    """
    if name not in GROUPS:
        raise EvalkitError(f"there is no group {name!r}{nearest(name, GROUPS)}")


def descriptions(schema: type) -> dict[str, str]:
    """Return setting -> description of a dataclass: the string below each field, in its class or a base class.

    ``None`` becomes ``null``, as it is written in YAML and on the command line.
    """
    found: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if is_dataclass(base):
            found |= dict(_documented(base))
    return found


def _documented(schema: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(schema))).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            text = re.sub(r"`+", "", " ".join(below.value.value.split()))
            yield field.target.id, re.sub(r"\bNone\b", "null", text)


def key_comments(path: Path) -> dict[str, str]:
    """Return key -> the comment on its line, for the top level of a YAML file."""
    text = path.read_text("utf-8", errors="replace")
    return dict(re.findall(r"^(\w+):.*?\s#\s*(.+)$", text, re.MULTILINE))


def _header(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in (file.readline(1_000).strip() for _ in range(_LONGEST_HEADER)):
            if not line.startswith("#"):
                return
            if text := line.lstrip("#").strip():
                yield text
