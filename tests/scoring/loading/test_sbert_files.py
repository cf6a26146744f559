"""The settings in a model's files are applied and recorded, or refused with the reason."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.caveats import caveats
from evalkit.first_stage.dense import Dense
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.embedding import pool_states
from evalkit.scoring.loading.fingerprint import folder_hash
from evalkit.types import Pair, Slice
from tests.conftest import SHARED, compose

QUERIES = {"q1": "how fast is light", "q2": "What is the French CAPITAL?"}
DOCS = {
    "light": "Light travels in empty space at about 300,000 kilometres per second.",
    "paris": "Paris is the capital of France and lies on the Seine. " * 6,
    "cats": "Cats sleep.",
}
DATA = Slice("tiny", "en", QUERIES, DOCS, {}, "")
PAIRS = [Pair(query_id, doc_id) for query_id in QUERIES for doc_id in DOCS]
PROMPT = "search for: "


def edit(path: Path, **changes: Any) -> None:
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**before, **changes}), "utf-8")


def list_modules(folder: Path, *parts: tuple[str, str]) -> None:
    listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(parts)]
    (folder / "modules.json").write_text(json.dumps(listed), "utf-8")


TRANSFORMER = ("sentence_transformers.models.Transformer", "")
POOLING = ("sentence_transformers.models.Pooling", "1_Pooling")
NORMALIZE = ("sentence_transformers.models.Normalize", "9_Normalize")


@pytest.fixture
def embedder(bert_folder: Any, tmp_path: Path) -> Path:
    """An embedding model as sentence-transformers writes one: mean pooling, normalised."""
    from transformers import AutoModel

    folder = tmp_path / "embedder"
    AutoModel.from_pretrained(bert_folder).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert_folder / name, folder)
    list_modules(folder, TRANSFORMER, POOLING, NORMALIZE)
    edit(folder / "1_Pooling" / "config.json", word_embedding_dimension=32, pooling_mode_mean_tokens=True)
    return folder


@pytest.fixture
def reranker(bert_folder: Any, tmp_path: Path) -> Path:
    """A cross-encoder as sentence-transformers 6 writes one, with a prompt."""
    folder = Path(shutil.copytree(bert_folder, tmp_path / "reranker"))
    list_modules(folder, ("sentence_transformers.base.modules.transformer.Transformer", ""))
    edit(folder / "sentence_bert_config.json", transformer_task="sequence-classification")
    edit(
        folder / "config_sentence_transformers.json",
        model_type="CrossEncoder", prompts={"web": PROMPT}, default_prompt_name="web",
        activation_fn="torch.nn.modules.activation.Sigmoid",
    )  # fmt: skip
    return folder


def dense_layer(folder: Path, path: str, size_in: int, size_out: int, **stated: Any) -> None:
    torch.manual_seed(size_in + size_out)
    edit(folder / path / "config.json", **{
        "in_features": size_in, "out_features": size_out, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh", **stated,
    })  # fmt: skip
    weights = {"linear.weight": torch.randn(size_out, size_in), "linear.bias": torch.randn(size_out)}
    if stated.get("use_residual") and size_in != size_out:
        weights["residual.weight"] = torch.randn(size_out, size_in)
    save_file(weights, folder / path / "model.safetensors")


def dense(folder: Any, **changes: Any) -> Dense:
    asked = {"pooling": None, "normalize": None, "max_length": None, "batch_tokens": 512, "device": "cpu",
             "precision": "fp32"}  # fmt: skip
    return Dense(str(folder), **{**asked, **changes})


def scores(first_stage: Dense) -> np.ndarray:
    first_stage.check()
    rankings = first_stage.search(DATA, len(DOCS)).rankings
    return np.array([[{hit.doc_id: hit.score for hit in rankings[q]}[d] for d in DOCS] for q in QUERIES])


def states(folder: Any, text: str) -> torch.Tensor:
    """The last states of one text by transformers alone, (tokens, hidden)."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        found: torch.Tensor = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    return found


def expected(folder: Any, vector_of: Any, query: str = "", doc: str = "") -> np.ndarray:
    """Products of vectors that `vector_of` makes of the states of each text, one text at a time."""
    queries = torch.stack([vector_of(states(folder, query + text)) for text in QUERIES.values()])
    docs = torch.stack([vector_of(states(folder, doc + text)) for text in DOCS.values()])
    return (queries @ docs.T).numpy()


def unit(vector: torch.Tensor) -> Any:
    return vector / vector.norm()


