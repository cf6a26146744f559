"""Writes the JSON Schema of each file that evalkit writes for other programs into docs/schemas/.

    python tools/write_schemas.py

A schema is made from the dataclass that defines the file; a field's docstring is its description.
"""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter

from evalkit.results.comparison_schema import Comparison
from evalkit.results.gate.baseline import BaselineFile
from evalkit.results.judges_schema import JudgeReport
from evalkit.results.pick_schema import Pick
from evalkit.results.plan_schema import QueryPlan
from evalkit.results.schema import Result, Unfinished

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
FILES: dict[str, Any] = {
    "baseline": BaselineFile,
    "comparison": Comparison,
    "judges": JudgeReport,
    "pick": Pick,
    "plan": QueryPlan,
    "result": Result | Unfinished,
}
"""Name of a schema -> definition of the file; sweep.json is a list of results, ``plan --json`` prints a plan."""


def schema(definition: Any) -> str:
    """Return the text of the JSON Schema of a definition."""
    for found in set(_dataclasses(definition)):
        config = getattr(found, "__pydantic_config__", ConfigDict())
        found.__pydantic_config__ = config | ConfigDict(use_attribute_docstrings=True)
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | TypeAdapter(definition).json_schema()
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _dataclasses(hint: Any) -> Iterator[Any]:
    """Yield the dataclasses that a type is made of."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
        hints = get_type_hints(hint, include_extras=True)
        inner = [hints[field.name] for field in fields(hint)]
    else:
        inner = list(get_args(hint))
    for one in inner:
        yield from _dataclasses(one)


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, definition in FILES.items():
        (FOLDER / f"{name}.json").write_text(schema(definition), "utf-8")


if __name__ == "__main__":
    main()
