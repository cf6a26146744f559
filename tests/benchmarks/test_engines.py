"""benchmarks/engines.py: it refuses what cannot be compared, and every engine gets the ids that evalkit gives."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import engine_jobs
import engines
import peers
from model_folder import ARCHITECTURES, PACKAGED, build, model_folder, packaged_texts
from msmarco_pairs import DEPTH, PASSAGE_TOKENS, PERCENT, QUERY_TOKENS, by_query, drawn_pairs, find_texts, real_pairs
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.cost import matrix_rate

PAIRS = [
    ("how long does a flea live", "A flea lives up to a year, if it finds a host."),
    ("how long does a flea live", "Concrete floors cost 2 to 6 dollars a square foot."),
    ("wem gehört der Mond?", "Nach dem Weltraumvertrag gehört der Mond niemandem. " * 8),
    ("which of the many, many moons in the solar system is by far the largest of them all " * 4, "Ganymede. " * 40),
]
"""The last two are cut at 64 tokens, each otherwise by the two rules."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both architectures at two layers of 32, their tokenizers trained as for the full size."""
    made = {}
    for name, architecture in ARCHITECTURES.items():
        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        sizes = {**architecture.sizes, **small, "vocab_size": 3000, "max_position_embeddings": 514}
        made[name] = tmp_path_factory.mktemp(name)
        build(dataclasses.replace(architecture, sizes=sizes), packaged_texts()[:300], made[name])
    return made


def setting(folder: Path) -> peers.Setting:
    return peers.Setting(str(folder), "cpu", "fp32", 64)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engines", "evalkit-pakced"], "there is no evalkit-pakced; did you mean evalkit-packed"),
        (["--engines", "rerankers"], "the peers are compared with it"),
        (["--model", "minilm-l7"], "--model=minilm-l7: no such model; did you mean minilm-l6"),
        (["--precision", "int8"], "precision=int8: torch computes in fp32"),
        (["--pairs", "0"], "--pairs=0: at least 1 is needed"),
        (["--texts", "nowhere"], "--texts=nowhere has no corpus.jsonl"),
        (["--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["--batch-tokens", "32"], "--batch-tokens=32 is smaller than one pair of --max-length=512 tokens"),
    ],
)
def test_a_comparison_that_cannot_be_had_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments == ["--engines", "rerankers"]:
        monkeypatch.setitem(
            peers.PEERS, "rerankers", ("json", "json")
        )  # a module that is there, whoever installed what
    assert engines.main(arguments) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1


def test_a_peer_that_is_not_installed_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "flagembedding", ("no_such_module", "FlagEmbedding"))
    with pytest.raises(EvalkitError, match=r"flagembedding not installed; pip install 'evalkit-rerank\[benchmark\]'"):
        peers.choose("evalkit-packed,flagembedding")
    names, missing = peers.choose(None)
    assert missing[0] == "flagembedding"
    assert "flagembedding" not in names


@pytest.mark.parametrize(("name", "frame"), [("xlmr-large", "<s>q</s></s>d</s>"), ("minilm-l6", "[CLS]q[SEP]d[SEP]")])
def test_a_folder_is_a_reranker_with_its_kind_of_tokenizer(folders: dict[str, Path], name: str, frame: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("q", "d")["input_ids"])
    assert "".join(tokens).replace("▁", "") == frame
    logits = peers.load(["evalkit-padded"], setting(folders[name]))["evalkit-padded"].score(PAIRS)
    assert logits.max() - logits.min() > 0.01  # so far apart that a difference between engines would show


def test_a_model_is_a_name_or_a_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    assert model_folder("packaged", [], tmp_path) == PACKAGED
    assert model_folder(str(folders["minilm-l6"]), [], tmp_path) == folders["minilm-l6"]


