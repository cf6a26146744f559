"""Modular cross-encoders, ettin's form, get the scores that sentence-transformers gives them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.first_stage.dense import Dense
from evalkit.rerankers.bi_encoder import BiEncoder
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.planner import build_planner
from evalkit.scoring.spec import ScorerSpec, build_scorer
from tests.helpers.encoders import encoder_config, save_encoder, their_scores
from tests.helpers.scorers import PAIRS

LENGTH = 96


@pytest.fixture
def make(bert_folder: Any, tmp_path: Path, sentence_transformers: Any) -> Any:
    """Save a modular cross-encoder by sentence-transformers itself."""

    def of(kind: str, pooling: str = "cls", labels: int = 1, **settings: Any) -> Path:
        from sentence_transformers.base.modules import Dense as DenseLayer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
        from transformers import AutoModel

        encoder, folder = tmp_path / "encoder", tmp_path / "modular"
        save_encoder(kind, bert_folder, encoder, type_vocab_size=2)
        AutoModel.from_pretrained(encoder).save_pretrained(encoder)
        torch.manual_seed(3)
        norm = LayerNorm(32)
        torch.nn.init.normal_(norm.norm.weight)
        torch.nn.init.normal_(norm.norm.bias)
        parts = [
            Transformer(str(encoder), transformer_task="feature-extraction", max_seq_length=LENGTH),
            Pooling(32, pooling_mode=pooling),
            DenseLayer(32, 32, bias=False, activation_function=torch.nn.GELU()),
            norm,
            *([Normalize()] if settings.pop("normalize", False) else []),
            DenseLayer(32, labels, activation_function=torch.nn.Identity(), module_output_name="scores"),
        ]
        sentence_transformers.CrossEncoder(modules=parts, device="cpu", **settings).save_pretrained(str(folder))
        return folder

    return of


def spec(folder: Path, **more: Any) -> ScorerSpec:
    settings: dict[str, Any] = {"device": "cpu", "precision": "fp32", "truncation": "longest_first"}
    return ScorerSpec(str(folder), max_length=LENGTH, **settings | more)


def scores(folder: Path, **more: Any) -> np.ndarray:
    return build_scorer(spec(folder, **more)).scorer.score(PAIRS).logits


def reranker(folder: Path, **more: Any) -> CrossEncoder:
    settings: dict[str, Any] = {"max_length": LENGTH, "truncation": "longest_first", "device": "cpu"}
    return CrossEncoder(str(folder), **settings | more)


def refused(component: Any) -> str:
    with pytest.raises(EvalkitError) as error:
        component.check()
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize("kind", ["modernbert", "bert", "deberta-v2"])
@pytest.mark.parametrize(("pooling", "normalize"), [("cls", False), ("mean", True)])
def test_scores_are_those_of_sentence_transformers(
    make: Any, sentence_transformers: Any, kind: str, pooling: str, normalize: bool
) -> None:
    folder = make(kind, pooling, normalize=normalize)
    np.testing.assert_allclose(
        scores(folder), their_scores(sentence_transformers, folder, PAIRS, LENGTH), rtol=0, atol=1e-4
    )


def test_a_label_of_several_is_chosen_as_in_a_classifier(make: Any, sentence_transformers: Any) -> None:
    folder = make("modernbert", labels=3)
    theirs = their_scores(sentence_transformers, folder, PAIRS, LENGTH)
    assert "its head has 3 labels (0 LABEL_0, 1 LABEL_1, 2 LABEL_2)" in refused(reranker(folder))
    np.testing.assert_allclose(scores(folder, label=(2,)), theirs[:, 2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores(folder, label=(2, 0)), theirs[:, 2] - theirs[:, 0], rtol=0, atol=1e-4)


def test_the_result_names_the_parts_and_follows_activation_and_prompt(make: Any, sentence_transformers: Any) -> None:
    folder = make(
        "modernbert", activation_fn=torch.nn.Sigmoid(), prompts={"web": "search: "}, default_prompt_name="web"
    )
    one = reranker(folder)
    one.check()
    one.load()
    facts = one.describe()
    parts = "cls pooling, Dense 32x32 GELU, LayerNorm, Dense 32x1 Identity"
    assert facts["architecture"] == f"ModernBertModel, {parts}"
    assert (facts["path"], facts["activation"], facts["prompt"]) == ("padded", "Sigmoid", "search: ")
    assert facts["self_check"]["largest_difference"] < 1e-4
    planner = build_planner(spec(folder), torch.device("cpu"))
    assert planner.scorer.shape == one.scorer.shape
    theirs = their_scores(sentence_transformers, folder, PAIRS, LENGTH)  # with the default prompt
    with_prompt = [("search: " + query, passage) for query, passage in PAIRS]
    np.testing.assert_allclose(one.scorer.score(with_prompt).logits, theirs, rtol=0, atol=1e-4)


def test_a_head_that_the_folder_lacks_is_an_error(make: Any) -> None:
    folder = make("modernbert")
    last = max(folder.glob("[0-9]_Dense"))
    (last / "model.safetensors").unlink()
    assert f"{last.name} has no model.safetensors, which holds the weights of its Dense" in refused(reranker(folder))
    shutil.rmtree(last)
    assert "a CrossEncoder whose modules.json lists Transformer, Pooling, Dense, LayerNorm, Dense, and" in refused(
        reranker(folder)
    )


def test_layers_that_do_not_fit_are_refused(make: Any) -> None:
    folder = make("modernbert")
    edit(max(folder.glob("[0-9]_Dense")) / "config.json", in_features=16)
    assert "takes vectors of 16 numbers, and what comes before it gives 32" in refused(reranker(folder))
    edit(max(folder.glob("[0-9]_Dense")) / "config.json", in_features=32, out_features=2)
    with pytest.raises(EvalkitError, match="they belong to different models"):
        build_scorer(spec(folder, label=(1,)))


def test_what_is_not_computed_is_refused(make: Any) -> None:
    folder = make("modernbert")
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    assert "leave the prompt's tokens out of the pooling (include_prompt=false)" in refused(reranker(folder))
    edit(folder / "1_Pooling" / "config.json", include_prompt=True)
    edit(folder / "config_sentence_transformers.json", model_type="SentenceTransformer")
    error = refused(reranker(folder))
    assert "a SentenceTransformer whose modules.json lists Transformer, Pooling, Dense, LayerNorm, Dense" in error
    edit(folder / "config_sentence_transformers.json", model_type="CrossEncoder")
    config = encoder_config("bert", folder, is_decoder=True)
    config.save_pretrained(folder)
    assert "which is a decoder, and evalkit runs them on encoders" in refused(reranker(folder))


def test_it_has_no_vectors(make: Any) -> None:
    folder = make("modernbert")
    way = f"and has no vectors: reranker=cross_encoder reranker.model={folder}"
    assert refused(Dense(str(folder), device="cpu")).endswith(way)
    assert refused(BiEncoder(str(folder), device="cpu")).endswith(way)
