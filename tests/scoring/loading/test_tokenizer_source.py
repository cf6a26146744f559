"""A model's ids are those of its tokenizer.json, and a class of transformers that gives others is detected."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.pair_tokenizer import PairTokenizer
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.token_cache import TokenCache
from evalkit.scoring.tokenizer_check import check_pair_encoding

CPU = torch.device("cpu")
PAIRS = [
    ("what is a cat", "a cat is a small animal"),
    ("首都はどこですか", "東京は日本の首都である"),
    ("Änderung", "CAPS, 3.14"),
]


def load(folder: Path) -> Any:
    return load_classifier(str(folder), None, CPU, PRECISIONS["fp32"], "reranker.model")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def scores(folder: Path) -> np.ndarray:
    return Scorer(load(folder), CPU, 64, "longest_first", 400).score(PAIRS).logits


@pytest.mark.parametrize("folder", ["bert_folder", "xlmr_folder"])
def test_a_tokenizer_that_agrees_with_its_file_is_used(request: pytest.FixtureRequest, folder: Any) -> None:
    source = load(request.getfixturevalue(folder)).tokenizer_source
    assert (source.description, source.disagreed) == ("tokenizer.json", False)


@pytest.mark.parametrize(
    ("tokenizer_class", "more"),
    [
        ("XLMRobertaTokenizer", {"add_prefix_space": False}),
        ("LlamaTokenizer", {}),
        ("LlamaTokenizerFast", {}),
        ("BertTokenizer", {}),
        ("T5Tokenizer", {}),
        ("AlbertTokenizer", {}),
    ],
)
def test_the_file_overrides_the_tokenizer_that_transformers_builds(xlmr: Any, tokenizer_class: Any, more: Any) -> None:
    right, file = scores(xlmr), Tokenizer.from_file(str(xlmr / "tokenizer.json"))
    edit(xlmr / "tokenizer_config.json", tokenizer_class=tokenizer_class, **more)
    rebuilt = AutoTokenizer.from_pretrained(xlmr)
    assert any(rebuilt(*pair)["input_ids"] != file.encode(*pair).ids for pair in PAIRS)
    pretrained = load(xlmr)
    assert pretrained.tokenizer_source.disagreed
    assert pretrained.tokenizer_source.description.startswith("tokenizer.json; transformers' ")
    assert [pretrained.tokenizer(*pair)["input_ids"] for pair in PAIRS] == [file.encode(*pair).ids for pair in PAIRS]
    np.testing.assert_allclose(scores(xlmr), right, rtol=0, atol=1e-6)


def test_settings_that_every_transformers_applies_override_the_file(bert: Any) -> None:
    """tokenizer.json lowercases here, and tokenizer_config.json states not to."""
    edit(bert / "tokenizer_config.json", do_lower_case=False)
    pretrained = load(bert)
    assert (
        pretrained.tokenizer_source.description == "tokenizer.json, with do_lower_case=false of tokenizer_config.json"
    )
    assert pretrained.tokenizer("Cat")["input_ids"] == AutoTokenizer.from_pretrained(bert)("Cat")["input_ids"]
    assert pretrained.tokenizer("Cat")["input_ids"] != pretrained.tokenizer("cat")["input_ids"]


def test_without_tokenizer_json_the_source_is_the_class_that_built_the_tokenizer(bert: Any) -> None:
    words = json.loads((bert / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    right = scores(bert)
    (bert / "tokenizer.json").unlink()
    (bert / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)), "utf-8")
    assert load(bert).tokenizer_source.description == "no tokenizer.json; built by transformers' BertTokenizer"
    np.testing.assert_allclose(scores(bert), right, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["longest_first", "only_second"])
@pytest.mark.parametrize("max_length", [12, 13, 20])
def test_texts_are_truncated_on_the_side_that_the_tokenizer_states(bert: Any, rule: Any, max_length: Any) -> None:
    edit(bert / "tokenizer_config.json", truncation_side="left")
    tokenizer = load(bert).tokenizer
    pairs = PairTokenizer(tokenizer, max_length, rule)
    query, passage = "one two", "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    found = TokenCache(pairs).tokenize([(query, passage)]).batch([0])
    theirs = tokenizer(query, passage, truncation=rule, max_length=max_length)
    assert found.ids.tolist() == theirs["input_ids"]
    assert found.type_ids.tolist() == theirs["token_type_ids"]
    assert Scorer(load(bert), CPU, 64, rule, 400).describe()["truncation_side"] == "left"


def test_a_tokenizer_whose_call_encodes_pairs_differently_is_refused(bert_folder: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    pairs = PairTokenizer(tokenizer, 64, "longest_first")

    own: Any = type(tokenizer)

    class Shouting(own):  # type: ignore[misc]
        def __call__(self, query: Any, passage: Any, **more: Any) -> Any:
            return super().__call__(query, passage + " !", **more)

    tokenizer.__class__ = Shouting
    with pytest.raises(EvalkitError, match=r"encodes the pair .* differently from its two texts"):
        check_pair_encoding(pairs)


def test_shares_of_unknown_tokens_are_those_of_distinct_queries_and_passages(bert_folder: Any) -> None:
    """By hand: letters are known, '☃' and '♞' are not; a passage in two pairs counts once."""
    pairs = PairTokenizer(load(bert_folder).tokenizer, 64, "longest_first")
    cache = TokenCache(pairs)
    cache.tokenize([("☃ ♞ c a", "a"), ("a ☃ b c", "a"), ("☃ ♞ c a", "☃ a b c d e f g h")])
    statistics = cache.statistics()
    assert statistics.unknown_query_share == pytest.approx(3 / 8)
    assert statistics.unknown_passage_share == pytest.approx(1 / 10)
    assert statistics.longest_pair_tokens == 4 + 9 + 3


def test_the_longest_pair_is_counted_before_truncation(bert_folder: Any) -> None:
    cache = TokenCache(PairTokenizer(load(bert_folder).tokenizer, 8, "longest_first"))
    assert cache.tokenize([("a b", "a b c d e f g h i j"), ("a", "b")]).lengths.max() == 8
    assert cache.statistics().longest_pair_tokens == 2 + 10 + 3


@pytest.mark.shared
def test_the_ids_of_a_public_bug_report_are_those_of_the_file(shared: Path) -> None:
    folder = shared / "cases" / "models" / "xlmr-tokenizer-rebuilt"
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pairs = PairTokenizer(load(folder).tokenizer, 512, "longest_first")
    found = TokenCache(pairs).tokenize(PAIRS)
    assert [found.batch([row]).ids.tolist() for row in range(3)] == [file.encode(*pair).ids for pair in PAIRS]
