"""An embedding model as the reranker: the product of the vectors of query and passage."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.first_stage.dense import Dense
from evalkit.rerankers.bi_encoder import BiEncoder
from evalkit.slices import packaged as dev
from evalkit.types import Pair
from tests.helpers.gate_pipeline import cut

SETTINGS: dict[str, Any] = {"pooling": "mean", "max_length": 64, "device": "cpu"}


@pytest.fixture
def model(bert_folder: Path) -> str:
    return str(bert_folder)


def loaded(model: str, **settings: Any) -> BiEncoder:
    reranker = BiEncoder(model, **SETTINGS | settings)
    reranker.check()
    reranker.load()
    return reranker


def test_its_scores_are_those_of_the_same_model_as_the_first_stage(model: str) -> None:
    data = cut(dev.load("en"), 4)
    run = Dense(model, **SETTINGS).search(data, 10)
    pairs = [Pair(query_id, hit.doc_id) for query_id, hits in run.rankings.items() for hit in hits]
    expected = [hit.score for hits in run.rankings.values() for hit in hits]
    found = loaded(model).score(pairs, data.queries, data.docs)
    assert list(found.logits) == pytest.approx(expected, abs=1e-5)


def test_a_score_does_not_depend_on_the_other_pairs_of_the_call(model: str) -> None:
    queries, docs = {"q": "a query", "r": "another one"}, {"d": "a passage", "e": "a much longer passage " * 5}
    pairs = [Pair(query, doc) for query in queries for doc in docs]
    reranker = loaded(model)
    together = reranker.score(pairs, queries, docs).logits
    alone = [reranker.score([pair], queries, docs).logits[0] for pair in pairs]
    assert list(together) == pytest.approx(alone, abs=1e-5)


def test_cosine_of_a_text_with_itself_is_one_and_a_prefix_changes_it(model: str) -> None:
    same = {"x": "the same text"}
    assert loaded(model).score([Pair("x", "x")], same, same).logits[0] == pytest.approx(1.0, abs=1e-5)
    changed = loaded(model, query_prefix="query: ").score([Pair("x", "x")], same, same).logits[0]
    assert changed is not None
    assert changed < 0.999


def test_pairs_whose_passage_was_cut_are_counted(model: str) -> None:
    docs = {"long": "word " * 100, "short": "word"}
    pairs = [Pair("q", "long"), Pair("r", "long"), Pair("q", "short")]
    found = loaded(model).score(pairs, {"q": "a", "r": "b"}, docs)
    assert found.truncated_pairs == 2
    assert found.tokens > 64


def test_progress_counts_every_pair_once(model: str) -> None:
    docs = {f"d{n}": f"passage {n}" for n in range(5)}
    pairs = [Pair(query, doc) for query in ("q", "r") for doc in docs]
    seen: list[int] = []
    loaded(model).score(pairs, {"q": "a", "r": "b"}, docs, seen.append)
    assert sum(seen) == 10


def described(model: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    return {"name": Path(model).name, "model": model, "pooling": "mean", "normalize": True, "max_length": 64,
            "notes": list(notes), "precision": "fp32", "architecture": "BertModel"}  # fmt: skip


def test_a_result_has_the_settings_that_its_vectors_depend_on(model: str) -> None:
    facts = loaded(model).describe()
    assert {key: facts[key] for key in described(model)} == described(model)
    assert str(facts["revision"]).startswith("sha256:")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "mean "}, "reranker.pooling=mean : choose from"),
        ({"pooling": None}, "add reranker.pooling=cls"),
        ({"device": "cpu", "precision": "fp16"}, "fp16"),
    ],
)
def test_a_setting_that_cannot_be_had_is_refused_by_its_name(model: str, settings: Any, message: str) -> None:
    with pytest.raises(EvalkitError) as error:
        BiEncoder(model, **SETTINGS | settings).check()
    assert message in str(error.value)
    assert "first_stage." not in str(error.value)


def test_a_batch_smaller_than_one_text_is_refused(model: str) -> None:
    with pytest.raises(
        EvalkitError, match=r"reranker.batch_tokens=8 is smaller than one text of reranker.max_length=64"
    ):
        loaded(model, batch_tokens=8)


def test_a_model_without_weights_is_refused_before_it_is_loaded(model: str, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    with pytest.raises(EvalkitError):
        loaded(str(tmp_path / "empty"))
