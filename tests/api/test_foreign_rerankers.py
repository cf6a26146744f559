"""Rerankers of other libraries are called as they are, and give the scores of the same weights loaded by evalkit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit.api.rerankers import reranker_from
from evalkit.slices import packaged
from evalkit.types import Pair

DATA = packaged.load(queries=4)
PAIRS = [Pair(q, d) for q, grades in DATA.qrels.items() for d in list(grades)[:6]]


@pytest.fixture(scope="module")
def ours(bert_folder: Path) -> np.ndarray[Any, Any]:
    from evalkit.rerankers.cross_encoder import CrossEncoder

    made = CrossEncoder(str(bert_folder), device="cpu", precision="fp32", store="off", max_length=256)
    made.check()
    made.load()
    return np.array(made.score(PAIRS, DATA.queries, DATA.docs).logits, dtype=float)


def theirs(value: Any) -> np.ndarray[Any, Any]:
    return np.array(reranker_from(value).score(PAIRS, DATA.queries, DATA.docs).logits, dtype=float)


def package(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed; the extra benchmark brings it")


def cross_encoder(folder: Path) -> Any:
    torch, sentence_transformers = pytest.importorskip("torch"), package("sentence_transformers")
    return sentence_transformers.CrossEncoder(
        str(folder),
        device="cpu",
        max_length=256,
        activation_fn=torch.nn.Identity(),
        local_files_only=True,
    )


def test_a_cross_encoder_of_sentence_transformers(bert_folder: Path, ours: np.ndarray[Any, Any]) -> None:
    model = cross_encoder(bert_folder)
    np.testing.assert_allclose(theirs(model), ours, atol=1e-4)
    made = reranker_from(model)
    assert made.name == bert_folder.name
    assert made.device == "cpu"
    assert made.describe()["called"] == "predict"


def test_its_method_rank_gives_the_same_and_so_does_predict_as_a_function(
    bert_folder: Path, ours: np.ndarray[Any, Any]
) -> None:
    model = cross_encoder(bert_folder)

    class OnlyRank:
        def rank(self, query: str, documents: list[str]) -> Any:
            return model.rank(query, documents)

    np.testing.assert_allclose(theirs(OnlyRank()), ours, atol=1e-4)
    by_function = theirs(lambda query, texts: model.predict([(query, text) for text in texts]))
    np.testing.assert_allclose(by_function, ours, atol=1e-4)


def test_a_flag_reranker(bert_folder: Path, ours: np.ndarray[Any, Any]) -> None:
    model = package("FlagEmbedding").FlagReranker(str(bert_folder), use_fp16=False, devices="cpu", max_length=256)
    np.testing.assert_allclose(theirs(model), ours, atol=1e-4)


def test_a_reranker_of_rerankers(bert_folder: Path, ours: np.ndarray[Any, Any]) -> None:
    model = package("rerankers").Reranker(
        str(bert_folder), model_type="cross-encoder", device="cpu", dtype="float32", verbose=0
    )
    np.testing.assert_allclose(theirs(model), ours, atol=1e-4)


def test_a_whole_trial_with_one_and_its_memory_and_time(bert_folder: Path) -> None:
    trial = evalkit.evaluate(
        DATA, reranker=cross_encoder(bert_folder), depth=5,
        overrides=["blend=none", "protocol.latency_queries=2", "protocol.latency_min_repetitions=1"],
    )  # fmt: skip
    assert trial.result.effective.reranker["name"] == bert_folder.name
    assert trial.cost is not None
    assert trial.cost.pairs_per_s > 0
    assert trial.cost.memory.rss_peak_mb is None or trial.cost.memory.rss_peak_mb > 0


def test_an_object_that_inherits_evalkits_contract_is_taken_by_it() -> None:
    from evalkit.rerankers.base import Reranker
    from evalkit.types import Scores

    class Longest(Reranker):
        def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Scores:
            return Scores(tuple(float(len(docs[pair.doc_id])) for pair in pairs))

    assert theirs(Longest()).tolist() == [float(len(DATA.docs[pair.doc_id])) for pair in PAIRS]
