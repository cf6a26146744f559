import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.slices import beir
from evalkit.slices.fingerprints import fingerprints

CORPUS: list[dict[str, Any]] = [
    {"_id": "d1", "title": "Light", "text": "It is fast."},
    {"_id": "d2", "title": "", "text": "Bread needs yeast."},
    {"_id": "d3", "text": "A passage without a title."},
    {"_id": "d4", "title": "巴黎", "text": "巴黎是法国的首都。", "metadata": {"url": "https://example.org"}},
    {"_id": "d5", "title": "", "text": "Nobody asks for this one."},
]
QUERIES = [
    {"_id": "q1", "text": "how fast is light"},
    {"_id": "q2", "text": "why does bread rise"},
    {"_id": "q3", "text": "法国的首都"},
    {"_id": "q9", "text": "a query of the train split"},
]
QRELS = [("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d2", 1), ("q3", "d4", 3)]
HEADER = "query-id\tcorpus-id\tscore\n"


def jsonl(records: Any) -> Any:
    return "".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) + "\n" for r in records)


def tsv(rows: Any) -> Any:
    return HEADER + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def folder(
    tmp_path: Path, corpus: Any = CORPUS, queries: Any = QUERIES, qrels: Any = QRELS, split: Any = "test"
) -> Any:
    """Write a BEIR folder; a record that is a string stands in the file as it is."""
    path = tmp_path / "my collection"
    (path / "qrels").mkdir(parents=True, exist_ok=True)
    (path / "corpus.jsonl").write_text(jsonl(corpus), "utf-8")
    (path / "queries.jsonl").write_text(jsonl(queries), "utf-8")
    (path / "qrels" / f"{split}.tsv").write_text(qrels if isinstance(qrels, str) else tsv(qrels), "utf-8")
    return path


def refusal(path: Any, **asked: Any) -> Any:
    """Return the one sentence with which loading fails."""
    with pytest.raises(EvalkitError) as caught:
        beir.load(str(path), **asked)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_slice(tmp_path: Path) -> None:
    data = beir.load(str(folder(tmp_path)), lang="en", relevance_level=2)
    assert data.name == "my collection/test"
    assert data.lang == "en"
    assert data.relevance_level == 2
    assert data.queries == {"q1": "how fast is light", "q2": "why does bread rise", "q3": "法国的首都"}
    assert data.docs == {
        "d1": "Light It is fast.",
        "d2": "Bread needs yeast.",
        "d3": "A passage without a title.",
        "d4": "巴黎 巴黎是法国的首都。",
        "d5": "Nobody asks for this one.",
    }
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}, "q3": {"d4": 3}}


def test_what_was_read_is_written_down(tmp_path: Path) -> None:
    data = beir.load(str(folder(tmp_path)), relevance_level=2)
    assert data.facts == {
        "source": "beir",
        "split": "test",
        "corpus": "full",
        "distractors": 0,
        "seed": 0,
        "empty_docs_dropped": 0,
        "other_queries_in_file": 1,  # q9
        "columns": {
            "docs": {"doc_id": "_id", "title": "title", "text": "text"},
            "queries": {"query_id": "_id", "text": "text"},
            "qrels": {"query_id": "query-id", "doc_id": "corpus-id", "grade": "score"},
        },
        "files": {"docs": ["corpus.jsonl"], "queries": ["queries.jsonl"], "qrels": ["test.tsv"]},
        "queries": 3,
        "docs": 5,
        "judgments": 4,
        "judged_docs_without_text": 0,
        "queries_without_relevant": 1,  # q2, whose best grade is 1
        "ids_escaped": 0,
        "texts_mended": 0,
        "fingerprints": fingerprints(data.queries, data.docs, data.qrels),
    }


def test_a_split_has_its_own_judgments_and_queries(tmp_path: Path) -> None:
    path = folder(tmp_path)
    folder(tmp_path, qrels=[("q9", "d5", 1)], split="train")
    assert list(beir.load(str(path), split="train").queries) == ["q9"]
    assert list(beir.load(str(path)).queries) == ["q1", "q2", "q3"]


def test_a_slice_can_be_given_a_name(tmp_path: Path) -> None:
    assert beir.load(str(folder(tmp_path)), name="mine").name == "mine"


