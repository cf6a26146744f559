"""The engine's logits are those of transformers' own forward, whatever the batch and the order."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evalkit.errors import EvalkitError
from evalkit.scoring.batching import batches
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.scorer import Scorer
from tests.conftest import DEV

CPU = torch.device("cpu")
MAX_LENGTH = 96


def dev_pairs(n: int) -> list[tuple[str, str]]:
    """Real queries with passages of both languages, drawn once, and the odd ends that a collection holds."""
    chosen = random.Random(3)
    found = []
    for lang in ("en", "zh"):
        queries, docs = (
            [json.loads(line)["text"] for line in (DEV / lang / f"{name}.jsonl").read_text("utf-8").splitlines()]
            for name in ("queries", "corpus")
        )
        found += [(chosen.choice(queries), chosen.choice(docs)) for _ in range(n // 2)]
    odd = [("", "a passage"), ("a query", " "), ("q " * 120, "long query"), ("short", "long passage " * 200)]
    return found + odd


PAIRS = dev_pairs(36)


def load(
    folder: Path, max_length: int = MAX_LENGTH, rule: str = "longest_first", batch_tokens: int | None = 400, **more: Any
) -> Scorer:
    pretrained = load_classifier(str(folder), None, CPU, PRECISIONS["fp32"], "reranker.model")
    return Scorer(pretrained, CPU, max_length, rule, batch_tokens, **more)


def own_logits(folder: Path, pairs: list[tuple[str, str]], rule: str, max_length: int = MAX_LENGTH) -> np.ndarray:
    """What transformers itself says of `pairs`, padded into one batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    queries, passages = map(list, zip(*pairs, strict=True))
    inputs = tokenizer(
        queries, passages, truncation=rule, max_length=max_length, padding=True, return_tensors="pt", verbose=False
    )
    with torch.no_grad():
        return np.asarray(model(**inputs).logits.flatten().numpy())


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture(scope="module")
def scorer(folder: Any) -> Scorer:
    return load(folder)


@pytest.fixture(scope="module")
def logits(scorer: Any) -> Any:
    return scorer.score(PAIRS).logits


def test_logits_are_those_of_transformers_own_padded_forward(folder: Any, logits: Any) -> None:
    expected = own_logits(folder, PAIRS, "longest_first")
    assert logits.dtype == np.float32
    assert expected.std() > 0.1  # the tiny model tells pairs apart, so agreement means something
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_only_second_gives_transformers_logits_too_where_the_query_fits(folder: Any) -> None:
    pairs = [(query, passage) for query, passage in PAIRS if len(query) < 40]
    expected = own_logits(folder, pairs, "only_second")
    np.testing.assert_allclose(load(folder, rule="only_second").score(pairs).logits, expected, rtol=0, atol=1e-5)


def test_a_pair_alone_scores_as_it_does_in_a_batch(scorer: Any, logits: Any) -> None:
    alone = [float(scorer.score([pair]).logits[0]) for pair in PAIRS]
    np.testing.assert_allclose(alone, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [MAX_LENGTH, 97, 1000, 1_000_000])
def test_the_batch_size_changes_no_score(folder: Any, logits: Any, batch_tokens: Any) -> None:
    again = load(folder, batch_tokens=batch_tokens).score(PAIRS)
    np.testing.assert_allclose(again.logits, logits, rtol=0, atol=1e-5)


def test_scores_come_back_in_the_order_of_the_pairs(scorer: Any, logits: Any) -> None:
    order = list(range(len(PAIRS)))
    random.Random(5).shuffle(order)
    shuffled = scorer.score([PAIRS[i] for i in order]).logits
    np.testing.assert_allclose(shuffled, logits[order], rtol=0, atol=1e-5)


def test_the_same_pair_twice_scores_the_same_twice(scorer: Any) -> None:
    scores = scorer.score([PAIRS[0], PAIRS[1], PAIRS[0]]).logits
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_query_and_passage_are_not_exchanged(scorer: Any) -> None:
    query, passage = PAIRS[0]
    there, back = scorer.score([(query, passage), (passage, query)]).logits
    assert there != pytest.approx(back, abs=1e-3)


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_token_types_reach_a_bert(bert_folder: Any, path: Any) -> None:
    """Without them the passage would be taken for a part of the query, and the logit would be another one."""
    scorer = load(bert_folder, path=path)
    with_types = scorer.score(PAIRS[:4]).logits
    model: Any = scorer.runner.model
    model._takes_types = False
    assert np.abs(scorer.score(PAIRS[:4]).logits - with_types).max() > 1e-3


def test_no_pairs_give_no_scores(scorer: Any) -> None:
    scored = scorer.score([])
    assert (len(scored.logits), scored.tokens, scored.padded_tokens, scored.truncated_pairs) == (0, 0, 0, 0)


