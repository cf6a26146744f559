"""Five systems on TREC DL 2019, real runs and judgments: compared with one another, and one held against another."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.helpers.command_line import run_here
from tools import simulate_judges

pytestmark = pytest.mark.shared

RUNS = {"bm25": None, "splade-pp": None, "tas-b": None, "bm25+rankvicuna-7b": "bm25",
        "bm25+vicuna-13b-zero-shot": "bm25"}  # fmt: skip
"""Run file -> the first stage that it reranks."""


@pytest.fixture(scope="module")
def place(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a finished result for each run."""
    where, data = tmp_path_factory.mktemp("dl19"), shared / "data" / "msmarco-dl19"
    for run, first in RUNS.items():
        reranker = ["reranker=trec_run", f"reranker.path={data}/runs/{run}.trec"] if first else ["reranker=none"]
        done = run_here(
            "slice=beir", f"slice.path={data}", "slice.relevance_level=2", "depth=100", f"out_dir={run}",
            "first_stage=trec_run", f"first_stage.path={data}/runs/{first or run}.trec", *reranker, cwd=where,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return where


def test_one_comparison_shows_all_with_bm25_as_baseline(place: Any) -> None:
    done = run_here("compare", *RUNS, "--output", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    shown = dict(re.findall(r"│ ([\w+ -]+?) +│ +(0\.\d{4}[ +-]*)│", done.stdout.partition("Is it worth it?")[0]))
    # trec_eval's values for these runs; published: 0.5058 and 0.6682. + and -: corrected p below 0.05.
    assert {name: value.strip() for name, value in shown.items()} == {
        "bm25": "0.5058", "splade-pp": "0.7308 +", "tas-b": "0.7210 +", "bm25 + bm25+rankvicuna-7b": "0.6682 +",
        "bm25 + bm25+vicuna-13b-zero-shot": "0.4517 -",
    }  # fmt: skip


def test_rankvicuna_passes_after_bm25_and_a_zero_shot_vicuna_fails(place: Any) -> None:
    assert run_here("baseline", "bm25", "--output", "base.json", cwd=place).returncode == 0
    good = run_here("gate", "bm25+rankvicuna-7b", "--baseline", "base.json", cwd=place)
    assert good.returncode == 0, good.stdout
    assert "nDCG@10 0.5058 -> 0.6682 (+0.1623)" in good.stdout
    bad = run_here("gate", "bm25+vicuna-13b-zero-shot", "--baseline", "base.json", cwd=place)
    assert bad.returncode == 1
    assert "FAILED nDCG@10: fell 0.5058 -> 0.4517" in bad.stdout


def test_two_first_stages_fused_by_reciprocal_rank_are_better_than_each(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "msmarco-dl19"
    runs = ",".join(f"{{trec_run: {data}/runs/{name}.trec}}" for name in ("splade-pp", "tas-b"))
    done = run_here(
        "slice=beir", f"slice.path={data}", "slice.relevance_level=2", "first_stage=fusion", f"first_stage.of=[{runs}]",
        "reranker=none", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = dict(re.findall(r"│ ([\w(), -]+?) +│ +(0\.\d{4}) │", done.stdout))
    # trec_eval's values of the runs; the fusion's was computed apart, with ties in the order of SPLADE++.
    assert shown == {"rrf(splade-pp, tas-b)": "0.7353", "splade-pp": "0.7308", "tas-b": "0.7210"}


def test_simulated_judges_and_clicks_give_the_figures_of_the_page(place: Path) -> None:
    vicuna = place / "bm25+vicuna-13b-zero-shot"
    simulate_judges.write(
        vicuna / "qrels.trec", vicuna / "reranked.trec", place / "labels.tsv", vicuna / "first_stage.trec",
        place / "log.csv",
    )  # fmt: skip
    printed = [run_here("clicks", "log.csv", "--output", "clicks.tsv", cwd=place).stdout]
    for labels, results in (
        ("labels.tsv", ["bm25+rankvicuna-7b", vicuna.name]), ("clicks.tsv", ["bm25+rankvicuna-7b"]),
    ):  # fmt: skip
        done = run_here("judges", f"{vicuna.name}/qrels.trec", labels, "--results", *results, cwd=place)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    lines = {line.rstrip() for text in printed for line in text.splitlines()}
    page = (REPOSITORY / "docs" / "judgments.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    quoted = [line for language, block in blocks if not language for line in block.splitlines()]
    assert len(quoted) > 40
    assert [line for line in quoted if line.rstrip() not in lines] == []