def cross_encoder(folder: Any, **changes: Any) -> CrossEncoder:
    asked: dict[str, Any] = {"max_length": 128, "truncation": "longest_first", "batch_tokens": 640, "device": "cpu",
             "precision": "fp32"}  # fmt: skip
    return CrossEncoder(str(folder), **asked | changes)


def logits(reranker: CrossEncoder, queries: Any = None) -> list[Any]:
    reranker.check()
    reranker.load()
    return list(reranker.score(PAIRS, queries or QUERIES, DOCS).logits)


def refused(component: Any) -> str:
    with pytest.raises(EvalkitError) as caught:
        component.check()
    error = str(caught.value)
    assert "\n" not in error
    return error


# --- pooling


def test_each_pooling_gives_the_values_computed_by_hand() -> None:
    """Two texts of three and two tokens, of one number each, and a state at the padding that must not count."""
    batch = torch.tensor([[[1.0], [4.0], [-2.0]], [[3.0], [5.0], [99.0]]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    by_hand = {
        "cls": [1, 3],
        "lasttoken": [-2, 5],
        "max": [4, 5],
        "mean": [1, 4],
        "weightedmean": [(1 * 1 + 2 * 4 + 3 * -2) / 6, (1 * 3 + 2 * 5) / 3],
        "mean_sqrt_len_tokens": [3 / 3**0.5, 8 / 2**0.5],
    }
    for pooling, values in by_hand.items():
        assert pool_states(batch, mask, pooling).flatten().tolist() == pytest.approx(values), pooling


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    more=st.integers(0, 4),
    pooling=st.sampled_from(["cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"]),
)
def test_pooling_does_not_depend_on_padding(lengths: Any, more: Any, pooling: Any) -> None:
    random = torch.Generator().manual_seed(sum(lengths))
    longest = max(lengths) + more
    batch = torch.randn(len(lengths), longest, 3, generator=random)
    mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).long()
    together = pool_states(batch, mask, pooling)
    for row, length in enumerate(lengths):
        alone = pool_states(batch[row : row + 1, :length], torch.ones(1, length, dtype=torch.long), pooling)
        torch.testing.assert_close(together[row], alone[0])


@pytest.mark.parametrize(
    ("stated", "vector_of"),
    [
        ({"pooling_mode": "cls"}, lambda s: unit(s[0])),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, lambda s: unit(s[0])),
        ({"pooling_mode": ["mean"]}, lambda s: unit(s.mean(0))),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}, lambda s: unit(s.amax(0))),
        ({"pooling_mode": "lasttoken", "include_prompt": False}, lambda s: unit(s[-1])),
        ({"pooling_mode_mean_tokens": False}, lambda s: unit(s.mean(0))),  # as sentence-transformers: none is mean
    ],
)
def test_the_pooling_is_that_of_the_folder(embedder: Any, stated: Any, vector_of: Any) -> None:
    edit(embedder / "1_Pooling" / "config.json", **stated)
    assert scores(dense(embedder)) == pytest.approx(expected(embedder, vector_of), abs=1e-5)


def test_the_folder_of_a_part_may_have_any_name(embedder: Any) -> None:
    (embedder / "1_Pooling").rename(embedder / "how")
    list_modules(embedder, TRANSFORMER, ("sentence_transformers.models.Pooling", "how"))
    edit(embedder / "how" / "config.json", pooling_mode="cls")
    assert scores(dense(embedder)) == pytest.approx(expected(embedder, lambda s: unit(s[0])), abs=1e-5)


def test_a_setting_overrides_the_folder_with_a_note(embedder: Any) -> None:
    first_stage = dense(embedder, pooling="cls", normalize=False, max_length=256, query_prefix="q: ", doc_prefix="")
    edit(embedder / "config_sentence_transformers.json", prompts={"query": "query: ", "document": "passage: "})
    edit(embedder / "sentence_bert_config.json", max_seq_length=300)
    assert scores(first_stage) == pytest.approx(expected(embedder, lambda s: s[0], "q: "), rel=1e-4)
    facts = first_stage.describe()
    assert (facts["pooling"], facts["normalize"], facts["max_length"]) == ("cls", False, 256)
    assert facts["model_files"]["pooling"] == "mean"
    files = "was used, but the embedding model's own files state"
    assert facts["notes"] == [
        f"first_stage.pooling=cls {files} mean",
        f"first_stage.normalize=false {files} true",
        f"first_stage.max_length=256 {files} 300",
        f"first_stage.query_prefix='q: ' {files} 'query: '",
        f"first_stage.doc_prefix='' {files} 'passage: '",
    ]