def test_tokens_padding_and_cuts_are_counted_as_by_hand(bert_folder: Any) -> None:
    vocabulary = AutoTokenizer.from_pretrained(bert_folder).get_vocab()
    assert {"what", "is", "the", "and"} <= vocabulary.keys()  # one token each
    pairs = [("what", "is the and"), ("what", "is"), ("what", "is " * 20)]
    # With three special tokens: 7, 5 and 24, the last one cut to 12. Longest first, at most 24 tokens a batch:
    # {12, 7} padded to 2 x 12, then {5} alone; packed, all three fill the batch to the last token.
    padded = load(bert_folder, max_length=12, batch_tokens=24, path="padded").score(pairs)
    packed = load(bert_folder, max_length=12, batch_tokens=24, path="packed").score(pairs)
    assert padded.truncated_pairs == packed.truncated_pairs == 1
    assert padded.tokens == packed.tokens == 7 + 5 + 12
    assert (padded.padded_tokens, packed.padded_tokens) == (12 + 12 + 5, 24)


def test_progress_adds_up_to_all_pairs(scorer: Any) -> None:
    told: list[int] = []
    scorer.score(PAIRS, told.append)
    assert len(told) > 1
    assert sum(told) == len(PAIRS)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 50), max_size=60), budget=st.integers(50, 300))
def test_padded_batches_hold_every_row_once_within_the_budget_and_longest_first(lengths: Any, budget: Any) -> None:
    made = list(batches(lengths, budget))
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert all(len(rows) * max(lengths[row] for row in rows) <= budget for rows in made)
    flat = [lengths[row] for rows in made for row in rows]
    assert flat == sorted(flat, reverse=True)


def test_batches_as_counted_by_hand() -> None:
    # 10 alone (two would be 20 > 16); then 5, 5, 4 as 3 x 5 = 15; then 1.
    assert list(batches([5, 1, 10, 4, 5], 16)) == [[2], [0, 4, 3], [1]]


def test_weights_that_are_broken_end_in_one_sentence(bert_folder: Any, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert_folder)
    model.classifier.bias.data.fill_(float("nan"))
    broken = copied(bert_folder, tmp_path / "broken")
    model.save_pretrained(broken)
    with pytest.raises(
        EvalkitError, match=r"the model gave nan as logit for 2 of the 2 pairs of a batch \(first: query 'what', p"
    ):
        load(broken).score([("who", "Paris"), ("what", "Berlin")])


def test_a_batch_smaller_than_a_pair_is_refused(bert_folder: Any) -> None:
    with pytest.raises(EvalkitError, match=r"reranker\.batch_tokens=63 is smaller than one pair of .*max_length=64"):
        load(bert_folder, max_length=64, batch_tokens=63)


@pytest.mark.parametrize("name", ["bert_folder", "xlmr_folder"])
def test_a_max_length_beyond_the_models_positions_is_refused(request: pytest.FixtureRequest, name: Any) -> None:
    """BERT has 512 positions for 512 tokens; XLM-RoBERTa's 514 serve 512, since they start behind the padding index."""
    folder = request.getfixturevalue(name)
    with pytest.raises(EvalkitError, match=r"reranker\.max_length=513: .* has positions for 512 tokens"):
        load(folder, max_length=513, batch_tokens=1000)
    full = load(folder, max_length=512, batch_tokens=1000).score([("who", "passage " * 600)])
    assert full.tokens == 512
    assert full.truncated_pairs == 1


def test_a_score_does_not_depend_on_what_was_scored_before(scorer: Any, logits: Any) -> None:
    scorer.score([("something else", "entirely")])
    np.testing.assert_array_equal(scorer.score(PAIRS).logits, logits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_cpus_logits(folder: Any, logits: Any) -> None:
    device = torch.device("cuda", 0)
    pretrained = load_classifier(str(folder), None, device, PRECISIONS["fp32"], "reranker.model")
    on_gpu = Scorer(pretrained, device, MAX_LENGTH, "longest_first", 400).score(PAIRS).logits
    np.testing.assert_allclose(on_gpu, logits, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.05), ("bf16", 0.4), ("tf32", 0.05)])
def test_a_gpu_gives_nearly_the_same_at_lower_precision(
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
def test_the_bge_architecture_scores_alike_at_full_size(xlmr_folder: Any, tmp_path: Path) -> None:
    """BAAI/bge-reranker-v2-m3 with random weights: XLM-RoBERTa large with 8,194 positions and one label."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    folder = copied(xlmr_folder, tmp_path / "bge")
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
        scorer = load(folder, batch_tokens=400)
        assert sum(weight.numel() for weight in scorer.model.parameters()) == 567_755_777
        scored = scorer.score(pairs)
        del scorer  # one copy of 2.1 GiB at a time
        expected = own_logits(folder, pairs, "longest_first")
        print(f"largest difference {np.abs(scored.logits - expected).max():.1e}, spread {expected.std():.3f}")  # noqa: T201
        np.testing.assert_allclose(scored.logits, expected, rtol=0, atol=1e-5)
    finally:
        shutil.rmtree(folder)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))
