from typing import Any

import pytest

from evalkit.boundary.columns import DOCS, JUDGMENTS, QUERIES, RUNS, Role, find_columns
from evalkit.boundary.errors import EvalkitError

KNOWN: dict[str, tuple[tuple[Role, ...], str, dict[str, str]]] = {
    "queries of BEIR and MTEB": (QUERIES, "_id text metadata", {"query_id": "_id", "text": "text"}),
    "queries of ir_datasets": (QUERIES, "query_id text", {"query_id": "query_id", "text": "text"}),
    "queries of PyTerrier": (QUERIES, "qid query", {"query_id": "qid", "text": "query"}),
    "passages of BEIR": (DOCS, "_id title text", {"doc_id": "_id", "text": "text", "title": "title"}),
    "passages of MTEB": (DOCS, "id title text", {"doc_id": "id", "text": "text", "title": "title"}),
    "passages of ir_datasets": (DOCS, "doc_id text", {"doc_id": "doc_id", "text": "text"}),
    "passages of PyTerrier": (DOCS, "docno text", {"doc_id": "docno", "text": "text"}),
    "passages of Pyserini": (DOCS, "id contents", {"doc_id": "id", "text": "contents"}),
    "judgments of BEIR": (JUDGMENTS, "query-id corpus-id score",
                          {"query_id": "query-id", "doc_id": "corpus-id", "grade": "score"}),
    "judgments of ir_datasets": (JUDGMENTS, "query_id doc_id relevance iteration",
                                 {"query_id": "query_id", "doc_id": "doc_id", "grade": "relevance"}),
    "judgments of PyTerrier": (JUDGMENTS, "qid docno label", {"query_id": "qid", "doc_id": "docno", "grade": "label"}),
    "a run of PyTerrier": (RUNS, "qid docid docno rank score query",
                           {"query_id": "qid", "doc_id": "docno", "rank": "rank", "score": "score"}),
    "a run of ir_datasets": (RUNS, "query_id doc_id score",
                             {"query_id": "query_id", "doc_id": "doc_id", "score": "score"}),
    "other case and signs": (JUDGMENTS, "QueryID Doc-Id Relevance",
                             {"query_id": "QueryID", "doc_id": "Doc-Id", "grade": "Relevance"}),
}  # fmt: skip


@pytest.mark.parametrize(("roles", "columns", "expected"), KNOWN.values(), ids=KNOWN.keys())
def test_the_names_of_other_tools_are_known(roles: Any, columns: str, expected: Any) -> None:
    assert find_columns("it", roles, columns.split()) == expected


def refusal(*arguments: Any) -> str:
    with pytest.raises(EvalkitError) as caught:
        find_columns("my table", *arguments)
    return str(caught.value)


def test_a_column_that_is_missing_is_named_with_those_there_are() -> None:
    assert refusal(JUDGMENTS, ["qid", "docno", "stars"]) == (
        "my table: no column is named as the grade: score, relevance, label, grade, rel, judgment; the columns are "
        "qid, docno, stars"
    )


def test_two_columns_for_one_content_are_refused() -> None:
    assert refusal(JUDGMENTS, ["qid", "docno", "label", "score"]) == (
        "my table: the grade can be any of the columns label, score; rename all but one, or name it (grade: COLUMN)"
    )


def test_columns_can_be_named_where_their_names_are_not_known_ones() -> None:
    stated = {"grade": "stars", "query_id": "frage"}
    columns = ["frage", "docno", "stars", "label"]
    # label would be the grade, were it not for the statement
    assert find_columns("it", JUDGMENTS, columns, stated) == {**stated, "doc_id": "docno"}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"grade": "starz"}, "my table: grade was to be the column 'starz'; the columns are qid, docno, stars"),
        ({"grad": "stars"}, "my table: 'grad' is nothing that a column can hold; did you mean grade?"),
    ],
)
def test_a_name_that_is_given_has_to_be_right(stated: Any, message: str) -> None:
    assert refusal(JUDGMENTS, ["qid", "docno", "stars"], stated) == message
