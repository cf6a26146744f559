import re
import unicodedata
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.words import words
from evalkit.first_stage import analysis
from evalkit.first_stage.analysis import bigrams, fold_marks, select_analysis


def tokens(text: Any, lang: Any, kind: Any = "auto") -> Any:
    return select_analysis(kind, lang).tokens(text)


# --- which analysis a language gets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "kind"),
    [("en", "words"), ("fi", "words"), ("hi", "words"), ("te", "words"), ("fa", "words"),
     ("zh", "bigrams"), ("ja", "bigrams"), ("ko", "bigrams"), ("th", "bigrams"),
     ("sw", "whitespace"), ("yo", "whitespace")],
)  # fmt: skip
def test_auto_chooses_by_language_and_records_its_choice(lang: Any, kind: Any) -> None:
    facts = select_analysis("auto", lang).facts
    assert facts["kind"] == kind
    assert facts["lang"] == lang


@pytest.mark.parametrize("kind", ["words", "folded", "bigrams", "whitespace"])
def test_an_analysis_that_was_asked_for_is_used_in_any_language(kind: Any) -> None:
    assert select_analysis(kind, "zh").facts["kind"] == kind


def test_the_facts_name_stopwords_and_stemmer() -> None:
    assert select_analysis("auto", "en").facts == {
        "kind": "words", "lang": "en", "stopwords": "33 (bm25s EN)", "stemmer": "Snowball english",
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "lang"), [("bigrams", "en"), ("whitespace", "en"), ("words", "bn")])
def test_the_facts_name_no_means_that_were_not_used(kind: Any, lang: Any) -> None:
    facts = select_analysis(kind, lang).facts
    assert facts["stopwords"] is None
    assert facts["stemmer"] is None


@pytest.mark.parametrize("lang", sorted(analysis.STEMMERS.keys() | analysis.STOPWORDS.keys()))
def test_every_stemmer_and_stopword_list_that_is_named_is_there(lang: Any) -> None:
    facts = select_analysis("words", lang).facts
    assert (facts["stemmer"] is not None) == (lang in analysis.STEMMERS)
    assert (facts["stopwords"] is not None) == (lang in analysis.STOPWORDS)
    assert len(tokens("zebra7 zebra8", lang, "words")) == 2


@pytest.mark.parametrize("kind", ["word", "", "Words", "n-grams"])
def test_an_unknown_kind_is_refused_with_those_there_are(kind: Any) -> None:
    with pytest.raises(EvalkitError, match="choose from auto, words, folded, bigrams, whitespace"):
        select_analysis(kind, "en")


@pytest.mark.parametrize("lang", ["english", "EN", "", "e", "zh-CN", "中文", "e1"])
def test_a_language_that_is_no_code_is_refused(lang: Any) -> None:
    with pytest.raises(EvalkitError, match="is not an ISO 639-1 code such as en, zh or sw"):
        select_analysis("auto", lang)


# --- words ------------------------------------------------------------------------------------------------------------


def test_english_words_lose_stopwords_and_endings() -> None:
    assert tokens("The cats were running to the stations.", "en") == ["cat", "were", "run", "station"]


def test_query_and_passage_in_other_forms_of_a_word_meet() -> None:
    assert set(tokens("running cats", "en")) == set(tokens("A CAT RUNS", "en"))


def test_a_text_of_stopwords_and_signs_has_no_tokens() -> None:
    assert tokens("To be, or not to be?!", "en") == []


HINDI, BENGALI, TELUGU = "हिन्दी में क्या", "বাংলা ভাষা", "తెలుగు భాష"


@pytest.mark.parametrize("text", [HINDI, BENGALI, TELUGU])
def test_words_of_indic_scripts_stay_whole(text: Any) -> None:
    assert words(text) == text.split()
    assert re.findall(r"\w+", text) != text.split()  # what a plain \w does to them


def test_a_joiner_inside_a_persian_word_does_not_split_it() -> None:
    assert words("می\u200cخواهم کتاب") == ["می\u200cخواهم", "کتاب"]


YORUBA = "Ọjọ́ ìbí rẹ̀"


def test_words_keep_yoruba_tone_marks() -> None:
    found = words(unicodedata.normalize("NFD", YORUBA))
    assert [unicodedata.normalize("NFC", word) for word in found] == ["ọjọ́", "ìbí", "rẹ̀"]


def test_folding_takes_yoruba_tone_marks_off() -> None:
    assert tokens(YORUBA, "yo", "folded") == ["ojo", "ibi", "re"]


def test_folded_words_are_the_same_composed_and_decomposed() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ọjọ́ café Zürich") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert tokens(composed, "yo", "folded") == tokens(decomposed, "yo", "folded") == ["ojo", "cafe", "zurich"]