@pytest.mark.parametrize("name", [name for name in peers.PEERS if not name.endswith("-best")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_peer_gets_the_ids_of_evalkit(folders: dict[str, Path], architecture: str, name: str) -> None:
    if importlib.util.find_spec(peers.PEERS[name][0]) is None:
        pytest.skip(f"{name} is not installed: pip install 'evalkit-rerank[benchmark]'")
    here = setting(folders[architecture])
    engine = peers.load([name], here)[name]
    tokenizer = AutoTokenizer.from_pretrained(here.folder)
    expected = peers.evalkit_pairs(here, tokenizer, engine.truncation, PAIRS)
    seconds, ids = engine.tokenize(PAIRS)
    assert [one.tolist() for one in ids] == [one.tolist() for one in peers.ids_of(expected)]
    assert expected.truncated.sum() == 2
    assert seconds > 0
    padded = peers.load(["evalkit-padded"], here)["evalkit-padded"].score(PAIRS[:2])
    np.testing.assert_allclose(engine.score(PAIRS[:2]), padded, atol=1e-6)


def test_drawn_pairs_are_as_long_as_those_of_ms_marco() -> None:
    tokenizer = Tokenizer.from_file(str(PACKAGED / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pairs = drawn_pairs(1000, tokenizer)
    assert [len(group) for group in by_query(pairs)] == [DEPTH] * 10
    for texts, quantiles, within in (
        ([passage for _, passage in pairs], PASSAGE_TOKENS, 5),
        ([group[0][0] for group in by_query(pairs)], QUERY_TOKENS, 3),
    ):
        lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
        assert abs(np.median(lengths) - quantiles[PERCENT.index(50)]) <= within
        assert max(lengths) <= quantiles[-1] + 4  # a word more


@pytest.mark.shared
def test_real_pairs_go_on_beyond_the_run(shared: Path) -> None:
    folder = find_texts(shared / "data" / "msmarco-dl19")
    assert folder is not None
    pairs = real_pairs(folder, 4500)
    assert len(pairs) == 4500
    assert pairs[:4300] == real_pairs(folder, 4300)
    assert [len(group) for group in by_query(pairs)][:43] == [100] * 43


@pytest.fixture(scope="module")
def measured(folders: dict[str, Path]) -> engines.Measured:
    """Evalkit's two paths measured for once in this process; a peer's figures are added by hand."""
    job = engine_jobs.Job(("evalkit-packed", "evalkit-padded"), setting(folders["minilm-l6"]), PAIRS)
    compared = engine_jobs.compare_ids(job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matrix_rate.SIDES, "cpu", (64,))  # the full-size products take seconds
        first = engine_jobs.run_round(job)

    def with_seconds(ours: float, theirs: float) -> engine_jobs.Round:
        by_hand = {"evalkit-packed": ours, "evalkit-padded": 2 * ours, "rerankers": theirs}
        return dataclasses.replace(
            first,
            samples={name: engine_jobs.Sample(seconds, seconds / 2, 0.1) for name, seconds in by_hand.items()},
            logits={**first.logits, "rerankers": first.logits["evalkit-padded"] + np.float32(0.25)},
            engines={**first.engines, "rerankers": {"batch": "16 pairs"}},
            matrix_flops=1e9,
        )

    rounds = (with_seconds(1.0, 3.0), with_seconds(4.0, 8.0), with_seconds(2.0, 5.0))
    return engines.Measured(
        {"texts": "four", "model": "m", "model_folder": "", "precision": "fp32", "max_length": 64},
        engine_jobs.environment(job.setting.torch_device),
        ("flagembedding",),
        len(PAIRS),
        dataclasses.replace(compared, ids={**compared.ids, "rerankers": compared.ids["evalkit-packed"]}),
        rounds,
        first.logits["evalkit-padded"],
    )


def test_the_json_holds_samples_environment_and_ratios(measured: engines.Measured) -> None:
    found = engines.as_json(measured)
    assert {"setting", "environment", "engines", "end_to_end_ratio", "missing"} <= set(found)
    assert found["end_to_end_ratio"] == {"rerankers": pytest.approx(2.5)}  # medians: 5 seconds against 2
    assert found["end_to_end_ratio_of"] == "evalkit-packed"
    ours = found["engines"]["evalkit-packed"]
    assert ours["end_to_end_s"] == [1.0, 4.0, 2.0]
    assert ours["pairs_per_s"] == pytest.approx({"end_to_end": 2.0, "model": 4.0, "tokenization": 40.0})
    assert ours["path"] == "packed"
    assert ours["max_logit_difference"] <= 1e-6
    assert ours["mfu"]["end_to_end"] == pytest.approx(measured.compared.useful_flops / 2.0 / 1e9)
    assert found["engines"]["rerankers"]["max_logit_difference"] == pytest.approx(0.25)
    assert found["environment"]["torch"]
    assert [ids["differing_pairs"] for ids in (engine["ids"] for engine in found["engines"].values())] == [0, 0, 0]


def test_the_table_states_what_was_compared(measured: engines.Measured) -> None:
    table = engines.table(measured)
    assert "4 pairs (four)" in table
    assert "2.50 x" in table
    assert "under longest_first for evalkit-packed, evalkit-padded, rerankers" in table
    assert "Not installed, so left out: flagembedding; pip install 'evalkit-rerank[benchmark]'" in table


def test_pairs_left_out_are_counted_and_named(measured: engines.Measured) -> None:
    other = dataclasses.replace(measured.compared.ids["rerankers"], differing_pairs=1)
    compared = dataclasses.replace(measured.compared, ids={**measured.compared.ids, "rerankers": other})
    found = dataclasses.replace(measured, asked_pairs=5, compared=compared)
    assert engines.as_json(found)["left_out_pairs"] == 1
    assert "Left out: 1 pairs of which an engine makes other ids than evalkit ({'rerankers': 1})." in engines.table(
        found
    )
    assert "Left out" not in engines.table(measured)
