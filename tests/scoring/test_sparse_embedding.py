"""Sparse vectors are those of the authors' recipe and of sentence-transformers, whatever the batch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.scoring.sparse_embedding import encode_sparse, pool_logits
from evalkit.scoring.text_encoder import TextCounts
from tests.helpers.sparse_models import inference_free_folder, query_vectors, splade_folder, vectors

TEXTS = [
    "how fast is light",
    "Light travels in empty space at about 300,000 kilometres per second. " * 8,
    "東京は日本の首都である。中国的首都是北京。",
    "القاهرة هي عاصمة مصر",
    "भारत की राजधानी नई दिल्ली है।",
    "Москва — столица России",
    "Mji mkuu wa Kenya ni Nairobi",
    "☃",
]


def by_the_model_card(folder: Path, texts: Any, max_length: int = 512) -> Any:
    """Max over positions of log(1 + relu(logits)) times the attention mask, by transformers alone, in one batch."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.inference_mode():
        weights = torch.log(1 + torch.relu(model(**batch).logits)) * batch["attention_mask"].unsqueeze(-1)
    return weights.max(dim=1).values.numpy()


@pytest.mark.parametrize("max_length", [512, 16])
def test_weights_are_those_of_the_model_card_s_recipe(masked_lm_folder: Path, max_length: int) -> None:
    expected = by_the_model_card(masked_lm_folder, TEXTS, max_length)
    assert 0.001 < (expected > 0).mean() < 0.5  # sparse, and not empty
    assert vectors(masked_lm_folder, TEXTS, max_length) == pytest.approx(expected, abs=1e-4)


def test_weights_do_not_depend_on_the_other_texts_of_a_batch(masked_lm_folder: Path) -> None:
    together = vectors(masked_lm_folder, TEXTS)
    alone = np.concatenate([vectors(masked_lm_folder, [text]) for text in TEXTS])
    in_small_batches = vectors(masked_lm_folder, TEXTS[::-1], batch_tokens=512)[::-1]
    assert alone == pytest.approx(together, abs=1e-5)
    assert in_small_batches == pytest.approx(together, abs=1e-5)


def test_pooling_leaves_padding_out() -> None:
    # Two texts of two and one tokens, vocabulary of 3; the last position of the second text is padding.
    logits = torch.tensor([[[1.0, -2.0, 0.0], [3.0, -1.0, 2.0]], [[-1.0, 4.0, 0.0], [9.0, 9.0, 9.0]]])
    mask = torch.tensor([[1, 1], [1, 0]])
    largest = pool_logits(logits.clone(), mask, "max", "relu")
    assert largest.numpy() == pytest.approx(np.log1p([[3.0, 0.0, 2.0], [0.0, 4.0, 0.0]]), abs=1e-6)
    total = pool_logits(logits.clone(), mask, "sum", "relu")
    expected = [[np.log(2) + np.log(4), 0, np.log(3)], [0, np.log(5), 0]]
    assert total.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    twice = pool_logits(logits.clone(), mask, "max", "log1p_relu")
    assert twice.numpy() == pytest.approx(np.log1p(largest.numpy()), abs=1e-6)


class _Given:
    """An encoder that gives vectors that are there already, in two batches, the second text first."""

    def __init__(self, rows: Any) -> None:
        self.rows = torch.tensor(rows)

    def encode(self, prefix: str, texts: Any, label: str, take: Any) -> TextCounts:
        take([1], self.rows[1:])
        take([0], self.rows[:1])
        return TextCounts()


def test_the_largest_weights_remain_and_the_lower_token_where_they_are_equal() -> None:
    encoder: Any = _Given([[0.0, 2.0, 5.0, 2.0, 1.0], [3.0, 0.0, 0.0, 4.0, 0.0]])
    found, _ = encode_sparse(encoder, "", ["a", "b"], "texts", 2, "")
    entries = sorted(zip(found.rows.tolist(), found.token_ids.tolist(), found.weights.tolist(), strict=True))
    assert entries == [(0, 1, 2.0), (0, 2, 5.0), (1, 0, 3.0), (1, 3, 4.0)]
    assert found.shape == (2, 5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(broken: float) -> None:
    encoder: Any = _Given([[0.0, 1.0], [broken, 1.0]])
    with pytest.raises(NotFiniteError, match="m: the model gave weights that are no finite numbers; a wider precision"):
        encode_sparse(encoder, "", ["a", "b"], "texts", None, "m")


# --- sentence-transformers itself


@pytest.fixture
def sparse_encoder_class() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sentence_transformers", reason="the benchmark extra brings it").SparseEncoder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("pooling", "activation"), [("max", "relu"), ("sum", "log1p_relu")])
def test_weights_are_those_of_sentence_transformers(
    masked_lm_folder: Path, tmp_path: Path, sparse_encoder_class: Any, pooling: str, activation: str
) -> None:
    files = {"pooling_strategy": pooling, "activation_function": activation}
    folder = splade_folder(masked_lm_folder, tmp_path / "model", files)
    model = sparse_encoder_class(str(folder), device="cpu")
    for max_length in (512, 16):
        model.max_seq_length = max_length
        expected = model.encode(TEXTS, convert_to_sparse_tensor=False).numpy()
        assert vectors(folder, TEXTS, max_length) == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_largest_weights_are_those_of_sentence_transformers(
    masked_lm_folder: Path, tmp_path: Path, sparse_encoder_class: Any
) -> None:
    folder = splade_folder(masked_lm_folder, tmp_path / "model")
    model = sparse_encoder_class(str(folder), device="cpu", max_active_dims=5)
    expected = model.encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    assert vectors(folder, TEXTS, top_tokens=5) == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_queries_without_a_model_are_those_of_sentence_transformers(
    masked_lm_folder: Path, tmp_path: Path, sparse_encoder_class: Any
) -> None:
    folder = inference_free_folder(masked_lm_folder, tmp_path / "model")
    model = sparse_encoder_class(str(folder), device="cpu")
    texts = [*TEXTS, "light light LIGHT"]  # a token that occurs several times counts once
    queries = model.encode_query(texts, convert_to_sparse_tensor=False).numpy()
    assert query_vectors(folder, texts) == pytest.approx(queries, abs=1e-6)
    docs = model.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    assert vectors(folder, texts) == pytest.approx(docs, abs=1e-4)


def test_token_weights_of_another_model_are_refused(masked_lm_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = inference_free_folder(masked_lm_folder, tmp_path / "model")
    save_file({"weight": torch.ones(7)}, folder / "query_0_IDF" / "model.safetensors")
    with pytest.raises(EvalkitError, match=r"the weights of queries have the shape 7, .* belong to different models"):
        query_vectors(folder, ["light"])
    (folder / "query_0_IDF" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(EvalkitError, match="of queries cannot be read"):
        query_vectors(folder, ["light"])
