"""A head with several labels scores by the label that is named, or by the difference of two, and is never guessed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.cli.instantiate import build
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.loading import labels
from evalkit.scoring.planner import build_planner
from evalkit.scoring.spec import ScorerSpec, build_scorer
from evalkit.types import Pair
from tests.conftest import compose
from tests.helpers.encoders import save_encoder, their_scores
from tests.helpers.scorers import PAIRS

NAMES = {0: "contradiction", 1: "entailment", 2: "neutral"}


@pytest.fixture
def make(bert_folder: Any, tmp_path: Path) -> Any:
    def of(kind: str, count: int) -> Path:
        return save_encoder(kind, bert_folder, tmp_path / kind, count)

    return of


@pytest.fixture
def nli(make: Any) -> Path:
    """A BERT for natural-language inference."""
    folder: Path = make("bert", 3)
    path = folder / "config.json"
    named = {"id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | named), "utf-8")
    return folder


def spec(folder: Path, label: labels.Label, **more: Any) -> ScorerSpec:
    settings: dict[str, Any] = {"precision": "fp32", "max_length": 96, "truncation": "longest_first", **more}
    return ScorerSpec(str(folder), "cpu", label=label, **settings)


def scores(folder: Path, label: labels.Label, **more: Any) -> np.ndarray:
    return build_scorer(spec(folder, label, **more)).scorer.score(PAIRS).logits


def own_logits(folder: Path) -> np.ndarray:
    """What transformers gives, (pairs, labels)."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    queries, passages = map(list, zip(*PAIRS, strict=True))
    inputs = tokenizer(queries, passages, truncation="longest_first", max_length=96, padding=True, return_tensors="pt")
    with torch.no_grad():
        found: np.ndarray = model.eval()(**inputs).logits.numpy()
        return found


def reranker(folder: Path, label: Any, **more: Any) -> CrossEncoder:
    return CrossEncoder(str(folder), max_length=96, truncation="longest_first", device="cpu", label=label, **more)


def refused(one: CrossEncoder) -> str:
    with pytest.raises(EvalkitError) as error:
        one.check()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_the_score_is_the_logit_of_the_named_label(nli: Path, path: str) -> None:
    logits = own_logits(nli)
    for label in NAMES:
        np.testing.assert_allclose(scores(nli, (label,), path=path), logits[:, label], rtol=0, atol=1e-4)