def test_a_setting_that_agrees_with_the_folder_has_no_note(embedder: Any) -> None:
    first_stage = dense(embedder, pooling="mean", normalize=True)
    scores(first_stage)
    assert first_stage.describe()["notes"] == []


def test_without_a_pooling_in_the_folder_the_setting_is_required(embedder: Any) -> None:
    (embedder / "modules.json").unlink()
    assert refused(dense(embedder, pooling="mean")).endswith(
        "the folder has 1_Pooling and no modules.json, which states how its parts belong together; copy or download "
        "the whole folder"
    )
    shutil.rmtree(embedder / "1_Pooling")
    assert "own files do not state the pooling (no modules.json); add first_stage.pooling=cls" in refused(
        dense(embedder)
    )
    assert scores(dense(embedder, pooling="cls")) == pytest.approx(
        expected(embedder, lambda s: unit(s[0])), abs=1e-5
    )  # fmt: skip


def test_the_generic_first_stage_leaves_all_settings_to_the_folder() -> None:
    first_stage = compose("first_stage=dense", "first_stage.model=m").first_stage
    own = ("pooling", "normalize", "max_length", "query_prefix", "doc_prefix")
    assert {first_stage[key] for key in own} == {None}


# --- layers


def test_layers_after_the_pooling_are_computed(embedder: Any) -> None:
    dense_layer(embedder, "2_Dense", 32, 16)
    dense_layer(embedder, "3_Dense", 16, 8, activation_function="torch.nn.modules.linear.Identity", bias=False,
                use_residual=True)  # fmt: skip
    weights = torch.randn(8, 16)
    save_file({"linear.weight": weights, "residual.weight": weights * 2}, embedder / "3_Dense" / "model.safetensors")
    edit(embedder / "4_LayerNorm" / "config.json", dimension=8)
    gain, shift = torch.randn(8), torch.randn(8)
    save_file({"norm.weight": gain, "norm.bias": shift}, embedder / "4_LayerNorm" / "model.safetensors")
    names = ("Dense", "2_Dense"), ("Dense", "3_Dense"), ("LayerNorm", "4_LayerNorm"), ("Normalize", "5_Normalize")
    list_modules(
        embedder, TRANSFORMER, POOLING, *((f"sentence_transformers.models.{kind}", path) for kind, path in names)
    )
    torch.manual_seed(32 + 16)
    first, bias = torch.randn(16, 32), torch.randn(16)

    def vector_of(of_tokens: Any) -> Any:
        x = torch.tanh(first @ of_tokens.mean(0) + bias)
        x = weights @ x + 2 * weights @ x
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * gain + shift
        return unit(x)

    first_stage = dense(embedder)
    assert scores(first_stage) == pytest.approx(expected(embedder, vector_of), abs=1e-5)
    assert first_stage.describe()["model_files"]["layers"] == [
        "Dense 32x16 Tanh", "Dense 16x8 Identity", "LayerNorm", "Normalize",
    ]  # fmt: skip
    assert first_stage.describe()["dimensions"] == 8


def test_dot_product_truncation_and_case_are_followed(embedder: Any) -> None:
    list_modules(embedder, TRANSFORMER, POOLING)
    edit(embedder / "config_sentence_transformers.json", similarity_fn_name="dot", truncate_dim=5)
    assert scores(dense(embedder)) == pytest.approx(expected(embedder, lambda s: s.mean(0)[:5]), rel=1e-4)
    edit(embedder / "config_sentence_transformers.json", similarity_fn_name="cosine")
    assert scores(dense(embedder)) == pytest.approx(expected(embedder, lambda s: unit(s.mean(0)[:5])), abs=1e-5)
    edit(embedder / "config_sentence_transformers.json", similarity_fn_name="euclidean")
    error = refused(dense(embedder))
    assert "compare vectors by euclidean distance, and evalkit by cosine or dot product; choose" in error


