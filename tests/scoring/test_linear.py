"""Linear layers by oneDNN are those of torch, and are used where they are faster."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModel, AutoModelForMaskedLM

from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring import linear
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.pretrained import load_encoder
from evalkit.scoring.packed_attention import packed_copy
from evalkit.scoring.text_encoder import TextEncoder

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(
    not linear.is_faster(CPU, torch.float32), reason="this processor, or this torch, has no oneDNN"
)


@needs_onednn
@settings(max_examples=60, deadline=None)
@given(
    leading=st.lists(st.integers(0, 9), min_size=1, max_size=2),
    width=st.integers(1, 70),
    out=st.integers(1, 70),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_product_is_torchs_own(leading: Any, width: Any, out: Any, has_bias: Any, seed: Any) -> None:
    rng = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(*leading, width, generator=rng), torch.randn(out, width, generator=rng)
    bias = torch.randn(out, generator=rng) if has_bias else None
    with torch.inference_mode():
        found = linear.linear(x, weight, bias)
        torch.testing.assert_close(found, functional.linear(x, weight, bias), rtol=1e-5, atol=1e-4)


@needs_onednn
def test_rows_of_a_matrix_and_columns_of_another_can_be_given() -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(8, 6, generator=rng).T, torch.randn(12, 8, generator=rng)
    with torch.inference_mode():
        torch.testing.assert_close(linear.linear(x, weight[3:7]), functional.linear(x, weight[3:7]))


def test_only_fp32_on_a_cpu_is_computed_by_it() -> None:
    assert not linear.is_faster(CPU, torch.bfloat16)  # by it already, in torch itself
    assert not linear.is_faster(torch.device("cuda", 0), torch.float32)
    assert not linear.is_faster(torch.device("mps"), torch.float32)


def test_no_other_processor_than_those_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not linear.is_faster(CPU, torch.float32)


@needs_onednn
def test_a_packed_copy_computes_its_linear_layers_by_it_and_the_model_itself_does_not() -> None:
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    config = ModernBertConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_labels=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = ModernBertForSequenceClassification(config)
    twin = packed_copy(model)
    kinds, own = ({type(one) for one in of.modules() if isinstance(one, torch.nn.Linear)} for of in (twin, model))
    assert own == {torch.nn.Linear}
    assert kinds.isdisjoint(own)
    assert all(one.data_ptr() == other.data_ptr() for one, other in zip(twin.parameters(), model.parameters()))


@needs_onednn
@pytest.mark.parametrize("sparse", [False, True])
def test_what_embeds_texts_computes_by_it_and_says_so(masked_lm_folder: Path, sparse: bool) -> None:
    loaded = load_encoder(str(masked_lm_folder), None, CPU, PRECISIONS["fp32"], "first_stage.model", sparse)
    plain = (AutoModelForMaskedLM if sparse else AutoModel).from_pretrained(masked_lm_folder).eval()
    encoder = TextEncoder(loaded, lambda model, batch: model(**batch)[0], 64, 64, CPU)
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        found = encoder.forward(loaded.model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        torch.testing.assert_close(found, plain(ids)[0], rtol=1e-5, atol=1e-5)
    assert not any(type(one) is torch.nn.Linear for one in loaded.model.modules())
    assert encoder.describe()["linear"] == encoder.fingerprint()["linear"] == linear.NAME


@needs_onednn
def test_the_result_says_that_it_was_used(bert_folder: Any) -> None:
    reranker = CrossEncoder(str(bert_folder), 64)
    reranker.load()
    assert str(reranker.describe()["attention"]).endswith(f", {linear.NAME}")
