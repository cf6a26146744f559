"""A model gives a pair the same score in every way of computing it, or it is refused before other work starts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.packed import PackedModel
from evalkit.scoring.spec import BuiltScorer, ScorerSpec, build_scorer
from tests.helpers.encoders import save_encoder

PAIRS = [
    ("what is a cat", "a cat is a small animal"),
    ("dog", "the weather of tomorrow, and of the day after"),
    ("a", "b"),
]


def spec(folder: Path, **more: Any) -> ScorerSpec:
    settings: dict[str, Any] = {"model": str(folder), "device": "cpu", "precision": "fp32", "max_length": 64,
                                "truncation": "longest_first"}  # fmt: skip
    return ScorerSpec(**settings | more)


def built(folder: Path, **more: Any) -> BuiltScorer:
    return build_scorer(spec(folder, **more))


def logits(folder: Path, pairs: Any = PAIRS, **more: Any) -> np.ndarray:
    return built(folder, **more).scorer.score(pairs).logits


def own_logits(folder: Path, pairs: Any = PAIRS) -> np.ndarray:
    """What transformers itself gives, each pair alone, so that nothing is padded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return np.array([model(**tokenizer(*pair, return_tensors="pt")).logits.item() for pair in pairs])


def refusal(folder: Path, **more: Any) -> str:
    with pytest.raises(EvalkitError) as refused:
        built(folder, **more)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def edit(path: Path, **changes: Any) -> None:
    found = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}), "utf-8")


@pytest.fixture
def make(bert_folder: Any, tmp_path: Path) -> Any:
    def of(kind: str, **sizes: Any) -> Path:
        return save_encoder(kind, bert_folder, tmp_path / kind, **sizes)

    return of


