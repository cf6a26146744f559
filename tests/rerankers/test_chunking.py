"""Passages are split at sentences or tokens, in chunks that overlap; every part of a passage is in a chunk."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.chunking import ChunkSettings, sentences, split

# --- sentences


def texts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def test_sentences_end_at_the_marks_of_their_language() -> None:
    assert texts("他走了。他睡了？好！") == ["他走了。", "他睡了？", "好！"]
    assert texts("क्या हाल है। ठीक है।") == ["क्या हाल है। ", "ठीक है।"]
    assert texts("ما هذا؟ نعم.") == ["ما هذا؟ ", "نعم."]
    assert texts('He left. "Why?" (Nobody knows.) Then') == ["He left. ", '"Why?" ', "(Nobody knows.) ", "Then"]


@pytest.mark.parametrize(
    "whole", ["It is 3.5 m long", "the U.S. army", "drugs, e.g. aspirin", "see example.com", "so..."]
)
def test_a_full_stop_within_a_sentence_does_not_end_it(whole: str) -> None:
    assert texts(whole) == [whole]


def test_of_line_ends_only_a_blank_line_ends_a_sentence() -> None:
    assert texts("A title\n \nwrapped\nhere") == ["A title\n \n", "wrapped\nhere"]


@given(st.text(alphabet="aB3.!?。\n\"') ,", max_size=40))
def test_sentences_are_the_whole_text_in_order(text: str) -> None:
    assert "".join(texts(text)) == text


# --- chunks

WORDS = "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9"
UNITS = [(start, start + 2) for start in range(0, 30, 3)]


def test_a_chunk_begins_as_many_units_before_the_end_of_the_last_one_as_they_share() -> None:
    assert split(WORDS, UNITS, 4, 0) == ("w0 w1 w2 w3", "w4 w5 w6 w7", "w8 w9")
    assert split(WORDS, UNITS, 4, 1) == ("w0 w1 w2 w3", "w3 w4 w5 w6", "w6 w7 w8 w9")
    assert split(WORDS, UNITS, 8, 4) == ("w0 w1 w2 w3 w4 w5 w6 w7", "w4 w5 w6 w7 w8 w9")


def test_a_text_that_is_no_longer_than_a_chunk_stays_as_it_is() -> None:
    assert split(f" {WORDS}\n", UNITS, 10, 5) == (f" {WORDS}\n",)
    assert split("", [], 1, 0) == ("",)


def test_a_chunk_ends_with_a_word_where_one_ends_in_its_last_quarter() -> None:
    # aa bb cc dd|ee ff: the fourth token is the last of four, and its word goes on.
    units = [(0, 2), (3, 5), (6, 8), (9, 11), (11, 13), (14, 16)]
    assert split("aa bb cc ddee ff", units, 4, 0) == ("aa bb cc", "ddee ff")
    assert split("aa bb cc ddee ff", units, 3, 0) == ("aa bb cc", "ddee ff")
    assert split("大熊猫吃竹子", [(place, place + 1) for place in range(6)], 4, 1) == ("大熊猫吃", "吃竹子")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 12), st.data())
def test_every_unit_is_in_a_chunk_and_no_chunk_is_too_long(spaces: list[bool], size: int, data: Any) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    text, units = "", []
    for number, space in enumerate(spaces):  # a character of its own for each unit
        text += " " * space
        units.append((len(text), len(text) + 1))
        text += chr(0x4E00 + number)
    found = [chunk.replace(" ", "") for chunk in split(text, units, size, overlap)]
    assert set("".join(found)) == set(text.replace(" ", ""))
    if len(units) > size:
        assert all(0 < len(chunk) <= size and chunk in text.replace(" ", "") for chunk in found)
        shared = [len(set(one) & set(other)) for one, other in pairwise(found)]
        assert all(number >= min(overlap, len(one) - 1) for one, number in zip(found, shared, strict=False))


# --- settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"by": "words"}, "chunks.by=words: choose from none, tokens, sentences"),
        ({"size": 9}, "chunks.size=9 has no effect on whole passages; add chunks=tokens or chunks=sentences"),
        ({"by": "tokens", "aggregate": "sum"}, "chunks.aggregate=sum: choose from max, first, mean_top"),
        ({"by": "tokens", "size": 0}, "chunks.size=0: give how many tokens a chunk has, 1 or more, or null"),
        ({"by": "sentences", "size": 4, "overlap": 4}, "chunks have 4 sentences, so give 0 to 3 that two neighbours"),
        ({"by": "tokens", "top": 5}, "chunks.top=5 has no effect with chunks.aggregate=max"),
        ({"by": "tokens", "aggregate": "mean_top", "top": 0}, "chunks.top=0: give how many of the best chunks count"),
    ],
)
def test_a_setting_out_of_range_or_without_effect_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        ChunkSettings(**given).check()
    assert message in str(refused.value)


def test_two_neighbours_share_half_a_chunk_unless_set() -> None:
    assert ChunkSettings(by="tokens").shared(9) == 4
    assert ChunkSettings(by="tokens", overlap=0).shared(9) == 0