def test_numbers_as_ids_are_text(tmp_path: Path) -> None:
    path = folder(tmp_path, [{"_id": 7, "text": "seven"}], [{"_id": 1, "text": "one"}], [("1", "7", 1)])
    assert beir.load(str(path)).docs == {"7": "seven"}


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    # U+0085 and U+2028 end a line for str.splitlines; MS MARCO has the former inside of its passages.
    odd = {"_id": "d1", "text": "before\u0085after\u2028and \x0b on"}
    data = beir.load(str(folder(tmp_path, [odd, *CORPUS[1:]])))
    assert data.docs["d1"] == odd["text"]
    assert len(data.docs) == 5


def test_judgments_need_no_header_and_may_end_in_carriage_returns(tmp_path: Path) -> None:
    path = folder(tmp_path, qrels="q1\td1\t2\r\nq2\td2\t1\r\n\r\n")
    assert beir.load(str(path)).qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}


def test_a_judgment_that_is_repeated_counts_once(tmp_path: Path) -> None:
    assert beir.load(str(folder(tmp_path, qrels=[*QRELS, QRELS[0]]))).facts["judgments"] == 4


def test_judged_passages_without_a_text_are_counted(tmp_path: Path) -> None:
    data = beir.load(str(folder(tmp_path, qrels=[*QRELS, ("q1", "gone1", 1), ("q2", "gone2", 0), ("q2", "gone1", 0)])))
    assert data.facts["judged_docs_without_text"] == 2
    assert data.qrels["q1"]["gone1"] == 1  # it stays judged: leaving it out would make the ideal ranking easier


# --- cuts -------------------------------------------------------------------------------------------------------------


def many(tmp_path: Path, queries: Any = 40, docs: Any = 200) -> Any:
    corpus = [{"_id": f"d{i}", "text": f"passage number {i}"} for i in range(docs)]
    asked = [{"_id": f"q{i}", "text": f"query number {i}"} for i in range(queries)]
    return folder(tmp_path, corpus, asked, [(f"q{i}", f"d{i * 3}", 1) for i in range(queries)])


def test_fewer_queries_are_some_of_more_queries(tmp_path: Path) -> None:
    path = str(many(tmp_path))
    few, more = (beir.load(path, queries=n, seed=7).queries for n in (5, 20))
    assert len(few) == 5
    assert few.items() < more.items()


def test_the_same_seed_cuts_the_same_and_another_seed_differently(tmp_path: Path) -> None:
    path = str(many(tmp_path))
    asked: dict[str, Any] = {"queries": 5, "corpus": "judged", "distractors": 9}
    assert beir.load(path, seed=7, **asked) == beir.load(path, seed=7, **asked)
    assert beir.load(path, seed=7, **asked).fingerprint != beir.load(path, seed=8, **asked).fingerprint


def test_a_judged_corpus_holds_the_judged_passages_of_the_chosen_queries_and_no_others(tmp_path: Path) -> None:
    data = beir.load(str(many(tmp_path)), queries=5, corpus="judged")
    assert set(data.docs) == {doc_id for grades in data.qrels.values() for doc_id in grades}
    assert len(data.docs) == 5
    assert data.facts["corpus"] == "judged"


def test_distractors_come_on_top_of_the_judged_passages(tmp_path: Path) -> None:
    path = str(many(tmp_path))
    judged, some, more = (beir.load(path, corpus="judged", distractors=n, seed=1).docs for n in (0, 10, 60))
    assert len(some) == len(judged) + 10
    assert len(more) == len(judged) + 60
    assert judged.items() < some.items() < more.items()


def test_more_distractors_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    assert len(beir.load(str(many(tmp_path)), corpus="judged", distractors=10_000).docs) == 200


def test_more_queries_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    assert len(beir.load(str(many(tmp_path)), queries=1000).queries) == 40


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == (
        f"slice.path={tmp_path}/nowhere: there is no such folder; a BEIR folder holds corpus.jsonl, queries.jsonl "
        "and qrels/SPLIT.tsv"
    )


def test_a_missing_split_is_refused_with_the_existing_ones(tmp_path: Path) -> None:
    path = folder(tmp_path)
    folder(tmp_path, split="dev")
    assert refusal(path, split="tset") == (
        f"slice.split=tset: there is no {path}/qrels/tset.tsv; choose from dev, test"
    )


def test_a_folder_without_judgments(tmp_path: Path) -> None:
    path = folder(tmp_path)
    shutil.rmtree(path / "qrels")
    assert refusal(path).endswith("the folder has no qrels at all")