# Token types


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_token_types_are_0_on_both_paths_if_the_tokenizer_does_not_name_them(bert: Any, path: Any) -> None:
    typed = own_logits(bert)
    edit(bert / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert np.abs(typed - own_logits(bert)).max() > 0.01
    np.testing.assert_allclose(logits(bert, path=path), own_logits(bert), rtol=0, atol=1e-5)
    assert built(bert).scorer.describe()["token_types"].startswith("all 0: the tokenizer's model_input_names")


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_token_types_are_those_of_the_tokenizers_own_call(bert: Any, path: Any) -> None:
    np.testing.assert_allclose(logits(bert, path=path), own_logits(bert), rtol=0, atol=1e-5)
    assert built(bert).scorer.describe()["token_types"] == "as in the tokenizer's template for pairs"


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_token_types_are_0_if_the_model_has_one_type(xlmr: Any, path: Any) -> None:
    """transformers' own call raises an IndexError with others, so that the model was trained with zeros."""
    before = logits(xlmr)
    tokenizer = json.loads((xlmr / "tokenizer.json").read_text("utf-8"))
    for piece in tokenizer["post_processor"]["pair"][-2:]:
        next(iter(piece.values()))["type_id"] = 1
    (xlmr / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    edit(xlmr / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", model_input_names=names)
    np.testing.assert_allclose(logits(xlmr, path=path), before, rtol=0, atol=1e-5)
    assert built(xlmr).scorer.describe()["token_types"] == "all 0: the model has 1 token type"


@pytest.mark.parametrize(("version", "used"), [("4.57.1", True), ("5.2.0", False), (..., False)])
def test_the_generic_tokenizer_class_gave_token_types_up_to_transformers_4(bert: Any, version: Any, used: Any) -> None:
    typed = own_logits(bert)
    edit(bert / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", do_lower_case=...)
    edit(bert / "config.json", transformers_version=version)
    assert built(bert).scorer.describe()["token_types"].startswith("as in the tokenizer") is used
    np.testing.assert_allclose(logits(bert), typed if used else own_logits(bert), rtol=0, atol=1e-5)


def test_a_token_type_beyond_those_of_the_model_is_refused(bert: Any) -> None:
    tokenizer = json.loads((bert / "tokenizer.json").read_text("utf-8"))
    for piece in tokenizer["post_processor"]["pair"][-2:]:
        next(iter(piece.values()))["type_id"] = 2
    (bert / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    edit(bert / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", model_input_names=names)
    assert "gives tokens the type 2 and the model has 2 types, from 0 to 1" in refusal(bert)


# Ways of computing a logit


def test_the_self_check_compares_packed_and_padded_with_transformers_own_call(
    bert_folder: Any,
) -> None:
    checked = built(bert_folder).self_check
    assert checked is not None
    assert checked.ways == ("packed, in a batch", "packed, alone", "padded, in a batch", "by transformers' own call")
    assert 0 <= checked.largest_difference < 1e-5 < checked.tolerance


def test_an_error_in_the_packed_path_is_refused_with_the_padded_path_as_advice(
    bert_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = PackedModel.host_buffer

    def with_positions_reversed(self: PackedModel, batch: Any, tokens: int, pairs: int) -> torch.Tensor:
        buffer = right(self, batch, tokens, pairs)
        buffer[tokens : 2 * tokens] = buffer[tokens : 2 * tokens].flip(0)
        return buffer

    monkeypatch.setattr(PackedModel, "host_buffer", with_positions_reversed)
    sentence = refusal(bert_folder)
    assert "BertForSequenceClassification scores one pair in different ways" in sentence
    assert sentence.endswith("the packed path does not compute what this model does: use reranker.path=padded")
    checked = built(bert_folder, path="padded").self_check
    assert checked is not None
    assert checked.ways[0] == "padded, in a batch"


@pytest.mark.parametrize("kind", ["fnet", "convbert", "nystromformer"])
def test_a_model_whose_scores_depend_on_padding_is_refused(make: Any, kind: Any) -> None:
    sentence = refusal(make(kind))
    assert "its scores depend on the other pairs of a batch" in sentence
    assert "reranker=trec_run" in sentence


def test_check_refuses_a_model_that_fails_the_self_check(make: Any) -> None:
    reranker = CrossEncoder(str(make("fnet")), 64, truncation="longest_first", device="cpu", precision="fp32")
    with pytest.raises(EvalkitError, match="scores one pair in different ways"):
        reranker.check()


def test_the_self_check_can_be_switched_off_which_is_recorded(make: Any, bert_folder: Any) -> None:
    left_out = CrossEncoder(
        str(make("fnet")), 64, truncation="longest_first", device="cpu", precision="fp32", self_check=False
    )
    left_out.check()
    left_out.load()
    assert left_out.describe()["self_check"] is None
    made = CrossEncoder(str(bert_folder), 64, truncation="longest_first", device="cpu", precision="fp32")
    made.load()
    assert made.describe()["self_check"]["pairs"] == 3


def test_time_of_the_checks_is_separate_from_loading_time(bert_folder: Any) -> None:
    one = built(bert_folder)
    assert one.self_check is not None
    assert one.check_s == one.pretrained.check_s + one.self_check.seconds > 0
    assert built(bert_folder, self_check=False).check_s == pytest.approx(0, abs=one.check_s)


# Architectures that the packed path does not support


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
                        "position_biased_input": False, "position_buckets": 32, "share_att_key": True}),
        ("mpnet", {"pad_token_id": 1}),
        ("deberta", {}),
        ("rembert", {"input_embedding_size": 16, "output_embedding_size": 16}),
        ("roformer", {}),
    ],
)  # fmt: skip
def test_architectures_without_sdpa_are_scored_by_eager_attention(make: Any, kind: Any, more: Any) -> None:
    folder = make(kind, **more)
    found = built(folder)
    assert found.scorer.describe()["attention"] == "padded, eager"
    np.testing.assert_allclose(logits(folder), own_logits(folder), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "electra", "albert"])
def test_other_encoders_get_transformers_logits(make: Any, kind: Any) -> None:
    folder = make(kind)
    np.testing.assert_allclose(logits(folder), own_logits(folder), rtol=0, atol=1e-5)


def test_positions_start_after_the_padding_index_in_mpnet_too(make: Any) -> None:
    folder = make("mpnet", pad_token_id=1, max_position_embeddings=66)
    assert built(folder, max_length=64).pretrained.max_tokens == 64
    assert refusal(folder, max_length=65).endswith("has positions for 64 tokens")


def test_a_model_without_a_table_of_positions_is_tried_at_the_maximum_length(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("funnel", block_sizes=[1, 1], d_model=32, n_head=4, d_head=8, d_inner=64)
    assert built(folder).pretrained.max_tokens is None

    from evalkit.scoring.padded import PaddedModel

    right = PaddedModel.forward

    def short(self: Any, inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] > 60:
            raise IndexError("index out of range in self")
        return right(self, inputs)

    monkeypatch.setattr(PaddedModel, "forward", short)
    assert "reranker.max_length=64: " in (sentence := refusal(folder))
    assert "cannot take a pair of so many tokens (IndexError: index out of range in self); lower it" in sentence


# Folders from public bug reports


@pytest.mark.shared
@pytest.mark.parametrize("name", ["bert-without-token-types", "deberta-v2-classifier"])
def test_folders_of_public_bug_reports_get_transformers_logits(shared: Path, name: Any) -> None:
    folder = shared / "cases" / "models" / name
    for path in ("auto", "padded"):
        np.testing.assert_allclose(logits(folder, path=path), own_logits(folder), rtol=0, atol=1e-5)
