"""What trec_eval finds in the TREC files that evalkit writes is what evalkit reports, ties included."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import trial
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import measures, ranking
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.trec import read_run, write_qrels, write_run
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.trec_run import TrecRun as FirstStageRun
from evalkit.report import per_query as queries
from evalkit.rerankers.trec_run import TrecRun as RerankedRun
from evalkit.results import reading
from evalkit.results.result import finished, write_result
from evalkit.results.schema import Result
from evalkit.slices import beir, packaged
from evalkit.trial import Plan
from evalkit.types import Hit, Run, Scores
from tests.helpers.command_line import run_here
from tests.helpers.their_trec_eval import assert_agrees, figures

NAMES = ["nDCG@10", "RR@10", "AP@100", "R@100", "R@depth", "P@5", "Success@1"]


class Coarse:
    """A reranker with few different scores, as one that was rounded has: nearly every pair is tied."""

    computes = False

    def check(self) -> None:
        pass

    def load(self) -> None:
        pass

    def score(self, pairs: Any, queries: Any, docs: Any, on_progress: Any = None) -> Any:
        return Scores(tuple(float(len(set(queries[q].split()) & set(docs[d].split())) // 2) for q, d in pairs))

    def describe(self) -> Any:
        return {"name": "coarse", "precision": "fp32"}


def judged(data: Any, first_stage: Any, reranker: Any = None, depth: Any = 50) -> Any:
    plan = Plan("test", depth, NAMES, CostProtocol(0, 0, 0))
    scored_by: Any = reranker or Coarse()
    return trial.run(plan, data, first_stage, scored_by, {}, {})


def written(done: Any, folder: Any) -> Result:
    """The files of a trial that its figures are read back from, without pictures."""
    moved = {label: write_run(getattr(done, label), folder / f"{label}.trec") for label in ("first_stage", "reranked")}
    write_qrels(done.slice.qrels, folder / "qrels.trec")
    lines = queries.with_adjusted_scores(queries.passages(done), moved)
    (folder / "passages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    result = finished(done)
    write_result(result, folder)
    return result


# --- real slices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh", "ar", "ru"])
def test_the_files_of_the_dev_collection_give_its_figures(lang: Any, tmp_path: Path) -> None:
    scoring = written(judged(packaged.load(lang), BM25()), tmp_path).effective.scoring
    assert min(scoring["tied_pairs"], *scoring["scores_moved"].values()) > 20  # nothing is shown without ties
    assert_agrees(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "settings"),
    [
        ("nfcorpus", {}),
        ("miracl-th", {"split": "dev", "lang": "th"}),
        ("msmarco-dl19", {"relevance_level": 2}),
    ],
)
def test_the_files_of_a_real_slice_give_its_figures(shared: Path, folder: Any, settings: Any, tmp_path: Path) -> None:
    done = judged(beir.load(str(shared / "data" / folder), **settings), BM25(), depth=100)
    assert written(done, tmp_path).effective.scoring["scores_moved"]["first_stage"] > 0
    assert_agrees(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["bm25", "splade-pp", "tas-b", "bm25+rankvicuna-7b"])
def test_an_imported_run_of_dl19_has_trec_evals_figures_before_and_after(
    shared: Path, name: Any, tmp_path: Path
) -> None:
    """Those of the file as it came, and those of the file that evalkit writes."""
    data, run = beir.load(str(shared / "data" / "msmarco-dl19"), relevance_level=2), f"runs/{name}.trec"
    done = judged(data, FirstStageRun(str(shared / "data" / "msmarco-dl19" / run)), depth=1000)
    written(done, tmp_path)
    assert_agrees(tmp_path)
    ours = done.effectiveness["first_stage"].per_query
    theirs = figures(shared / "data" / "msmarco-dl19" / run, tmp_path / "qrels.trec", ours, 2)
    for measure, values in theirs.items():
        assert values == pytest.approx(ours[measure], abs=5e-7), measure


def test_a_run_by_the_command_line_agrees_and_reports_the_effect_of_ties(tmp_path: Path) -> None:
    done = run_here("slice.queries=30", "reranker=none", "out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_agrees(tmp_path / "out")
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    scoring, over = result["effective"]["scoring"], result["analysis"]["tied_first_stage"]["nDCG@10"]
    value = result["effectiveness"]["first_stage"]["mean"]["nDCG@10"]
    assert over["low"] <= value <= over["high"]
    tied, all_hits = scoring["first_stage_tied_hits"], scoring["first_stage_hits"]
    line = (
        f"Ties of bm25: {tied:,} of {all_hits:,} hits ({tied / all_hits:.1%}); nDCG@10 is {value:.4f} in the order "
        f"measured, {over['low']:.4f} to {over['high']:.4f} over all orders of the tied, {over['expected']:.4f} on "
        "average."
    )
    for name in ("report.md", "report.html"):
        assert line in (tmp_path / "out" / name).read_text("utf-8")


# --- any run ----------------------------------------------------------------------------------------------------------

ids = st.text(st.characters(categories=["L", "N", "M", "P", "S"]), min_size=1, max_size=4)
any_score = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-40, 1.0 + 2**-23, -7.5, 1e-45, 1e-300, 1e38, 1e300, -1e300]),
    st.integers(-3, 3).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)
hits = st.dictionaries(ids, any_score, min_size=1, max_size=14)
LEVEL = 1
SOME = ["nDCG@5", "RR@10", "AP@100", "R@3", "P@3", "Success@2"]


def agrees(run: Any, qrels: Any, path: Any, qrels_path: Any) -> None:
    wanted = [parse(name, 10) for name in SOME]
    ours = measures.evaluate(run, qrels, wanted, LEVEL).per_query
    for name, values in figures(path, qrels_path, SOME, LEVEL).items():
        assert values == pytest.approx(ours[name], abs=5e-7), name


def graded(rankings: Any, seed: Any) -> Any:
    lots = random.Random(seed)
    return {q: {d: lots.choice([0, 0, 1, 2, 3]) for d in found} | {"never found": 1} for q, found in rankings.items()}


@settings(deadline=None, max_examples=120)
@given(rankings=st.dictionaries(ids, hits, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_written_run_gives_trec_eval_the_order_that_was_measured(
    tmp_path_factory: pytest.TempPathFactory, rankings: Any, seed: Any
) -> None:
    # Ties stand in an order of no id: that of an earlier stage.
    run = Run("t", {
        q: ranking.order((Hit(*one) for one in found.items()), {d: i for i, d in enumerate(found)})
        for q, found in rankings.items()
    })  # fmt: skip
    where = tmp_path_factory.mktemp("written")
    qrels = {q: {d.replace(" ", "-"): g for d, g in grades.items()} for q, grades in graded(rankings, seed).items()}
    write_qrels(qrels, where / "qrels.trec")
    moved = write_run(run, where / "run.trec")
    agrees(run, qrels, where / "run.trec", where / "qrels.trec")
    for order in ("score", "rank"):
        back = read_run(where / "run.trec", order)
        assert back.rank_conflicts == 0
        assert {q: [h.doc_id for h in found] for q, found in back.run.rankings.items()} == {
            q: [h.doc_id for h in found] for q, found in run.rankings.items()
        }
    of = {(one.query_id, one.doc_id): one for one in moved}
    for q, found in back.run.rankings.items():
        for was, now in zip(run.rankings[q], found):
            one = of.get((q, was.doc_id))
            assert (one.score, one.written) == (was.score, now.score) if one else was == now


@settings(deadline=None, max_examples=120)
@given(rankings=st.dictionaries(ids, hits, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_an_imported_run_is_read_as_trec_eval_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rankings: Any, seed: Any
) -> None:
    where, lots = tmp_path_factory.mktemp("imported"), random.Random(seed)
    lines = [f"{q} Q0 {d} {lots.randint(0, 5)} {s!r} t\n" for q, found in rankings.items() for d, s in found.items()]
    lots.shuffle(lines)
    (where / "run.trec").write_text("".join(lines), "utf-8")
    qrels = graded(rankings, seed)
    write_qrels({q: {d.replace(" ", "-"): g for d, g in of.items()} for q, of in qrels.items()}, where / "qrels.trec")
    agrees(read_run(where / "run.trec").run, qrels, where / "run.trec", where / "qrels.trec")


def test_ids_that_differ_once_they_are_storable_are_ordered_as_the_file_has_them(tmp_path: Path) -> None:
    # As bytes, a no-break space is above ~; percent-encoded, which evalkit stores, it is below.
    (tmp_path / "run.trec").write_text("q Q0 a~ 1 1.0 t\nq Q0 a\u00a0b 2 1.0 t\n", "utf-8")
    assert [hit.doc_id for hit in read_run(tmp_path / "run.trec").run.rankings["q"]] == ["a%C2%A0b", "a~"]


# --- an order that is no system's -------------------------------------------------------------------------------------


@pytest.fixture
def constant(tmp_path: Path, beir_folder: Any) -> Any:
    """A run over `beir_folder` with one score for all: q1's a, b, c and q2's d, e."""
    path = tmp_path / "constant.trec"
    path.write_text("".join(f"{q} Q0 {d} 1 0.5 c\n" for q, found in (("q1", "abc"), ("q2", "de")) for d in found))
    return str(path)


def test_a_constant_first_stage_has_the_order_of_trec_eval_and_a_warning(
    constant: Any, beir_folder: Any, tmp_path: Path
) -> None:
    done = judged(beir.load(str(beir_folder)), FirstStageRun(constant), RerankedRun(f"{beir_folder}/reranked.trec"))
    # Falling doc_id: q1 has c b a, whose b is of grade 3; q2 has e d, the best order.
    assert done.effectiveness["first_stage"].per_query["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    scoring = written(done, tmp_path).effective.scoring
    assert (scoring["first_stage_tied_hits"], scoring["first_stage_hits"]) == (5, 5)
    assert scoring["first_stage_queries_with_constant_score"] == 2
    assert_agrees(tmp_path)
    assert "the first stage gives one score to all candidates in 2 queries: these scores order nothing" in done.warnings
    assert (
        "5 of 5 hits of the first stage share their score with another one of their query, in 2 queries; ties "
        "are broken by descending doc_id, as in trec_eval"
    ) in done.warnings


def test_a_constant_reranker_is_counted_like_a_model_that_is_constant(
    constant: Any, beir_folder: Any, tmp_path: Path
) -> None:
    done = judged(beir.load(str(beir_folder)), FirstStageRun(f"{beir_folder}/first.trec"), RerankedRun(constant))
    result = written(done, tmp_path)
    scoring = result.effective.scoring
    assert (scoring["tied_pairs"], scoring["queries_with_ties"], scoring["queries_with_constant_score"]) == (5, 2, 2)
    assert [hit.doc_id for hit in done.reranked.rankings["q1"]] == ["c", "b", "a"]
    # Of q1's three orders of b, on average (1 + 1/2 + 1/3) / 3; q2's two are all relevant; q3 has no hits.
    assert result.analysis.tied is not None
    over = result.analysis.tied["RR@10"]
    assert (over.expected, over.low, over.high) == pytest.approx(((11 / 18 + 1) / 3, (1 / 3 + 1) / 3, 2 / 3))
    assert (
        "5 pairs share their score with another one of their query; ties are broken by descending doc_id"
        in " ".join(done.warnings)
    )
    assert_agrees(tmp_path)


def test_scores_that_are_equal_in_32_bits_are_tied(beir_folder: Any, tmp_path: Path) -> None:
    path = tmp_path / "close.trec"
    path.write_text("q1 Q0 a 1 16777217.0 t\nq1 Q0 b 2 16777216.0 t\nq1 Q0 c 3 1.0 t\nq2 Q0 e 1 2 t\nq2 Q0 d 2 1 t\n")
    data = beir.load(str(beir_folder))
    first = judged(data, FirstStageRun(str(path)), RerankedRun(f"{beir_folder}/reranked.trec"))
    assert [hit.doc_id for hit in first.first_stage.rankings["q1"]] == ["b", "a", "c"]
    assert first.effective["scoring"]["first_stage_tied_hits"] == 2
    second = judged(data, FirstStageRun(f"{beir_folder}/first.trec"), RerankedRun(str(path)))
    assert [hit.doc_id for hit in second.reranked.rankings["q1"]] == ["b", "a", "c"]
    assert second.effective["scoring"]["tied_pairs"] == 2
    assert (
        "in the reranker's run file rank and score disagree for 1 queries; score and then descending doc_id are used"
        in (" ".join(second.warnings))
    )


def test_the_rank_column_decides_where_it_is_asked_for(beir_folder: Any, tmp_path: Path) -> None:
    path = tmp_path / "ranks.trec"
    path.write_text("q1 Q0 a 2 9 t\nq1 Q0 b 1 5 t\nq1 Q0 c 3 5 t\nq2 Q0 e 1 2 t\nq2 Q0 d 2 1 t\n")
    data = beir.load(str(beir_folder))
    for order, expected in (("score", ["a", "c", "b"]), ("rank", ["b", "a", "c"])):
        first = judged(
            data, FirstStageRun(str(path), order=order), RerankedRun(f"{beir_folder}/reranked.trec", order=order)
        )
        assert [hit.doc_id for hit in first.first_stage.rankings["q1"]] == expected
        second = judged(data, FirstStageRun(f"{beir_folder}/first.trec"), RerankedRun(str(path), order=order))
        assert [hit.doc_id for hit in second.reranked.rankings["q1"]] == expected
        for done, label in ((first, "first_stage"), (second, "reranker")):
            assert done.effective[label]["order"] == order
            assert any(f"{label}.order=rank" in warning for warning in done.warnings)
        written(first, tmp_path)
        assert_agrees(tmp_path)


@pytest.mark.parametrize(("part", "component"), [("first_stage", FirstStageRun), ("reranker", RerankedRun)])
def test_another_order_is_refused_with_those_that_there_are(part: Any, component: Any, beir_folder: Any) -> None:
    with pytest.raises(Exception, match=rf"{part}\.order=ranks: give score \(as trec_eval reads a run\) or rank"):
        component(f"{beir_folder}/first.trec", order="ranks").check()


# --- read back --------------------------------------------------------------------------------------------------------


def test_a_folder_read_back_has_the_scores_and_the_order_that_were_measured(tmp_path: Path) -> None:
    done = judged(packaged.load("en", queries=20), BM25())
    assert written(done, tmp_path).effective.scoring["scores_moved"]["reranked"] > 0
    assert reading.read(tmp_path).reranked == done.reranked


def test_a_folder_of_an_older_version_is_read_by_its_ranks(tmp_path: Path) -> None:
    """It has tied scores as they were and nothing else: the rank column was the order."""
    done = judged(packaged.load("en", queries=20), BM25())
    written(done, tmp_path)
    with (tmp_path / "reranked.trec").open("w", encoding="utf-8") as out:
        for query_id, found in done.reranked.rankings.items():
            out.writelines(f"{query_id} Q0 {hit.doc_id} {i} {hit.score!r} coarse\n" for i, hit in enumerate(found, 1))
    old = "".join(json.dumps(line) + "\n" for line in queries.passages(done))
    (tmp_path / "passages.jsonl").write_text(old, "utf-8")
    assert reading.read(tmp_path).reranked == done.reranked
