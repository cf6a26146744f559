"""docs/reference/settings.md is what the schemas and the YAML of the configuration give."""

import pytest

from evalkit.cli import describe
from evalkit.cli.config import SCHEMAS
from tools import write_reference


@pytest.fixture(scope="module")
def page() -> str:
    return write_reference.page()


def test_the_committed_page_is_up_to_date(page: str) -> None:
    assert write_reference.PAGE.read_text("utf-8") == page, "run python tools/write_reference.py and commit the page"


def test_a_row_states_type_default_and_meaning(page: str) -> None:
    assert "| `first_stage.k1` | float | `0.9` | Term frequency saturation, 0 or more. |" in page
    assert "| `slice.split` | str | `test` | Which file of qrels, and so which queries. |" in page


def test_a_choice_states_what_it_sets(page: str) -> None:
    assert "| `packaged` |" in page
    assert "`model=packaged` `max_length=256` `truncation=longest_first` |" in page
    assert "`slice=msmarco_dl19` `reranker=bge_v2_m3` `protocol=standard` `precision=fp16` `depth=100` |" in page


def test_every_choice_and_every_setting_is_described(page: str) -> None:
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if not row[-1].removesuffix("|").strip() and len(row) == 4] == []
    assert [row[0] for row in rows if not row[1].strip()] == []
    assert len(rows) > 150


@pytest.mark.parametrize("group", [*describe.GROUPS, "hydra/launcher"])
def test_every_choice_of_a_group_is_on_the_page(page: str, group: str) -> None:
    section = page.split(f"\n## {group}\n")[1].split("\n## ")[0]
    assert [name for name in describe.choices(group) if f"| `{name}` |" not in section] == []


def test_every_setting_of_every_schema_is_on_the_page(page: str) -> None:
    settings = {
        f"{group}.{name}" if group else name
        for (group, _), schema in SCHEMAS.items()
        for name in schema.__dataclass_fields__
        if name != "_target_" and name not in describe.GROUPS
    }
    assert [name for name in settings if f"| `{name}` |" not in page] == []
