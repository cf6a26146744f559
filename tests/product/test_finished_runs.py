"""Finished runs: judged on all that they hold unless a depth says otherwise, and compared by their ranks."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evalkit import trial
from evalkit.boundary.errors import EvalkitError
from evalkit.cli.tasks import DEFAULT_DEPTH, computes_nothing, run_trial
from evalkit.cost.protocol import CostProtocol
from evalkit.first_stage.trec_run import TrecRun as FirstStageRun
from evalkit.report import folder, markdown
from evalkit.report.content import comparison
from evalkit.report.content import trial as content
from evalkit.report.html import pages
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.trec_run import TrecRun as RerankedRun
from evalkit.results import reading
from evalkit.results.compare import side_by_side
from evalkit.results.result import finished
from evalkit.slices import beir
from evalkit.trial import Plan
from evalkit.types import Scores, Trial
from tests.conftest import slow
from tests.helpers.command_line import run_evalkit, run_here

DOCS = [f"d{i:02}" for i in range(30)]


@pytest.fixture
def deep(tmp_path: Path) -> Any:
    """Two queries over 30 passages, the relevant one at rank 25 of the first stage; a reranking lifts it to the top.

    q1 has 30 candidates, q2 has 12.
    """
    where = tmp_path / "deep"
    (where / "qrels").mkdir(parents=True)
    for name, records in (("corpus", DOCS), ("queries", ["q1", "q2"])):
        lines = (json.dumps({"_id": one, "title": "", "text": f"text of {one}"}) + "\n" for one in records)
        (where / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    (where / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td24\t1\nq2\td00\t1\n", "utf-8")
    first = {"q1": DOCS, "q2": DOCS[:12]}
    lifted = {"q1": ["d24", *DOCS[:24], *DOCS[25:]], "q2": DOCS[:12]}
    dropped = {"q1": [*DOCS[1:], "d00"], "q2": [*DOCS[1:12], "d00"]}
    for name, rankings in (("first", first), ("lifted", lifted), ("dropped", dropped)):
        write(where / f"{name}.trec", rankings)
    return where


def write(path: Any, rankings: Any) -> None:
    path.write_text("".join(
        f"{q} Q0 {d} {rank} {100 - rank} t\n" for q, found in rankings.items() for rank, d in enumerate(found, 1)
    ), "utf-8")  # fmt: skip


def asked(where: Any, depth: Any, reranker: Any = "lifted", first_stage: Any = "first") -> Any:
    run = {"_target_": "evalkit.rerankers.trec_run.TrecRun", "path": f"{where}/{reranker}.trec"}
    bm25 = {"_target_": "evalkit.first_stage.bm25.BM25"}
    first = {"_target_": "evalkit.first_stage.trec_run.TrecRun", "path": f"{where}/{first_stage}.trec"}
    return {
        "name": "deep", "depth": depth, "measures": {"names": ["RR@10", "R@depth"]},
        "protocol": {"warmup_queries": 0, "latency_queries": 0, "seed": 0}, "blend": {},
        "slice": {"_target_": "evalkit.slices.beir.load", "path": str(where)},
        "first_stage": first if first_stage else bm25,
        "reranker": run if reranker else {"_target_": "evalkit.rerankers.none.NoReranker"},
    }  # fmt: skip


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trial comes to, without its folder."""
    monkeypatch.setattr("evalkit.report.folder.write_trial", lambda done, *rest, **more: done)


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize(
    ("depth", "reranker", "first_stage", "effective"),
    [
        (None, "lifted", "first", 30),  # of the query that has most
        (20, "lifted", "first", 20),
        (None, None, "first", 30),
        (None, None, None, DEFAULT_DEPTH),  # BM25 searches as deep as one asks
        (7, None, "first", 7),
    ],
)
def test_a_finished_run_is_judged_on_all_that_it_holds_unless_a_depth_is_given(
    deep: Any, depth: Any, reranker: Any, first_stage: Any, effective: Any, tmp_path: Path
) -> None:
    done: Any = run_trial(asked(deep, depth, reranker, first_stage), {}, tmp_path)
    assert done.effective["depth"] == effective
    assert f"R@{effective}" in done.effective["measures"]


