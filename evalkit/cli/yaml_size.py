"""Refuses a YAML file whose anchors and aliases expand to far more than is written (a "billion laughs" file)."""

from functools import lru_cache
from pathlib import Path

import yaml

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import read_text

LARGEST_BYTES = 2**20
MOST_NODES = 100_000
"""Values in a file, with all aliases expanded. The largest of evalkit's own has some hundreds."""
DEEPEST = 50


def check(path: Path) -> None:
    """Check a file of a configuration, unless it was found to be in order before and has not changed.

    Raises:
        EvalkitError: it cannot be read, is not YAML, is too large or nested too deep, or refers to itself.
    """
    found = path.stat()
    _check(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _check(path: Path, size: int, mtime_ns: int) -> None:
    if size > LARGEST_BYTES:
        raise EvalkitError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB; is it a configuration?")
    try:
        root = yaml.compose(read_text(path, "a configuration in YAML"), yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise EvalkitError(f"{path}{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise EvalkitError(f"{path}: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise EvalkitError(f"{path}: nested deeper than {DEEPEST} levels; is it a configuration?") from None
    if root is not None and _nodes(root, path, {}, set()) > MOST_NODES:
        raise EvalkitError(f"{path}: its aliases (*name) expand to more than {MOST_NODES:,} values; use fewer aliases")


def _nodes(node: yaml.Node, path: Path, counted: dict[int, int], above: set[int]) -> int:
    """Return how many nodes `node` has with all aliases expanded; a node that occurs again is not walked again."""
    if id(node) in above:
        raise EvalkitError(f"{path}, line {node.start_mark.line + 1}: the value refers to itself")
    if len(above) > DEEPEST:
        raise EvalkitError(f"{path}, line {node.start_mark.line + 1}: nested deeper than {DEEPEST} levels")
    if node.tag not in _TAGS:
        raise EvalkitError(f"{path}, line {node.start_mark.line + 1}: the tag {node.tag!r} is not one of plain YAML")
    if id(node) not in counted:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        counted[id(node)] = 1 + sum(_nodes(one, path, counted, above | {id(node)}) for one in inner)
    return counted[id(node)]


_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value", "binary")
}
