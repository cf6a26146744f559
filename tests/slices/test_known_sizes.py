"""The numbers of queries that are known without loading a slice."""

import re

import pytest
import yaml

from evalkit.cli.config import conf_dir
from evalkit.slices import packaged
from evalkit.slices.known_sizes import QUERIES

OF_THE_HUB = {"du_retrieval", "miracl_hard_negatives", "t2_reranking"}
"""Collections whose size nothing on this machine states."""


def test_every_slice_of_more_than_one_language_or_of_ms_marco_is_known() -> None:
    """Of the families of BEIR, NanoBEIR and BRIGHT only some."""
    choices = {path.stem for path in (conf_dir() / "slice").glob("*.yaml")}
    assert set(QUERIES) <= choices
    families = ("beir_", "nano_beir_", "bright_")
    unknown = {name for name in choices if not name.startswith(families)} - set(QUERIES)
    assert unknown == OF_THE_HUB | {"beir", "files", "hub", "irds"}


@pytest.mark.parametrize("lang", QUERIES["dev"])
def test_the_packaged_collection_has_that_many(lang: str) -> None:
    assert len(packaged.load(lang).queries) == QUERIES["dev"][lang]


def test_the_others_have_as_many_as_ir_datasets_states() -> None:
    import ir_datasets

    for choice in set(QUERIES) - {"dev"}:
        dataset = yaml.safe_load((conf_dir() / "slice" / f"{choice}.yaml").read_text("utf-8"))["dataset"]
        for lang, queries in QUERIES[choice].items():
            found = ir_datasets.load(dataset.replace("${slice.lang}", lang)).metadata()
            assert found["queries"]["count"] == queries, (choice, lang)


def test_the_languages_are_those_that_the_choice_lists() -> None:
    for choice in ("dev", "miracl", "mmarco"):
        comment = (conf_dir() / "slice" / f"{choice}.yaml").read_text("utf-8")
        listed = re.search(r"slice\.lang: ([a-z ]+)[.;]", comment)
        assert listed is not None
        assert listed[1].split() == sorted(QUERIES[choice])
