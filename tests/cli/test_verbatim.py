"""Settings that are texts hold the characters that were typed, on the command line, in sweeps and in YAML files."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import verbatim
from evalkit.cli.hydra_limits import read_value
from evalkit.cli.verbatim import restored, texts
from tests.helpers.command_line import run_here, sentence

NUMBERS_TO_HYDRA = ["12e4567", "1e3", "1_000", "007", "1.10", ".5", "5.", "+5", "-0", "1e+5", "inf", "NaN", "true",
                    "False", "0x1F", "2024", "1.e5", "1_0.0_1"]  # fmt: skip
OTHERS_TO_YAML = ["no", "No", "off", "yes", "on", "0123", "0o17", "0b11", "1:30", "2024-01-01", ".inf", "12e03"]


def arguments(given: list[str]) -> list[str]:
    return verbatim.arguments(given, read_value)


def test_the_settings_that_are_texts_are_those_of_the_schemas() -> None:
    assert {"slice.name", "slice.lang", "slice.split", "slice.path", "name", "reranker.revision", "gate.junit",
            "precision.name", "store"} <= texts()  # fmt: skip
    assert texts().isdisjoint({"depth", "slice.queries", "slice.relevance_level", "overwrite", "time_limit_s", "slice"})


@pytest.mark.parametrize("typed", NUMBERS_TO_HYDRA)
def test_a_text_is_what_was_typed_whatever_hydra_makes_of_it(typed: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    [argument] = arguments([f"slice.name={typed}"])
    assert str(OverridesParser.create().parse_overrides([argument])[0].value()) == typed


def test_what_is_no_text_is_left_alone() -> None:
    given = ["depth=1e3", "slice=beir", "slice.queries=1_0", "overwrite=true", "slice.name=null", "slice.name=mine",
             "slice.name='1e3'", "slice.name=${name}", "--multirun", "~slice.name", "experiment=ci"]  # fmt: skip
    assert arguments(given) == given


def test_each_value_of_a_sweep_is_what_was_typed() -> None:
    assert arguments(["slice.name=1e3,mine,true"]) == ["slice.name='1e3',mine,'true'"]
    assert arguments(["+slice.lang=no", "++slice.split=1_0"]) == ["+slice.lang=no", "++slice.split='1_0'"]


@pytest.mark.parametrize("typed", [*NUMBERS_TO_HYDRA, *OTHERS_TO_YAML])
def test_a_text_in_yaml_is_what_is_written_there(tmp_path: Path, typed: Any) -> None:
    from omegaconf import OmegaConf

    path = tmp_path / "mine.yaml"
    path.write_text(f"lang: {typed}\nqueries: 1_0\nname: '1e3'\nsplit: null\n", "utf-8")
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path))
    loaded |= {key: value for (key,), value in restored(path, "slice")}
    assert loaded == {"lang": typed, "queries": 10, "name": "1e3", "split": None}


def test_a_file_for_the_whole_configuration_names_settings_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: 1e3\ndepth: 1_0\nslice: {lang: no}\nhydra: {sweeper: {params: {slice.lang: off}}}\n", "utf-8"
    )
    assert dict(restored(path, "")) == {
        ("name",): "1e3", ("slice", "lang"): "no", ("hydra", "sweeper", "params", "slice.lang"): "off",
    }  # fmt: skip


NATURAL = ["What's the capital, of France?", "法国的首都是哪里？", "a = [b], {c} (d) #e; ~f", "cost ${x} \\ y", "007",
           '"Hi" she said, "bye"', "it's \"so\"", "a\\", "2,3", "true", "Wie heißt's? 5 % & <b>`c`</b>"]  # fmt: skip


@pytest.mark.parametrize("text", NATURAL)
def test_a_query_is_what_was_typed_with_all_of_its_commas(text: Any) -> None:
    [argument] = arguments([f"query={text}"])
    assert read_value(argument) == text
    assert arguments([argument]) == [argument]


@pytest.mark.parametrize("typed", ['query="a, b"', "query='it'", "query=null", "query="])
def test_a_query_in_quotes_is_left_alone(typed: Any) -> None:
    assert arguments([typed]) == [typed]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[a b,c]", ["a b", "c"]),
        ("[Paris is it, it's = {x}, 法国]", ["Paris is it", "it's = {x}", "法国"]),
        ("""["a, b", 'c, d', 7, null, 1e3]""", ["a, b", "c, d", "7", "null", "1e3"]),
        ("[see [1], and (2)]", ["see [1]", "and (2)"]),
        ('["said" he, b]', ['"said" he', "b"]),
        ("[a,]", ["a", ""]),
        ("[ ]", []),
        ("file.txt", "file.txt"),
        ("null", None),
    ],
)
def test_each_passage_is_what_was_typed(typed: Any, expected: Any) -> None:
    [argument] = arguments([f"++passages={typed}"])
    assert read_value(argument) == expected
    assert arguments([argument]) == [argument]


@pytest.mark.parametrize("typed", ["[a,b],[c,d]", '["a, b" c, d]', "[x", "a.txt,b.txt"])
def test_passages_that_cannot_be_separated_are_left_to_hydra(typed: Any) -> None:
    assert arguments([f"passages={typed}"]) == [f"passages={typed}"]


# --- what a user sees -------------------------------------------------------------------------------------------------


def test_a_name_and_a_split_that_look_like_numbers_reach_the_result(tmp_path: Path, beir_folder: Any) -> None:
    (beir_folder / "qrels" / "test.tsv").rename(beir_folder / "qrels" / "1e2.tsv")
    done = run_here(
        "slice=beir", f"slice.path={beir_folder}", "slice.split=1e2", "slice.name=12e4567", "reranker=none",
        "first_stage=trec_run", f"first_stage.path={beir_folder}/first.trec", "name=007", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert (result["name"], result["effective"]["slice"]["name"], result["effective"]["slice"]["split"]) == (
        "007", "12e4567", "1e2",
    )  # fmt: skip


def test_norwegian_in_a_yaml_file_is_norwegian(tmp_path: Path, beir_folder: Any) -> None:
    queries = beir_folder / "queries.jsonl"
    queries.write_text(queries.read_text("utf-8").replace("question", "text"), "utf-8")
    (tmp_path / "conf" / "slice").mkdir(parents=True)
    yaml = f"defaults: [schema_beir, _self_]\npath: {beir_folder}\nlang: no\nname: 0123\n"
    (tmp_path / "conf" / "slice" / "mine.yaml").write_text(yaml, "utf-8")
    done = run_here("--config-dir", "conf", "slice=mine", "reranker=none", "out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    effective = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["effective"]
    assert (effective["slice"]["lang"], effective["slice"]["name"]) == ("no", "0123")
    assert effective["first_stage"]["analysis"]["stemmer"] == "Snowball norwegian"


@pytest.mark.parametrize("setting", ["first_stage.k1=inf", "first_stage.b=nan", "time_limit_s=inf", "gate.worst=1e999"])
def test_a_number_that_is_not_finite_is_refused_by_its_setting(tmp_path: Path, setting: Any) -> None:
    refused = run_here(setting, "out_dir=out", cwd=tmp_path)
    assert refused.returncode == 2
    assert setting.split("=")[0] in sentence(refused.stderr)


def test_a_number_that_has_to_be_one_is_still_read_as_one(tmp_path: Path) -> None:
    refused = run_here("depth=1e3", "out_dir=out", cwd=tmp_path)
    assert refused.returncode == 2
    assert "depth" in sentence(refused.stderr) or "1000.0" in sentence(refused.stderr)
