"""A scorer's logits are those of transformers' own forward pass, whatever the batch and the order."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.scorer import Scorer
from tests.helpers.scorers import MAX_LENGTH, PAIRS, copy_folder, load_scorer, transformers_logits


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture(scope="module")
def scorer(folder: Any) -> Scorer:
    return load_scorer(folder)


@pytest.fixture(scope="module")
def logits(scorer: Any) -> Any:
    return scorer.score(PAIRS).logits


def test_logits_are_those_of_transformers_own_padded_forward(folder: Any, logits: Any) -> None:
    expected = transformers_logits(folder, PAIRS, "longest_first")
    assert logits.dtype == np.float32
    assert expected.std() > 0.1  # else the agreement below would show nothing
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_only_second_gives_transformers_logits_for_short_queries(folder: Any) -> None:
    pairs = [(query, passage) for query, passage in PAIRS if len(query) < 40]
    expected = transformers_logits(folder, pairs, "only_second")
    np.testing.assert_allclose(load_scorer(folder, rule="only_second").score(pairs).logits, expected, rtol=0, atol=1e-5)


def test_a_pair_scores_the_same_alone_and_in_a_batch(scorer: Any, logits: Any) -> None:
    alone = [float(scorer.score([pair]).logits[0]) for pair in PAIRS]
    np.testing.assert_allclose(alone, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [MAX_LENGTH, 97, 1000, 1_000_000])
def test_scores_do_not_depend_on_the_batch_size(folder: Any, logits: Any, batch_tokens: Any) -> None:
    again = load_scorer(folder, batch_tokens=batch_tokens).score(PAIRS)
    np.testing.assert_allclose(again.logits, logits, rtol=0, atol=1e-5)


def test_scores_come_back_in_the_order_of_the_pairs(scorer: Any, logits: Any) -> None:
    order = list(range(len(PAIRS)))
    random.Random(5).shuffle(order)
    shuffled = scorer.score([PAIRS[i] for i in order]).logits
    np.testing.assert_allclose(shuffled, logits[order], rtol=0, atol=1e-5)


def test_repeated_pairs_get_equal_scores(scorer: Any) -> None:
    scores = scorer.score([PAIRS[0], PAIRS[1], PAIRS[0]]).logits
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_exchanging_query_and_passage_changes_the_score(scorer: Any) -> None:
    query, passage = PAIRS[0]
    score, exchanged = scorer.score([(query, passage), (passage, query)]).logits
    assert score != pytest.approx(exchanged, abs=1e-3)


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_token_types_are_passed_to_bert(bert_folder: Any, path: Any) -> None:
    """Without them, the passage looks like a part of the query, and the logits differ."""
    expected = transformers_logits(bert_folder, PAIRS[:4], "longest_first")
    without = transformers_logits(bert_folder, PAIRS[:4], "longest_first", token_types=False)
    assert np.abs(expected - without).max() > 1e-3
    np.testing.assert_allclose(load_scorer(bert_folder, path=path).score(PAIRS[:4]).logits, expected, rtol=0, atol=1e-5)


def test_no_pairs_give_no_scores(scorer: Any) -> None:
    scored = scorer.score([])
    assert (len(scored.logits), scored.tokens, scored.padded_tokens, scored.truncated_pairs) == (0, 0, 0, 0)


def test_tokens_padding_and_truncated_pairs_are_counted(bert_folder: Any) -> None:
    vocabulary = AutoTokenizer.from_pretrained(bert_folder).get_vocab()
    assert {"what", "is", "the", "and"} <= vocabulary.keys()  # one token each
    pairs = [("what", "is the and"), ("what", "is"), ("what", "is " * 20)]
    # With three special tokens: 7, 5 and 24, the last truncated to 12. Longest first, at most 24 tokens per batch:
    # {12, 7} padded to 2 x 12, then {5} alone; packed, all three fill one batch exactly.
    padded = load_scorer(bert_folder, max_length=12, batch_tokens=24, path="padded").score(pairs)
    packed = load_scorer(bert_folder, max_length=12, batch_tokens=24, path="packed").score(pairs)
    assert padded.truncated_pairs == packed.truncated_pairs == 1
    assert padded.tokens == packed.tokens == 7 + 5 + 12
    assert (padded.padded_tokens, packed.padded_tokens) == (12 + 12 + 5, 24)


def test_progress_adds_up_to_all_pairs(scorer: Any) -> None:
    steps: list[Any] = []
    scorer.score(PAIRS, steps.append)
    assert len(steps) > 1
    assert sum(steps) == len(PAIRS)


def test_a_logit_that_is_nan_is_an_error_that_names_the_pair(bert_folder: Any, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert_folder)
    model.classifier.bias.data.fill_(float("nan"))
    broken = copy_folder(bert_folder, tmp_path / "broken")
    model.save_pretrained(broken)
    with pytest.raises(
        EvalkitError, match=r"the model gave nan as logit for 2 of the 2 pairs of a batch \(first: query 'what', p"
    ):
        load_scorer(broken).score([("who", "Paris"), ("what", "Berlin")], repeatable=True)


def test_a_batch_smaller_than_a_pair_is_refused(bert_folder: Any) -> None:
    with pytest.raises(EvalkitError, match=r"reranker\.batch_tokens=63 is smaller than one pair of .*max_length=64"):
        load_scorer(bert_folder, max_length=64, batch_tokens=63)


@pytest.mark.parametrize("name", ["bert_folder", "xlmr_folder"])
def test_a_max_length_beyond_the_models_positions_is_refused(request: pytest.FixtureRequest, name: Any) -> None:
    """BERT has 512 positions for 512 tokens; XLM-RoBERTa's 514 serve 512, since they start after the padding index."""
    folder = request.getfixturevalue(name)
    with pytest.raises(EvalkitError, match=r"reranker\.max_length=513: .* has positions for 512 tokens"):
        load_scorer(folder, max_length=513, batch_tokens=1000)
    full = load_scorer(folder, max_length=512, batch_tokens=1000).score([("who", "passage " * 600)])
    assert full.tokens == 512
    assert full.truncated_pairs == 1


