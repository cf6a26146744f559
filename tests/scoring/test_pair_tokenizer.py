"""Encoded pairs are those of the model's own tokenizer, under both truncation rules."""

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.pair_tokenizer import PairTokenizer
from evalkit.scoring.token_cache import TokenCache

SNIPPETS = st.sampled_from(
    [
        "what is the capital of France?",
        "Paris is the capital and largest city of France. " * 3,
        "法国的首都是哪里？",
        "巴黎是法国的首都和最大的城市。" * 4,
        "フランスの首都はどこですか",
        "ประเทศฝรั่งเศส",
        "फ़्रांस की राजधानी क्या है",
        "ما هي عاصمة فرنسا؟",
        "Ìlú wo ni olú-ìlú Faransé?",
        "столица Франции",
        "[SEP] </s> <s> [CLS]",
        "e\u0301\u200b\ufeff ＡＢＣ ①",
        "😀👩‍👩‍👧",
        "x" * 300,
        "",
        " ",
        "\n\t",
        "\u0301",
    ]
)
TEXTS = SNIPPETS | st.text(max_size=60) | st.lists(SNIPPETS, min_size=2, max_size=4).map(" ".join)


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return AutoTokenizer.from_pretrained(request.getfixturevalue(f"{request.param}_folder"))


class EncodedPair(NamedTuple):
    ids: list[int]
    type_ids: list[int]
    truncated: bool


def encode_pair(pairs: PairTokenizer, query: str, passage: str) -> EncodedPair:
    batch = TokenCache(pairs).tokenize([(query, passage)]).batch([0])
    return EncodedPair(batch.ids.tolist(), batch.type_ids.tolist(), bool(batch.truncated[0]))


def own_pair(tokenizer: Any, query: str, passage: str, **rule: Any) -> Any:
    """Return the pair by the tokenizer's own call, as a batch: alone, an empty passage would count as no passage."""
    own = tokenizer([query], [passage], return_token_type_ids=True, verbose=False, **rule)
    return own["input_ids"][0], own["token_type_ids"][0]


def own_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@settings(deadline=None, max_examples=120)
@given(query=TEXTS, passage=TEXTS, max_length=st.integers(6, 80))
@example(query="", passage="", max_length=6)
@example(query="a b c d e f g h", passage="a b c d e f g h", max_length=11)
@example(query="a b c d e f g h", passage="a b c d e f g h", max_length=12)
def test_longest_first_gives_the_ids_of_the_tokenizers_own_call(
    tokenizer: Any, query: Any, passage: Any, max_length: Any
) -> None:
    pair = encode_pair(PairTokenizer(tokenizer, max_length, "longest_first"), query, passage)
    own = own_pair(tokenizer, query, passage, truncation="longest_first", max_length=max_length)
    assert (pair.ids, pair.type_ids) == own


