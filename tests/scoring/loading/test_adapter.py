"""A LoRA adapter is merged into its base, and scores as peft scores with both; what is missing is an error."""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.cross_encoder import CrossEncoder
from evalkit.scoring.loading import adapter as module
from evalkit.types import Pair
from tests.helpers.encoders import save_encoder
from tests.helpers.scorers import PAIRS

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # how peft calls transformers
QUERIES = {str(number): query for number, (query, _) in enumerate(PAIRS)}
DOCS = {str(number): passage for number, (_, passage) in enumerate(PAIRS)}
NAMED = [Pair(str(number), str(number)) for number in range(len(PAIRS))]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("evalkit.scoring.made_files.in_own_process", lambda label, otherwise, job, *of: job(*of))
    return tmp_path / "home"


@pytest.fixture
def peft() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("peft", reason="the extra peft brings it")


@pytest.fixture
def base(bert_folder: Any, tmp_path: Path) -> Path:
    return save_encoder("modernbert", bert_folder, tmp_path / "base")


def adapted(peft: Any, base: Path, labels: int = 1, **settings: Any) -> Any:
    """A classifier with an adapter, whose weights are random in both matrices."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    config = {"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 8, "target_modules": ["Wqkv", "Wo"], **settings}
    torch.manual_seed(2)
    found = peft.get_peft_model(model, peft.LoraConfig(**config)).eval()
    for name, weight in found.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return found


def saved(model: Any, base: Path, folder: Path, tokenizer: bool = True) -> Path:
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json") if tokenizer else ():
        shutil.copy(base / name, folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def reranker(folder: Path, **more: Any) -> CrossEncoder:
    settings: dict[str, Any] = {"max_length": 96, "truncation": "longest_first", "device": "cpu"}
    return CrossEncoder(str(folder), **settings | more)


def scores(folder: Path, **more: Any) -> np.ndarray:
    one = reranker(folder, **more)
    one.check()
    one.load()
    return np.array(one.score(NAMED, QUERIES, DOCS).logits)


def of_peft(model: Any, base: Path) -> np.ndarray:
    """The logits of base and adapter, not merged, (pairs, labels)."""
    from transformers import AutoTokenizer

    queries, passages = map(list, zip(*PAIRS, strict=True))
    inputs = AutoTokenizer.from_pretrained(base)(
        queries, passages, truncation="longest_first", max_length=96, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        found: np.ndarray = model(**inputs).logits.numpy()
    return found


def refused(one: CrossEncoder) -> str:
    with pytest.raises(EvalkitError) as error:
        one.check()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("tokenizer", [True, False], ids=["own tokenizer", "tokenizer of the base"])
def test_scores_are_those_of_base_and_adapter(peft: Any, base: Path, tmp_path: Path, tokenizer: bool) -> None:
    model = adapted(peft, base)
    folder = saved(model, base, tmp_path / "adapter", tokenizer)
    theirs = of_peft(model, base)[:, 0]
    np.testing.assert_allclose(scores(folder), theirs, rtol=0, atol=1e-4)
    assert np.abs(scores(base) - theirs).max() > 0.01


@pytest.mark.parametrize(
    "settings",
    [{"use_rslora": True}, {"use_dora": True}, {"modules_to_save": ["head", "classifier"]}, {"bias": "all"}],
)
def test_an_adapter_may_bring_a_head_with_other_labels(peft: Any, base: Path, tmp_path: Path, settings: Any) -> None:
    model = adapted(peft, base, labels=3, **settings)
    folder = saved(model, base, tmp_path / "adapter")
    theirs = of_peft(model, base)
    assert "its head has 3 labels" in refused(reranker(folder))
    np.testing.assert_allclose(scores(folder, label=[2, 0]), theirs[:, 2] - theirs[:, 0], rtol=0, atol=1e-4)


def test_the_head_may_be_that_of_the_base(peft: Any, base: Path, tmp_path: Path) -> None:
    model = adapted(peft, base, task_type=None)
    folder = saved(model, base, tmp_path / "adapter")
    assert all("lora_" in name for name in load_file(folder / "adapter_model.safetensors"))
    np.testing.assert_allclose(scores(folder), of_peft(model, base)[:, 0], rtol=0, atol=1e-4)


def test_adapters_that_sentence_transformers_saves_are_read_with_its_files(
    peft: Any, sentence_transformers: Any, base: Path, tmp_path: Path
) -> None:
    model = sentence_transformers.CrossEncoder(
        str(base), device="cpu", max_length=96, prompts={"web": "search: "}, default_prompt_name="web"
    )
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["Wqkv"], modules_to_save=["classifier"])
    model.add_adapter(config)
    torch.manual_seed(4)
    for name, weight in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    folder = tmp_path / "adapter"
    model.save_pretrained(str(folder))
    assert not (folder / "config.json").exists()
    theirs = model.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(scores(folder), theirs, rtol=0, atol=1e-4)


def test_a_head_in_neither_is_an_error(peft: Any, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = saved(adapted(peft, base, task_type=None), base, tmp_path / "adapter")
    AutoModel.from_pretrained(base).save_pretrained(base)
    error = refused(reranker(folder))
    assert "classifier.bias is neither in the adapter (modules_to_save) nor in its base, and would be random" in error


def test_an_adapter_of_another_base_is_an_error(peft: Any, base: Path, bert_folder: Any, tmp_path: Path) -> None:
    folder = saved(adapted(peft, base), base, tmp_path / "adapter")
    edit(folder / "adapter_config.json", base_model_name_or_path=str(bert_folder))
    assert "the adapter cannot be put into its base" in refused(reranker(folder))
    edit(folder / "adapter_config.json", base_model_name_or_path=str(base), target_modules=["Wqkv"])
    assert "the adapter's weights are not those that its base has places for" in refused(reranker(folder))
    weights = load_file(folder / "adapter_model.safetensors")
    edit(folder / "adapter_config.json", target_modules=["Wqkv", "Wo"])
    weights.pop(min(name for name in weights if "lora_A" in name))
    save_file(weights, folder / "adapter_model.safetensors")
    assert "the adapter's weights are not those that its base has places for" in refused(reranker(folder))


def test_it_is_merged_once_and_the_result_names_both(
    peft: Any, base: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(adapted(peft, base), base, tmp_path / "adapter")
    scores(folder)

    def fail(*of: Any, **given: Any) -> None:
        raise AssertionError("merged again")

    monkeypatch.setattr(module, "merge", fail)
    again = reranker(folder)
    again.check()
    again.load()
    facts = again.describe()
    assert (facts["model"], facts["name"]) == (str(folder), "adapter")
    assert facts["adapter"]["kind"] == "LORA"
    assert facts["adapter"]["base"] == str(base)
    assert facts["adapter"]["base_revision"].startswith("sha256:")
    assert facts["revision"].startswith("sha256:")
    assert facts["revision"] != facts["adapter"]["base_revision"]
    assert len(os.listdir(home / "merged")) == 1


def test_without_its_base_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = made_by_hand(tmp_path, base_model_name_or_path="acme/no-such-base")
    error = refused(reranker(folder))
    assert error.startswith(
        f"reranker.model={folder}: an adapter (LORA) whose base cannot be loaded (adapter_config.json)"
    )
    assert (
        "base_model_name_or_path=acme/no-such-base: no such local folder, and the Hugging Face hub did not give"
        in error
    )


def test_without_peft_an_adapter_is_refused_with_the_extra(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    error = refused(reranker(made_by_hand(tmp_path, base_model_name_or_path=str(base))))
    assert error.endswith("and peft is not installed: pip install evalkit-rerank[peft]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "its folder is an adapter without the full weights (adapter_config.json: IA3 adapter"),
        ({"task_type": "CAUSAL_LM"}, "its folder is an adapter without the full weights"),
        ({"megatron_config": {"a": 1}, "megatron_core": "mine"}, "its folder is an adapter without the full weights"),
        ({"base_model_name_or_path": None}, "its folder is an adapter without the full weights"),
    ],
)
def test_other_adapters_are_refused(base: Path, tmp_path: Path, changes: Any, message: str) -> None:
    error = refused(reranker(made_by_hand(tmp_path, **{"base_model_name_or_path": str(base), **changes})))
    assert message in error
    assert "merge the adapter with peft" in error


def test_files_that_are_absent_broken_or_pickles_are_refused(base: Path, tmp_path: Path) -> None:
    folder = made_by_hand(tmp_path, base_model_name_or_path=str(base))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(b"\0" * 20)
    assert "adapter_model.safetensors cannot be read" in refused(reranker(folder))
    weights.rename(folder / "adapter_model.bin")
    assert "a pickle can run code when it is read" in refused(reranker(folder))
    (folder / "adapter_model.bin").unlink()
    assert "adapter_model.safetensors, its weights, is not there" in refused(reranker(folder))
    edit(base / "config.json", is_decoder=True, model_type="qwen3")
    save_file({"a": torch.zeros(1)}, weights)
    assert "which is a decoder, and evalkit merges adapters of encoders" in refused(reranker(folder))


def made_by_hand(tmp_path: Path, **stated: Any) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", **stated}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    save_file({"base_model.model.classifier.weight": torch.zeros(1, 32)}, folder / "adapter_model.safetensors")
    return folder
