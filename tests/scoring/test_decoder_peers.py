"""Decoders get the scores of their authors' own packages, where these are installed (the extra ``benchmark``)."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from evalkit.scoring.prompt import Prompt
from tests.conftest import compose
from tests.helpers.decoders import decoder_scorer, make_decoder, make_layerwise
from tests.helpers.scorers import PAIRS

SHORT = [pair for pair in PAIRS if 0 < len(pair[0]) < 200 and pair[1].strip()]
"""Pairs whose query no package cuts."""


def prompt_of(choice: str) -> Prompt:
    stated = compose(f"reranker={choice}").reranker
    tokens = stated.yes_word, stated.no_word
    return Prompt(tuple(stated.template), stated.instruction, *tokens, stated.cutoff_layer)


def package(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed; the extra benchmark brings most of them")


def flag_llm_reranker(folder: Path, pairs: list[tuple[str, str]], max_length: int) -> Any:
    theirs = package("FlagEmbedding").FlagLLMReranker(str(folder), devices="cpu")
    return theirs.compute_score([list(pair) for pair in pairs], max_length=max_length)


def test_bge_v2_gemma_is_scored_as_by_flag_llm_reranker(tmp_path: Path) -> None:
    folder = make_decoder(tmp_path / "gemma", "gemma", max_position_embeddings=2048)
    pairs = [pair for pair in SHORT if len(pair[1]) < 1000]
    scored = decoder_scorer(folder, prompt_of("bge_v2_gemma"), max_length=1500, tokens=8000).score(pairs)
    assert scored.truncated_pairs == 0
    np.testing.assert_allclose(scored.logits, flag_llm_reranker(folder, pairs, 1024), atol=1e-4)


def test_bge_v2_gemma_is_truncated_as_by_flag_llm_reranker(tmp_path: Path) -> None:
    folder = make_decoder(tmp_path / "gemma", "gemma", max_position_embeddings=2048)
    prompt = prompt_of("bge_v2_gemma")
    query = "why is the sky blue and not green? " * 8
    pairs = [(f"{query}{own}", passage * 3) for own, passage in SHORT if len(own) < 40]
    tail = sum(
        len(ids) for ids in decoder_scorer(folder, prompt, 1024, 2048).pair_tokenizer.encode(prompt.template[-2:])
    )
    # Their limit of 250 leaves the parts after the passage out, and is raised by their length for the parts before it.
    scored = decoder_scorer(folder, prompt, max_length=250 + 2 * tail, tokens=8000).score(pairs)
    assert scored.truncated_pairs > len(pairs) / 2
    np.testing.assert_allclose(scored.logits, flag_llm_reranker(folder, pairs, 250), atol=1e-4)


def test_bge_v2_minicpm_is_scored_as_by_layer_wise_flag_llm_reranker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package("FlagEmbedding")
    import torch

    theirs: Any = importlib.import_module(
        "FlagEmbedding.inference.reranker.decoder_only.models.modeling_minicpm_reranker"
    )
    rope = theirs.MiniCPMRotaryEmbedding
    # transformers 5 states rotary positions in another way, which their code does not read.
    monkeypatch.setattr(theirs.MiniCPMAttention, "_init_rope", lambda self: setattr(self, "rotary_emb", rope(8)))
    monkeypatch.setattr(theirs.LayerWiseMiniCPMConfig, "rope_theta", 10000.0, raising=False)
    monkeypatch.setattr(theirs.LayerWiseMiniCPMForCausalLM, "_tied_weights_keys", None)
    folder = make_layerwise(tmp_path / "layerwise")
    config = theirs.LayerWiseMiniCPMConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    model = theirs.LayerWiseMiniCPMForCausalLM(config).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    prompt = prompt_of("bge_v2_minicpm_layerwise")
    pairs = [pair for pair in SHORT if len(pair[1]) < 300]
    for layer in (2, 4, 6):
        scorer = decoder_scorer(folder, replace(prompt, layer=layer), max_length=900, tokens=8000)
        tokenized = scorer.tokenize(pairs)
        ids = [torch.from_numpy(tokenized.batch([row]).ids).long()[None] for row in range(len(pairs))]
        with torch.no_grad():
            expected = [
                float(model(one, torch.ones_like(one), cutoff_layers=[layer], use_cache=False).logits[0][0, -1])
                for one in ids
            ]
        np.testing.assert_allclose(scorer.score(pairs).logits, expected, atol=1e-4)


def test_mxbai_v2_is_scored_as_by_its_package(tmp_path: Path) -> None:
    import torch

    peer = package("mxbai_rerank").MxbaiRerankV2
    folder = make_decoder(tmp_path / "qwen", "qwen3", max_position_embeddings=2048)
    theirs = peer(str(folder), device="cpu", torch_dtype=torch.float32)
    # transformers 5 has no such method any more, and nothing is cut here.
    theirs.tokenizer.prepare_for_model = lambda query, passage, **settings: {"input_ids": [*query, *passage]}
    expected = theirs.predict(*(list(side) for side in zip(*SHORT, strict=True))).numpy()
    scored = decoder_scorer(folder, prompt_of("mxbai_v2_base"), max_length=2000, tokens=8000).score(SHORT)
    np.testing.assert_allclose(scored.logits, expected, atol=1e-4)
