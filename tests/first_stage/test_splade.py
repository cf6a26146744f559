"""The first stage splade: what it finds, what it records, when it reuses vectors, and what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation import ranking
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.dense import Dense
from evalkit.first_stage.fusion import Fusion
from evalkit.first_stage.search import timed_search
from evalkit.first_stage.splade import Splade
from evalkit.types import Hit, Slice
from tests.conftest import compose
from tests.helpers.sparse_models import inference_free_folder, query_vectors, splade_folder, vectors, write_json

DOCS = {
    "physics": "Light travels in empty space at about 300,000 kilometres per second.",
    "bread": "Yeast makes the dough rise before the bread goes into the oven.",
    "paris": "Paris is the capital of France and lies on the Seine. " * 12,  # much longer than the others: padding
    "cats": "Cats sleep for most of the day.",
}
QUERIES = {"q1": "how fast is light", "q2": "What is the French capital?", "q3": "how long do kittens nap"}
DATA = Slice("tiny", "en", QUERIES, DOCS, {}, "")


def splade(model: Path, **changes: Any) -> Splade:
    asked = {"max_length": 64, "batch_tokens": 256, "device": "cpu", "precision": "fp32"}
    return Splade(str(model), **{**asked, **changes})


def found(model: Path, data: Slice = DATA, depth: int = 4, **changes: Any) -> Any:
    first_stage = splade(model, **changes)
    first_stage.check()
    return first_stage.search(data, depth).rankings


def expected(queries: Any, docs: Any, depth: int = 4) -> Any:
    """Rankings by the products of vectors."""
    return {
        query_id: ranking.order(Hit(doc_id, float(s)) for doc_id, s in zip(DOCS, row, strict=True) if s > 0)[:depth]
        for query_id, row in zip(QUERIES, queries @ docs.T, strict=True)
    }


def approx(rankings: Any) -> Any:
    return {query_id: pytest.approx(dict(hits), abs=1e-4) for query_id, hits in rankings.items()}


def ids(rankings: Any) -> Any:
    return {query_id: [hit.doc_id for hit in hits] for query_id, hits in rankings.items()}


def test_passages_are_ranked_by_the_product_of_the_vectors(masked_lm_folder: Path) -> None:
    queries, docs = (vectors(masked_lm_folder, list(texts.values()), 64) for texts in (QUERIES, DOCS))
    for depth in (4, 2):
        rankings = found(masked_lm_folder, depth=depth)
        assert ids(rankings) == ids(expected(queries, docs, depth))
        assert {query_id: dict(hits) for query_id, hits in rankings.items()} == approx(expected(queries, docs, depth))


def test_prefixes_stand_before_queries_and_passages(masked_lm_folder: Path) -> None:
    plain = Slice("plain", "en", {q: f"query: {t}" for q, t in QUERIES.items()},
                  {d: f"passage: {t}" for d, t in DOCS.items()}, {}, "")  # fmt: skip
    prefixed = found(masked_lm_folder, query_prefix="query: ", doc_prefix="passage: ")
    assert {q: dict(hits) for q, hits in prefixed.items()} == approx(found(masked_lm_folder, plain))


def test_only_the_largest_weights_count_if_they_are_limited(masked_lm_folder: Path) -> None:
    queries = vectors(masked_lm_folder, list(QUERIES.values()), 64, top_tokens=3)
    docs = vectors(masked_lm_folder, list(DOCS.values()), 64, top_tokens=9)
    assert (np.count_nonzero(queries, axis=1) == 3).all()
    pruned = splade(masked_lm_folder, query_top_tokens=3, doc_top_tokens=9)
    assert ids(pruned.search(DATA, 4).rankings) == ids(expected(queries, docs))
    facts = pruned.describe()
    assert (facts["tokens_per_query"], facts["tokens_per_passage"]) == (3.0, 9.0)


def test_queries_by_token_weights_are_compared_with_the_model_s_passages(
    masked_lm_folder: Path, tmp_path: Path
) -> None:
    folder = inference_free_folder(masked_lm_folder, tmp_path / "model")
    rankings = expected(query_vectors(folder, list(QUERIES.values())), vectors(folder, list(DOCS.values()), 64))
    first_stage = splade(folder)
    first_stage.check()
    assert {q: dict(hits) for q, hits in first_stage.search(DATA, 4).rankings.items()} == approx(rankings)
    assert first_stage.describe()["query_encoder"] == "token weights"


def test_a_result_records_model_settings_and_counts(masked_lm_folder: Path) -> None:
    first_stage = splade(masked_lm_folder, name="sparse", max_length=32)
    searched = timed_search(first_stage, DATA, 2)
    facts = searched.facts
    assert searched.index_s is not None
    assert searched.index_s > 0
    assert facts["name"] == "sparse"
    assert facts["revision"].startswith("sha256:")
    shown = {key: facts[key] for key in (
        "max_length", "pooling", "activation", "query_encoder", "device", "dtype", "from_cache", "truncated_queries",
        "truncated_passages", "query_top_tokens", "notes",
    )}  # fmt: skip
    assert shown == {
        "max_length": 32, "pooling": "max", "activation": "relu", "query_encoder": "model", "device": "cpu",
        "dtype": "float32", "from_cache": False, "truncated_queries": 0, "truncated_passages": 1,
        "query_top_tokens": None, "notes": [],
    }  # fmt: skip
    docs = vectors(masked_lm_folder, list(DOCS.values()), 32)
    assert facts["tokens_per_passage"] == round(np.count_nonzero(docs) / len(DOCS), 1)
    assert facts["vocabulary"] == docs.shape[1]


def test_it_is_a_member_of_a_fusion(masked_lm_folder: Path) -> None:
    fused = Fusion([BM25(), splade(masked_lm_folder, name="sparse")])
    fused.check()
    run = fused.search(DATA, 4)
    assert set(fused.describe()["members"]) == {"bm25", "sparse"}
    assert run.rankings["q1"][0].doc_id == "physics"


@pytest.mark.parametrize("choice", ["splade_v3", "splade_cocondenser", "opensearch_doc_v2"])
def test_a_choice_has_the_device_precision_and_cache_of_the_trial(choice: str) -> None:
    first_stage = compose(
        f"first_stage={choice}", "device=cuda:1", "precision=bf16", "first_stage_cache=off"
    ).first_stage
    assert first_stage._target_ == "evalkit.first_stage.splade.Splade"
    assert (first_stage.device, first_stage.precision, first_stage.cache) == ("cuda:1", "bf16", "off")


# --- the files of a model


def test_the_files_of_a_model_state_how_it_is_used(masked_lm_folder: Path, tmp_path: Path) -> None:
    folder = splade_folder(
        masked_lm_folder, tmp_path / "model", {"activation_function": "log1p_relu"}, max_active_dims=7,
        prompts={"query": "query: ", "document": "passage: "},
    )  # fmt: skip
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    first_stage = splade(folder, max_length=None)
    first_stage.check()
    first_stage.search(DATA, 2)
    facts = first_stage.describe()
    shown = ("activation", "max_length", "query_prefix", "doc_prefix", "query_top_tokens", "doc_top_tokens", "notes")
    assert [facts[key] for key in shown] == ["log1p_relu", 24, "query: ", "passage: ", 7, 7, []]


def test_a_setting_wins_over_the_files_and_a_note_names_it(masked_lm_folder: Path, tmp_path: Path) -> None:
    folder = splade_folder(masked_lm_folder, tmp_path / "model", max_active_dims=7)
    first_stage = splade(folder, doc_top_tokens=9)
    first_stage.search(DATA, 2)
    assert first_stage.describe()["doc_top_tokens"] == 9
    assert first_stage.describe()["notes"] == [
        "first_stage.doc_top_tokens=9 was used, but the embedding model's own files state 7"
    ]


# --- the cache


def cached(model: Path, folder: Path, data: Slice = DATA, **changes: Any) -> Any:
    """Return the rankings, and whether the vectors of passages came from the cache."""
    first_stage = splade(model, cache=str(folder), **changes)
    rankings = first_stage.search(data, 4).rankings
    return rankings, first_stage.describe()["from_cache"], first_stage.describe()["truncated_passages"]


def test_vectors_from_the_cache_find_the_same(masked_lm_folder: Path, tmp_path: Path) -> None:
    rankings, from_cache, truncated = cached(masked_lm_folder, tmp_path)
    assert from_cache is False
    assert cached(masked_lm_folder, tmp_path) == (rankings, True, truncated)
    assert cached(masked_lm_folder, tmp_path, query_top_tokens=3)[1] is True  # of no passage
    changed: Any
    for changed in ({"max_length": 32}, {"doc_top_tokens": 5}, {"doc_prefix": "passage: "}):
        again = cached(masked_lm_folder, tmp_path, **changed)
        assert again[1] is False, changed
        assert again[0] == found(masked_lm_folder, **changed)
    other = replace(DATA, docs={**DOCS, "cats": "Dogs bark."})
    assert cached(masked_lm_folder, tmp_path, other)[1] is False


def test_vectors_of_another_model_are_not_used(masked_lm_folder: Path, tmp_path: Path) -> None:
    other = splade_folder(masked_lm_folder, tmp_path / "model", {"activation_function": "log1p_relu"})
    assert cached(masked_lm_folder, tmp_path / "cache")[1] is False
    assert cached(other, tmp_path / "cache")[0] == found(other)
    assert cached(other, tmp_path / "cache")[1] is True


@pytest.mark.parametrize("name", ["weights.npy", "columns.npy", "manifest.json"])
def test_damaged_vectors_are_made_again(
    masked_lm_folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rankings, *_ = cached(masked_lm_folder, tmp_path)
    (where,) = tmp_path.iterdir()
    data = (where / name).read_bytes()
    (where / name).write_bytes(data[: len(data) // 2])
    assert cached(masked_lm_folder, tmp_path)[:2] == (rankings, False)
    assert f"the index in {where} is damaged (" in capsys.readouterr().err


# --- what is refused


def refused(first_stage: Any) -> str:
    try:
        first_stage.check()
        first_stage.search(DATA, 1)
    except EvalkitError as error:
        return str(error)
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_top_tokens": 0}, "first_stage.query_top_tokens=0: give 1 token or more, or null for all"),
        ({"doc_top_tokens": -1}, "first_stage.doc_top_tokens=-1: give 1 token or more, or null for all"),
        ({"precision": "fp8"}, "precision=fp8: no such precision"),
        ({"cache": "atuo"}, "first_stage_cache=atuo: choose auto, off, or a folder"),
        ({"max_length": 513, "batch_tokens": 600}, "has positions for 512 tokens"),
        ({"batch_tokens": 63}, "first_stage.batch_tokens=63 is smaller than one text of first_stage.max_length=64"),
    ],
)
def test_settings_that_are_not_possible_are_refused(masked_lm_folder: Path, changes: Any, message: str) -> None:
    assert message in refused(splade(masked_lm_folder, **changes))


def test_a_reranker_is_refused_with_its_place(bert_folder: Path) -> None:
    error = refused(splade(bert_folder))
    assert (
        "its architecture is BertForSequenceClassification, and a sparse encoder (SPLADE) is a ...ForMaskedLM" in error
    )
    assert f"reranker=cross_encoder reranker.model={bert_folder}" in error


def test_an_embedding_model_is_refused_with_its_place(bert_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "model"))
    stated = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", {**stated, "architectures": ["BertModel"]})
    assert f"an embedding model is first_stage=dense first_stage.model={folder}" in refused(splade(folder))
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"))
    write_json(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ])  # fmt: skip
    error = refused(splade(folder))
    assert "an embedding model with dense vectors (modules.json: Transformer, Pooling): first_stage=dense" in error


def test_a_checkpoint_without_the_head_is_refused_whatever_its_configuration(
    masked_lm_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(masked_lm_folder, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    encoder = {name: tensor for name, tensor in weights.items() if not name.startswith("cls.")}
    save_file(encoder, folder / "model.safetensors", {"format": "pt"})
    error = refused(splade(folder))
    assert "its files have no masked-language-model head (cls.predictions." in error
    assert f"if this is an embedding model: first_stage=dense first_stage.model={folder}" in error


def test_an_architecture_without_a_masked_language_model_is_refused(masked_lm_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(masked_lm_folder, tmp_path / "model"))
    write_json(folder / "config.json", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    error = refused(splade(folder))
    assert "transformers has no masked language model of the type gpt2" in error
    assert "first_stage=trec_run first_stage.path=RUN" in error


def test_weights_in_a_pickle_are_refused(masked_lm_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(masked_lm_folder, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in refused(splade(folder))


def test_a_sparse_encoder_given_to_dense_is_referred_to_splade(masked_lm_folder: Path, tmp_path: Path) -> None:
    error = refused(Dense(str(masked_lm_folder), device="cpu"))
    assert error.endswith("if it is a sparse encoder (SPLADE), use first_stage=splade")
    plain = splade_folder(masked_lm_folder, tmp_path / "plain")
    routed = inference_free_folder(masked_lm_folder, tmp_path / "routed")
    for folder in (plain, routed):
        error = refused(Dense(str(folder), device="cpu"))
        assert f"a sparse encoder is first_stage=splade first_stage.model={folder}" in error


def edit(name: str, **changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        write_json(path, {**(json.loads(path.read_text("utf-8")) if path.exists() else {}), **changes})

    return change


def with_routes(**routes: Any) -> Any:
    return edit("router_config.json", structure=routes)


PASSAGES = ["", "1_SpladePooling"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("1_SpladePooling/config.json", pooling_strategy="mean"), "states pooling_strategy=mean and"),
        (edit("1_SpladePooling/config.json", activation_function="gelu"), "activation_function=gelu, and evalkit"),
        (edit("config_sentence_transformers.json", similarity_fn_name="cosine"), "similarity_fn_name='cosine', and"),
        (edit("config_sentence_transformers.json", max_active_dims=0), "states max_active_dims=0, and it is a number"),
        (edit("config_sentence_transformers.json", model_type="CrossEncoder"), "a cross-encoder: reranker="),
        (edit("adapter_config.json", peft_type="LORA"), "an adapter is next to its"),
        (lambda folder: (folder / "1_SpladePooling" / "config.json").unlink(), "1_SpladePooling/config.json is not"),
        (lambda folder: (folder / "router_config.json").unlink(), "lists a Router, and router_config.json is not"),
        (with_routes(query=PASSAGES, document=PASSAGES), "(queries: MLMTransformer, SpladePooling; passages: "),
        (with_routes(document=PASSAGES), "has the routes document, and evalkit follows the two routes"),
        (with_routes(query=["lost"], document=PASSAGES), "router_config.json cannot be read (KeyError"),
        (edit("router_config.json", types={"query_0_IDF": "own.Thing"}), "router_config.json names own.Thing, which"),
        (lambda folder: (folder / "query_0_IDF" / "tokenizer.json").unlink(), "query_0_IDF has no model.safetensors"),
    ],
)  # fmt: skip
def test_files_that_state_what_evalkit_does_not_compute_are_refused(
    masked_lm_folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    folder = inference_free_folder(masked_lm_folder, tmp_path / "model")
    change(folder)
    assert message in refused(splade(folder))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("idf.json", {"light": 3.0}, "it has idf.json, token weights for queries that no model computes, and no modul"),
        ("model_args.json", {"splade_doc": True}, "model_args.json states that queries are encoded otherwise"),
        ("model_args.json", {"splade_doc": False, "model_q": "other"}, "states that queries are encoded otherwise"),
    ],
)
def test_queries_that_are_encoded_in_an_unstated_way_are_refused(
    masked_lm_folder: Path, tmp_path: Path, file: str, content: Any, message: str
) -> None:
    folder = Path(shutil.copytree(masked_lm_folder, tmp_path / "model"))
    write_json(folder / file, content)
    assert message in refused(splade(folder))
