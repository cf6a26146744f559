"""Packed pairs get the logits of padded ones: no pair affects another, and nothing is left out."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.attention import Kernel
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_classifier
from evalkit.scoring.packed import PackedModel, reason_not_packable
from tests.conftest import DEV
from tests.helpers.scorers import CPU, PAIRS, copy_folder, load_scorer, transformers_logits

SCRIPTS = ("ar", "en", "hi", "ja", "ru")  # Arabic, Latin, Devanagari, Kana with Han, Cyrillic


def texts(lang: str, name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (DEV / lang / f"{name}.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_folder")


def test_packed_and_padded_logits_agree_in_five_scripts(folder: Any) -> None:
    pairs = [pair for lang in SCRIPTS for pair in zip(texts(lang, "queries"), texts(lang, "corpus"), strict=False)]
    pairs += [("", "")]  # the special tokens alone: three of BERT, four of XLM-RoBERTa
    packed, padded = (
        load_scorer(folder, 512, batch_tokens=4000, path=path).score(pairs) for path in ("packed", "padded")
    )
    assert padded.logits.std() > 0.1
    assert packed.padded_tokens == packed.tokens == padded.tokens < padded.padded_tokens
    np.testing.assert_allclose(packed.logits, padded.logits, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def long_folder(xlmr_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLM-RoBERTa with positions for 8,192 tokens, as bge-reranker-v2-m3 has."""
    folder = copy_folder(xlmr_folder, tmp_path_factory.mktemp("long") / "model")
    config = AutoConfig.from_pretrained(folder)
    config.max_position_embeddings = 8194
    with torch.random.fork_rng():
        torch.manual_seed(5)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def test_packed_and_padded_logits_agree_from_the_shortest_pair_to_8192_tokens(long_folder: Any) -> None:
    passage = " ".join(texts("ru", "corpus"))
    # The last pair is truncated to 8,192 tokens.
    pairs = [("", ""), ("a", ""), *(("что это", passage[:n]) for n in (1, 10, 100, 1000, 4000)), ("кто", passage * 4)]
    packed, padded = (load_scorer(long_folder, 8192, batch_tokens=None, path=path) for path in ("packed", "padded"))
    lengths = packed.tokenize(pairs).lengths
    assert (lengths.min(), lengths.max()) == (4, 8192)
    np.testing.assert_allclose(packed.score(pairs).logits, padded.score(pairs).logits, rtol=0, atol=1e-5)


def test_a_text_that_contains_the_padding_token_literally_gets_transformers_logits(xlmr_folder: Any) -> None:
    """XLM-RoBERTa does not count positions at padding tokens."""
    pairs = [("what is <pad> this", "a <pad><pad> passage"), ("what is this", "a passage")]
    got = load_scorer(xlmr_folder, path="packed")
    assert (got.tokenize(pairs).batch([0]).ids == 1).sum() == 3
    np.testing.assert_allclose(
        got.score(pairs).logits, transformers_logits(xlmr_folder, pairs, "longest_first"), rtol=0, atol=1e-5
    )


def test_attention_over_hidden_states_in_the_last_layer_gives_the_same_logits(folder: Any) -> None:
    scorer: Any = load_scorer(folder, path="packed")
    model = scorer.runner.model
    assert model.kernel.attend_states is not None
    over_states = scorer.score(PAIRS).logits
    model.kernel = Kernel("with keys and values, as on CUDA", model.kernel.attend)
    np.testing.assert_allclose(over_states, scorer.score(PAIRS).logits, rtol=0, atol=1e-5)


def test_packing_shares_its_weights_with_the_transformers_model(folder: Any) -> None:
    pretrained = load_classifier(str(folder), None, CPU, PRECISIONS["fp32"], "reranker.model")
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    with torch.no_grad():
        before = pretrained.model(**inputs).logits
        packed = PackedModel(pretrained.model, CPU, PRECISIONS["fp32"])
        assert torch.equal(pretrained.model(**inputs).logits, before)
    batch = load_scorer(folder).tokenize(PAIRS).batch([0])
    attention = next(module for name, module in pretrained.model.named_modules() if name.endswith("attention.self"))
    with torch.no_grad():
        before = packed.forward(*packed.inputs(batch))
        attention.query.weight.zero_()
        assert packed.forward(*packed.inputs(batch)) != before


def test_another_architecture_takes_the_padded_path_with_the_reason_in_the_result(
    tmp_path: Path, bert_folder: Any
) -> None:
    folder = copy_folder(bert_folder, tmp_path / "mpnet")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    settings = {key: config[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                                             "intermediate_size", "max_position_embeddings")}  # fmt: skip
    AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("mpnet", **settings, num_labels=1)
    ).save_pretrained(folder)
    scorer = load_scorer(folder)
    assert (scorer.path, scorer.describe()["attention"]) == ("padded", "padded, eager")
    assert scorer.describe()["path_reason"].startswith("MPNetForSequenceClassification is none of XLMRoberta")
    np.testing.assert_allclose(
        scorer.score(PAIRS[:6]).logits, transformers_logits(folder, PAIRS[:6], "longest_first"), rtol=0, atol=1e-5
    )
    with pytest.raises(EvalkitError, match=r"reranker\.path=packed: .*cannot be packed, for MPNet.*path=padded"):
        load_scorer(folder, path="packed")


def test_a_decoder_cannot_be_packed(bert_folder: Any) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert_folder)
    assert reason_not_packable(model) is None
    model.config.is_decoder = True
    assert reason_not_packable(model) == "it is a decoder"


def test_a_path_that_does_not_exist_and_a_compiled_padded_path_are_refused(bert_folder: Any) -> None:
    with pytest.raises(EvalkitError, match=r"reranker\.path=fast: there is auto, packed, padded"):
        load_scorer(bert_folder, path="fast")
    with pytest.raises(EvalkitError, match=r"reranker\.compile=true: only the packed path"):
        load_scorer(bert_folder, path="padded", compiled=True)


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("EVALKIT_COMPILE") != "1", reason="compiles for a minute; EVALKIT_COMPILE=1 runs it")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler still uses it
def test_compiled_logits_are_those_without_compilation(folder: Any) -> None:
    compiled = load_scorer(folder, compiled=True).score(PAIRS).logits
    np.testing.assert_allclose(compiled, load_scorer(folder).score(PAIRS).logits, rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("tf32", 0.05), ("fp16", 0.05), ("bf16", 0.4)])
def test_on_a_gpu_every_kernel_gives_the_padded_logits(folder: Any, precision: Any, tolerance: Any) -> None:
    from evalkit.scoring.spec import ScorerSpec, build_scorer

    packed, padded = (
        build_scorer(ScorerSpec(str(folder), "cuda", precision, 96, "longest_first", 4000, path)).scorer
        for path in ("packed", "padded")
    )
    np.testing.assert_allclose(packed.score(PAIRS).logits, padded.score(PAIRS).logits, rtol=0, atol=tolerance)
