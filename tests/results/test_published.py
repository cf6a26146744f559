"""Published figures and ours: which entries fit a result, and which entries are none."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evalkit.boundary.errors import EvalkitError
from evalkit.cli.config import conf_dir
from evalkit.results.published import check, compare_published
from evalkit.results.schema import Reference
from tests.conftest import compose
from tests.helpers.results import complete

BM25 = {"of": "bm25", "measure": "nDCG@10", "value": 0.5, "source": "Anserini", "note": "k1 0.9"}
RERANKED = {"of": "bm25 + bge", "measure": "nDCG@10", "value": 0.75, "source": "a paper"}
RESULT: dict[str, Any] = {
    "effective": {"slice": {"lang": "sw"}, "first_stage": {"name": "bm25"}, "reranker": {"name": "bge"}, "depth": 20},
    "effectiveness": {
        "first_stage": {"mean": {"nDCG@10": 0.625, "R@20": 0.875}},
        "reranked": {"mean": {"nDCG@10": 0.5, "R@20": 0.875}},
    },
}
SLICES = sorted(path.stem for path in (conf_dir() / "slice").glob("*.yaml"))


def comparisons(entries: Any, stated: Any) -> tuple[Reference, ...]:
    result = complete(stated)
    return compare_published(entries, result.effective, result.effectiveness)


def without(key: Any) -> Any:
    return {name: value for name, value in BM25.items() if name != key}


def test_each_published_figure_is_compared_with_ours_of_the_same_system() -> None:
    assert comparisons([BM25, RERANKED], RESULT) == (
        Reference("bm25", "nDCG@10", value=0.5, ours=0.625, difference=0.125, source="Anserini", note="k1 0.9"),
        Reference("bm25 + bge", "nDCG@10", value=0.75, ours=0.5, difference=-0.25, source="a paper", note=""),
    )


@pytest.mark.parametrize(
    "other", [{"of": "bge"}, {"of": "bm25 + minilm"}, {"of": "bge-m3 + bge"}, {"measure": "RR@10"}, {"lang": "zh"}]
)
def test_a_figure_of_another_system_measure_or_language_is_left_out(other: Any) -> None:
    assert comparisons([BM25 | other], RESULT) == ()


@pytest.mark.parametrize("lang", ["sw", None])
def test_a_figure_of_the_slices_language_stays_and_so_does_one_of_any(lang: Any) -> None:
    (found,) = comparisons([BM25 | {"lang": lang}], RESULT)
    assert found.ours == 0.625


def test_a_measure_is_known_in_any_case_and_printed_as_everywhere() -> None:
    (found,) = comparisons([BM25 | {"measure": "ndcg@10"}], RESULT)
    assert (found.measure, found.ours) == ("nDCG@10", 0.625)


def test_without_entries_there_is_nothing_to_show() -> None:
    check([])
    assert comparisons([], RESULT) == ()


@pytest.mark.parametrize("entry", [BM25, RERANKED, BM25 | {"lang": "sw"}, BM25 | {"note": None, "lang": None}])
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_good_entry_passes(entry: Any, value: Any) -> None:
    check([entry | {"value": value}])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (5, "slice.reference=5: give a list of entries {of, measure, value, source}"),
        (None, "slice.reference=None: give a list"),
        ("bm25", "slice.reference=bm25: give a list"),
        (BM25, "slice.reference={'of': 'bm25', .*: give a list"),
        (["bm25"], r"slice.reference\[0\]=bm25: an entry is a mapping of of, measure, value, source$"),
        ([BM25, BM25 | {"vlaue": 0.5}], r"slice.reference\[1\]: there is no key 'vlaue'; did you mean value\?"),
        ([BM25 | {1: 2}], "there is no key 1; choose from lang, measure, note, of, source, value$"),
        ([without("value")], "value is missing, and has to be a number from 0 to 1"),
        ([BM25 | {"value": 81.7}], "value is 81.7, .* divide a percentage by 100$"),
        ([BM25 | {"value": -0.1}], "value is -0.1, "),
        ([BM25 | {"value": "0.5"}], "value is '0.5', "),
        ([BM25 | {"value": True}], "value is True, "),
        ([BM25 | {"value": float("nan")}], "value is nan, "),
        ([without("source")], "source is missing, and has to be a short citation or an address$"),
        ([BM25 | {"source": " "}], "source is ' ', "),
        ([BM25 | {"source": 2020}], "source is 2020, "),
        ([without("of")], 'of is missing, and has to be the name of a first stage, or "first stage \\+ reranker"$'),
        ([without("measure")], "measure is missing, and has to be a measure, such as nDCG@10$"),
        ([BM25 | {"measure": "nDCH@10"}], r"slice.reference\[0\]: unknown measure 'nDCH@10'; did you mean nDCG@10"),
        ([BM25 | {"measure": "nDCG"}], r"slice.reference\[0\]: measure 'nDCG' needs a cutoff"),
        ([BM25 | {"note": 5}], "note is 5, and has to be a text$"),
        ([BM25 | {"lang": False}], 'lang is False, and has to be the code of a language, quoted, such as "no"$'),
    ],
)
def test_what_is_no_entry_is_as_one_sentence(entries: Any, message: Any) -> None:
    with pytest.raises(EvalkitError, match=message) as refused:
        check(entries)
    assert "\n" not in str(refused.value)


def reference(*overrides: Any) -> Any:
    return OmegaConf.to_container(compose(*overrides).slice.reference)


@pytest.mark.parametrize("name", SLICES)
def test_the_figures_of_every_slice_pass_and_no_two_are_of_the_same(name: Any) -> None:
    entries = reference(f"slice={name}")
    check(entries)
    assert len({(e["of"], e["measure"], e.get("lang")) for e in entries}) == len(entries)


def test_the_figures_are_those_that_were_published() -> None:
    def value(slice_name: Any, of: Any, measure: Any, lang: Any = None) -> Any:
        wanted = (of, measure, lang)
        found = [e for e in reference(f"slice={slice_name}") if (e["of"], e["measure"], e.get("lang")) == wanted]
        return found[0]["value"]

    assert value("msmarco_dl19", "bm25", "nDCG@10") == 0.5058
    assert value("msmarco_dl20", "bm25", "nDCG@10") == 0.4796
    assert value("msmarco_dl19", "bm25 + ms-marco-MiniLM-L6-v2", "nDCG@10") == 0.743
    assert value("msmarco_dev_small", "bm25", "RR@10") == 0.184
    assert value("miracl", "bm25", "nDCG@10", "yo") == 0.406
    assert value("miracl", "bm25", "R@100", "zh") == 0.56
    published = [e["value"] for e in reference("slice=miracl") if e["of"] == "bge-m3 + bge-reranker-v2-m3"]
    assert len(published) == 18
    assert sum(published) / 18 == pytest.approx(0.7284, abs=5e-5)  # the mean that was published with them


def test_the_rerankers_of_the_figures_are_named_as_their_models() -> None:
    hub = {compose(f"reranker={name}").reranker.model for name in ("bge_v2_m3", "minilm_l6")}
    hub |= {compose("first_stage=bge_m3").first_stage.model}
    named = {part for name in SLICES for e in reference(f"slice={name}") for part in e["of"].split(" + ")}
    assert {Path(model).name for model in hub} <= named


def test_a_language_of_miracl_has_its_own_figures_only() -> None:
    result = RESULT | {"effective": RESULT["effective"] | {"slice": {"lang": "yo"}}}
    assert [found.value for found in comparisons(reference("slice=miracl"), result)] == [0.406]


def test_figures_can_be_given_on_the_command_line() -> None:
    (entry,) = reference("slice.reference=[{of: bm25, measure: nDCG@10, value: 0.6789, source: Pyserini}]")
    check([entry])
    assert entry["value"] == 0.6789
