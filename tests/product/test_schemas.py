"""The JSON Schemas in docs/schemas/ are those of the definitions by which files are written and read."""

import json
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tools import write_schemas


@pytest.mark.parametrize(("name", "definition"), write_schemas.FILES.items(), ids=write_schemas.FILES)
def test_a_schema_is_that_of_its_definition(name: str, definition: Any) -> None:
    """`python tools/write_schemas.py` renews them."""
    committed = (REPOSITORY / "docs" / "schemas" / f"{name}.json").read_text("utf-8")
    assert json.loads(committed) == json.loads(write_schemas.schema(definition))