def test_texts_are_lowercased_if_the_folder_states_it(embedder: Any) -> None:
    tokenizer = json.loads((embedder / "tokenizer.json").read_text("utf-8"))
    tokenizer["normalizer"] = None
    (embedder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    edit(embedder / "tokenizer_config.json", do_lower_case=False, tokenizer_class="PreTrainedTokenizerFast")
    with_case = scores(dense(embedder))
    edit(embedder / "sentence_bert_config.json", do_lower_case=True)
    without = scores(dense(embedder))
    lower = Slice("lower", "en", {q: t.lower() for q, t in QUERIES.items()}, {d: t.lower() for d, t in DOCS.items()},
                  {}, "")  # fmt: skip
    edit(embedder / "sentence_bert_config.json", do_lower_case=False)
    found = dense(embedder).search(lower, 3).rankings
    assert without == pytest.approx(
        np.array([[{hit.doc_id: hit.score for hit in found[q]}[d] for d in DOCS] for q in QUERIES]), abs=1e-5
    )
    assert np.abs(with_case - without).max() > 0.01


def test_the_hash_of_a_folder_includes_its_parts(embedder: Any) -> None:
    """Cached embeddings and results are identified by it."""
    before = folder_hash(embedder)
    edit(embedder / "1_Pooling" / "config.json", pooling_mode="cls")
    assert folder_hash(embedder) != before
    before = folder_hash(embedder)
    edit(embedder / "not_a_part" / "config.json", any=1)
    assert folder_hash(embedder) == before


# --- prompts


def test_stored_prompts_stand_before_queries_and_passages(embedder: Any) -> None:
    stated = {"prompts": {"query": "query: ", "passage": "passage: "}}
    edit(embedder / "config_sentence_transformers.json", **stated)
    first_stage = dense(embedder)
    mean = expected(embedder, lambda s: unit(s.mean(0)), "query: ", "passage: ")
    assert scores(first_stage) == pytest.approx(mean, abs=1e-5)
    facts = first_stage.describe()
    assert (facts["query_prefix"], facts["doc_prefix"], facts["notes"]) == ("query: ", "passage: ", [])
    plain = expected(embedder, lambda s: unit(s.mean(0)))
    assert scores(dense(embedder, query_prefix="", doc_prefix="")) == pytest.approx(plain, abs=1e-5)
    edit(embedder / "1_Pooling" / "config.json", include_prompt=False)
    assert "leave the prompt's tokens out of the pooling (include_prompt=false)" in refused(dense(embedder))


def test_prompts_with_other_names_are_not_used(embedder: Any) -> None:
    edit(embedder / "config_sentence_transformers.json", prompts={"s2p": "Instruct: ", "query": ""})
    first_stage = dense(embedder)
    scores(first_stage)
    (note,) = first_stage.describe()["notes"]
    assert note.startswith("the embedding model's own files have prompts ('s2p'), none of which is named query")
    edit(embedder / "config_sentence_transformers.json", default_prompt_name="s2p")
    assert "do not state whether it is for queries or for passages; set both" in refused(dense(embedder))
    dense(embedder, query_prefix="Instruct: ", doc_prefix="").check()


def test_a_rerankers_default_prompt_stands_before_the_query(reranker: Any, bert_folder: Any, tmp_path: Path) -> None:
    prompted = cross_encoder(reranker)
    by_hand = logits(cross_encoder(bert_folder), {query_id: PROMPT + text for query_id, text in QUERIES.items()})
    assert logits(prompted) == pytest.approx(by_hand, abs=1e-6)
    assert np.abs(np.array(by_hand) - logits(cross_encoder(bert_folder))).max() > 0.01
    facts = prompted.describe()
    assert (facts["prompt"], facts["prompt_source"]) == (PROMPT, "config_sentence_transformers.json")
    assert (facts["activation"], facts["notes"]) == ("Sigmoid", [])
    store = str(tmp_path / "scores.db")  # scores with and without the prompt are not confused
    assert logits(cross_encoder(reranker, store=store)) == logits(prompted)
    assert logits(cross_encoder(reranker, store=store, prompt="")) == pytest.approx(
        logits(cross_encoder(bert_folder)), abs=1e-6
    )


def test_a_configured_prompt_overrides_the_folders_with_a_note(reranker: Any, bert_folder: Any) -> None:
    without = cross_encoder(reranker, prompt="")
    assert logits(without) == pytest.approx(logits(cross_encoder(bert_folder)), abs=1e-6)
    facts = without.describe()
    assert (facts["prompt"], facts["prompt_source"]) == ("", "reranker.prompt")
    assert facts["notes"] == [f"reranker.prompt='' was used, but the reranker's own files state {PROMPT!r}"]


def test_a_configured_length_that_differs_from_the_folders_is_noted(reranker: Any) -> None:
    edit(reranker / "sentence_bert_config.json", max_seq_length=256)
    small = cross_encoder(reranker)
    logits(small)
    assert small.describe()["notes"] == ["reranker.max_length=128 was used, but the reranker's own files state 256"]


def test_prompts_that_sentence_transformers_ignores_are_noted_and_not_used(reranker: Any, bert_folder: Any) -> None:
    (reranker / "modules.json").unlink()
    plain = cross_encoder(reranker)
    assert logits(plain) == pytest.approx(logits(cross_encoder(bert_folder)), abs=1e-6)
    (note,) = plain.describe()["notes"]
    assert "names a default prompt ('web') which was not used, since there is no modules.json" in note


def test_a_rerankers_prompts_without_a_default_are_noted_and_not_used(reranker: Any, bert_folder: Any) -> None:
    edit(reranker / "config_sentence_transformers.json", default_prompt_name=None)
    plain = cross_encoder(reranker)
    assert logits(plain) == pytest.approx(logits(cross_encoder(bert_folder)), abs=1e-6)
    (note,) = plain.describe()["notes"]
    assert "has prompts ('web') and names no default one: none was used; reranker.prompt sets one" in note


@pytest.mark.parametrize("name", ["activation.ReLU", "activation.GELU", "activation.Softmax"])
def test_an_activation_that_changes_the_order_is_refused(reranker: Any, name: Any) -> None:
    edit(reranker / "config_sentence_transformers.json", activation_fn=f"torch.nn.modules.{name}")
    error = refused(cross_encoder(reranker))
    assert f"states the activation torch.nn.modules.{name} for its scores, which need not keep the order" in error
    assert "reranker=trec_run reranker.path=RUN" in error


@pytest.mark.parametrize("where", ["sbert_ce_default_activation_function", "sentence_transformers"])
def test_an_activation_in_config_json_counts_too(bert_folder: Any, tmp_path: Path, where: Any) -> None:
    folder = Path(shutil.copytree(bert_folder, tmp_path / "old"))
    for name, activation in (("linear.Identity", "Identity"), ("activation.Hardtanh", None)):
        path = f"torch.nn.modules.{name}"
        edit(folder / "config.json", **{where: {"activation_fn": path} if where == "sentence_transformers" else path})
        if activation is None:
            assert "config.json states the activation" in refused(cross_encoder(folder))
        else:
            one = cross_encoder(folder)
            one.load()
            assert one.describe()["activation"] == activation


# --- what is refused by name


def sparse(folder: Path) -> None:
    list_modules(folder, TRANSFORMER, ("sentence_transformers.sparse_encoder.models.SpladePooling", "1_SpladePooling"))
    edit(folder / "config_sentence_transformers.json", model_type="SparseEncoder")


def modules(*parts: Any) -> Any:
    return lambda folder: list_modules(
        folder, *((f"sentence_transformers.models.{kind}", path) for kind, path in parts)
    )


def part(path: str, **stated: Any) -> Any:
    return lambda folder: edit(folder / path, **stated)


def text(path: str, content: str) -> Any:
    return lambda folder: (folder / path).write_text(content, "utf-8")


def with_layer(kind: str = "Dense", weights: str = "model.safetensors", **stated: Any) -> Any:
    def change(folder: Path) -> None:
        list_modules(folder, TRANSFORMER, POOLING, (f"sentence_transformers.models.{kind}", "2_Layer"))
        dense_layer(folder, "2_Layer", 32, 8)
        (folder / "2_Layer" / "model.safetensors").rename(folder / "2_Layer" / weights)
        edit(folder / "2_Layer" / "config.json", **stated)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sparse, "a SparseEncoder (modules.json: Transformer, SpladePooling), and first_stage=dense compares"),
        (modules(("Transformer", ""), ("Dense", "1_Dense")), "modules.json lists Transformer, Dense, and evalkit"),
        (modules(("Router", "")), "modules.json lists Router, and evalkit runs models that begin with a Transformer"),
        (modules(("StaticEmbedding", "")), "modules.json lists StaticEmbedding, and evalkit runs"),
        (modules(("CLIPModel", "0_CLIPModel")), "modules.json lists CLIPModel"),
        (modules(("Transformer", "0_Transformer"), ("Pooling", "1_Pooling")), "has its transformer in 0_Transformer"),
        (modules(("Transformer", ""), ("Pooling", "../x")), "names '../x', which is outside of the model's folder"),
        (modules(("Transformer", ""), ("Pooling", "gone")), "lists a Pooling, and gone/config.json is not there"),
        (modules(("Transformer", ""), ("WeightedLayerPooling", "1_Pooling"), ("Pooling", "1_Pooling")),
         "lists Transformer, WeightedLayerPooling, Pooling, and evalkit embeds with"),
        (modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("CNN", "2_CNN")), "lists CNN, and behind the pooling"),
        (lambda folder: list_modules(folder, ("custom_st.Transformer", ""), POOLING),
         "names custom_st.Transformer, which is not a module of sentence-transformers itself"),
        (text("modules.json", "[{"), "modules.json cannot be read (JSONDecodeError"),
        (text("modules.json", "[]"), "modules.json cannot be read (ValueError: it lists no modules)"),
        (text("modules.json", '{"a": 1}'), "modules.json cannot be read"),
        (text("1_Pooling/config.json", "[1]"), "1_Pooling/config.json cannot be read (ValueError: it holds a list)"),
        (text("config_sentence_transformers.json", ""), "config_sentence_transformers.json cannot be read"),
        (part("1_Pooling/config.json", pooling_mode_cls_token=True), "states the pooling cls and mean, and"),
        (part("1_Pooling/config.json", pooling_mode=["mean", "max"]), "states the pooling mean and max"),
        (part("1_Pooling/config.json", pooling_mode="attention"), "states the pooling attention"),
        (part("1_Pooling/config.json", word_embedding_dimension=64), "states vectors of 64 numbers, and the"),
        (part("sentence_bert_config.json", transformer_task="fill-mask"), "states transformer_task='fill-mask'"),
        (part("sentence_bert_config.json", max_seq_length="long"), "states max_seq_length='long'"),
        (part("sentence_bert_config.json", model_args={"attn_implementation": "sdpa", "is_causal": True}),
         "states model_args={'is_causal': True}, which evalkit does not support"),
        (part("sentence_bert_config.json", query_expansion=True), "states query_expansion=True"),
        (part("config_sentence_transformers.json", model_type="CrossEncoder"), "which scores a query with a passage"),
        (part("config_sentence_transformers.json", model_type="MultiVectorEncoder"), "a MultiVectorEncoder"),
        (part("config_sentence_transformers.json", similarity_fn_name="maxsim"), "states similarity_fn_name='maxsim'"),
        (part("config_sentence_transformers.json", truncate_dim=64), "states truncate_dim=64, and its vectors have 32"),
        (part("config_sentence_transformers.json", truncate_dim="few"), "states truncate_dim='few'"),
        (part("config_sentence_transformers.json", default_prompt_name="x", prompts={"y": "z"}),
         "names the default prompt 'x' and has no such prompt (it has 'y')"),
        (part("config_sentence_transformers.json", prompts={"query": 3}), "states prompts that are not texts by name"),
        (with_layer(activation_function="torch.nn.modules.activation.PReLU"), "states activation_function=torch.nn."),
        (with_layer(activation_function="mine.Swish"), "states activation_function=mine.Swish, and evalkit computes"),
        (with_layer(in_features=16), "2_Layer takes vectors of 16 numbers, and what comes before it gives 32"),
        (with_layer(module_input_name="token_embeddings"), "modules.json lists Dense on token_embeddings"),
        (with_layer(module_output_name="scores"), "a cross-encoder (modules.json: Transformer, Pooling, Dense)"),
        (with_layer(weights="pytorch_model.bin"), "2_Layer has no model.safetensors, its weights are a pickle"),
        (with_layer(weights="else.safetensors"), "2_Layer has no model.safetensors, which holds the weights of its"),
        (part("adapter_config.json", peft_type="LORA", base_model_name_or_path="acme/base"),
         "an adapter is next to its full weights (adapter_config.json: LORA adapter of acme/base)"),
        (part("config.json", quantization={"group_size": 64, "bits": 4}), "its weights are quantised (quantization)"),
        (part("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "weights are quantised (gptq)"),
    ],
)  # fmt: skip
def test_unsupported_files_are_refused_before_other_work(embedder: Any, change: Any, message: Any) -> None:
    change(embedder)
    error = refused(dense(embedder, pooling="mean", normalize=True))
    assert error.startswith(f"first_stage.model={embedder}: ")
    assert message in error