def test_whitespace_does_no_more_than_split() -> None:
    assert tokens("Habari ya  asubuhi,\tBwana!", "sw") == ["Habari", "ya", "asubuhi,", "Bwana!"]


def test_numbers_are_words() -> None:
    assert words("BM25 scored 0.9 in 2019") == ["bm25", "scored", "0", "9", "in", "2019"]


def test_signs_between_letters_part_words() -> None:
    assert words("file_name don't e-mail") == ["file", "name", "don", "t", "e", "mail"]


# --- bigrams ----------------------------------------------------------------------------------------------------------


def test_a_chinese_sentence_becomes_overlapping_pairs_of_characters() -> None:
    assert tokens("我爱北京。", "zh") == ["我爱", "爱北", "北京"]


def test_no_pair_reaches_over_punctuation() -> None:
    assert tokens("北京，上海", "zh") == ["北京", "上海"]


def test_a_single_character_is_a_token_of_its_own() -> None:
    assert tokens("水 , 火山", "zh") == ["水", "火山"]


def test_latin_words_and_numbers_among_chinese_stay_whole() -> None:
    assert tokens("用BGE-M3模型测试2024年", "zh") == ["用", "bge", "m3", "模型", "型测", "测试", "2024", "年"]


def test_japanese_long_vowels_belong_to_their_katakana() -> None:
    assert tokens("コーヒーを飲む", "ja") == ["コー", "ーヒ", "ヒー", "ーを", "を飲", "飲む"]


def test_korean_words_become_pairs_and_no_pair_reaches_over_a_space() -> None:
    assert tokens("한국어 문장", "ko") == ["한국", "국어", "문장"]


def test_decomposed_korean_syllables_stay_whole() -> None:
    found = tokens(unicodedata.normalize("NFD", "한국어"), "ko")
    assert [unicodedata.normalize("NFC", token) for token in found] == ["한국", "국어"]


def test_thai_bigrams_keep_a_consonant_with_its_vowel_and_tone_marks() -> None:
    # ที่ is one consonant with a vowel sign and a tone mark, and so is นี่: four characters in all, not eight.
    assert tokens("ไทยที่นี่", "th") == ["ไท", "ทย", "ยที่", "ที่นี่"]


thai = st.text([chr(c) for c in range(0x0E01, 0x0E3B)] + [chr(c) for c in range(0x0E40, 0x0E4F)], max_size=15)


@settings(deadline=None)
@given(thai)
def test_no_thai_bigram_begins_with_a_mark_that_belongs_to_the_letter_before(text: Any) -> None:
    for left, right in zip(found := bigrams(text), found[1:]):
        assert not regex.match(r"\p{M}", right)
        assert len(regex.findall(r"\X", left)) == 2


@settings(deadline=None)
@given(st.text(st.sampled_from("我爱北京天安门"), min_size=2, max_size=12))
def test_chinese_bigrams_hold_the_text_they_came_from(text: Any) -> None:
    found = bigrams(text)
    assert len(found) == len(text) - 1
    assert found[0][0] + "".join(pair[1] for pair in found) == text


scripts = "aZé7 ,.-中文かカー한ไท้हिবাతె\u200c\u0301"


@settings(deadline=None)
@given(text=st.text(scripts), lang=st.sampled_from(["en", "zh", "th", "hi", "yo", "fa"]))
def test_no_token_is_empty_or_holds_white_space_in_any_script(text: Any, lang: Any) -> None:
    for kind in ("words", "folded", "bigrams", "whitespace"):
        assert all(token.strip() == token and token for token in tokens(text, lang, kind)), kind


@settings(deadline=None)
@given(st.text(scripts))
def test_no_letter_or_digit_is_lost(text: Any) -> None:
    letters = [c for c in unicodedata.normalize("NFC", text).lower() if c.isalpha() or c.isdigit()]
    assert [c for c in "".join(words(text)) if c.isalpha() or c.isdigit()] == letters
    assert {c for token in bigrams(text) for c in token if c.isalpha() or c.isdigit()} == set(letters)


@settings(deadline=None)
@given(st.text(scripts))
def test_folding_twice_changes_nothing_more(text: Any) -> None:
    assert fold_marks(fold_marks(text)) == fold_marks(text)
    assert not regex.search(r"\p{M}", fold_marks(text))


def test_half_width_and_decomposed_kana_are_the_same_as_the_full_ones() -> None:
    assert bigrams("ﾃﾞｰﾀ") == bigrams("データ") == ["デー", "ータ"]
    assert bigrams("か\u3099く") == bigrams("がく") == ["がく"]


def test_a_composed_and_a_decomposed_accent_are_the_same_word() -> None:
    assert words("e\u0301cole") == words("école")
