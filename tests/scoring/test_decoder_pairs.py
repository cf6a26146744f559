"""Decoders get the scores of transformers itself, and of their authors' code, whatever is packed and shared."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import packed_attention
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_decoder
from evalkit.scoring.prompt import Prompt
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.self_check import check_scores_agree
from tests.helpers.decoders import BGE, HEAD, QWEN3, decoder_scorer, make_decoder
from tests.helpers.scorers import PAIRS

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "qwen2": {},  # mxbai-rerank-v2
    "gemma": {},  # bge-reranker-v2-gemma
    "llama": {},
    "mistral": {"sliding_window": 40},
    "gemma2": {"sliding_window": 40, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 40, "query_pre_attn_scalar": 16},
    "phi3": {},
}
SAME_QUERY = [(query, passage) for query, _ in PAIRS[:5] for _, passage in PAIRS[:7]]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("decoder"), request.param, **ARCHITECTURES[request.param])


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("qwen3"), "qwen3")


def by_the_card_of_qwen3(folder: Path, pairs: list[tuple[str, str]], max_length: int) -> np.ndarray:
    """The recipe of Qwen3-Reranker's model card: https://huggingface.co/Qwen/Qwen3-Reranker-0.6B."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    yes, no = (tokenizer.convert_tokens_to_ids(token) for token in ("yes", "no"))
    prefix, suffix = (tokenizer.encode(QWEN3.template[i], add_special_tokens=False) for i in (0, 2))
    texts = [f"<Instruct>: {QWEN3.instruction}\n<Query>: {query}\n<Document>: {doc}" for query, doc in pairs]
    inputs = tokenizer(
        texts, padding=False, truncation="longest_first", return_attention_mask=False,
        max_length=max_length - len(prefix) - len(suffix),
    )  # fmt: skip
    inputs["input_ids"] = [prefix + ids + suffix for ids in inputs["input_ids"]]
    padded = tokenizer.pad(inputs, padding=True, return_tensors="pt")
    with torch.no_grad():
        last = model(**padded).logits[:, -1, :]
    probability = torch.nn.functional.log_softmax(torch.stack([last[:, no], last[:, yes]], dim=1), dim=1)
    return (probability[:, 1] - probability[:, 0]).numpy()  # the logit of their score