def test_weights_that_do_not_match_their_layer_are_refused(embedder: Any) -> None:
    with_layer(out_features=16)(embedder)
    with pytest.raises(EvalkitError, match=r"2_Layer/model.safetensors holds linear.bias 8, linear.weight 8x32, and"):
        dense(embedder).search(DATA, 1)
    (embedder / "2_Layer" / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(EvalkitError, match=r"2_Layer/model.safetensors cannot be read"):
        dense(embedder).search(DATA, 1)


def test_the_folder_of_one_part_of_a_model_is_refused(embedder: Any) -> None:
    """Its pooling and layers would be lost."""
    whole = embedder.parent / "whole"
    (whole / "1_Pooling").mkdir(parents=True)
    embedder.rename(whole / "0_Transformer")
    (whole / "0_Transformer" / "modules.json").unlink()
    shutil.rmtree(whole / "0_Transformer" / "1_Pooling")
    modules(("Transformer", "0_Transformer"), ("Pooling", "1_Pooling"))(whole)
    assert "has its transformer in 0_Transformer, as old versions" in refused(dense(whole))
    error = refused(dense(whole / "0_Transformer", pooling="mean"))
    assert "this is one part of the model in whole, whose modules.json names it; save that model again" in error


@pytest.mark.parametrize("kind", ["reranker", "embedder"])
def test_an_adapter_is_refused_with_advice(request: pytest.FixtureRequest, kind: Any) -> None:
    """transformers would apply it with peft installed, in part or in whole, and ignore it without."""
    folder = request.getfixturevalue(kind)
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="acme/base")
    component = cross_encoder(folder) if kind == "reranker" else dense(folder)
    error = refused(component)
    assert "an adapter is next to its full weights" in error
    assert "model.merge_and_unload().save_pretrained(PATH)" in error
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    alone = "its folder is an adapter without the full weights (adapter_config.json: LORA adapter of acme/base)"
    assert alone in refused(component)
    for name in ("config.json", "modules.json"):
        (folder / name).unlink()
    assert alone in refused(component)