@pytest.mark.usefixtures("no_files")
def test_a_depth_below_what_a_run_ranks_is_reported_with_both_numbers(deep: Any, tmp_path: Path) -> None:
    cut: Any = run_trial(asked(deep, 20), {}, tmp_path)
    whole: Any = run_trial(asked(deep, None), {}, tmp_path)
    warning = (
        "the reranker's run ranks up to 30 passages of a query, and depth=20 judges it on the first 20 candidates "
        "alone; depth=null judges all that it ranks"
    )
    assert warning in cut.warnings
    assert not any("depth=" in warning for warning in whole.warnings)
    # d24 is relevant, is no candidate at depth 20, and stands first at depth 30.
    assert cut.effectiveness["reranked"].per_query["RR@10"]["q1"] == 0.0
    assert whole.effectiveness["reranked"].per_query["RR@10"]["q1"] == 1.0


@pytest.mark.shared
def test_rankvicuna_is_judged_as_published_without_a_depth(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "msmarco-dl19"
    done = run_here(
        "slice=beir", f"slice.path={data}", "slice.relevance_level=2", "first_stage=trec_run",
        f"first_stage.path={data}/runs/bm25.trec", "reranker=trec_run",
        f"reranker.path={data}/runs/bm25+rankvicuna-7b.trec", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert (result["asked"]["depth"], result["effective"]["depth"]) == (None, 100)
    assert result["effectiveness"]["reranked"]["mean"]["nDCG@10"] == pytest.approx(0.6682, abs=5e-5)


@slow
def test_the_trials_of_a_sweep_over_finished_runs_load_the_measures_once(deep: Any, tmp_path: Path) -> None:
    """They share a process: nothing is computed whose memory or time would have to be measured separately."""
    done = run_evalkit(
        "--multirun", "slice=beir", f"slice.path={deep}", "first_stage=trec_run", "reranker=trec_run",
        f"first_stage.path={deep}/first.trec", f"reranker.path={deep}/lifted.trec,{deep}/dropped.trec",
        "depth=10,null", "out_dir=sweep", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text("utf-8")) for path in sorted(tmp_path.glob("sweep/*-fp32/result.json"))]
    assert [result["effective"]["depth"] for result in results] == [10, 30, 10, 30]
    seconds = [float(s) for s in re.findall(r"^  measuring: ([0-9.]+) s$", done.stderr, re.MULTILINE)]
    assert len(seconds) == 4
    assert max(seconds[1:]) < 0.2 * seconds[0]


@pytest.mark.parametrize(
    ("first_stage", "reranker", "nothing"),
    [("first", "lifted", True), ("first", None, True), (None, "lifted", False)],
)
def test_only_trials_over_finished_runs_alone_compute_nothing(
    deep: Any, first_stage: Any, reranker: Any, nothing: Any
) -> None:
    assert computes_nothing(asked(deep, None, reranker, first_stage)) is nothing


# --- compared ---------------------------------------------------------------------------------------------------------


def judged(where: Path, reranker: Any, depth: int = 30) -> Trial:
    plan, first_stage = Plan("deep", depth, ["RR@10"], CostProtocol(0, 0, 0)), FirstStageRun(f"{where}/first.trec")
    return trial.run(plan, beir.load(str(where)), first_stage, reranker, {}, {"command": ["x"]})


def result_of(where: Path, reranker: Any, out: Path, depth: int = 30) -> reading.Finished:
    out.mkdir(parents=True)
    folder.write_trial(judged(where, reranker, depth), out)
    return reading.read(out)


def test_two_finished_rerankings_are_compared_by_their_ranks(deep: Any, tmp_path: Path) -> None:
    one, other = (
        result_of(deep, RerankedRun(f"{deep}/{name}.trec"), tmp_path / name) for name in ("lifted", "dropped")
    )
    compared = side_by_side([one, other], resamples=99)
    [found] = [parity for parity in compared.parity.values() if parity]
    assert (found.max_abs, found.mean_abs, found.rms, found.pairs) == (None, None, None, 42)
    # q1: the first ten are d24 d00 ... d08 and d01 ... d10, 8 in common; q2: d00 ... d09 and d01 ... d10, 9.
    assert found.top10_overlap == pytest.approx((0.8 + 0.9) / 2)
    # q2: one of 12 passages went from the top to the end: 11 of 66 pairs are turned round, tau = 1 - 2 * 11 / 66.
    assert found.per_query["q2"].kendall_tau == pytest.approx(1 - 22 / 66)
    # q1: d24 fell below d01 ... d23, and d00 below all others but d24, which stays above it: 23 and 28 pairs of 435.
    assert found.per_query["q1"].kendall_tau == pytest.approx(1 - 2 * (23 + 28) / 435)
    [line] = comparison.parity_lines(compared)
    assert "by ranks alone, for one of them has no logits, over 42 pairs; top 10 shared 85.0%" in line
    for page in (markdown.comparison(compared), pages.comparison(compared, {})):
        assert "Same scores, same order?" in page
    assert not any("agree" in warning for warning in compared.warnings)
    json.dumps(asdict(compared), allow_nan=False)


def test_rerankings_of_other_candidates_have_no_parity_and_a_reason(deep: Any, tmp_path: Path) -> None:
    lifted = RerankedRun(f"{deep}/lifted.trec")
    one, other = (result_of(deep, lifted, tmp_path / f"{depth}", depth) for depth in (30, 20))
    compared = side_by_side([one, other], resamples=99)
    assert set(compared.parity.values()) == {None}
    assert any("are not compared: one reranked to depth 30, the other to 20" in w for w in compared.warnings)
    alone = result_of(deep, NoReranker(), tmp_path / "none")
    compared = side_by_side([one, alone], resamples=99)
    assert set(compared.parity.values()) == {None}
    assert not any("agree" in warning for warning in compared.warnings)  # a first stage has nothing to agree with


# --- truncation -------------------------------------------------------------------------------------------------------


class Cutting:
    """A model that reads little: so many of its pairs were cut."""

    computes = False

    def __init__(self, cut: Any, longest: Any) -> None:
        self.cut, self.longest = cut, longest

    def check(self) -> None:
        pass

    def load(self) -> None:
        pass

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        logits = tuple(float(i) for i in range(len(pairs)))
        return Scores(logits, truncated_pairs=self.cut, longest_pair_tokens=self.longest)

    def describe(self) -> Any:
        return {"name": "short", "precision": "fp32", "max_length": 256}


def verdict(where: Path, cut: int, longest: int | None = 612) -> str:
    return content.verdict(finished(judged(where, Cutting(cut, longest))))


def test_a_verdict_on_truncated_texts_states_it_and_the_length_that_would_suffice(deep: Any, tmp_path: Path) -> None:
    found = result_of(deep, Cutting(40, 612), tmp_path / "out")
    verdict = content.verdict(found.result)
    assert verdict.startswith("Reranking ")
    assert verdict.endswith(
        ", but 40 of 42 pairs (95%) were cut to 256 tokens; reranker.max_length=612 would cut none, where the model "
        "takes as many, and chunks=tokens scores every part."
    )
    assert found.result.effective.scoring["longest_pair_tokens"] == 612
    for name in ("report.md", "report.html"):
        assert "but 40 of 42 pairs (95%) were cut to 256 tokens" in (tmp_path / "out" / name).read_text("utf-8")


def test_where_the_longest_pair_is_not_known_the_verdict_names_no_length(deep: Path) -> None:
    assert verdict(deep, 40, None).endswith(
        "were cut to 256 tokens; a larger reranker.max_length would cut fewer, and chunks=tokens scores every part."
    )


@pytest.mark.parametrize(("cut", "in_the_verdict"), [(0, False), (4, False), (5, True)])
def test_from_a_tenth_on_truncation_is_part_of_the_verdict(deep: Path, cut: int, in_the_verdict: bool) -> None:
    assert ("were cut" in verdict(deep, cut)) is in_the_verdict


def test_a_depth_of_nothing_is_refused(deep: Any, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="depth=0: give how many candidates"):
        run_trial(asked(deep, 0), {}, tmp_path)
