"""evalkit.evaluate: one trial from Python gives the numbers of the command line, on data of any form."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import evalkit
from evalkit.slices import packaged
from tests.conftest import REPOSITORY
from tests.helpers.command_line import run_here

SMALL = ["slice.queries=6", "protocol=none", "blend=none"]
"""A trial of a second."""
DATA = packaged.load(queries=12)
BARE: dict[str, Any] = {"depth": 10, "protocol": "none", "overrides": ["blend=none"]}


def words_in_common(query: str, texts: Sequence[str]) -> list[float]:
    asked = set(query.lower().split())
    return [len(asked & set(text.lower().split())) / (1 + len(text)) for text in texts]


def own(**settings: Any) -> evalkit.TrialResult:
    return evalkit.evaluate(DATA.queries, DATA.docs, DATA.qrels, **{**BARE, "reranker": words_in_common, **settings})


@pytest.fixture(scope="module")
def trial() -> evalkit.TrialResult:
    return own()


def test_passages_are_split_where_the_overrides_say_so() -> None:
    chunks = own(overrides=["blend=none", "chunks=sentences", "chunks.size=1"]).result.chunks
    assert chunks is not None
    assert chunks.counts.split_passages > 0
    assert chunks.truncation is not None


def test_the_numbers_are_those_of_the_command_line(tmp_path: Path) -> None:
    done = run_here("reranker=packaged", "depth=5", *SMALL, "out_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    by_command = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))
    found = evalkit.evaluate("dev", reranker="packaged", depth=5, overrides=SMALL).result
    assert found.effectiveness.per_query.reranked == by_command["effectiveness"]["per_query"]["reranked"]
    assert found.effectiveness.delta_ci95 == {
        name: tuple(ends) for name, ends in by_command["effectiveness"]["delta_ci95"].items()
    }
    assert found.effective.slice["fingerprint"] == by_command["effective"]["slice"]["fingerprint"]


def test_the_ten_lines_of_the_readme(trial: evalkit.TrialResult, tmp_path: Path) -> None:
    other = own(first_stage="bm25", reranker=None)
    assert trial.verdict.startswith("Reranking ")
    assert list(trial.to_frame().index) == ["nDCG@10", "RR@10", "AP@100", "R@10"]
    assert trial.per_query().loc[next(iter(DATA.queries)), "query"] == next(iter(DATA.queries.values()))
    assert trial.plot("before_after").axes
    assert evalkit.compare([trial, other]).verdict.endswith(".")
    written = trial.report(tmp_path / "out")
    assert {"report.html", "report.md", "before_after.png", "result.json"} <= {file.name for file in written.iterdir()}
    loaded = evalkit.load(written)
    assert loaded.result == trial.result
    baseline = evalkit.write_baseline(trial, tmp_path / "baseline.json", accept_limits=True)
    assert evalkit.gate(trial, baseline).holds


def test_a_mean_is_that_of_its_queries(trial: evalkit.TrialResult) -> None:
    frame, by_query = trial.to_frame(), trial.per_query()
    for measure in frame.index:
        for side, column in (("first_stage", "before"), ("reranked", "after"), ("delta", "delta")):
            assert by_query[f"{measure} {column}"].mean() == pytest.approx(frame.loc[measure, side], abs=1e-12)


def frames(make: Callable[[dict[str, list[Any]]], Any]) -> tuple[Any, Any, Any]:
    """Queries, passages and judgments under PyTerrier's names of columns."""
    rows = [(q, d, g) for q, grades in DATA.qrels.items() for d, g in grades.items()]
    return (
        make({"qid": list(DATA.queries), "query": list(DATA.queries.values())}),
        make({"docno": list(DATA.docs), "text": list(DATA.docs.values())}),
        make({"qid": [q for q, _, _ in rows], "docno": [d for _, d, _ in rows], "label": [g for _, _, g in rows]}),
    )


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames_of_every_library_give_what_mappings_give(
    make: Callable[[dict[str, list[Any]]], Any], trial: evalkit.TrialResult
) -> None:
    found = evalkit.evaluate(*frames(make), reranker=words_in_common, **BARE).result
    assert found.effectiveness == trial.result.effectiveness
    assert found.effective.slice["fingerprint"] == trial.result.effective.slice["fingerprint"]
    assert vars(found.effective)["slice"]["columns"]["qrels"] == {
        "query_id": "qid",
        "doc_id": "docno",
        "grade": "label",
    }


def test_a_run_can_be_the_first_stage_in_every_form(trial: evalkit.TrialResult, tmp_path: Path) -> None:
    ranked = trial.ranking("first_stage")
    as_mapping = {str(q): dict(zip(of.doc_id, of.score)) for q, of in ranked.groupby("query_id")}
    file = trial.folder / "first_stage.trec"
    before = trial.result.effectiveness.per_query.first_stage
    for run in (ranked, as_mapping, {q: list(hits) for q, hits in as_mapping.items()}, file, str(file)):
        assert own(first_stage=run).result.effectiveness.per_query.first_stage == before


def test_a_function_can_be_the_first_stage(trial: evalkit.TrialResult) -> None:
    ranked = trial.ranking("first_stage").groupby("query_id")
    hits = {DATA.queries[str(q)]: list(zip(of.doc_id, of.score)) for q, of in ranked}

    def search(query: str, depth: int) -> list[tuple[str, float]]:
        return hits[query][:depth]

    found = own(first_stage=search).result
    assert found.effectiveness.per_query.first_stage == trial.result.effectiveness.per_query.first_stage
    assert found.effective.first_stage["name"] == "search"
    assert found.effective.first_stage_time.per_query_ms is not None