@settings(deadline=None, max_examples=120)
@given(query=TEXTS, passage=TEXTS, max_length=st.integers(20, 80))
def test_only_second_gives_the_ids_of_flagreranker(tokenizer: Any, query: Any, passage: Any, max_length: Any) -> None:
    """FlagEmbedding's `FlagReranker`: the query's ids are cut at max_length * 3 // 4, the passage's at max_length, and
    `prepare_for_model(query, passage, truncation="only_second", max_length=max_length)` puts the pair together."""
    pair = encode_pair(PairTokenizer(tokenizer, max_length, "only_second"), query, passage)
    q = own_ids(tokenizer, query)[: max_length * 3 // 4]
    d = own_ids(tokenizer, passage)[:max_length]
    special = tokenizer.num_special_tokens_to_add(pair=True)
    d = d[: len(d) - max(0, len(q) + len(d) + special - max_length)]
    if special == 3:  # BERT
        expected = [tokenizer.cls_token_id, *q, tokenizer.sep_token_id, *d, tokenizer.sep_token_id]
    else:  # XLM-RoBERTa
        sep = tokenizer.sep_token_id
        expected = [tokenizer.cls_token_id, *q, sep, sep, *d, sep]
    assert pair.ids == expected


@settings(deadline=None, max_examples=50)
@given(passage=TEXTS, max_length=st.integers(20, 80))
def test_only_second_gives_the_ids_of_the_tokenizers_own_call_for_short_queries(
    tokenizer: Any, passage: Any, max_length: Any
) -> None:
    query = "capital of France"
    pair = encode_pair(PairTokenizer(tokenizer, max_length, "only_second"), query, passage)
    own = own_pair(tokenizer, query, passage, truncation="only_second", max_length=max_length)
    assert (pair.ids, pair.type_ids) == own


@settings(deadline=None, max_examples=60)
@given(
    query=TEXTS, passage=TEXTS, max_length=st.integers(6, 80), rule=st.sampled_from(["only_second", "longest_first"])
)
def test_a_pair_is_within_the_maximum_length_and_truncation_is_flagged(
    tokenizer: Any, query: Any, passage: Any, max_length: Any, rule: Any
) -> None:
    pair = encode_pair(PairTokenizer(tokenizer, max_length, rule), query, passage)
    text = len(own_ids(tokenizer, query)) + len(own_ids(tokenizer, passage))
    special = tokenizer.num_special_tokens_to_add(pair=True)
    assert len(pair.ids) == len(pair.type_ids) <= max_length
    assert pair.truncated == (len(pair.ids) < text + special)
    if not pair.truncated:
        assert (pair.ids, pair.type_ids) == own_pair(tokenizer, query, passage)
    elif rule == "longest_first":
        assert len(pair.ids) == max_length


def test_remaining_lengths_under_the_two_rules(bert_folder: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)

    def remaining(rule: str, max_length: int, query: int, passage: int) -> tuple[int, int]:
        return PairTokenizer(tokenizer, max_length, rule).truncated_lengths(query, passage)

    # 16 tokens: three special ones leave room for 13.
    assert remaining("only_second", 16, 10, 20) == (10, 3)  # the query stays whole: 10 <= 16 * 3 // 4 = 12
    assert remaining("longest_first", 16, 10, 20) == (
        6,
        7,
    )  # both cut to 6, and the odd token goes to the longer
    assert remaining("longest_first", 16, 4, 20) == (4, 9)
    assert remaining("longest_first", 16, 10, 2) == (10, 2)
    assert remaining("only_second", 12, 10, 20) == (9, 0)  # 12 * 3 // 4 = 9 fill the room of 9 alone
    assert remaining("only_second", 40, 10, 20) == remaining("longest_first", 40, 10, 20) == (10, 20)


def test_a_larger_maximum_length_never_removes_a_token(tokenizer: Any) -> None:
    query, passage = "how many people live in Paris " * 4, "Paris 巴黎 has two million inhabitants " * 6
    for rule in ("only_second", "longest_first"):
        lengths = [len(encode_pair(PairTokenizer(tokenizer, m, rule), query, passage).ids) for m in range(6, 120)]
        assert all(a <= b for a, b in pairwise(lengths))


@pytest.mark.parametrize(("folder", "special"), [("bert_folder", 3), ("xlmr_folder", 4)])
def test_a_maximum_length_without_room_for_text_is_refused(
    request: pytest.FixtureRequest, folder: Any, special: Any
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(folder))
    least = special + 2
    assert len(encode_pair(PairTokenizer(tokenizer, least, "only_second"), "capital", "Paris").ids) == least
    with pytest.raises(EvalkitError, match=rf"reranker\.max_length={least - 1} leaves no room .* {special} special"):
        PairTokenizer(tokenizer, least - 1, "only_second")


def test_an_unknown_truncation_rule_is_refused_with_the_known_ones(tokenizer: Any) -> None:
    with pytest.raises(EvalkitError, match=r"reranker\.truncation=only_first: there is only_second, longest_first"):
        PairTokenizer(tokenizer, 64, "only_first")


def test_a_tokenizer_that_puts_the_passage_first_is_refused(bert_folder: Any) -> None:
    from tokenizers import processors

    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$B [SEP] $A", special_tokens=[("[SEP]", tokenizer.sep_token_id)]
    )
    with pytest.raises(EvalkitError, match="does not put the query before the passage"):
        PairTokenizer(tokenizer, 64, "only_second")


def test_earlier_calls_of_the_tokenizer_have_no_effect(tokenizer: Any) -> None:
    """A call with padding and truncation leaves both enabled in the backend."""
    long = "Paris is the capital and largest city of France. " * 5
    expected = [own_ids(tokenizer, text) for text in (long, "b")]
    assert len(expected[0]) > 16
    pairs = PairTokenizer(tokenizer, 200, "only_second")
    tokenizer([long, "b"], ["c", "d"], truncation=True, max_length=16, padding="max_length")
    assert [ids.tolist() for ids in pairs.encode([long, "b"])] == expected
