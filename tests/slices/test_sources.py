from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.slices.sources import docs_from, qrels_from, queries_from

ROWS = [
    {"query_id": "q1", "doc_id": "d1", "relevance": 2, "iteration": "0"},
    {"query_id": "q1", "doc_id": "d2", "relevance": -1, "iteration": "0"},
    {"query_id": "7", "doc_id": "d1", "relevance": 1, "iteration": "0"},
]
QRELS = {"q1": {"d1": 2, "d2": -1}, "7": {"d1": 1}}


def arrow(rows: Any) -> Any:
    return pytest.importorskip("pyarrow", reason="the extra parquet").Table.from_pylist(rows)


def polars(rows: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


FORMS: dict[str, Callable[[Any], Any]] = {
    "dictionaries": list, "a generator": iter, "pandas": pd.DataFrame, "polars": polars, "pyarrow": arrow,
}  # fmt: skip
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


@forms
def test_judgments_come_from_any_table(form: Any) -> None:
    found = qrels_from(form(ROWS))
    assert found.values == QRELS
    assert found.columns == {"query_id": "query_id", "doc_id": "doc_id", "grade": "relevance"}


@forms
def test_queries_come_from_any_table(form: Any) -> None:
    found = queries_from(form([{"qid": 1, "query": " tides "}, {"qid": 2, "query": "moon"}]))
    assert found.values == {"1": "tides", "2": "moon"}
    assert found.columns == {"query_id": "qid", "text": "query"}


@forms
def test_passages_come_from_any_table_with_the_title_in_front(form: Any) -> None:
    rows = [{"docno": "a", "title": "Moon", "text": "It is far."}, {"docno": "b", "title": None, "text": "Bread"}]
    found = docs_from(form(rows))
    assert found.values == {"a": "Moon It is far.", "b": "Bread"}
    assert found.columns == {"doc_id": "docno", "title": "title", "text": "text"}


def test_mappings_are_taken_as_they_are() -> None:
    assert queries_from({1: "tides"}).values == {"1": "tides"}
    assert docs_from({"a": "far", "b": {"title": "T", "text": "t"}, "c": {"text": "t"}}).values == {
        "a": "far", "b": "T t", "c": "t",
    }  # fmt: skip
    assert qrels_from({"q1": {"d1": 2.0, "d2": -1}, 7: {"d1": 1}}).values == QRELS
    assert qrels_from({"q1": {"d1": 2}}).columns == {}


def test_rows_may_have_different_columns() -> None:
    found = docs_from([{"_id": "a", "text": "x"}, {"_id": "b", "title": "T", "text": "y"}, {"id": "c", "text": "z"}])
    assert found.values == {"a": "x", "b": "T y", "c": "z"}
    assert found.columns == {"doc_id": "_id|id", "text": "text", "title": "title"}


@pytest.mark.parametrize("grade", [2, 2.0, "2", "2.0", "+2"])
def test_a_grade_may_be_written_with_a_fraction_of_zero(grade: Any) -> None:
    assert qrels_from({"q": {"d": grade}}).values == {"q": {"d": 2}}


def test_a_judgment_that_is_repeated_counts_once() -> None:
    assert qrels_from([*ROWS, ROWS[0]]).values == QRELS


def judged(**other: Any) -> Any:
    return [ROWS[0], {**ROWS[1], **other}]


REFUSED: dict[str, tuple[Callable[[Any], Any], Any, str]] = {
    "a contradiction": (qrels_from, [*ROWS, {**ROWS[0], "relevance": 1}],
                        "qrels, row 4: 'q1' and 'd1' are judged twice, differently"),
    "a grade with a fraction": (qrels_from, judged(relevance=1.5),
                                "qrels, row 2: the grade is 1.5; a grade is a whole number, such as 0, 1 or 2.0"),
    "a grade that is none": (qrels_from, judged(relevance=float("nan")), "qrels, row 2: the grade is missing; a grade"),
    "a grade that is a truth value": (qrels_from, judged(relevance=True), "qrels, row 2: the grade is True; a grade"),
    "an id that is none": (qrels_from, judged(query_id=None), "qrels, row 2: the query id is missing"),
    "an id that is empty": (qrels_from, judged(doc_id=""), "qrels, row 2: the passage id is missing"),
    "an id with a fraction": (qrels_from, judged(doc_id=2.0),
                              "qrels, row 2: the passage id is 2.0, and has to be a text or a whole number; read the "
                              "column as text (dtype=str)"),
    "a query in place of grades": (qrels_from, {"q1": "d1"},
                                   "qrels, query 'q1': 'd1' is not a mapping of passage ids to grades"),
    "a query twice": (queries_from, [{"qid": 1, "query": "a"}, {"qid": "1", "query": "a"}],
                      "queries, row 2: query id '1' occurs twice; ids must be unique"),
    "a passage twice": (docs_from, {1: "a", "1": "a"}, "docs, passage '1': passage id '1' occurs twice"),
    "a text that is none": (docs_from, [{"id": 1, "text": "a"}, {"id": 2, "text": None}],
                            "docs, row 2: the text is missing"),
    "a text that is a number": (queries_from, {"q": 5}, "queries, query 'q': the text is 5, and has to be a text"),
    "a row that is none": (docs_from, [("d1", "text")], "docs, row 1: a list is not a mapping of column names"),
    "a path": (docs_from, "docs.csv", "docs: it is of type str; give a mapping, a DataFrame, or rows as dictionaries"),
    "a number": (docs_from, 3, "docs: it is of type int; give a mapping, a DataFrame, or rows as dictionaries"),
    "an index in place of a column": (queries_from, pd.DataFrame({"query": ["a"]}, index=["q1"]),
                                      "queries, row 1: no column is named as the query id: _id, id, query_id, qid, "
                                      "topic, topic_id; the columns are query"),
    "columns without names": (queries_from, [{0: "q1", 1: "a"}], "the columns are 0, 1"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "source", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_right_is_refused_with_its_row(function: Any, source: Any, message: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        function(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT], ids=str)
def test_every_kind_of_missing_value_of_pandas_is_seen(missing: Any) -> None:
    frame = pd.DataFrame({"qid": ["q1", "q2"], "query": pd.Series(["a", missing], dtype=object)})
    with pytest.raises(EvalkitError, match="queries, row 2: the text is missing"):
        queries_from(frame)


_IDS = st.text(min_size=1, max_size=5)


@settings(deadline=None, max_examples=50)
@given(qrels=st.dictionaries(_IDS, st.dictionaries(_IDS, st.integers(-5, 5), min_size=1, max_size=4), max_size=4))
def test_a_table_and_a_mapping_of_the_same_judgments_are_the_same(qrels: Any) -> None:
    rows = [{"qid": q, "docno": d, "label": grade} for q, grades in qrels.items() for d, grade in grades.items()]
    assert qrels_from(rows).values == qrels_from(qrels).values == qrels
