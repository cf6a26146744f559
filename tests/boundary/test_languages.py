"""A language is known by any of its codes, and what no analyser knows is refused and not searched badly."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import trial
from evalkit.boundary import languages
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.words import BIGRAM_LANGS
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate
from evalkit.first_stage.analysis import STEMMERS, STOPWORDS, WHITESPACE_LANGS, select_analysis
from evalkit.first_stage.bm25 import BM25
from evalkit.rerankers.none import NoReranker
from evalkit.slices import beir, packaged
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan
from tests.helpers.command_line import run_here, sentence


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("jpn", "ja"), ("tha", "th"), ("zho", "zh"), ("kor", "ko"), ("swa", "sw"), ("yor", "yo"), ("ces", "cs"),
        ("chi", "zh"), ("ger", "de"), ("fre", "fr"), ("dut", "nl"), ("gre", "el"), ("per", "fa"), ("cze", "cs"),
        ("cmn", "zh"), ("yue", "zh"), ("swh", "sw"), ("arb", "ar"), ("pes", "fa"), ("zsm", "ms"), ("ekk", "et"),
        ("nob", "no"), ("nb", "no"), ("no", "no"), ("nor", "no"), ("nno", "nn"), ("iw", "he"), ("in", "id"),
        ("zh-CN", "zh"), ("zh_TW", "zh"), ("zh-Hans", "zh"), ("pt_BR", "pt"), ("en-US", "en"), ("jpn-Jpan", "ja"),
        ("cmn-Hans-CN", "zh"), ("EN", "en"), ("JPN", "ja"), ("De", "de"), ("ceb", "ceb"), ("und", "und"),
    ],
)  # fmt: skip
def test_codes_of_one_language_are_one(given: Any, code: Any) -> None:
    assert languages.canonical(given) == code


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("chinese", "did you mean Chinese (zh)?"), ("Japanes", "did you mean Japanese (ja) or "),
        ("jp", "did you mean Japanese (ja)?"), ("cn", "did you mean Chinese (zh)?"), ("xx", "such as en, zh or sw"),
        ("", "such as en, zh or sw"), ("e1", "such as en, zh or sw"), ("False", "such as en, zh or sw"),
        ("中文", "such as en, zh or sw"), ("zh-", "such as en, zh or sw"), ("zh Hans", "such as en, zh or sw"),
    ],
)  # fmt: skip
def test_what_is_no_code_is_refused_with_what_was_probably_meant(given: Any, meant: Any) -> None:
    with pytest.raises(EvalkitError) as caught:
        languages.canonical(given)
    assert f"slice.lang={given!r} is not an ISO 639-1 code" in str(caught.value)
    assert meant in str(caught.value)


@given(st.sampled_from(sorted(languages.NAMES)), st.sampled_from(["", "-Latn", "_XX", "-Hans-CN"]), st.booleans())
def test_a_canonical_code_is_not_changed_whatever_follows_it(code: Any, suffix: Any, upper: Any) -> None:
    one = languages.canonical(code)
    assert languages.canonical(one) == one
    assert languages.canonical((code.upper() if upper else code) + suffix) == one


def test_every_language_with_an_analysis_of_its_own_is_known() -> None:
    assert {*STEMMERS, *STOPWORDS, *BIGRAM_LANGS, *WHITESPACE_LANGS} <= languages.NAMES.keys()
    assert len(languages.NAMES) == 184


# --- what the first stage makes of it ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "code"), [("jpn", "ja"), ("tha", "th"), ("zho", "zh"), ("deu", "de"), ("swh", "sw")])
def test_the_analysis_is_the_language_s_own_under_any_code(given: Any, code: Any) -> None:
    assert select_analysis("auto", given).facts == select_analysis("auto", code).facts


@pytest.mark.shared
@pytest.mark.parametrize(("lang", "alias"), [("th", "tha-Thai")])  # whose passages are the fewest
def test_bm25_finds_as_much_under_any_code_of_the_language(shared: Path, lang: Any, alias: Any) -> None:
    path = str(shared / "data" / f"miracl-{lang}")
    figures = []
    for code in (lang, alias):
        data = beir.load(path, split="dev", lang=code, queries=10)
        run = BM25().search(data, 10)
        figures.append(evaluate(run, data.qrels, [parse("nDCG@10", 10)], 1).mean()["nDCG@10"])
    assert figures[0] == figures[1] > 0.3


@pytest.mark.shared
def test_the_code_that_was_given_is_recorded_with_the_one_that_is_used(shared: Path) -> None:
    data = beir.load(str(shared / "data" / "miracl-ja"), split="dev", lang="jpn", queries=3)
    assert (data.lang, data.facts["lang_asked"]) == ("ja", "jpn")
    assert "lang_asked" not in beir.load(str(shared / "data" / "miracl-ja"), split="dev", lang="ja", queries=3).facts


def test_the_dev_collection_is_found_under_any_code() -> None:
    assert packaged.load("jpn").queries == packaged.load("ja").queries
    assert packaged.load("zh-CN").name == "dev/zh"


@pytest.mark.parametrize("lang", ["ceb", "und", "qqq"])
def test_a_language_without_an_analyser_is_refused_by_auto_and_accepted_with_a_named_analysis(lang: Any) -> None:
    with pytest.raises(EvalkitError, match=f"slice.lang={lang}: .*set first_stage.analysis to words"):
        select_analysis("auto", lang)
    for kind in ("words", "folded", "whitespace", "bigrams"):
        assert select_analysis(kind, lang).facts["kind"] == kind


@pytest.mark.parametrize(
    ("lang", "text", "tokens"),
    [("lo", "ປະເທດ", ["ປະ", "ະເ", "ເທ", "ທດ"]), ("km", "ខ្មែរ", ["ខ្មែរ"]), ("my", "မြန်", ["မြန်"])],
)
def test_lao_khmer_and_burmese_have_no_spaces_and_become_bigrams(lang: Any, text: Any, tokens: Any) -> None:
    analysis = select_analysis("auto", lang)
    assert analysis.facts["kind"] == "bigrams"
    assert "".join(dict.fromkeys("".join(analysis.tokens(text)))) == "".join(dict.fromkeys(text))
    assert len(analysis.tokens(text * 20)) >= 20


# --- what a user sees -------------------------------------------------------------------------------------------------


def test_an_unknown_language_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    refused = run_here("slice=beir", "slice.path=nowhere", "slice.lang=ceb", "out_dir=out", cwd=tmp_path)
    assert refused.returncode == 2
    assert sentence(refused.stderr).startswith("slice.lang=ceb: this is not the code of a language in ISO 639-1")


@pytest.mark.parametrize(
    ("lang", "expected"),
    [("sw", "Swahili (sw) (analysis: whitespace)"), ("pol", "Polish (pl) (analysis: words)"), ("yo", "Yoruba (yo)"),
     ("eng", None), ("jpn", None), ("hin", None), ("no", None)],
)  # fmt: skip
def test_a_language_without_an_analysis_of_its_own_is_noted(lang: Any, expected: Any) -> None:
    texts = {f"q{i}": f"word{i}" for i in range(30)}
    docs = {f"d{i}": f"word{i} and others" for i in range(30)}
    data = assemble("s", lang, "HERE", texts, docs, {f"q{i}": {f"d{i}": 1} for i in range(30)}, 1, {"corpus": "full"})
    done = trial.run(Plan("t", 5, ["nDCG@10"], CostProtocol(0, 0, 0)), data, BM25(), NoReranker(), {}, {})
    found = [note for note in done.warnings if "no stopwords and no stemmer" in note]
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]
