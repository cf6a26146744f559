"""A decoder that merges tokens of the passage gets the scores of transformers' Gemma 2 run in pieces, in every way."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.scoring.prompt import Prompt
from evalkit.scoring.scorer import Scorer
from evalkit.scoring.self_check import check_scores_agree
from tests.helpers.decoders import BGE, decoder_scorer, make_lightweight
from tests.helpers.scorers import PAIRS

PROMPT = Prompt(BGE.template, None, None, None, 6, (2, 5), 2)
SAME_QUERY = [(query, passage) for query, _ in PAIRS[:3] for _, passage in PAIRS[:5]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lightweight(tmp_path_factory.mktemp("lightweight"))


def scorer_of(folder: Path, prompt: Prompt = PROMPT, path: str = "auto", share_prefix: bool = True) -> Scorer:
    return decoder_scorer(folder, prompt, 300, 1500, path=path, share_prefix=share_prefix)


def in_pieces(scorer: Scorer, pair: tuple[str, str], cuts: Sequence[int], ratio: int) -> float:
    """The score by whole calls of transformers' model, on the states that the call before left."""
    tokenizer, whole = scorer.pair_tokenizer, scorer.model.model
    head, part, tail = (
        np.concatenate(tokenizer.encode(texts))
        for texts in (["<bos>", f"A: {pair[0]}", "\n"], [f"B: {pair[1]}"], ["\n", BGE.template[-1]])
    )
    passage = list(range(len(head), len(head) + len(part)))
    inputs = whole.embed_tokens(torch.tensor([*head, *part, *tail])[None])
    for number, (first, end) in enumerate(zip((0, *cuts), (*cuts, len(whole.layers)), strict=True)):
        if number:
            groups = [passage[i : i + ratio] for i in range(0, len(passage), ratio)]
            means = [inputs[:, group].mean(1, keepdim=True) for group in groups]
            inputs = torch.cat([inputs[:, : passage[0]], *means, inputs[:, passage[-1] + 1 :]], 1)
            passage = passage[: len(groups)]
        piece = copy.deepcopy(whole)
        piece.layers = piece.layers[first:end]
        piece.config.num_hidden_layers = end - first
        piece.config.layer_types = whole.config.layer_types[first:end]
        if end < len(whole.layers):
            piece.norm = torch.nn.Identity()
        with torch.no_grad():
            inputs = piece(inputs_embeds=inputs, use_cache=False).last_hidden_state
    logit = float(scorer.model.score(inputs[0, -1]))
    return float(np.tanh(logit / 30) * 30)


@pytest.mark.parametrize(("cuts", "ratio"), [((2, 5), 2), ((3,), 8)])
def test_scores_are_those_of_transformers_model_in_pieces(folder: Path, cuts: tuple[int, ...], ratio: int) -> None:
    prompt = replace(PROMPT, compress_layers=cuts, compress_ratio=ratio)
    pairs = [pair for pair in PAIRS if 0 < len(pair[0]) < 100 and len(pair[1]) < 400][::6]
    scorer = scorer_of(folder, prompt)
    expected = [in_pieces(scorer, pair, cuts, ratio) for pair in pairs]
    np.testing.assert_allclose(scorer.score(pairs).logits, expected, atol=1e-4)


def test_a_pair_has_the_same_score_alone_in_a_batch_and_with_a_shared_query(folder: Path) -> None:
    shared = scorer_of(folder).score(SAME_QUERY)
    unshared = scorer_of(folder, share_prefix=False).score(SAME_QUERY)
    padded = scorer_of(folder, path="padded").score(SAME_QUERY)
    scorer = scorer_of(folder)
    alone = [float(scorer.score([pair]).logits[0]) for pair in SAME_QUERY]
    for other in (unshared.logits, padded.logits, alone):
        np.testing.assert_allclose(shared.logits, other, atol=1e-5)
    assert shared.padded_tokens < unshared.padded_tokens < padded.padded_tokens


def test_operations_are_left_out_where_the_layers_compute_other_tokens(folder: Path) -> None:
    assert scorer_of(folder).score(SAME_QUERY[:2]).flops is None
    assert scorer_of(folder, replace(PROMPT, compress_ratio=1)).score(SAME_QUERY[:2]).flops


def test_the_self_check_compares_with_transformers_layers(folder: Path) -> None:
    scorer = scorer_of(folder)
    checked = check_scores_agree(scorer, scorer.pretrained, "fp32")
    assert checked.ways[-1] == "by transformers' layers, one by one"
    assert 0 < checked.largest_difference < 1e-4


@pytest.mark.parametrize("off", [{"compress_ratio": 1}, {"compress_layers": (6, 7)}])
def test_nothing_is_merged_with_a_ratio_of_1_or_behind_the_last_layer(folder: Path, off: dict[str, object]) -> None:
    plain = scorer_of(folder, replace(PROMPT, compress_layers=(), compress_ratio=1)).score(SAME_QUERY).logits
    scorer = scorer_of(folder, replace(PROMPT, **off))  # type: ignore[arg-type]
    assert scorer.score(SAME_QUERY).logits.tolist() == plain.tolist()
    assert np.abs(scorer_of(folder).score(SAME_QUERY).logits - plain).max() > 0.1
    assert check_scores_agree(scorer, scorer.pretrained, "fp32").ways[-1] == "by transformers' own call"
