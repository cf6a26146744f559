from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.slices.assemble import assemble, join_title
from evalkit.slices.fingerprints import fingerprints

# --- title and text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "text", "passage"),
    [
        ("Light", "It is fast.", "Light It is fast."),
        ("", "It is fast.", "It is fast."),
        ("Light", "", "Light"),
        (" Light\n", "\tIt is  fast. ", "Light It is  fast."),
        ("", " \n", ""),
    ],
)
def test_title_and_text_are_joined_by_one_space(title: Any, text: Any, passage: Any) -> None:
    assert join_title(title, text) == passage


# --- the slice --------------------------------------------------------------------------------------------------------

QUERIES = {"q1": "one", "q2": "two", "q3": "three"}
ALL_JUDGED = {"q1": {"a": 1}, "q2": {"b": 0}, "q3": {"c": 2}}
DOCS = [("a", "text a"), ("b", "text b"), ("c", "text c"), ("d", "text d")]


def assembled(queries: Any = QUERIES, docs: Any = DOCS, qrels: Any = ALL_JUDGED, level: Any = 1) -> Any:
    return assemble("name", "en", "HERE", queries, dict(docs), qrels, level, {"source": "test"})


def test_a_slice_counts_what_it_holds() -> None:
    # q2's one judgment is a 0, and q3's passage z is not in the corpus.
    data = assembled(qrels={"q1": {"a": 1, "b": 2}, "q2": {"b": 0}, "q3": {"z": 2, "a": 0}})
    assert data.facts == {
        "source": "test", "queries": 3, "docs": 4, "judgments": 5, "judged_docs_without_text": 1,
        "queries_without_relevant": 1, "ids_escaped": 0, "texts_mended": 0,
        "fingerprints": fingerprints(data.queries, data.docs, data.qrels),
    }  # fmt: skip


def test_queries_without_a_relevant_passage_are_counted_at_the_level_of_the_slice() -> None:
    # Best grades: 1, 0 and 2; at level 2 q1 and q2 have nothing relevant.
    assert assembled(level=2).facts["queries_without_relevant"] == 2


def test_judgments_of_queries_that_were_cut_away_are_left_out() -> None:
    data = assembled(queries={"q1": "one"})
    assert data.qrels == {"q1": {"a": 1}}
    assert data.facts["judgments"] == 1


def test_a_corpus_without_passages_is_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE has no passages"):
        assembled(docs=[])


def test_judgments_of_another_corpus_are_refused() -> None:
    with pytest.raises(EvalkitError, match=r"HERE: none of the 1 judged passages is in the corpus \(e\.g\. 'z'\)"):
        assembled(qrels={q: {"z": 1} for q in QUERIES})


# --- what no file could hold ------------------------------------------------------------------------------------------


def test_an_empty_id_is_refused_before_any_work() -> None:
    with pytest.raises(EvalkitError, match=r"HERE: a passage has an empty id"):
        assemble("n", "en", "HERE", {"q": "text"}, {"": "text"}, {"q": {"": 1}}, 1, {})
    with pytest.raises(EvalkitError, match=r"HERE: a query has an empty id"):
        assemble("n", "en", "HERE", {"": "text"}, {"d": "text"}, {"": {"d": 1}}, 1, {})


@pytest.mark.parametrize("grade", [2**31, -(2**31), 1.5, None])
def test_a_grade_that_is_no_grade_is_refused(grade: Any) -> None:
    with pytest.raises(EvalkitError, match=r"HERE: passage 'd' has grade .* for query 'q'; a grade is an integer"):
        assemble("n", "en", "HERE", {"q": "text"}, {"d": "text"}, {"q": {"d": grade}}, 1, {})