def test_scores_do_not_depend_on_earlier_calls(scorer: Any, logits: Any) -> None:
    scorer.score([("something else", "entirely")])
    np.testing.assert_array_equal(scorer.score(PAIRS).logits, logits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_logits_on_a_gpu_are_those_on_the_cpu(folder: Any, logits: Any) -> None:
    device = torch.device("cuda", 0)
    pretrained = load_classifier(str(folder), None, device, PRECISIONS["fp32"], "reranker.model")
    on_gpu = Scorer(pretrained, device, MAX_LENGTH, "longest_first", 400).score(PAIRS).logits
    np.testing.assert_allclose(on_gpu, logits, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.05), ("bf16", 0.4), ("tf32", 0.05)])
def test_logits_on_a_gpu_at_lower_precision_are_close_to_those_on_the_cpu(
    folder: Any, logits: Any, precision: Any, tolerance: Any
) -> None:
    device = torch.device("cuda", 0)
    pretrained = load_classifier(str(folder), None, device, PRECISIONS[precision], "reranker.model")
    on_gpu = Scorer(pretrained, device, MAX_LENGTH, "longest_first", 400).score(PAIRS).logits
    np.testing.assert_allclose(on_gpu, logits, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("EVALKIT_FULL_SIZE") != "1",
    reason="writes 2.1 GiB and takes minutes; EVALKIT_FULL_SIZE=1 runs it",
)
def test_the_bge_architecture_at_full_size_gives_transformers_logits(xlmr_folder: Any, tmp_path: Path) -> None:
    """BAAI/bge-reranker-v2-m3 with random weights: XLM-RoBERTa large with 8,194 positions and one label."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    folder = copy_folder(xlmr_folder, tmp_path / "bge")
    try:
        config = XLMRobertaConfig(
            vocab_size=250002, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
            max_position_embeddings=8194, type_vocab_size=1, num_labels=1, pad_token_id=1, bos_token_id=0,
            eos_token_id=2,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(11)
            XLMRobertaForSequenceClassification(config).save_pretrained(folder)
        pairs = PAIRS[:4] + PAIRS[-6:]
        scorer = load_scorer(folder, batch_tokens=400)
        assert sum(weight.numel() for weight in scorer.model.parameters()) == 567_755_777
        scored = scorer.score(pairs)
        del scorer  # one copy of 2.1 GiB at a time
        expected = transformers_logits(folder, pairs, "longest_first")
        print(f"largest difference {np.abs(scored.logits - expected).max():.1e}, spread {expected.std():.3f}")  # noqa: T201
        np.testing.assert_allclose(scored.logits, expected, rtol=0, atol=1e-5)
    finally:
        shutil.rmtree(folder)
