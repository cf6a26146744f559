"""docs/architecture.svg and its page show the imports, folders and values of the code."""

from xml.etree import ElementTree

import pytest

import evalkit
from tests.product.test_layers import LAYERS
from tools import draw_architecture


@pytest.fixture(scope="module")
def picture() -> str:
    return draw_architecture.picture()


def test_the_committed_picture_is_up_to_date(picture: str) -> None:
    committed = draw_architecture.PICTURE.read_text("utf-8")
    assert committed == picture, "run python tools/draw_architecture.py, look at the picture, and commit it"


def test_the_tables_of_the_committed_page_are_up_to_date() -> None:
    committed = draw_architecture.PAGE.read_text("utf-8")
    assert committed == draw_architecture.page(committed), "run python tools/draw_architecture.py and commit the page"
    assert "| `results/gate/` | " in committed
    assert "| `Slice` | Queries, passages and judgments" in committed


def test_the_page_quotes_the_rule_of_imports_that_is_tested() -> None:
    block = draw_architecture.PAGE.read_text("utf-8").split("```text\n")[1].split("```")[0]
    assert " ".join(block.split()) == LAYERS


def test_every_folder_and_module_is_in_the_picture(picture: str) -> None:
    texts = [element.text for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("text")]
    for name in ("types/", "boundary/", "trial.py", "__main__.py", "cli/", "evaluation/", "scoring/", "results/"):
        assert name in texts
    assert "conf/" not in texts
    assert evalkit.__name__ not in texts


def test_arrows_are_left_out_where_they_follow_from_others() -> None:
    known = {"cli": {"trial", "types"}, "trial": {"types"}, "types": set[str](), "report": {"types"}}
    assert draw_architecture.direct(known) == {
        "cli": {"trial"},
        "trial": {"types"},
        "types": set(),
        "report": {"types"},
    }


def test_a_part_lies_one_layer_above_the_highest_that_it_imports() -> None:
    known = {"cli": {"trial", "types"}, "trial": {"types"}, "types": set[str](), "report": {"types"}}
    assert draw_architecture.layers(known) == [["types"], ["report", "trial"], ["cli"]]


def test_the_imports_are_those_of_the_code() -> None:
    known = draw_architecture.imports()
    assert {"boundary", "evaluation", "first_stage", "rerankers", "cost", "types"} <= known["trial"]
    assert known["types"] == set()
    assert [name for name, others in known.items() if "cli" in others] == ["__main__", "api"]
