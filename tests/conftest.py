"""Tiny models that are built on the spot, so that no test needs a network or a download."""

import json
import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: no test asks the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is: on a busy machine tiny models wait for their threads
os.environ.setdefault("EVALKIT_STORE", "off")  # a test computes what it asks for
os.environ.setdefault("EVALKIT_HISTORY", "off")  # and enters nothing in the user's history

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, which all processes inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

slow = pytest.mark.skipif(os.environ.get("EVALKIT_SLOW") != "1", reason="takes half a minute; EVALKIT_SLOW=1 runs it")
"""What another, quicker test shows in small."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that start evalkit as a process first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: "run_evalkit" not in vars(getattr(item, "module", None) or item))


REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"
DEV = REPOSITORY / "evalkit" / "slices" / "dev"


@pytest.fixture(scope="session", autouse=True)
def _store_of_schemas_is_not_copied() -> None:
    """Hydra copies all schemas for each configuration that it composes, an eighth of the time, and only reads them."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real collections next to the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"there are no real collections at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT reranker, two layers of 32, random weights, with a WordPiece tokenizer: ``[CLS] q [SEP] d [SEP]``."""
    return _make_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def xlmr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLM-RoBERTa reranker, BGE's architecture in small, with a Unigram tokenizer: ``<s> q </s></s> d </s>``."""
    return _make_xlmr(tmp_path_factory.mktemp("xlmr"))


_VOCABULARIES = Path(__file__).parent / "data"
"""Vocabularies of 4,000 tokens that tokenizers' trainers made of the packaged dev collection, all languages.

They are files, since training breaks ties differently from run to run, and takes seconds.
"""


def _make_bert(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    pieces = (_VOCABULARIES / "wordpieces.txt").read_text("utf-8").split("\n")[:-1]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    config = BertConfig(**_SIZES, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0)
    words = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "cls_token": "[CLS]", "sep_token": "[SEP]",
             "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}  # fmt: skip
    return _saved(folder, tokenizer, words, BertForSequenceClassification, config)


def _make_xlmr(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    lines = (_VOCABULARIES / "unigrams.tsv").read_text("utf-8").split("\n")[:-1]
    pieces = [(piece, float(score)) for piece, score in (line.split("\t") for line in lines)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    config = XLMRobertaConfig(
        **_SIZES | {"max_position_embeddings": 514, "type_vocab_size": 1},
        vocab_size=tokenizer.get_vocab_size(),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    words = {"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>",
             "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
    return _saved(folder, tokenizer, words, XLMRobertaForSequenceClassification, config)


@pytest.fixture(scope="session")
def masked_lm_folder(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with its masked-language-model head, random weights, whose logits are mostly negative: a SPLADE model."""
    import shutil

    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("masked_lm")
    config = BertConfig.from_pretrained(bert_folder)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = BertForMaskedLM(config).eval()
        model.cls.predictions.bias.data.fill_(-4.0)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert_folder / name, folder)
    return folder


_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "num_labels": 1,
    "initializer_range": 0.3,  # ten times the usual: logits that differ well beyond rounding
}


def _saved(folder: Path, tokenizer: Any, words: dict[str, Any], architecture: Any, config: Any) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        architecture(config).eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**words, "model_max_length": 512}), "utf-8")
    return folder


def key_tree(value: object, path: str = "") -> object:
    """The names and types of a result, numbers and texts left out; what differs by machine or slice is folded."""
    if path in _FOLDED:
        return _FOLDED[path]
    if isinstance(value, dict):
        return {key: key_tree(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sorted({str(key_tree(item)) for item in value})
    return "null" if value is None else type(value).__name__


_STATE = {"commit": "str or null", "dirty": "bool or null"}
_FOLDED = {
    "effectiveness.per_query.first_stage": "{measure: {query_id: float}}",
    "effectiveness.per_query.reranked": "{measure: {query_id: float}}",
    "effectiveness.judged_only.per_query.first_stage": "{query_id: float}",
    "effectiveness.judged_only.per_query.reranked": "{query_id: float}",
    "provenance.env": "{name: str}",
    "provenance.versions": "{package: str}",
    "provenance.working_dir": _STATE,
    "provenance.evalkit": {"version": "str", **_STATE},
}


def compose(*overrides: str) -> Any:
    """Compose the configuration as the command line would, into something to be read only."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    whole = _composed(overrides)
    HydraConfig.instance().set_config(whole)  # for ${hydra:...}
    return OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])


@cache
def _composed(overrides: tuple[str, ...]) -> Any:
    from hydra import compose, initialize_config_dir

    from evalkit.cli import hydra_limits, verbatim
    from evalkit.cli.config import conf_dir, register_schemas

    register_schemas()
    typed = verbatim.arguments(overrides, hydra_limits.read_value)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=typed, return_hydra_config=True)


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """As `make_beir_folder`."""
    return make_beir_folder(tmp_path)


def make_beir_folder(place: Path) -> Path:
    """Three queries over six passages, with a first stage and a reranking of it as finished runs.

    By hand, grade 1 and above relevant. First stage: q1 finds its grade 3 second, q2 both of its own in the best
    order, q3 nothing. The reranking lifts q1's to the top, and turns q2's around.
    """
    folder = place / "tiny"
    (folder / "qrels").mkdir(parents=True)
    docs = [{"_id": d, "title": "", "text": f"text of {d}"} for d in "abcdef"]
    queries = [{"_id": q, "text": f"question {q}"} for q in ("q1", "q2", "q3")]
    for name, records in (("corpus", docs), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    grades = ["q1\ta\t0", "q1\tb\t3", "q2\td\t1", "q2\te\t2", "q3\tf\t2"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *grades, ""]), "utf-8")
    for name, rankings in (
        ("first", {"q1": "abc", "q2": "ed"}),
        ("reranked", {"q1": "bac", "q2": "de"}),
    ):
        lines = [
            f"{q} Q0 {d} {rank} {10 - rank} {name}\n" for q, ids in rankings.items() for rank, d in enumerate(ids, 1)
        ]
        (folder / f"{name}.trec").write_text("".join(lines), "utf-8")
    return folder