def test_a_cross_encoder_whose_layers_give_no_score_is_refused_in_both_stages(reranker: Any) -> None:
    list_modules(reranker, TRANSFORMER, POOLING, ("sentence_transformers.base.modules.dense.Dense", "2_Dense"))
    error = refused(cross_encoder(reranker))
    assert "a CrossEncoder whose modules.json lists Transformer, Pooling, Dense, and evalkit scores with a" in error
    assert "reranker=trec_run reranker.path=RUN" in error
    assert "(modules.json: Transformer, Pooling, Dense), which scores a query" in refused(dense(reranker))


def test_a_cross_encoder_is_refused_as_an_embedding_model(reranker: Any) -> None:
    error = refused(dense(reranker, pooling="cls"))
    assert (
        "a cross-encoder (modules.json: Transformer), which scores a query with a passage and has no vectors" in error
    )


@pytest.mark.parametrize(
    ("kind", "architecture", "message"),
    [
        ("qwen3", "Qwen3ForCausalLM", "this is a decoder: if it is a reranker, reranker=decoder scores with it"),
        ("t5", "T5ForConditionalGeneration", "this model scores by the words that it writes: score with it"),
        ("qwen3", "Qwen3ForSequenceClassification", "qwen3 is a decoder, whose score stands behind its last token"),
        ("bert", "BertForMaskedLM", "this is a masked language model, which has no score for a pair"),
    ],
)
def test_other_kinds_of_models_are_refused_with_advice(
    tmp_path: Path, kind: Any, architecture: Any, message: Any
) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model(kind, architectures=[architecture], num_labels=1).save_pretrained(tmp_path)
    error = refused(cross_encoder(tmp_path))
    assert message in error
    assert ("reranker=decoder" if "decoder" in message else "reranker=trec_run reranker.path=RUN") in error
    assert "an embedding model scores pairs as" not in error


