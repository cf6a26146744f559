"""Late interaction as the reranker: sentence-transformers' own scores, and stored vectors that no time includes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.meter import Meter
from evalkit.cost.protocol import CostProtocol
from evalkit.rerankers.bi_encoder import BiEncoder
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.rerankers.late_interaction import LateInteraction
from evalkit.types import Pair, Slice
from tests.helpers import late_models
from tests.helpers.late_models import DIMENSIONS, EXPANDED, LENGTH

pytest.importorskip("sentence_transformers.multi_vector_encoder", reason="needs sentence-transformers 6.2")

QUERIES = {
    "en": "What is a panda?",
    "zh": "大熊猫吃什么？",
    "ar": "ما هو الباندا؟",
    "long": "which of these words " * 30,
}
DOCS = {
    "short": "A bear.",
    "punctuation": "Bears, of China (Sichuan); they eat: bamboo!",
    "hi": "पांडा चीन में रहता है और बाँस खाता है।",
    "ja": "パンダは中国に住んでいます。竹を食べます。",
    "ru": "Панда живёт в Китае.",
    "cut": "the giant panda is a bear that lives in the mountains of China and eats bamboo " * 12,
}
PAIRS = [Pair(query, doc) for query in QUERIES for doc in DOCS]


@pytest.fixture(scope="session")
def folder(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return late_models.native(bert_folder, tmp_path_factory.mktemp("late") / "model")


FORMATS: dict[str, Callable[[Path, Path], Path]] = {
    "native": lambda folder, target: Path(shutil.copytree(folder, target)),
    "pylate": late_models.pylate,
    "pylate 3": lambda folder, target: late_models.pylate(folder, target, model_type="ColBERT"),
    "first ColBERT": late_models.first_colbert,
}


def loaded(model: Path, **settings: Any) -> LateInteraction:
    reranker = LateInteraction(str(model), **{"device": "cpu", **settings})
    reranker.check()
    reranker.load()
    return reranker


def logits(reranker: LateInteraction) -> list[float | None]:
    return list(reranker.score(PAIRS, QUERIES, DOCS).logits)


def by_the_library(model: Path) -> list[float]:
    from sentence_transformers import MultiVectorEncoder

    encoder = MultiVectorEncoder(str(model), device="cpu")
    asked, found = encoder.encode_query(list(QUERIES.values())), encoder.encode_document(list(DOCS.values()))
    return [float(score) for row in encoder.similarity(asked, found) for score in row]


@pytest.mark.parametrize("kind", FORMATS)
def test_scores_are_those_of_sentence_transformers_in_every_format(folder: Path, tmp_path: Path, kind: str) -> None:
    model = FORMATS[kind](folder, tmp_path / "model")
    assert logits(loaded(model)) == pytest.approx(by_the_library(model), abs=1e-5)


def test_a_score_is_the_sum_over_query_vectors_of_the_largest_product_with_a_passage_vector(folder: Path) -> None:
    reranker = loaded(folder)
    (query,) = reranker.loaded.embed([QUERIES["en"]], "query")
    (doc,) = reranker.loaded.embed([DOCS["short"]], "document")
    assert query.shape == (EXPANDED, DIMENSIONS)
    by_hand = sum(max(float(q @ d) for d in doc) for q in query)
    found = reranker.score([Pair("en", "short")], QUERIES, DOCS).logits
    assert list(found) == pytest.approx([by_hand], abs=1e-5)


def test_a_score_does_not_depend_on_the_other_pairs_of_the_call(folder: Path) -> None:
    reranker = loaded(folder)
    alone = [reranker.score([pair], QUERIES, DOCS).logits[0] for pair in PAIRS]
    assert logits(reranker) == pytest.approx(alone, rel=1e-5)  # sums of 32 products, which batches round otherwise


def test_other_lengths_are_those_of_the_library_with_these_lengths(
    folder: Path, bert_folder: Path, tmp_path: Path
) -> None:
    expansion = {"strategy": "fixed", "attend": False, "length": 12}
    other = late_models.native(bert_folder, tmp_path / "other", document_length=20, query_expansion=expansion)
    reranker = loaded(folder, query_length=12, max_length=20)
    assert logits(reranker) == pytest.approx(by_the_library(other), abs=1e-5)
    facts = reranker.describe()
    assert (facts["query_length"], facts["max_length"]) == (12, 20)


def test_cut_pairs_and_tokens_are_counted(folder: Path) -> None:
    docs = {"cut": "the " * 100, "whole": "the"}
    found = loaded(folder).score([Pair("q", "cut"), Pair("r", "cut"), Pair("q", "whole")], {"q": "a", "r": "b"}, docs)
    assert found.truncated_pairs == 2
    # A query is extended to 32 tokens; a passage is [CLS] [ D ], its words, [SEP].
    assert found.tokens == 2 * EXPANDED + LENGTH + 6


def test_progress_counts_every_pair_once(folder: Path) -> None:
    seen: list[int] = []
    loaded(folder).score(PAIRS, QUERIES, DOCS, seen.append)
    assert sum(seen) == len(PAIRS)


# --- stored vectors


def prepared(model: Path, cache: Path | str, **settings: Any) -> tuple[LateInteraction, list[int]]:
    """Return a prepared reranker, and a list that grows by the number of passages that are embedded afterwards."""
    reranker = loaded(model, cache=str(cache), **settings)
    seen: list[int] = []
    embed = reranker.loaded.embed

    def watched(texts: Any, task: Any, *more: Any) -> Any:
        if task == "document" and texts:
            seen.append(len(texts))
        return embed(texts, task, *more)

    object.__setattr__(reranker.loaded, "embed", watched)
    reranker.prepare(PAIRS, QUERIES, DOCS)
    return reranker, seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stored_vectors_give_the_same_scores_and_a_second_run_embeds_no_passage(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    fresh = logits(loaded(folder, precision=precision))
    first, seen = prepared(folder, tmp_path / "vectors", precision=precision)
    assert seen == [len(DOCS)]
    again, nothing = prepared(folder, tmp_path / "vectors", precision=precision)
    assert nothing == []
    assert logits(first) == logits(again) == pytest.approx(fresh, abs=1e-5 if precision == "fp32" else 0.3)
    assert (seen, nothing) == ([len(DOCS)], [])  # scoring embeds queries only
    assert (first.describe()["from_cache"], again.describe()["from_cache"]) == (False, True)


def test_what_vectors_depend_on_makes_an_entry_of_its_own(folder: Path, tmp_path: Path) -> None:
    for settings in ({}, {"max_length": 20}, {"precision": "bf16"}):
        assert prepared(folder, tmp_path / "vectors", **settings)[1] == [len(DOCS)]
    assert len(list((tmp_path / "vectors").iterdir())) == 3


def test_a_passage_that_was_not_prepared_is_embedded_in_the_call(folder: Path, tmp_path: Path) -> None:
    reranker, seen = prepared(folder, tmp_path / "vectors")
    docs = DOCS | {"new": "Pandas are new here.", "short": "Another text of the same id."}
    pairs = [Pair("en", "new"), Pair("en", "short"), Pair("en", "ru")]
    found = reranker.score(pairs, QUERIES, docs).logits
    assert seen[1:] == [2]
    assert list(found) == pytest.approx(list(loaded(folder).score(pairs, QUERIES, docs).logits), abs=1e-5)


def test_a_damaged_entry_is_computed_anew(folder: Path, tmp_path: Path) -> None:
    prepared(folder, tmp_path / "vectors")
    (entry,) = (tmp_path / "vectors").glob("*/vectors.npy")
    entry.write_bytes(entry.read_bytes()[:-40])
    assert prepared(folder, tmp_path / "vectors")[1] == [len(DOCS)]


def test_without_a_cache_nothing_is_stored(folder: Path) -> None:
    reranker, seen = prepared(folder, "off")
    assert seen == []
    logits(reranker)
    assert sum(seen) == len(DOCS)
    assert reranker.describe()["stored_passages"] == 0


def test_the_result_has_the_size_of_a_stored_passage(folder: Path, tmp_path: Path) -> None:
    docs = {"a": "the", "b": "the the"}
    reranker = loaded(folder, cache=str(tmp_path / "vectors"), precision="bf16")
    reranker.prepare([Pair("q", "a"), Pair("q", "b")], {"q": "the"}, docs)
    facts = reranker.describe()
    # [CLS] D the [SEP] and [CLS] D the the [SEP], for brackets are punctuation: 4.5 vectors of 16 numbers of 2 bytes.
    assert (facts["vectors_per_passage"], facts["bytes_per_passage"]) == (4.5, 4.5 * 16 * 2)
    assert (facts["stored_passages"], facts["stored_mb"]) == (2, 9 * 16 * 2 / 2**20)


def test_no_time_but_that_of_the_preparation_includes_stored_vectors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = LateInteraction(str(folder), device="cpu", cache=str(tmp_path / "vectors"))
    order: list[str] = []

    def noted(name: str) -> Any:
        method = getattr(reranker, name)

        def call(*given: Any) -> Any:
            order.append(name)
            return method(*given)

        return call

    for name in ("load", "prepare", "score"):
        monkeypatch.setattr(reranker, name, noted(name))
    data = Slice("tiny", "en", QUERIES, DOCS, {query: {"short": 1} for query in QUERIES}, "")
    protocol = CostProtocol(warmup_queries=1, latency_queries=2, latency_min_repetitions=1, latency_min_s=0)
    passes = Meter(protocol, len(DOCS), reranker, data, PAIRS)
    passes.score()
    cost = passes.cost(0.0)
    assert order[:3] == ["load", "prepare", "score"]
    assert order.count("prepare") == 1
    assert cost is not None
    assert cost.preparation_s > 0
    assert reranker.describe()["stored_passages"] == len(DOCS)


# --- what is refused


def refused(model: Path, kind: Any = LateInteraction, **settings: Any) -> str:
    reranker = kind(str(model), device="cpu", **settings)

    def start() -> None:
        reranker.check()
        reranker.load()

    with pytest.raises(EvalkitError) as error:
        start()
    return str(error.value)


def test_a_cross_encoder_is_refused_and_named(bert_folder: Path) -> None:
    error = refused(bert_folder)
    assert error.startswith(
        f"reranker.model={bert_folder}: a cross-encoder, which has a score for a pair and no vectors"
    )
    assert error.endswith(f"reranker=cross_encoder reranker.model={bert_folder}")


def test_an_embedding_model_is_refused_and_named(folder: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    for file in ("config_sentence_transformers.json", "modules.json"):
        (model / file).unlink()
    assert "nothing in its files makes it a late-interaction model: config_sentence_transformers.json" in refused(model)
    kinds = ("Transformer", "Pooling")
    late_models.write(model / "modules.json", [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" * bool(i), "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ])  # fmt: skip
    error = refused(model)
    assert "an embedding model, which has one vector a text (modules.json: Transformer, Pooling), and late" in error
    assert error.endswith(f"reranker=bi_encoder reranker.model={model}")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("other", [BiEncoder, CrossEncoder])
def test_a_late_interaction_model_is_refused_as_another_kind(
    folder: Path, tmp_path: Path, kind: str, other: Any
) -> None:
    model = FORMATS[kind](folder, tmp_path / "model")
    error = refused(model, other)
    assert "a late-interaction model with a vector for each token" in error
    assert error.endswith(f"reranker=late_interaction reranker.model={model}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query_length": 0}, "reranker.query_length=0: give a number of 1 or more"),
        ({"max_length": -1}, "reranker.max_length=-1: give a number of 1 or more"),
        ({"max_length": 5000}, "reranker.max_length=5000: "),
        ({"query_length": 5000}, "reranker.query_length=5000: "),
        ({"batch_size": 0}, "reranker.batch_size=0: give a number of 1 or more"),
        ({"cache": "atuo"}, "reranker.cache=atuo: choose auto, off, or a folder such as ./atuo"),
        ({"precision": "fp16"}, "fp16"),
    ],
)
def test_a_setting_that_cannot_be_had_is_refused_by_its_name(folder: Path, settings: Any, message: str) -> None:
    error = refused(folder, **settings)
    assert message in error
    assert "first_stage" not in error


def changed(folder: Path, tmp_path: Path, file: str, **stated: Any) -> Path:
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    there = json.loads((model / file).read_text("utf-8")) if (model / file).exists() else {}
    late_models.write(model / file, there | stated)
    return model


@pytest.mark.parametrize(
    ("file", "stated", "message"),
    [
        ("adapter_config.json", {"peft_type": "LORA"}, "an adapter is next to its full weights"),
        ("config.json", {"auto_map": {"AutoModel": "modeling.Mine"}}, "asks for Python code that comes with the model"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}, "states similarity_fn_name='dot', and"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "a sparse encoder, whose vectors are"),
        ("1_Dense/config.json", {"activation_function": "mine.Swish"}, "states activation_function=mine.Swish, which"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"a": 1}}}, "states processing_kwargs="),
        ("config.json", {"num_hidden_layers": 1}, "has no place for; they would be left out"),
        ("config.json", {"num_hidden_layers": 3}, "would be random numbers; this is another kind of model"),
    ],
)
def test_files_that_it_does_not_follow_are_refused(
    folder: Path, tmp_path: Path, file: str, stated: Any, message: str
) -> None:
    model = changed(folder, tmp_path, file, **stated)
    error = refused(model)
    assert error.startswith(f"reranker.model={model}: ")
    assert message in error


def test_foreign_code_and_a_pickle_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / "1_Dense" / "model.safetensors").rename(pickled / "1_Dense" / "pytorch_model.bin")
    assert "1_Dense has no model.safetensors with the weights of its Dense; a pickle can run code" in refused(pickled)
    foreign = Path(shutil.copytree(folder, tmp_path / "foreign"))
    modules = json.loads((foreign / "modules.json").read_text("utf-8"))
    modules[1]["type"] = "custom_st.Dense"
    late_models.write(foreign / "modules.json", modules)
    assert "names custom_st.Dense, which is not a module of sentence-transformers itself" in refused(foreign)


def test_a_missing_library_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.scoring import multi_vector

    monkeypatch.setattr(multi_vector, "version", lambda package: "5.4.1")
    assert refused(folder) == (
        "reranker=late_interaction needs sentence-transformers 6.2 or newer, which is 5.4.1 here: "
        "pip install 'evalkit-rerank[late-interaction]'"
    )