@pytest.mark.parametrize(("name", "what"), [("corpus.jsonl", "passages"), ("queries.jsonl", "queries")])
def test_a_missing_file(tmp_path: Path, name: Any, what: Any) -> None:
    path = folder(tmp_path)
    (path / name).unlink()
    assert refusal(path) == f"there is no {path}/{name}; it should be {what}, JSON objects, one a line"


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_file_that_is_no_utf_8(tmp_path: Path, name: Any) -> None:
    path = folder(tmp_path)
    (path / name).write_bytes(b'{"_id": "d1", "text": "caf\xe9"}\n')
    assert refusal(path).startswith(f"cannot read {path}/{name}, line 1, as ")


ACCEPTED = "_id, id, doc_id, docno, docid, corpus_id, document_id, passage_id, pid"
BROKEN_RECORDS = {
    "no JSON": ('{"_id": "d2", "text": "cut off\n', "not a JSON object: "),
    "no object": ('["d2", "text"]\n', "not a JSON object: "),
    "no _id": ('{"text": "text"}\n', "no column is named as the "),
    "no text": ('{"_id": "d2", "title": "title"}\n', "no column is named as the text: "),
    "a text that is null": ('{"_id": "d2", "text": null}\n', "the text is missing"),
    "a text that is a number": ('{"_id": "d2", "text": 5}\n', "the text is 5, and has to be a text"),
}
broken_records = pytest.mark.parametrize(("line", "why"), BROKEN_RECORDS.values(), ids=BROKEN_RECORDS.keys())


@broken_records
def test_a_broken_passage_is_named_by_file_and_line(tmp_path: Path, line: Any, why: Any) -> None:
    path = folder(tmp_path, [CORPUS[0], "\n", line, *CORPUS[2:]])
    assert refusal(path).startswith(f"{path}/corpus.jsonl, line 3: {why}")


def test_a_record_without_an_id_is_refused_with_the_names_that_it_has(tmp_path: Path) -> None:
    path = folder(tmp_path, ['{"id_of_doc": "d2", "text": "text"}\n'])
    assert refusal(path) == (
        f"{path}/corpus.jsonl, line 1: no column is named as the passage id: {ACCEPTED}; the columns are "
        "id_of_doc, text"
    )


@broken_records
def test_a_broken_query_is_named_by_file_and_line(tmp_path: Path, line: Any, why: Any) -> None:
    assert f"queries.jsonl, line 5: {why}" in refusal(folder(tmp_path, queries=[*QUERIES, line]))


BROKEN_JUDGMENTS = {
    "q1 d1 1\n": "1 column where the first line has 3: 'q1 d1 1'",
    "q1\td1\n": "2 columns where the first line has 3: 'q1 | d1'",
    "q1\t0\td1\t1\n": "4 columns where the first line has 3: 'q1 | 0 | d1 | 1'",
    "q1\td1\trelevant\n": "the grade is 'relevant'; a grade is a whole number, such as 0, 1 or 2.0",
    "q1\td1\t1.5\n": "the grade is '1.5'; a grade is a whole number, such as 0, 1 or 2.0",
    "q1\td1\t\n": "the grade is missing; a grade is a whole number, such as 0, 1 or 2.0",
}


@pytest.mark.parametrize(("line", "why"), BROKEN_JUDGMENTS.items())
def test_a_broken_judgment_is_named_by_file_and_line(tmp_path: Path, line: Any, why: Any) -> None:
    path = folder(tmp_path, qrels=tsv(QRELS) + line)
    assert refusal(path) == f"{path}/qrels/test.tsv, line 6: {why}"


def test_a_passage_that_is_judged_twice_differently(tmp_path: Path) -> None:
    path = folder(tmp_path, qrels=[*QRELS, ("q1", "d1", 1)])
    assert refusal(path) == f"{path}/qrels/test.tsv, line 6: 'q1' and 'd1' are judged twice, differently"


def test_a_passage_id_that_occurs_twice(tmp_path: Path) -> None:
    path = folder(tmp_path, [*CORPUS, {"_id": "d1", "text": "other"}])
    assert refusal(path) == f"{path}: passage id 'd1' occurs twice; ids must be unique"


def test_a_query_id_that_occurs_twice(tmp_path: Path) -> None:
    path = folder(tmp_path, queries=[*QUERIES, {"_id": "q1", "text": "other"}])
    assert refusal(path) == f"{path}/queries.jsonl, line 5: id 'q1' occurs twice; ids must be unique"


