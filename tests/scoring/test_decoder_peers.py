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
from tests.helpers.decoders import decoder_scorer, make_decoder, make_layerwise, make_lightweight
from tests.helpers.scorers import PAIRS

SHORT = [pair for pair in PAIRS if 0 < len(pair[0]) < 200 and pair[1].strip()]
"""Pairs whose query no package cuts."""


def prompt_of(choice: str) -> Prompt:
    stated = compose(f"reranker={choice}").reranker
    tokens = stated.yes_word, stated.no_word
    merges = tuple(stated.compress_layers or ()), stated.compress_ratio
    return Prompt(tuple(stated.template), stated.instruction, *tokens, stated.cutoff_layer, *merges)


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


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of what their code takes from transformers
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


def lightweight_reranker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """FlagEmbedding's LightweightLLMReranker, whose layers are made to take what transformers 4.46 passed to them.

    Their code calls a layer without rotary positions, expects a tuple, and leaves the mask of a sliding window to the
    layer, as `Gemma2DecoderLayer` of transformers 4.46 has it. Run unchanged by transformers 4.46.3, with
    attn_implementation=eager, it gave the same scores for these pairs (8e-6).
    """
    package("FlagEmbedding")
    import torch
    from transformers.models.gemma2.modeling_gemma2 import Gemma2DecoderLayer, Gemma2RotaryEmbedding

    decoder_only = "FlagEmbedding.inference.reranker.decoder_only"
    theirs, lightweight = (
        importlib.import_module(f"{decoder_only}.{name}") for name in ("models.gemma_model", "lightweight")
    )

    class Layer(Gemma2DecoderLayer):  # type: ignore[misc]  # transformers states no types
        def __init__(self, config: Any, layer_idx: int) -> None:
            super().__init__(config, layer_idx)
            self.rotary = Gemma2RotaryEmbedding(config)

        def forward(self, states: Any, attention_mask: Any, position_ids: Any, **others: Any) -> Any:
            if self.self_attn.sliding_window:
                beyond = torch.tril(torch.ones_like(attention_mask).bool(), -self.self_attn.sliding_window)
                attention_mask = attention_mask.masked_fill(beyond, torch.finfo(states.dtype).min)
            return (super().forward(states, self.rotary(states, position_ids), attention_mask),)

    def loaded(name: str, **others: Any) -> Any:
        config = theirs.CostWiseGemmaConfig.from_pretrained(name)
        config._attn_implementation = "eager"
        model = theirs.CostWiseGemmaForCausalLM(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model

    monkeypatch.setattr(theirs, "Gemma2DecoderLayer", Layer)
    monkeypatch.setattr(theirs.CostWiseGemmaForCausalLM, "_tied_weights_keys", None)
    monkeypatch.setattr(theirs.CostWiseGemmaForCausalLM, "from_pretrained", loaded)
    return lightweight.LightweightLLMReranker(str(folder), devices="cpu", use_bf16=True)


MERGES: list[tuple[int, tuple[int, ...], int]] = [
    (4, (), 1), (4, (2, 6), 2), (7, (2, 6), 2), (7, (1, 3, 5), 2), (8, (3,), 4), (8, (2, 5), 8),
]  # fmt: skip


def test_bge_v2_5_gemma2_is_scored_as_by_lightweight_llm_reranker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_lightweight(tmp_path / "lightweight")
    theirs = lightweight_reranker(folder, monkeypatch)
    prompt = prompt_of("bge_v2_5_gemma2_lightweight")
    tokenizer = decoder_scorer(folder, replace(prompt, layer=4)).pair_tokenizer
    tail = sum(len(ids) for ids in tokenizer.encode(prompt.template[-2:]))
    # A query of four times the length leaves a passage no more than the 300 tokens that they cut it to by itself.
    own = [pair for pair in SHORT if len(pair[1]) < 700][::3]
    pairs = [(query * 4, passage * (1 + number % 3)) for number, (query, passage) in enumerate(own)]
    asked = {"sentence_pairs": [list(pair) for pair in pairs], "max_length": 300}
    for layer, layers, ratio in MERGES:
        settings = {"cutoff_layers": [layer], "compress_layers": list(layers), "compress_ratio": ratio}
        expected = theirs.compute_score(**asked, **settings, batch_size=64)
        if ratio == 8:
            np.testing.assert_allclose(theirs.compute_score(**asked, **settings, batch_size=1), expected, atol=1e-5)
        ours = replace(prompt, layer=layer, compress_layers=layers, compress_ratio=ratio)
        for path in ("packed", "padded"):
            scored = decoder_scorer(folder, ours, 300 + 2 * tail, 4000, path=path).score(pairs)
            assert 0 < scored.truncated_pairs < len(pairs)
            np.testing.assert_allclose(scored.logits, expected, atol=1e-4)


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