def test_what_a_function_costs_is_measured() -> None:
    trial = own(protocol="quick", overrides=["blend=none", "protocol.latency_queries=3"])
    assert trial.cost is not None
    assert trial.cost.latency is not None
    assert trial.cost.latency.p50_ms > 0
    assert any("does other work too" in one and "in_process=False" in one for one in trial.warnings)


def test_a_fresh_process_can_be_given_data_and_names(trial: evalkit.TrialResult, tmp_path: Path) -> None:
    # As a script without the usual guard: a process that ran it again would start processes without end.
    script = tmp_path / "script.py"
    script.write_text(
        "import evalkit\n"
        "trial = evalkit.evaluate({'q': 'red fox'}, {'a': 'a red fox', 'b': 'a blue whale'}, {'q': {'a': 1}},\n"
        "    reranker=None, in_process=False, overrides=['protocol=none', 'blend=none'])\n"
        "print(trial.to_frame().first_stage['RR@10'], trial.warnings)\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=_environment(), cwd=tmp_path, check=False
    )
    assert done.stdout.startswith("1.0"), done.stderr
    assert "other work" not in done.stdout


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_a_result_in_a_folder_has_reports_and_is_not_replaced_in_silence(tmp_path: Path) -> None:
    trial = own(out_dir=tmp_path / "run")
    assert trial.folder == tmp_path / "run"
    assert (trial.folder / "report.html").exists()
    with pytest.raises(evalkit.EvalkitError, match="holds a result already"):
        own(out_dir=tmp_path / "run")
    with pytest.raises(evalkit.EvalkitError, match=r"holds result\.json already"):
        trial.report(tmp_path / "run")


def test_a_temporary_folder_goes_with_its_trial() -> None:
    trial = own()
    folder = trial.folder
    assert folder.exists()
    del trial
    assert not folder.exists()


def test_a_notebook_shows_a_table_and_texts_stay_texts() -> None:
    trial = own(name="<script>alert(1)</script>")
    page = trial._repr_html_()
    assert "<table>" in page
    assert "nDCG@10" in page
    assert "<script>" not in page
    assert "<table>" in evalkit.compare([trial, own(reranker=None)])._repr_html_()


def test_importing_takes_no_time() -> None:
    program = (
        "import time; t = time.perf_counter(); import evalkit; "
        "import sys; print(time.perf_counter() - t, 'torch' in sys.modules, 'hydra' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.split()[1:] == ["False", "False"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"reranker": "packagd"}, "reranker 'packagd' is no folder, .* and no choice; did you mean packaged"),
        ({"reranker": lambda query: [1.0]}, r"has to take \(query, texts\)"),
        ({"reranker": lambda query, texts: [1.0]}, "it returned 1 scores for 10 passages"),
        ({"reranker": lambda query, texts: "high"}, "it returned a str, and has to return a score for each passage"),
        ({"reranker": lambda query, texts: [float("nan")] * len(texts)}, "the reranker gave nan as logit"),
        ({"reranker": lambda query, texts: 1 / 0}, r"ZeroDivisionError: division by zero \(test_evaluate.py, line"),
        ({"reranker": 3}, "reranker is an int, and has to be a name, a function"),
        ({"first_stage": "bm26"}, "first_stage 'bm26' is no file and no choice; did you mean bm25"),
        ({"first_stage": {"nobody": {"a": 1.0}}}, "none of its queries .e.g. 'nobody'. is in own data"),
        ({"first_stage": lambda query, depth: [("nowhere", 1.0)]}, "'nowhere', which is no passage of own data"),
        ({"first_stage": lambda query, depth: 3}, "it returned an int, and has to return hits"),
        ({"depth": 0}, "depth=0: give how many candidates"),
        ({"measures": "nDCG@10"}, r"measures='nDCG@10': give a list, such as \['nDCG@10'\]"),
        ({"measures": ["nDCC@10"]}, "nDCC@10"),
        ({"protocol": "quik"}, "there is no protocol 'quik'"),
        ({"overrides": ["reranker.max_length=3"]}, "max_length=3 has no effect, as reranker is given as a value"),
        ({"in_process": False}, "a fresh process can be given names, data and runs, but no functions"),
        ({"lang": "klingon"}, "klingon"),
    ],
)
def test_a_mistake_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(evalkit.EvalkitError, match=sentence):
        own(**given)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (("devv",), "'devv' is no data .*, no folder and no slice; did you mean dev"),
        (({"q": "x"},), "queries come with docs and qrels"),
        (({"q": "x"}, {"d": "x"}), "qrels is None|'None', and has to be a mapping"),
        (({"q": "x"}, {"d": "x"}, {"p": {"d": 1}}), "qrels judge 1 queries that queries lack"),
        ((pd.DataFrame({"id": ["q"], "wording": ["x"]}), {"d": "x"}, {"q": {"d": 1}}), "wording"),
        (({"q": "x"}, {"d": ""}, {"q": {"d": 1}}), "passage 'd' is empty"),
    ],
)
def test_data_that_does_not_fit_is_one_sentence(data: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(evalkit.EvalkitError, match=sentence):
        evalkit.evaluate(*data, reranker=None)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["experiment=msmarco_bf16"],
            "experiment=msmarco_bf16 chooses what the parameters choose",
        ),
        (["reranker=minilm_l6"], "reranker=minilm_l6 is given by the parameter reranker"),
        (["task=gate", "gate.baseline=b.json"], "this has task=gate, and one trial is run here"),
    ],
)
def test_an_override_that_would_have_no_effect_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(evalkit.EvalkitError, match=sentence):
        evalkit.evaluate("dev", overrides=overrides)


def test_a_slice_by_name_has_its_own_settings() -> None:
    with pytest.raises(evalkit.EvalkitError, match=r"overrides=\['slice\.lang=\.\.\.'\]"):
        evalkit.evaluate("dev", lang="de")
