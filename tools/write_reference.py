"""Write docs/reference/settings.md, the reference of all settings, from the schemas and the YAML of the configuration.

python tools/write_reference.py
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf

from evalkit.cli import describe, hydra_limits
from evalkit.cli.config import SCHEMAS, Config, conf_dir, register_schemas
from evalkit.cli.describe import GROUPS, Choice
from evalkit.cli.info_command import written

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

_INTRO = """\
# Settings
Every setting, with its type, default and meaning. This page is generated from the schemas and the YAML in `conf/` by
`python tools/write_reference.py`, and a test fails when it is out of date. `python -m evalkit info` prints the same.

A setting is overridden with `KEY=VALUE`, a choice is made with `GROUP=CHOICE`:

```sh
python -m evalkit first_stage=bm25 first_stage.k1=1.2 reranker=bge_base depth=50
python -m evalkit info reranker bge_base      # the settings of one choice, with the values that it gives them
```

In the tables, *required* marks a setting without a default. `${NAME}` is the value of another setting, and
`${oc.env:NAME,VALUE}` that of an environment variable, or VALUE if it is not set.
"""


def page() -> str:
    """Return the whole page as Markdown."""
    register_schemas()
    return "\n".join(
        [_INTRO, *_of_the_trial(), *(line for group in GROUPS for line in _of_group(group)), *_launchers()]
    )


def _of_the_trial() -> Iterator[str]:
    yield "## The trial as a whole"
    composed = _plain(hydra_limits.composed([], None))
    yield from _settings(Config, composed, [field for field in fields(Config) if field.name not in GROUPS])


def _schema(node: Any) -> type:
    return OmegaConf.get_type(node) or dict


def _of_group(group: str) -> Iterator[str]:
    yield f"## {group}"
    chosen = describe.defaults().get(group)
    default = f" Default: `{chosen}`." if chosen else ""
    yield f"{GROUPS[group][0].upper()}{GROUPS[group][1:]}.{default}"
    yield ""
    choices = describe.choices(group)
    if group in describe.COMBINING:
        yield from _table((f"`{group}=`", "what it is", "what it sets"), map(_experiment, choices.values()))
        return
    nodes = {name: _node(group, name) for name in choices}
    schemas: dict[type, list[str]] = {}
    for name, node in nodes.items():
        schemas.setdefault(_schema(node), []).append(name)
    yield from _table(
        (f"`{group}=`", "what it is", "what it sets"),
        (
            (f"`{name}`", one.summary, _changed(_plain(nodes[name]), _schema(nodes[name])))
            for name, one in choices.items()
        ),
    )
    for schema, names in schemas.items():
        yield f"### Settings of {group}: {', '.join(names)}"
        if target := _defaults(schema).get("_target_"):
            yield f"`{target}`"
            yield ""
        settings = [field for field in fields(schema) if field.name != "_target_"]
        if settings:
            yield from _settings(schema, _defaults(schema), settings, f"{group}.")
        else:
            yield "It has no settings."
            yield ""


def _node(group: str, name: str) -> DictConfig:
    """Return what a choice sets, over its schema and the choices that it builds on, as Hydra would compose it."""
    if schema := SCHEMAS.get((group, name)):
        return cast(DictConfig, OmegaConf.structured(schema))
    path = conf_dir() / group / f"{name}.yaml"
    own = cast(DictConfig, OmegaConf.load(path))
    parts = own.pop("defaults", None)
    if parts is None or "@package" in path.read_text("utf-8"):  # its schema is the group's, or it sets other groups too
        return cast(DictConfig, hydra_limits.composed([f"{group}={name}"], None)[group])
    return cast(DictConfig, OmegaConf.merge(*(own if part == "_self_" else _node(group, part) for part in parts)))


def _launchers() -> Iterator[str]:
    yield "## hydra/launcher"
    yield "How the trials of a sweep are started: one after the other on this machine, if none is chosen."
    yield ""
    found = describe.choices("hydra/launcher").values()
    yield from _table(("`hydra/launcher=`", "what it is"), ((f"`{one.name}`", one.summary) for one in found))


def _settings(
    schema: type, values: Mapping[str, Any], settings: Iterable["Field[Any]"], prefix: str = ""
) -> Iterator[str]:
    hints, about = get_type_hints(schema, include_extras=True), describe.descriptions(schema)
    yield from _table(
        ("setting", "type", "default", "meaning"),
        (
            (f"`{prefix}{name}`", _type(hints[name]), _default(values[name]), about.get(name, ""))
            for name in sorted((field.name for field in settings), key=lambda name: values[name] != "???")
        ),
    )


def _default(value: object) -> str:
    if value == "???":
        return "*required*"
    return f"`{value if isinstance(value, str) else written(value)}`"


def _experiment(choice: Choice) -> tuple[str, str, str]:
    """Return the row of an experiment: its name, its summary, and what it sets, as typed on the command line."""
    content = yaml.safe_load(choice.path.read_text("utf-8"))
    sets = {
        group.removeprefix("override /"): name for one in content.pop("defaults", []) for group, name in one.items()
    }
    content.pop("name", None)
    sweep = content.pop("hydra", {}).get("sweeper", {}).get("params", {})
    sets |= {key: written(value) for key, value in _flat(content)} | sweep
    return f"`{choice.name}`", choice.summary, " ".join(f"`{key}={value}`" for key, value in sets.items())


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _changed(values: Mapping[str, Any], schema: type) -> str:
    """Return the settings to which a choice gives another value than its schema."""
    before = _defaults(schema)
    return " ".join(
        f"`{key}` ({len(value)} figures)" if key == "reference" else f"`{key}={written(value)}`"
        for key, value in sorted(values.items(), key=lambda setting: setting[0] == "reference")
        if value != before[key]
    )


def _defaults(schema: type) -> dict[str, Any]:
    required = {field.name: "???" for field in fields(schema) if _has_none(field)}
    return _plain(OmegaConf.structured(schema(**required) if required else schema))


def _has_none(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _plain(node: Any) -> dict[str, Any]:
    settings = OmegaConf.to_container(node, resolve=False)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def _type(hint: Any) -> str:
    """Return a type as it is called in YAML: ``int or null`` for ``int | None``; an annotation says it itself."""
    if get_origin(hint) is Annotated:
        return str(hint.__metadata__[0])
    if get_origin(hint) is types.UnionType:
        return " or ".join(map(_type, get_args(hint)))
    if get_origin(hint) is list:
        inner = _type(get_args(hint)[0])
        return "list" if inner == "mapping" else f"list of {inner}"
    if get_origin(hint) is dict:
        return f"mapping to {_type(get_args(hint)[1])}"
    return {type(None): "null", Any: "mapping"}.get(hint) or str(hint.__name__)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