def test_an_empty_passage_unless_it_may_be_dropped(tmp_path: Path) -> None:
    path = folder(tmp_path, [*CORPUS, {"_id": "d6", "title": " ", "text": ""}])
    assert refusal(path) == (
        f"{path}: passage 'd6' is empty; correct the corpus, or leave empty passages out with slice.empty_docs=drop"
    )
    data = beir.load(str(path), empty_docs="drop")
    assert "d6" not in data.docs
    assert data.facts["empty_docs_dropped"] == 1


def test_an_empty_query(tmp_path: Path) -> None:
    path = folder(tmp_path, queries=[{"_id": "q1", "text": " "}, *QUERIES[1:]])
    assert refusal(path) == f"{path}: query 'q1' has an empty text"


def test_an_empty_query_of_another_split_is_no_error(tmp_path: Path) -> None:
    path = folder(tmp_path, queries=[*QUERIES[:3], {"_id": "q9", "text": ""}])
    assert len(beir.load(str(path)).queries) == 3


def test_a_judged_query_that_has_no_text(tmp_path: Path) -> None:
    path = folder(tmp_path, qrels=[*QRELS, ("q7", "d1", 1)])
    assert refusal(path) == f"{path}/qrels/test.tsv judges 1 queries that queries.jsonl lacks (e.g. 'q7')"


def test_judgments_of_another_corpus(tmp_path: Path) -> None:
    path = folder(tmp_path, qrels=[("q1", "x1", 1), ("q2", "x2", 1)])
    assert "none of the 2 judged passages is in the corpus (e.g. 'x1')" in refusal(path)


@pytest.mark.parametrize("qrels", ["", HEADER])
def test_a_split_without_a_judgment(tmp_path: Path, qrels: Any) -> None:
    assert refusal(folder(tmp_path, qrels=qrels)).endswith(
        "has no judgments (qrels), and without them there is nothing to measure"
    )


def test_a_corpus_without_passages(tmp_path: Path) -> None:
    path = folder(tmp_path, corpus=[])
    assert refusal(path) == f"{path} has no passages"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"corpus": "half"}, "slice.corpus='half': choose from full, judged"),
        ({"empty_docs": "keep"}, "slice.empty_docs='keep': choose from error, drop"),
        ({"unjudged_queries": "keep"}, "slice.unjudged_queries='keep': choose from error, drop"),
        ({"queries": 0}, "slice.queries=0: give the number of queries to keep, 1 or more, or null for all"),
    ],
)
def test_a_setting_that_there_is_not(tmp_path: Path, setting: Any, message: Any) -> None:
    assert refusal(folder(tmp_path), **setting) == message


# --- the fingerprint --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_the_order_of_the_lines_does_not_change_the_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    shuffled = [data.draw(st.permutations(rows)) for rows in (CORPUS, QUERIES, QRELS)]
    one, other = (tmp_path_factory.mktemp("beir") for _ in range(2))
    assert beir.load(str(folder(one, *shuffled))).fingerprint == beir.load(str(folder(other))).fingerprint


CHANGES = {
    "a letter of a passage": {"corpus": [{**CORPUS[0], "text": "It is fast!"}, *CORPUS[1:]]},
    "a title": {"corpus": [{**CORPUS[0], "title": "light"}, *CORPUS[1:]]},
    "a passage id": {"corpus": [*CORPUS[:4], {**CORPUS[4], "_id": "d6"}]},
    "a letter of a query": {"queries": [{**QUERIES[0], "text": "How fast is light"}, *QUERIES[1:]]},
    "a grade": {"qrels": [("q1", "d1", 3), *QRELS[1:]]},
    "a judged passage": {"qrels": [("q1", "d3", 2), *QRELS[1:]]},
    "a judgment less": {"qrels": [QRELS[0], *QRELS[2:]]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_of_the_files_changes_the_fingerprint(tmp_path: Path, change: Any) -> None:
    before = beir.load(str(folder(tmp_path))).fingerprint
    assert beir.load(str(folder(tmp_path, **change))).fingerprint != before


@pytest.mark.parametrize(
    "change", [{"queries": QUERIES[:3]}, {"qrels": "".join(tsv(QRELS).splitlines(keepends=True)[1:])}],
    ids=["a query of another split", "the header of the judgments"],
)  # fmt: skip
def test_what_the_slice_does_not_hold_does_not_change_the_fingerprint(tmp_path: Path, change: Any) -> None:
    before = beir.load(str(folder(tmp_path))).fingerprint
    assert beir.load(str(folder(tmp_path, **change))).fingerprint == before
