"""The settings ``query`` and ``passages``: a list, a file of lines, or lines of JSON; and what is wrong with others."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cli import own_texts


def lines(path: Path, *of: str) -> str:
    path.write_text("".join(f"{line}\n" for line in of), "utf-8")
    return str(path)


def refused(query: Any, passages: Any) -> str:
    with pytest.raises(EvalkitError) as error:
        own_texts.read(query, passages)
    return str(error.value)


def test_without_texts_the_built_in_ones_are_taken() -> None:
    assert own_texts.read(None, None) is None


def test_a_list_is_taken_in_its_order() -> None:
    check = own_texts.read(" why? ", ["because", " of  it "])
    assert check is not None
    assert (check.lang, check.query, check.passages, check.ids) == (None, "why?", ("because", "of  it"), ())


def test_a_text_file_has_a_passage_on_each_line(tmp_path: Path) -> None:
    check = own_texts.read("q", lines(tmp_path / "a.txt", "one, 'two' = [three]", "", "   ", "四"))
    assert check is not None
    assert (check.passages, check.ids) == (("one, 'two' = [three]", "四"), ())


def test_lines_of_json_are_those_of_a_beir_corpus_or_texts(tmp_path: Path) -> None:
    rows = [{"_id": "d1", "title": "A title", "text": "and text"}, {"text": "no id"}, {"_id": 7, "text": "x"}, "bare"]
    check = own_texts.read("q", lines(tmp_path / "a.jsonl", *(json.dumps(row) for row in rows)))
    assert check is not None
    assert check.passages == ("A title and text", "no id", "x", "bare")
    assert check.ids == ("d1", None, "7", None)


def test_half_a_character_is_replaced_as_in_collections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = own_texts.read("q\ud800", lines(tmp_path / "a.jsonl", '{"text": "x\\ud800y"}'))
    assert check is not None
    assert (check.query, check.passages) == ("q\ufffd", ("x\ufffdy",))
    assert "were replaced by U+FFFD (2 texts)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("query", "passages", "message"),
    [
        ("q", None, "query is given without passages; add passages="),
        (None, ["a"], "passages are given without a query; add query=TEXT to the command"),
        (" ", ["a"], "query is empty; "),
        ("q", [], "passages has no passage; give one or more"),
        ("q", ["a", " "], "passages: number 2 is empty"),
        ("q", ["a", 7], "passages: number 2 is 7, and has to be a text; put it in quotes"),
        ("q", ["a", None], "passages: number 2 is None, and has to be a text; put it in quotes"),
        ("q", {"a": "b"}, "passages=a mapping: give a list of texts, passages="),
        ("q", 7, "passages=7: give a list of texts, passages="),
        ("q", "Paris is it", "passages='Paris is it': give a list of texts, passages="),
        ("q", "a.csv", "passages='a.csv': give a list of texts, passages="),
        ("q", "/not/there.txt", "there is no /not/there.txt; it should be passages, one a line"),
    ],
)
def test_wrong_texts_are_refused_in_one_sentence(query: Any, passages: Any, message: str) -> None:
    assert refused(query, passages).startswith(message)


@pytest.mark.parametrize(
    "line", ['{"text": 7}', '{"title": "x"}', "[1]", "7", "null", "{", '{"text": "a", "text": "b"}',
             '{"text": "a", "_id": [1]}', '{"text": "a", "title": 3}']
)  # fmt: skip
def test_a_line_that_is_no_passage_is_named(tmp_path: Path, line: str) -> None:
    path = lines(tmp_path / "a.jsonl", '"good"', "", line)
    assert refused("q", path) == f'{path}, line 3: not a JSON text, nor an object with "text": {line!r}'


def test_an_empty_passage_is_named_by_its_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", '"good"', '{"title": " ", "text": ""}')
    assert refused("q", path) == f"{path}, line 2: the passage is empty"


def test_a_file_without_a_passage_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.txt", "", " ")
    assert refused("q", path) == f"{path!r} has no passage; give one or more"


def test_ten_thousand_passages_are_the_most(tmp_path: Path) -> None:
    many = ["x"] * 10_000
    check = own_texts.read("q", many)
    assert check is not None
    assert len(check.passages) == 10_000
    assert refused("q", [*many, "y"]).startswith("passages has more than 10,000 passages, the most that")
    path = lines(tmp_path / "a.txt", *many, "y")
    assert refused("q", path).startswith(f"{path!r} has more than 10,000 passages")
