"""A decoder as the reranker: what is refused, what is recorded, and what is stored."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.decoder import Decoder
from evalkit.slices import packaged as dev
from evalkit.types import Pair
from tests.conftest import compose
from tests.helpers.command_line import run_here
from tests.helpers.decoders import HEAD, QWEN3, make_decoder, write_json
from tests.helpers.gate_pipeline import cut

ASKED: dict[str, Any] = {
    "template": list(QWEN3.template), "instruction": QWEN3.instruction, "yes_word": "yes", "no_word": "no",
    "max_length": 400, "device": "cpu",
}  # fmt: skip
OWN_HEAD = {"template": list(HEAD.template), "instruction": None, "yes_word": None, "no_word": None}


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("qwen3"), "qwen3")


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(EvalkitError) as caught:
        Decoder(str(folder), **ASKED | settings).check()
    return str(caught.value)


def data_of(queries: int = 3) -> tuple[list[Pair], Mapping[str, str], Mapping[str, str]]:
    data = cut(dev.load("en"), queries)
    docs = dict(list(data.docs.items())[:5])
    return [Pair(query, doc) for query in data.queries for doc in docs], data.queries, docs


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"template": None},
            "reranker.template is not set: a decoder reranks by the template that it was trained with",
        ),
        ({"template": ["{query}"]}, "reranker.template has {passage} 0 times"),
        (OWN_HEAD, "its architecture is Qwen3ForCausalLM, which has none; set reranker.yes_word"),
        ({"path": "fast"}, "reranker.path=fast: there is auto, packed, padded"),
        ({"precision": "int8"}, "precision=int8: torch computes in"),
    ],
)
def test_settings_that_cannot_be_are_refused(qwen3: Path, settings: Any, words: str) -> None:
    assert words in refused(qwen3, **settings)


def test_other_kinds_of_models_are_sent_where_they_belong(bert_folder: Path, qwen3: Path, tmp_path: Path) -> None:
    encoder = refused(bert_folder)
    assert "BertForSequenceClassification, which is no decoder; reranker=cross_encoder reranker.model=" in encoder
    embedding = Path(shutil.copytree(qwen3, tmp_path / "embedding"))
    kinds = ["Transformer", "Pooling", "Normalize"]
    write_json(embedding / "modules.json", [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" * bool(i), "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ])  # fmt: skip
    assert "makes it an embedding model: reranker=bi_encoder" in refused(embedding)
    several = make_decoder(tmp_path / "several", "qwen3", head=True, num_labels=3)
    assert "its head has 3 labels" in refused(several, **OWN_HEAD)
    classifier = make_decoder(tmp_path / "one", "qwen3", head=True)
    assert "the logit of reranker.yes_word is a language model's" in refused(classifier)


def test_a_head_that_the_files_do_not_hold_is_no_random_one(qwen3: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "without"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", config | {"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1})
    reranker = Decoder(str(folder), **ASKED | OWN_HEAD)
    reranker.check()
    with pytest.raises(EvalkitError, match=r"score.weight\), and would be random numbers"):
        reranker.load()


def test_tokens_of_the_models_own_files_are_compared_with_the_settings(qwen3: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "stated"))
    reranker = Decoder(str(qwen3), **ASKED)
    reranker.load()
    yes, no = reranker.scorer.pairs.answer.tokens  # type: ignore[attr-defined]
    kind = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_LogitScore", "type": kind},
    ])  # fmt: skip
    (folder / "1_LogitScore").mkdir()
    for stated, notes in (((yes, no), 0), ((no, yes), 1)):
        ids = dict(zip(("true_token_id", "false_token_id"), stated, strict=True))
        write_json(folder / "1_LogitScore" / "config.json", ids)
        reranker = Decoder(str(folder), **ASKED)
        reranker.check()
        reranker.load()
        assert len(reranker.describe()["notes"]) == notes
    assert "the reranker's own files state 'no' and 'yes'" in reranker.describe()["notes"][0]


def test_the_result_states_template_instruction_and_score(qwen3: Path) -> None:
    reranker = Decoder(str(qwen3), **ASKED)
    reranker.load()
    facts = reranker.describe()
    assert facts["template"] == list(QWEN3.template)
    assert facts["instruction"] == "retrieve relevant passages"
    assert facts["score"] == "logit of 'yes' less that of 'no', in the last position"
    assert facts["attention"].removesuffix(", oneDNN") == "packed, sdpa, shared prefixes"
    assert facts["self_check"]["pairs"] == 4


def test_scores_are_stored_under_the_prompt_that_made_them(qwen3: Path, tmp_path: Path) -> None:
    texts = data_of()

    def scored(**settings: Any) -> Any:
        reranker = Decoder(str(qwen3), **ASKED | {"store": str(tmp_path / "scores.sqlite")} | settings)
        reranker.check()
        reranker.load()
        return reranker.score_all(*texts)

    first, again = scored(), scored()
    assert (first.from_store, again.from_store) == (0, 15)
    assert first.logits == again.logits
    other = scored(instruction="find passages that contradict the query")
    assert other.from_store == 0
    assert other.logits != first.logits
    assert scored(no_word=None).from_store == 0


@pytest.mark.parametrize(
    "choice", ["qwen3_reranker_0_6b", "qwen3_reranker_4b", "qwen3_reranker_8b", "mxbai_v2_base", "mxbai_v2_large",
               "bge_v2_gemma"]
)  # fmt: skip
def test_every_ready_template_can_ask(choice: str, qwen3: Path) -> None:
    stated = compose(f"reranker={choice}").reranker
    reranker = Decoder(
        str(qwen3), template=list(stated.template), instruction=stated.instruction, yes_word="yes",
        no_word=stated.no_word and "no", max_length=600, device="cpu",
    )  # fmt: skip
    reranker.check()


def test_a_trial_runs_from_the_command_line_and_refuses_another_runtime(qwen3: Path, tmp_path: Path) -> None:
    command = (
        "reranker=qwen3_reranker_0_6b", f"reranker.model={qwen3}", "reranker.max_length=512", "slice.queries=3",
        "store=off", f"out_dir={tmp_path / 'run'}",
    )  # fmt: skip
    refusal = run_here(*command, "runtime=onnxruntime", cwd=tmp_path, EVALKIT_HISTORY="off")
    assert refusal.returncode == 2
    assert "runtime=onnxruntime: this reranker is not computed by it" in refusal.stderr
    assert run_here(*command, cwd=tmp_path, EVALKIT_HISTORY="off").returncode == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))
    assert result["effective"]["reranker"]["architecture"] == "Qwen3ForCausalLM"
    assert (result["asked"]["reranker"]["yes_word"], result["asked"]["reranker"]["no_word"]) == ("yes", "no")
    assert "REDACTED" not in json.dumps(result)  # a setting named ...token would be taken for a secret
    assert result["effective"]["scoring"]["shared_share"] > 0.3
    assert result["effective"]["scoring"]["padding_share"] == 0
    report = (tmp_path / "run" / "report.md").read_text("utf-8")
    assert "shared prefixes, tokens not computed again" in report
    assert "Given a web search query, retrieve relevant passages that answer the query" in report
