"""Members of a fusion: named as on the command line, and recorded with all of their settings."""

import copy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from evalkit.boundary.errors import EvalkitError
from evalkit.cli.fusion_members import expand
from evalkit.cli.instantiate import build
from evalkit.cli.tasks import computes_nothing
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.fusion import Fusion
from tests.conftest import compose
from tests.helpers.command_line import run_here, sentence


def expanded(of: str, *more: str) -> Any:
    """The first stage's settings of ``first_stage=fusion first_stage.of=...``, resolved."""
    cfg = copy.deepcopy(compose("first_stage=fusion", f"first_stage.of={of}", *more))
    expand(cfg)
    return OmegaConf.to_container(cfg, resolve=True)["first_stage"]  # type: ignore[index,call-overload]


def test_a_name_becomes_the_settings_of_its_choice() -> None:
    bm25, minilm = expanded("[bm25,minilm]")["of"]
    assert bm25 == {
        "_target_": "evalkit.first_stage.bm25.BM25", "k1": 0.9, "b": 0.4, "method": "lucene", "analysis": "auto",
        "cache": "auto", "name": "bm25",
    }  # fmt: skip
    assert (minilm["model"], minilm["max_length"]) == ("sentence-transformers/all-MiniLM-L6-v2", 256)


def test_a_member_has_the_device_the_precision_and_the_cache_of_the_trial() -> None:
    (_, minilm) = expanded("[bm25,minilm]", "device=cuda:1", "precision=bf16", "first_stage_cache=off")["of"]
    assert (minilm["device"], minilm["precision"], minilm["cache"]) == ("cuda:1", "bf16", "off")


def test_a_single_value_is_the_setting_that_the_first_stage_requires() -> None:
    run, dense = expanded("[{trec_run: a/run.trec},{dense: FOLDER}]")["of"]
    assert (run["path"], run["order"], dense["model"]) == ("a/run.trec", "score", "FOLDER")


def test_settings_of_a_member_are_those_that_it_has_by_itself() -> None:
    found = expanded("[{bm25: {k1: 1.2, b: 0.75, name: other}},bm25]", "first_stage.weights=[0.25,0.75]")
    made = build(found, "first_stage")
    assert isinstance(made, Fusion)
    assert made.of == [BM25(1.2, 0.75, cache="auto", name="other"), BM25(cache="auto")]
    assert made.weights == [0.25, 0.75]


def test_weights_are_tuned_for_the_first_measure() -> None:
    assert expanded("[bm25,minilm]", "measures.names=[RR@10,nDCG@10]")["tune_for"] == "RR@10"


def test_members_in_full_as_a_result_records_them_stay_as_they_are() -> None:
    once = expanded("[bm25,{trec_run: RUN}]")
    written = OmegaConf.to_yaml(OmegaConf.create({"of": once["of"]}))
    again = copy.deepcopy(compose("first_stage=fusion", "first_stage.of=[]"))
    again.first_stage.of = OmegaConf.create(written).of
    expand(again)
    assert OmegaConf.to_container(again.first_stage.of) == once["of"]


def test_any_other_first_stage_is_left_alone() -> None:
    cfg = compose()
    before = OmegaConf.to_container(cfg.first_stage)
    expand(cfg)
    assert OmegaConf.to_container(cfg.first_stage) == before


