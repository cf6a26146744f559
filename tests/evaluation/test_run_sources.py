from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.run_sources import run_from
from evalkit.types import Hit, Run

# By hand: q1 by score is d2 (9), d1 (3); the ranks say the same. q2 has one hit.
ROWS = [
    {"qid": "q1", "docid": 11, "docno": "d1", "score": 3.0, "rank": 1},
    {"qid": "q1", "docid": 12, "docno": "d2", "score": 9.0, "rank": 0},
    {"qid": "q2", "docid": 11, "docno": "d1", "score": -1.0, "rank": 0},
]
RANKINGS = {"q1": (Hit("d2", 9.0), Hit("d1", 3.0)), "q2": (Hit("d1", -1.0),)}


def arrow(rows: Any) -> Any:
    return pytest.importorskip("pyarrow", reason="the extra parquet").Table.from_pylist(rows)


def polars(rows: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


FORMS: dict[str, Callable[[Any], Any]] = {
    "dictionaries": list, "pandas": pd.DataFrame, "polars": polars, "pyarrow": arrow,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_run_comes_from_any_table(form: Any) -> None:
    file = run_from(form(ROWS), "bm25")
    assert file.run == Run("bm25", RANKINGS)
    assert file.rank_conflicts == 0
    assert file.columns == {"query_id": "qid", "doc_id": "docno", "score": "score", "rank": "rank"}


def test_a_run_comes_from_a_mapping_of_scores_or_from_lists_best_first() -> None:
    assert run_from({"q1": {"d1": 3, "d2": 9}, "q2": {"d1": -1}}).run.rankings == RANKINGS
    assert run_from({"q1": ["d2", "d1"], 2: ("d1",)}).run.rankings == {
        "q1": (Hit("d2", -1.0), Hit("d1", -2.0)),
        "2": (Hit("d1", -1.0),),
    }


def test_a_run_of_evalkit_keeps_its_order() -> None:
    run = Run("mine", {"q": (Hit("a", 1.0), Hit("b", 5.0))})
    assert run_from(run).run is run


def test_without_scores_the_ranks_decide() -> None:
    file = run_from([{"qid": "q", "pid": d, "rank": rank} for d, rank in (("a", 3), ("b", 1), ("c", 1))])
    # equal ranks: trec_eval's order of equal scores, by descending id
    assert file.run.rankings == {"q": (Hit("c", -1.0), Hit("b", -1.0), Hit("a", -3.0))}
    assert file.sort_keys == {"q": (-1.0, -1.0, -3.0)}


def test_ranks_that_contradict_the_scores_are_counted_and_can_decide() -> None:
    rows = [{"qid": "q", "docno": d, "score": s, "rank": r} for d, s, r in (("a", 1.0, 1), ("b", 2.0, 2))]
    by_score, by_rank = run_from(rows), run_from(rows, order="rank")
    assert [hit.doc_id for hit in by_score.run.rankings["q"]] == ["b", "a"]
    assert [hit.doc_id for hit in by_rank.run.rankings["q"]] == ["a", "b"]
    assert by_score.rank_conflicts == by_rank.rank_conflicts == 1


def test_the_tag_names_the_run_and_ids_are_escaped_as_in_a_collection() -> None:
    file = run_from([{"qid": 1, "docno": "page 7", "score": 1, "tag": "splade"}])
    assert file.run == Run("splade", {"1": (Hit("page%207", 1.0),)})


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no hits": ({}, {}, "run holds no hits"),
    "no rows": ([], {}, "run holds no hits"),
    "neither score nor rank": ([{"qid": 1, "docno": 2, "bm25": 3}], {},
                               "run, row 1: no column is named as a score or a rank: score, _score, similarity, rank, "
                               "position; the columns are qid, docno, bm25; a score is higher for a better passage"),
    "a score that is none": ([{**ROWS[0], "score": float("nan")}], {},
                             "run, row 1: the score is missing; a score is a finite number"),
    "an infinite score": ([{**ROWS[0], "score": float("inf")}], {}, "run, row 1: the score is inf; a score is a"),
    "a rank with a fraction": ([{**ROWS[0], "rank": 1.5}], {}, "run, row 1: the rank is 1.5; a rank is a whole number"),
    "a passage twice": ([*ROWS, ROWS[0]], {}, "run, row 4: passage 'd1' occurs twice for query 'q1'"),
    "rows without a score among others": ([ROWS[0], {"qid": 1, "docno": 2, "rank": 1}], {},
                                          "run: 1 of 2 hits have no score; give all of them one"),
    "an order that there is not": ({"q": {"d": 1}}, {"order": "best"}, "order=best: give score"),
    "an order by ranks without ranks": ({"q": {"d": 1}}, {"order": "rank"},
                                        "run: the order was to be by rank, and there is no rank"),
    "a text in place of hits": ({"q": "d1"}, {}, "run, query 'q': 'd1' is neither a mapping of passage ids to scores"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "settings", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_run_is_refused(source: Any, settings: Any, message: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        run_from(source, **settings)
    assert message in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(scores=st.dictionaries(st.text("abc", min_size=1), st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_the_order_of_the_rows_does_not_matter(scores: Any) -> None:
    rows = [{"qid": "q", "docno": d, "score": s} for d, s in scores.items()]
    assert run_from(rows).run == run_from(rows[::-1]).run == run_from({"q": scores}).run