def by_the_rule_of_flag_reranker(folder: Path, pairs: list[tuple[str, str]], room: int) -> np.ndarray:
    """FlagEmbedding 1.4.2, FlagLLMReranker.compute_score, where its longest query is shorter than its limit."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def ids_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    logits = []
    for query, passage in pairs:
        asked = [tokenizer.bos_token_id, *ids_of(f"A: {query}")]
        found = [*ids_of("\n"), *ids_of(f"B: {passage}")][: room - len(asked)]
        ids = [*asked, *found, *ids_of("\n"), *ids_of(BGE.template[-1])]
        with torch.no_grad():
            logits.append(float(model(torch.tensor([ids])).logits[0, -1, ids_of("Yes")[0]]))
    return np.array(logits)


def test_scores_are_those_of_qwen3s_model_card(folder: Path) -> None:
    pairs = [pair for pair in PAIRS if len(pair[0]) < 200]  # their recipe cuts the end of the part, whatever is there
    scored = decoder_scorer(folder, QWEN3, max_length=160).score(pairs)
    assert 0 < scored.truncated_pairs < len(pairs)
    np.testing.assert_allclose(scored.logits, by_the_card_of_qwen3(folder, pairs, 160), atol=1e-4)


def test_scores_are_those_of_flag_reranker(folder: Path) -> None:
    pairs = [pair for pair in PAIRS if len(pair[0]) < 200]
    scorer = decoder_scorer(folder, BGE, max_length=160)
    room = 160 - sum(len(ids) for ids in scorer.pair_tokenizer.encode(BGE.template[-2:]))
    scored = scorer.score(pairs)
    assert 0 < scored.truncated_pairs < len(pairs)
    np.testing.assert_allclose(scored.logits, by_the_rule_of_flag_reranker(folder, pairs, room), atol=1e-4)


@pytest.mark.parametrize("prompt", [QWEN3, BGE], ids=["one part", "parts"])
def test_sharing_prefixes_computes_less_and_changes_no_score(folder: Path, prompt: Prompt) -> None:
    settings = {"max_length": 400, "tokens": 2000}
    shared = decoder_scorer(folder, prompt, **settings).score(SAME_QUERY)
    unshared = decoder_scorer(folder, prompt, **settings, share_prefix=False).score(SAME_QUERY)
    padded = decoder_scorer(folder, prompt, **settings, path="padded").score(SAME_QUERY)
    np.testing.assert_allclose(shared.logits, unshared.logits, atol=1e-5)
    np.testing.assert_allclose(shared.logits, padded.logits, atol=1e-5)
    assert shared.tokens == unshared.tokens == unshared.padded_tokens
    assert shared.padded_tokens < unshared.padded_tokens < padded.padded_tokens


@pytest.mark.parametrize("prompt", [QWEN3, BGE], ids=["one part", "parts"])
def test_prompts_of_other_lengths_can_be_padded_for_attention(
    folder: Path, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = decoder_scorer(folder, prompt, tokens=2000).score(SAME_QUERY).logits
    monkeypatch.setattr(packed_attention, "length_ratio", lambda *args: 1.25)  # as on CUDA
    found = decoder_scorer(folder, prompt, tokens=2000).score(SAME_QUERY).logits
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_shared_prefix_is_computed_once_for_each_batch(qwen3: Path) -> None:
    scorer = decoder_scorer(qwen3, QWEN3, max_length=300, tokens=100_000)
    pairs = SAME_QUERY[:7]  # one query
    tokenized = scorer.tokenize(pairs)
    prefix = int(tokenized.prefix_lengths[0])  # type: ignore[attr-defined]
    assert set(tokenized.prefix_lengths) == {prefix}  # type: ignore[attr-defined]
    batches = list(tokenized.plan(100_000, padded=False, at_a_time=1))
    assert len(batches) == 1
    scored = scorer.score(pairs, repeatable=True)
    assert scored.padded_tokens == scored.tokens - (len(set(pairs)) - 1) * prefix


def test_a_classifier_on_a_decoder_is_read_at_the_last_token(tmp_path: Path) -> None:
    folder = make_decoder(tmp_path / "head", "qwen3", head=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    pairs = [pair for pair in PAIRS if len("".join(pair)) < 300]
    expected = []
    for query, passage in pairs:
        ids = tokenizer(f"{query}\n{passage}<|endoftext|>", return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            states = model.model(ids).last_hidden_state
            expected.append(float(model.score(states[0, -1])))
    scored = decoder_scorer(folder, HEAD, max_length=512, tokens=2000).score(pairs)
    assert scored.truncated_pairs == 0
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


def test_the_self_check_compares_four_ways_and_shares_a_prefix(qwen3: Path) -> None:
    scorer = decoder_scorer(qwen3, QWEN3)
    checked = check_scores_agree(scorer, scorer.pretrained, "fp32")
    assert checked.ways == (
        "packed, in a batch", "packed, alone", "padded, in a batch", "by transformers' own call"
    )  # fmt: skip
    assert 0 < checked.largest_difference < 1e-5


def test_the_self_check_finds_logits_that_the_model_scales(tmp_path: Path) -> None:
    folder = make_decoder(tmp_path / "granite", "granite", logits_scaling=8.0)
    scorer = decoder_scorer(folder, QWEN3)
    with pytest.raises(EvalkitError, match="the packed path does not compute what this model does"):
        check_scores_agree(scorer, scorer.pretrained, "fp32")
    check_scores_agree(decoder_scorer(folder, QWEN3, path="padded"), scorer.pretrained, "fp32")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(("{query}",), None, "yes"), "reranker.template has {passage} 0 times"),
        (Prompt(("{query}{passage}{query}",), None, "yes"), "reranker.template has {query} 2 times"),
        (Prompt(("{instruction}{query}{passage}",), None, "yes"), "reranker.instruction is not set"),
        (Prompt(("{query}{passage}",), "find", "yes"), "has no {instruction} to put it in"),
        (Prompt(("{query}{passage}",), None, "no", "no"), "every score would be 0"),
        (Prompt(("{query}{passage}",), None, "certainly"), "has no such token: it makes"),
        (Prompt(("{query}{passage}" + "long " * 200,), None, "yes"), "leaves no room for text: the template alone"),
    ],
)
def test_a_prompt_that_cannot_ask_is_refused(qwen3: Path, prompt: Prompt, message: str) -> None:
    with pytest.raises(EvalkitError, match=re.escape(message)):
        decoder_scorer(qwen3, prompt)


def test_braces_in_texts_are_taken_literally(qwen3: Path) -> None:
    scorer = decoder_scorer(qwen3, Prompt(("{a} {query} {{", "{passage}"), None, "yes"))
    batch = scorer.tokenize([("{passage}", "{query} {0}")]).batch([0])
    assert scorer.pair_tokenizer.tokenizer.decode(batch.ids) == "{a} {passage} {{{query} {0}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.3), ("fp16", 0.05)])
def test_scores_on_cuda_are_those_of_the_cpu(qwen3: Path, precision: str, tolerance: float) -> None:
    device = torch.device("cuda")
    pretrained = load_decoder(str(qwen3), None, device, PRECISIONS[precision], "reranker.model", head=False)
    on_gpu = Scorer(pretrained, device, 128, "only_second", 2000, prompt=QWEN3).score(SAME_QUERY).logits
    np.testing.assert_allclose(on_gpu, decoder_scorer(qwen3, QWEN3).score(SAME_QUERY).logits, atol=tolerance)