def test_a_fusion_of_finished_runs_computes_nothing() -> None:
    without = {"_target_": "evalkit.rerankers.none.NoReranker"}
    runs, mixed = expanded("[{trec_run: a},{trec_run: b}]"), expanded("[bm25,{trec_run: b}]")
    assert computes_nothing({"first_stage": runs, "reranker": without}) is True
    assert computes_nothing({"first_stage": mixed, "reranker": without}) is False


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("[bm25,bm52]", "first_stage.of: there is no first_stage 'bm52'; did you mean bm25?"),
        ("[bm25,3]", "first_stage.of: 3 is no member; a member is a name (bm25), or a name with its settings"),
        ("[bm25,{bm25: {k1: 1}, minilm: {}}]", "first_stage.of: a mapping is no member; a member is a name (bm25)"),
        ("[bm25,dense]", "first_stage.of: dense requires model: write {dense: MODEL}"),
        ("[bm25,{trec_run: {order: rank}}]", "first_stage.of: trec_run requires path: write {trec_run: PATH}"),
        ("[bm25,{bm25: 0.9}]", "first_stage.of: bm25 requires no setting, so 0.9 needs the name of one: {bm25: {SETT"),
        ("[bm25,{bm25: {kk: 0.9}}]", "first_stage.of: bm25 has no setting 'kk'; did you mean k1?"),
        ("[bm25,{bm25: {k1: high}}]", "first_stage.of: bm25: Value 'high' of type 'str' could not be converted to Fl"),
        ("[bm25,{bm25: null}]", "first_stage.of: bm25 has null as settings; a member is a name (bm25)"),
        ("[bm25,{bm25: [1]}]", "first_stage.of: bm25 has a list as settings; a member is a name (bm25)"),
        ("[bm25,fusion]", "first_stage.of: a fusion cannot be a member of a fusion; name its members instead"),
        ("[bm25,{bm25: {cache: /elsewhere}}]", "first_stage.of: a member has cache='/elsewhere', and all members have"),
        ("[{_target_: evalkit.first_stage.bm25.BM25, cache: /elsewhere}]", "first_stage.of: a member has cache="),
    ],
)
def test_a_member_of_another_form_is_refused(of: str, message: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        expanded(of)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("target", ["os.system", "evalkit.rerankers.none.NoReranker"])
def test_a_member_can_be_nothing_but_a_first_stage(target: str) -> None:
    found = expanded(f"[bm25,{{_target_: {target}}}]")
    with pytest.raises(EvalkitError, match="_target_="):
        build(found, "first_stage")


def test_a_trial_with_a_fusion_from_the_command_line(beir_folder: Path) -> None:
    runs = ",".join(f"{{trec_run: {beir_folder}/{name}.trec}}" for name in ("first", "reranked"))
    arguments = ["slice=beir", f"slice.path={beir_folder}", "first_stage=fusion", f"first_stage.of=[{runs}]",
                 "reranker=none", "out_dir=out"]  # fmt: skip
    done = run_here(*arguments, cwd=beir_folder)
    # The runs lack q3, which no other member could rank alone.
    assert sentence(done.stderr).startswith("first_stage.of: first lacks 1 of the 3 queries of tiny/test, such as 'q3'")
    for name in ("first", "reranked"):
        with (beir_folder / f"{name}.trec").open("a") as file:
            file.write("q3 Q0 a 1 1.0 t\n")
    done = run_here(*arguments, cwd=beir_folder)
    assert done.returncode == 0, done.stderr
    # Equal ranks in both: ties of the first two passages go to the member first in the alphabet.
    assert "What fusing gains" in done.stdout
    assert re_found(done.stdout, "rrf(first, reranked)") == re_found(done.stdout, "first ")


def re_found(text: str, name: str) -> str:
    """The value of the first measure in the row of a system in the last table that has it."""
    row = next(line for line in reversed(text.splitlines()) if f"│ {name}" in line)
    return row.split("│")[2].strip()


def test_a_user_s_own_first_stage_is_a_member_too(tmp_path: Path, beir_folder: Path) -> None:
    (tmp_path / "first_stage").mkdir()
    (tmp_path / "first_stage" / "mine.yaml").write_text("_target_: mine_fused.Shortest\n", "utf-8")
    (tmp_path / "mine_fused.py").write_text(
        "from evalkit.types import Hit, Run\n"
        "class Shortest:\n"
        "    name = 'shortest'\n"
        "    def search(self, data, depth):\n"
        "        hits = tuple(Hit(d, -float(n)) for n, d in enumerate(sorted(data.docs)[:depth]))\n"
        "        return Run('shortest', dict.fromkeys(data.queries, hits))\n",
        "utf-8",
    )
    done = run_here(
        "--config-dir", tmp_path, "slice=beir", f"slice.path={beir_folder}", "first_stage=fusion",
        "first_stage.of=[mine,bm25]", "reranker=none", f"out_dir={tmp_path}/out", cwd=tmp_path,
        EVALKIT_ALLOW_TARGETS="mine_fused", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rrf(bm25, shortest)" in done.stdout