def test_an_encoder_decoder_is_refused_as_an_embedding_model(tmp_path: Path) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model("t5", architectures=["T5EncoderModel"]).save_pretrained(tmp_path)
    assert "t5 is an encoder with a decoder" in refused(dense(tmp_path, pooling="mean"))


# --- padding


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_vector_does_not_depend_on_its_batch(embedder: Any, side: Any) -> None:
    """With padding on the left, positions moved with the longest text of the batch: cosine with itself was 0.72."""
    edit(embedder / "tokenizer_config.json", padding_side=side)
    alone = scores(dense(embedder, max_length=128, batch_tokens=128))
    assert scores(dense(embedder, max_length=128, batch_tokens=100_000)) == pytest.approx(alone, abs=1e-5)
    assert alone == pytest.approx(expected(embedder, lambda s: unit(s.mean(0))), abs=1e-5)


@pytest.mark.parametrize("of_model", [0, None])
def test_a_tokenizer_without_a_padding_token_is_supported(embedder: Any, of_model: Any) -> None:
    before = scores(dense(embedder))
    stated = json.loads((embedder / "tokenizer_config.json").read_text("utf-8"))
    del stated["pad_token"]
    stated["tokenizer_class"] = "PreTrainedTokenizerFast"
    (embedder / "tokenizer_config.json").write_text(json.dumps(stated), "utf-8")
    edit(embedder / "config.json", pad_token_id=of_model)
    assert scores(dense(embedder)) == pytest.approx(before, abs=1e-5)


