"""A user's mistake ends in one sentence that says what would be right, exit code 2, and no traceback."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from evalkit.cli import app, run_folder
from tests.helpers.command_line import run_here, sentence


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Run the command line up to its error, and return the sentence."""

    def run(*arguments: str) -> str:
        done = run_here(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        return sentence(done.stderr)

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("experiment=msmarco_fp61", "there is no experiment 'msmarco_fp61'; did you mean msmarco_fp16, "),
        (
            "experiment=xyz",
            "there is no experiment 'xyz'; choose from ci, dev_alternatives, dev_languages, dev_runtimes, miracl_fp16",
        ),
        (
            "experiment=msmarco_dl19",
            "there is no experiment 'msmarco_dl19'; slice=msmarco_dl19 is there; did you mean ",
        ),
        (
            "reranker=BAAI/bge-reranker-v2-m3",
            "reranker=BAAI/bge-reranker-v2-m3: this is a hub id or a path, and reranker= takes the name of a choice; "
            "write reranker=bge_v2_m3, which has this model",
        ),
        (
            "first_stage=./model/folder",
            "first_stage=./model/folder: this is a hub id or a path, and first_stage= takes the name of a choice; "
            "write first_stage=dense first_stage.model=./model/folder",
        ),
        (
            "slice=data/mine",
            "slice=data/mine: this is a path, and slice= takes the name of a choice; write slice=beir "
            "slice.path=data/mine",
        ),
        ("slice=devv", "there is no slice 'devv'; did you mean dev?"),
        ("slice=xyz", "there is no slice 'xyz'; python -m evalkit info slice lists what there is"),
        ("reranker=bge", "there is no reranker 'bge'; did you mean bge_base, "),
        ("first_stage=bm52", "there is no first_stage 'bm52'; did you mean bm25?"),
        ("precision=fp61", "there is no precision 'fp61'; did you mean fp16, "),
        ("slice.lng=xx", "there is no setting 'slice.lng'; did you mean lang?"),
        (
            "slice.chunks=tokens",
            "there is no setting 'slice.chunks'; chunks is a group of its own: write chunks=CHOICE, with one of none, ",
        ),
        ("slice.path=/x", "there is no setting 'slice.path' with this slice; slice=beir has it"),
        ("slice=beir path=/x", "there is no setting 'path'; did you mean slice.path?"),
        (
            "reranker=none reranker.max_length=9",
            "there is no setting 'reranker.max_length' with this reranker; reranker=cross_encoder, reranker=decoder, "
            "reranker=bi_encoder or reranker=late_interaction has it",
        ),
        ("reranker.batchtokens=9", "there is no setting 'reranker.batchtokens'; did you mean batch_tokens"),
        ("dpeth=5", "there is no setting 'dpeth'; did you mean depth?"),
        ("slcie.lang=zh", "there is no setting 'slcie.lang'; did you mean slice?"),
        ("protocol.warmup=1", "there is no setting 'protocol.warmup'; did you mean warmup_queries"),
        ("precision.nam=fp16", "there is no setting 'precision.nam'; did you mean name?"),
        ("hydra.run.dri=x", "Could not override 'hydra.run.dri'"),
        ("task=trail", "task=trail: no such task; did you mean trial?"),
        ("passage=x", "there is no setting 'passage'; did you mean passages"),
        ("quickcheck.query=x", "there is no setting 'quickcheck.query'"),
        (
            "query=why passages=[because]",
            "query and passages: only the quick check takes texts of your own; add experiment=quickcheck to the ",
        ),
        ("experiment=ci query=why", "query: only the quick check takes texts of your own; add experiment=quickcheck"),
        ("experiment=quickcheck query=why", "query is given without passages; add passages="),
        ("experiment=quickcheck passages=[a]", "passages are given without a query; add query=TEXT"),
        ("experiment=quickcheck query= passages=[a]", "query is empty; "),
        ("experiment=quickcheck query=why passages=[]", "passages has no passage; give one or more"),
        ("experiment=quickcheck query=why passages=[a", "cannot read the argument 'passages=[a'; write passages='["),
        (
            "experiment=quickcheck query=why passages=a.txt,b.txt",
            "Ambiguous value for argument 'passages=a.txt,b.txt'; for a list write passages='[\"one text\",",
        ),
        (
            "experiment=quickcheck query=why passages=/no/a.txt",
            "there is no /no/a.txt; it should be passages, one a line",
        ),
        ("time_limit_s=0", "time_limit_s=0: give a number of seconds above 0, or null for none"),
        ("log_format=xml", "log_format=xml: choose from text, json"),
        ("slice=beir", "slice.path must be given: add slice.path=... to the command"),
        (
            "slice=irds first_stage=dense reranker=cross_encoder",
            "first_stage.model, reranker.model, slice.dataset must be given: "
            "add first_stage.model=... reranker.model=... slice.dataset=... to the command",
        ),
        ("--multirun precision=fp32,fp61 out_dir=o", "there is no precision 'fp61'; did you mean fp16, "),
    ],
)
def test_a_wrong_name_is_refused_with_similar_names(refused: Callable[..., str], arguments: Any, expected: Any) -> None:
    error = refused(*arguments.split())
    assert error.startswith(expected)
    assert "schema_" not in error  # those are for group files, not for users


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("depth=abc", ("depth=abc", "Integer")),
        ("depth=1.5", ("depth=1.5", "Integer")),
        ("overwrite=perhaps", ("overwrite=perhaps", "bool")),
        ("slice.queries=many", ("slice.queries=many", "Integer")),
        ("first_stage.k1=big", ("first_stage.k1=big", "Float")),
        ("measures.names=5", ("measures.names=5", "list")),
        ("reranker.model=null", ("reranker.model=null", "not Optional")),
    ],
)
def test_a_value_of_the_wrong_type_names_setting_and_type(
    refused: Callable[..., str], argument: Any, message: Any
) -> None:
    shown = refused(argument)
    for words in message:
        assert words in shown