def test_labels_are_numbered_as_in_sentence_transformers(nli: Path, sentence_transformers: Any) -> None:
    theirs = their_scores(sentence_transformers, nli, PAIRS, 96)
    np.testing.assert_allclose(scores(nli, (1,)), theirs[:, 1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores(nli, (1, 0)), theirs[:, 1] - theirs[:, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_the_score_of_two_labels_is_the_difference_of_their_logits(nli: Path, path: str) -> None:
    logits = own_logits(nli)
    np.testing.assert_allclose(scores(nli, (1, 2), path=path), logits[:, 1] - logits[:, 2], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["electra", "roberta", "modernbert", "deberta-v2", "distilbert", "albert", "mpnet", "gte"]
)
def test_heads_of_other_architectures_are_cut_too(make: Any, kind: str) -> None:
    folder = make(kind, 2)
    logits = own_logits(folder)
    np.testing.assert_allclose(scores(folder, (1,)), logits[:, 1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores(folder, (1, 0)), logits[:, 1] - logits[:, 0], rtol=0, atol=1e-4)


def test_the_difference_of_both_labels_orders_as_softmax_and_one_label_alone_need_not(make: Any) -> None:
    """softmax([a, b]) of b is sigmoid(b - a)."""
    logits = torch.from_numpy(own_logits(folder := make("bert", 2)))
    by_softmax = logits.softmax(1)[:, 1].numpy()
    assert np.argsort(scores(folder, (1, 0))).tolist() == np.argsort(by_softmax).tolist()
    assert np.argsort(scores(folder, (1,))).tolist() != np.argsort(by_softmax).tolist()


def test_the_self_check_compares_with_the_head_as_it_was_saved(nli: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_scorer(spec(nli, (1,)))
    assert built.self_check is not None
    assert built.self_check.largest_difference < 1e-4
    assert built.pretrained.model.classifier.weight.shape == (1, 32)  # the saved head is away again
    right = labels.cut_head

    def cut_another(model: Any, label: Any, prefix: str) -> Any:
        cut = right(model, (0,), prefix)
        assert cut is not None
        return replace(cut, label=label)

    monkeypatch.setattr("evalkit.scoring.loading.pretrained.cut_head", cut_another)
    with pytest.raises(EvalkitError, match="scores one pair in different ways"):
        build_scorer(spec(nli, (1,)))


def test_a_planner_without_weights_has_the_same_model(nli: Path) -> None:
    planner, built = build_planner(spec(nli, (1, 0)), torch.device("cpu")), build_scorer(spec(nli, (1, 0)))
    assert planner.scorer.shape == built.scorer.shape
    assert planner.pretrained.model.classifier.weight.shape == (1, 32)


def test_a_head_with_several_labels_and_none_named_is_refused_with_their_names(nli: Path, make: Any) -> None:
    error = refused(reranker(nli, None))
    assert error.startswith(f"reranker.model={nli}: its head has 3 labels (0 contradiction, 1 entailment, 2 neutral), ")
    assert "reranker.label=1 takes the logit of label 1" in error
    assert "reranker.label=[1,0] that of label 1 minus that of 0" in error
    assert "its head has 2 labels (0 LABEL_0, 1 LABEL_1)" in refused(reranker(make("electra", 2), None))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "reranker.label=3: the model has no label 3; its head has 3 labels (0 contradiction, 1 entailment, 2 neu"),
        (-1, "reranker.label=-1: the model has no label -1"),
        ([1, 5], "reranker.label=[1, 5]: the model has no label 5"),
        ([1, 1], "reranker.label=[1, 1]: a label minus itself is 0 for every pair; name two labels"),
        ([1], "reranker.label=[1]: it is the number of a label, as in reranker.label=1, or a list of two"),
        ([0, 1, 2], "reranker.label=[0, 1, 2]: it is the number of a label"),
        ("entailment", "reranker.label=entailment: it is the number of a label"),
        (True, "reranker.label=True: it is the number of a label"),
        (1.0, "reranker.label=1.0: it is the number of a label"),
    ],
)
def test_a_label_that_is_none_of_the_model_s_is_refused(nli: Path, label: Any, message: str) -> None:
    assert message in refused(reranker(nli, label))


def test_a_model_with_one_label_has_no_other(bert_folder: Any) -> None:
    assert "the model has no label 1; its head has 1 label (0 LABEL_0)" in refused(reranker(bert_folder, 1))
    np.testing.assert_array_equal(scores(bert_folder, (0,)), scores(bert_folder, ()))


def test_a_graph_has_one_output_so_labels_are_torch_s(nli: Path) -> None:
    error = refused(reranker(nli, 1, runtime={"name": "onnxruntime"}))
    assert error.startswith("reranker.label=1: this is a setting of torch, and the trial has runtime=onnxruntime; use ")


def test_the_result_states_what_the_score_is_made_of(nli: Path, bert_folder: Any) -> None:
    found = {}
    for label in (1, [1, 0]):
        one = reranker(nli, label)
        one.load()
        found[str(label)] = one.describe()["score"]
    assert found == {
        "1": "logit of label 1 (entailment)",
        "[1, 0]": "logit of label 1 (entailment) minus that of label 0 (contradiction)",
    }
    plain = reranker(bert_folder, None)
    plain.load()
    assert "score" not in plain.describe()


def test_the_store_keeps_the_scores_of_labels_apart(nli: Path, tmp_path: Path) -> None:
    def first(label: Any) -> Any:
        one = reranker(nli, label, store=str(tmp_path / "scores.sqlite"))
        one.load()
        return one.score_all([Pair("q", "d")], {"q": "who"}, {"d": "somebody"})

    of_one, of_other = first(1), first(2)
    assert of_one.logits != of_other.logits
    assert of_other.computed_pairs == 1
    assert first(1).from_store == 1


@pytest.mark.parametrize(("typed", "label"), [("1", (1,)), ("[1,0]", (1, 0)), ("null", ())])
def test_the_command_line_names_a_label_or_two(typed: str, label: labels.Label) -> None:
    settings = compose("reranker=cross_encoder", "reranker.model=/no/such", f"reranker.label={typed}").reranker
    built = build(settings, "rerankers")
    assert isinstance(built, CrossEncoder)
    assert labels.read_label(built.label) == label