# --- sentence-transformers itself


@pytest.mark.parametrize("pooling", ["cls", "max", "mean", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
@pytest.mark.filterwarnings("ignore")
def test_vectors_are_those_of_sentence_transformers(embedder: Any, sentence_transformers: Any, pooling: Any) -> None:
    list_modules(embedder, TRANSFORMER, POOLING, ("sentence_transformers.models.Dense", "2_Dense"), NORMALIZE)
    dense_layer(embedder, "2_Dense", 32, 16)
    edit(embedder / "1_Pooling" / "config.json", pooling_mode=pooling)
    edit(
        embedder / "config_sentence_transformers.json",
        prompts={"query": "query: ", "document": "passage: "}, similarity_fn_name="cosine", truncate_dim=12,
    )  # fmt: skip
    model = sentence_transformers.SentenceTransformer(str(embedder), device="cpu")
    queries, docs = model.encode_query(list(QUERIES.values())), model.encode_document(list(DOCS.values()))
    assert scores(dense(embedder)) == pytest.approx(model.similarity(queries, docs).numpy(), abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_logits_are_those_of_sentence_transformers(reranker: Any, sentence_transformers: Any) -> None:
    model = sentence_transformers.CrossEncoder(str(reranker), device="cpu")
    pairs = [(QUERIES[pair.query_id], DOCS[pair.doc_id]) for pair in PAIRS]
    theirs = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert logits(cross_encoder(reranker)) == pytest.approx(list(theirs), abs=1e-5)


# --- a whole trial, and the shared cases


def test_a_trial_reports_settings_that_contradict_the_folder() -> None:
    class Contradicting:
        slice = DATA
        fused = None
        unjudged_at_10 = {"first_stage": 0.0, "reranked": 0.0}  # noqa: RUF012
        effective = {  # noqa: RUF012
            "slice": defaultdict[str, Any](int, corpus="full"),
            "first_stage": {"notes": ["first_stage.pooling=mean was used, and ..."]},
            "reranker": {"notes": ["reranker.prompt='' was used, and ..."], "max_length": 8},
            "scoring": defaultdict(int),
            "depth": 1,
        }

    trial: Any = Contradicting()
    found = caveats(trial)
    assert "first_stage.pooling=mean was used, and ..." in found
    assert "reranker.prompt='' was used, and ..." in found


@pytest.fixture
def cases() -> Path:
    if not (SHARED / "cases" / "models").is_dir():
        pytest.skip(f"there are no odd model folders at {SHARED}/cases")
    return SHARED / "cases" / "models"


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["encoder-with-dense-layer", "encoder-cls-pooling"])
def test_odd_embedding_models_give_the_vectors_of_sentence_transformers(
    cases: Any, sentence_transformers: Any, name: Any
) -> None:
    model = sentence_transformers.SentenceTransformer(str(cases / name), device="cpu")
    queries, docs = model.encode_query(list(QUERIES.values())), model.encode_document(list(DOCS.values()))
    assert scores(dense(cases / name)) == pytest.approx(model.similarity(queries, docs).numpy(), abs=1e-5)


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_an_odd_reranker_gives_the_logits_of_sentence_transformers(cases: Any, sentence_transformers: Any) -> None:
    model = sentence_transformers.CrossEncoder(str(cases / "cross-encoder-with-prompt"), device="cpu")
    pairs = [(QUERIES[pair.query_id], DOCS[pair.doc_id]) for pair in PAIRS]
    theirs = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert logits(cross_encoder(cases / "cross-encoder-with-prompt", max_length=512)) == pytest.approx(
        list(theirs), abs=1e-5
    )


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_a_modular_reranker_gives_the_logits_of_sentence_transformers(cases: Any, sentence_transformers: Any) -> None:
    folder = cases / "modular-cross-encoder"
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    pairs = [(QUERIES[pair.query_id], DOCS[pair.doc_id]) for pair in PAIRS]
    theirs = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert logits(cross_encoder(folder, max_length=512)) == pytest.approx(list(theirs), abs=1e-5)
    assert "which scores a query with a passage and has no vectors" in refused(dense(folder, pooling="cls"))