@pytest.mark.parametrize("argument", ["quickcheck", "depth 5", "slice.lang=[en"])
def test_an_argument_that_is_no_setting_is_refused_with_the_right_form(
    refused: Callable[..., str], argument: Any
) -> None:
    assert refused(argument).startswith(f"cannot read the argument {argument!r}; settings are written key=value")


def test_a_list_of_values_needs_a_sweep(refused: Callable[..., str]) -> None:
    assert refused("slice.lang=en,zh").startswith("Ambiguous value for argument 'slice.lang=en,zh'")


@pytest.mark.parametrize(
    "arguments", [["experiment=miracl_sweep_slurm"], ["-m", "hydra/launcher=slurm", "depth=10,20"]]
)
def test_a_sweep_whose_launcher_is_not_installed_does_not_begin(
    refused: Callable[..., str], arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.scoring.cluster.settings.find_spec", lambda name: None)
    assert refused(*arguments) == (
        "hydra/launcher: SlurmLauncher is not installed: pip install hydra-submitit-launcher"
    )


def test_an_interpolation_that_leads_nowhere_is_named(refused: Callable[..., str]) -> None:
    assert "nowhere" in refused("name=${nowhere}")


def test_a_result_is_not_overwritten_unless_requested(refused: Callable[..., str], tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (done / "result.json").write_text('{"precious": true}', "utf-8")
    error = refused(f"out_dir={done}")
    assert error == (
        f"{done} holds a result already; name another folder with out_dir=DIR, or replace it with overwrite=true"
    )
    assert json.loads((done / "result.json").read_text("utf-8")) == {"precious": True}
    assert [path.name for path in done.iterdir()] == ["result.json"]


def test_a_folder_that_another_run_is_writing_to_is_left_alone(refused: Callable[..., str], tmp_path: Path) -> None:
    with run_folder.claimed(tmp_path / "out", overwrite=False):
        error = refused(f"out_dir={tmp_path}/out", "overwrite=true")
        swept = refused("--multirun", "depth=1,2", f"out_dir={tmp_path}/out", "overwrite=true")
    assert swept == error
    assert error == (
        f"another run (process {os.getpid()}) is at work in {tmp_path}/out; wait for it, or name another folder "
        "with out_dir=DIR"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evalkit.log"]


def test_an_out_dir_below_a_file_is_refused_with_advice(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    error = refused(f"out_dir={tmp_path}/file/below")
    assert (
        error
        == f"cannot write the results ({tmp_path}/file/below): Not a directory; name another folder with out_dir=DIR"
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, where nobody can make a folder")
def test_an_out_dir_that_cannot_be_created_is_refused_with_advice(refused: Callable[..., str]) -> None:
    error = refused("out_dir=/proc/evalkit")
    assert error.startswith("cannot write the results (/proc/evalkit): ")
    assert error.endswith("; name another folder with out_dir=DIR")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a disk without room")
def test_a_full_disk_is_reported_before_any_work(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "evalkit.log").symlink_to("/dev/full")
    error = refused(f"out_dir={tmp_path}/full")
    assert error.startswith(f"cannot write the results to {tmp_path}/full: No space left on device; free some space")


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hydra.errors import MissingConfigException

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["evalkit", "slice=devv"])
    GlobalHydra.instance().clear()
    with pytest.raises(MissingConfigException):
        app.main()
    GlobalHydra.instance().clear()


# --- a trial that fails


def test_a_model_folder_without_its_tokenizer_is_refused_and_the_failure_is_written_down(
    bert_folder: Any, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(bert_folder, tmp_path / "model"))
    (model / "tokenizer.json").unlink()
    done = run_here(f"reranker.model={model}", "device=cpu", "slice.queries=3", "depth=3", "out_dir=out", cwd=tmp_path)
    message = sentence(done.stderr)
    assert done.returncode == 2
    assert message.startswith(f"reranker.model={model}: the tokenizer has no words; a model folder holds config.json")
    assert "Error executing job" not in done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert (result["status"], result["error"]) == ("failed", message)
    assert result["asked"]["reranker"]["model"] == str(model)
    assert "evalkit" in result["provenance"]
