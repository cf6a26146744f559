from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation import ranking
from evalkit.evaluation.trec import AdjustedScore, read_run, write_run
from evalkit.first_stage.trec_run import TrecRun as FirstStageRun
from evalkit.rerankers.trec_run import TrecRun as RerankedRun
from evalkit.slices import beir
from evalkit.trial import Plan
from evalkit.trial import run as run_trial
from evalkit.types import Hit, Pair, Run, Slice

GOOD = "q1 Q0 d1 1 2.5 tag\n"


def run_file(tmp_path: Path, text: Any, name: Any = "some.trec") -> Any:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def ids(hits: Any) -> Any:
    return [hit.doc_id for hit in hits]


def test_six_columns_become_a_ranking(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 1e-1 bm25\nq2\tQ0\td1\t1\t-7\tbm25\r\n")
    file = read_run(path)
    assert file.run == Run("bm25", {"q1": (Hit("d1", 2.5), Hit("d2", 0.1)), "q2": (Hit("d1", -7.0),)})
    assert file.rank_conflicts == 0


def test_scores_decide_the_order_and_contradicting_ranks_are_counted(tmp_path: Path) -> None:
    # q1: the rank column says d1, d2 and the scores say d2, d1. q2 agrees with itself.
    path = run_file(tmp_path, "q1 Q0 d1 1 1.0 t\nq1 Q0 d2 2 2.0 t\nq2 Q0 d1 1 2.0 t\nq2 Q0 d2 2 1.0 t\n")
    file = read_run(path)
    assert ids(file.run.rankings["q1"]) == ["d2", "d1"]
    assert file.rank_conflicts == 1


def test_tied_passages_are_in_descending_order_of_doc_id_as_in_trec_eval(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q1 Q0 a 1 1.0 t\nq1 Q0 b 2 1.0 t\nq1 Q0 c 3 1.0 t\nq2 Q0 b 1 1 t\nq2 Q0 a 2 1 t\n")
    file = read_run(path)
    assert {query_id: ids(hits) for query_id, hits in file.run.rankings.items()} == {"q1": [*"cba"], "q2": [*"ba"]}
    assert file.rank_conflicts == 1
    assert file.sort_keys["q1"] == (1.0, 1.0, 1.0)


def test_the_rank_column_decides_where_that_is_chosen(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q1 Q0 a 3 9.0 t\nq1 Q0 b 2 1.0 t\nq1 Q0 c 1 1.0 t\nq1 Q0 d 2 5.0 t\n")
    file = read_run(path, "rank")
    assert ids(file.run.rankings["q1"]) == ["c", "d", "b", "a"]
    assert file.rank_conflicts == 1
    assert file.sort_keys["q1"] == (-1.0, -2.0, -2.0, -3.0)


def test_ranks_may_start_at_zero_and_all_be_the_same(tmp_path: Path) -> None:
    file = read_run(run_file(tmp_path, "q1 Q0 b 0 1.0 t\nq1 Q0 a 0 2.0 t\n"))
    assert ids(file.run.rankings["q1"]) == ["a", "b"]
    assert file.rank_conflicts == 0


def test_lines_of_a_query_may_lie_apart_and_empty_lines_between(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q1 Q0 d1 1 2.0 t\n\nq2 Q0 d1 1 2.0 t\n   \nq1 Q0 d2 2 1.0 t\n")
    assert ids(read_run(path).run.rankings["q1"]) == ["d1", "d2"]


BROKEN = {
    "a column is missing": ("q1 Q0 d2 2 2.5\n", "5 columns where a TREC run has six"),
    "a column too many": ("q1 Q0 d2 2 2.5 my tag\n", "7 columns where a TREC run has six"),
    "the rank is no integer": ("q1 Q0 d2 first 2.5 tag\n", "rank 'first' and score '2.5'"),
    "the rank is a fraction": ("q1 Q0 d2 1.5 2.5 tag\n", "rank '1.5' and score '2.5'"),
    "the score is no number": ("q1 Q0 d2 2 high tag\n", "rank '2' and score 'high'"),
    "the score is NaN": ("q1 Q0 d2 2 nan tag\n", "the score is nan, and a score must be a finite number"),
    "the score is infinite": ("q1 Q0 d2 2 -inf tag\n", "the score is -inf"),
    "a passage occurs twice": ("q1 Q0 d1 2 1.5 tag\n", "passage 'd1' occurs twice for query 'q1'"),
}


@pytest.mark.parametrize(("line", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_named_by_file_and_number(tmp_path: Path, line: Any, why: Any) -> None:
    path = run_file(tmp_path, GOOD + "\n" + line)
    with pytest.raises(EvalkitError) as caught:
        read_run(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: ")
    assert why in message
    assert "\n" not in message


def test_a_passage_may_occur_for_two_queries(tmp_path: Path) -> None:
    assert len(read_run(run_file(tmp_path, GOOD + "q2 Q0 d1 1 2.5 tag\n")).run.rankings) == 2


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_a_file_without_hits_is_refused(tmp_path: Path, text: Any) -> None:
    path = run_file(tmp_path, text)
    with pytest.raises(EvalkitError, match="holds no hits") as caught:
        read_run(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"there is no .*nowhere\.trec; it should be a TREC run"):
        read_run(tmp_path / "nowhere.trec")


def test_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="as a TREC run"):
        read_run(tmp_path)


def test_a_compressed_file_is_no_text(tmp_path: Path) -> None:
    path = run_file(tmp_path, b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(EvalkitError, match="as a TREC run"):
        read_run(path)


def test_a_written_run_has_ranks_from_one_scores_that_fall_and_a_tag_without_spaces(tmp_path: Path) -> None:
    path = tmp_path / "out.trec"
    moved = write_run(Run("my system", {"q1": (Hit("b", 2.0), Hit("a", 2.0)), "q2": (), "q3": (Hit("a", -0.1),)}), path)
    assert moved == [AdjustedScore("q1", "a", 2.0, 1.9999998807907104)]
    assert path.read_text("utf-8") == (
        "q1 Q0 b 1 2.0 my-system\nq1 Q0 a 2 1.9999998807907104 my-system\nq3 Q0 a 1 -0.1 my-system\n"
    )


def test_a_run_without_a_name_still_has_six_columns(tmp_path: Path) -> None:
    path = tmp_path / "out.trec"
    write_run(Run(" ", {"q1": (Hit("a", 1.0),)}), path)
    assert read_run(path).run.name == "run"


# Ids as they come: any letters, digits and signs of any script, without white space.
ids_of_any_script = st.text(st.characters(categories=["L", "N", "M", "P", "S"]), min_size=1, max_size=6)
scores = st.one_of(st.sampled_from([0.0, 1.0, 1.0 + 2**-52]), st.floats(allow_nan=False, allow_infinity=False))
prior_orders = st.lists(st.tuples(ids_of_any_script, scores), unique_by=lambda item: item[0], min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(queries=st.dictionaries(ids_of_any_script, prior_orders, min_size=1, max_size=4))
def test_what_is_written_is_read_back_in_the_same_order(tmp_path_factory: pytest.TempPathFactory, queries: Any) -> None:
    # Ties are in first-stage order, which their scores do not show: the order of the file has to.
    run = Run("t", {
        query_id: ranking.order([Hit(*item) for item in items], {item[0]: i for i, item in enumerate(items)})
        for query_id, items in queries.items()
    })  # fmt: skip
    path = tmp_path_factory.mktemp("trec") / "run.trec"
    write_run(run, path)
    for order in ("score", "rank"):
        file = read_run(path, order)
        assert {q: ids(hits) for q, hits in file.run.rankings.items()} == {
            q: ids(hits) for q, hits in run.rankings.items()
        }
        assert file.rank_conflicts == 0


@settings(deadline=None, max_examples=40)
@given(
    logits=st.lists(st.one_of(st.none(), st.floats(-50, 50, width=16)), min_size=1, max_size=12),
    depth=st.integers(1, 14),
)
def test_a_reranked_run_is_read_back_in_the_same_order(
    tmp_path_factory: pytest.TempPathFactory, logits: Any, depth: Any
) -> None:
    first = [Hit(f"d{i}", 100.0 - i) for i in range(len(logits))]
    known = {f"d{i}": logit for i, logit in enumerate(logits) if logit is not None}
    run = Run("t", {"q": ranking.rerank(first, known, depth)})
    path = tmp_path_factory.mktemp("trec") / "run.trec"
    write_run(run, path)
    assert ids(read_run(path).run.rankings["q"]) == ids(run.rankings["q"])


# --- a finished run as the first stage --------------------------------------------------------------------------------

TWO_QUERIES = Slice("tiny", "en", {"q1": "one", "q2": "two"}, {"a": "", "b": "", "c": ""}, {}, "")


def test_a_run_as_first_stage_is_cut_to_the_depth_and_to_the_slice(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q1 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq1 Q0 c 3 1 t\nq8 Q0 a 1 1 t\nq9 Q0 a 1 1 t\n")
    first_stage = FirstStageRun(str(path))
    found = first_stage.search(TWO_QUERIES, 2)
    assert found.rankings == {"q1": (Hit("a", 3.0), Hit("b", 2.0)), "q2": ()}
    facts = first_stage.describe()
    assert (facts["queries_missing"], facts["queries_of_other_slices"]) == (1, 2)
    assert (facts["name"], facts["tag"]) == ("some", "t")


def test_a_run_of_another_slice_is_refused(tmp_path: Path) -> None:
    path = run_file(tmp_path, "q8 Q0 a 1 1 t\n")
    with pytest.raises(EvalkitError, match=r"none of its queries \(e\.g\. 'q8'\) is in tiny \(e\.g\. 'q1'\)"):
        FirstStageRun(str(path)).search(TWO_QUERIES, 2)


@pytest.mark.parametrize("component", [FirstStageRun, RerankedRun])
def test_a_broken_run_is_found_before_the_work_starts(tmp_path: Path, component: Any) -> None:
    path = run_file(tmp_path, GOOD + "q1 Q0\n")
    with pytest.raises(EvalkitError, match="line 2: 2 columns"):
        component(str(path)).check()


# --- a finished run as the reranker -----------------------------------------------------------------------------------


def test_a_run_as_reranker_scores_minus_its_rank_and_none_for_missing_passages(tmp_path: Path) -> None:
    # Its order for q1 is c, a, x: ranks 1, 2, 3. x is no candidate, and b is not in the run.
    reranker = RerankedRun(str(run_file(tmp_path, "q1 Q0 a 2 2 t\nq1 Q0 c 1 9 t\nq1 Q0 x 3 1 t\n")))
    reranker.load()
    scores = reranker.score([Pair("q1", "a"), Pair("q1", "b"), Pair("q1", "c")], {}, {})
    assert scores.logits == (-2.0, None, -1.0)
    facts = reranker.describe()
    assert (facts["candidates_unranked"], facts["ranked_but_no_candidate"]) == (1, 1)
    assert reranker.computes is False


def test_a_run_as_reranker_gives_tied_passages_one_logit_and_its_own_order(tmp_path: Path) -> None:
    reranker = RerankedRun(str(run_file(tmp_path, "q1 Q0 a 1 2 t\nq1 Q0 b 2 9 t\nq1 Q0 c 3 2 t\nq1 Q0 d 4 1 t\n")))
    reranker.load()
    scores = reranker.score([Pair("q1", doc_id) for doc_id in "abcd"], {}, {})
    assert scores.logits == (-2.0, -1.0, -2.0, -4.0)
    assert scores.tie_order is not None
    assert sorted("abcd", key=lambda doc_id: (scores.tie_order or {})["q1"][doc_id]) == ["b", "c", "a", "d"]


def test_a_reranking_of_other_candidates_is_refused(tmp_path: Path) -> None:
    reranker = RerankedRun(str(run_file(tmp_path, "q1 Q0 x 1 1 t\n")))
    reranker.load()
    with pytest.raises(EvalkitError, match="the run ranks none of the 2 candidates of the first stage"):
        reranker.score([Pair("q1", "a"), Pair("q2", "x")], {}, {})


# --- published figures ------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize(("reranking", "ndcg"), [("bm25+rankvicuna-7b", 0.6682), ("bm25+vicuna-13b-zero-shot", 0.4517)])
def test_finished_rerankings_of_dl19_come_out_as_published(shared: Path, reranking: Any, ndcg: Any) -> None:
    # Anserini's BM25 has 0.5058, RankLLM's RankVicuna 0.6682; the perfect order of the candidates would have 0.892.
    folder = shared / "data" / "msmarco-dl19"
    data = beir.load(str(folder), relevance_level=2)
    first_stage = FirstStageRun(str(folder / "runs" / "bm25.trec"))
    reranker = RerankedRun(str(folder / "runs" / f"{reranking}.trec"))
    done = run_trial(Plan("dl19", 100, ["nDCG@10"], CostProtocol(0, 0, 0)), data, first_stage, reranker, {}, {})
    means = {label: values.mean()["nDCG@10"] for label, values in done.effectiveness.items()}
    assert means == pytest.approx({"first_stage": 0.5058, "reranked": ndcg, "ceiling": 0.892}, abs=5e-4)
