"""What is written in a format is read back from it, and every measure is equal."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.boundary.compression import SUFFIXES
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_writing import write_json, write_table
from evalkit.boundary.text import escape_id
from evalkit.evaluation import measure_names, measures
from evalkit.evaluation.run_files import read_run_file
from evalkit.evaluation.trec import write_qrels, write_run
from evalkit.slices import files, judgments
from evalkit.types import Hit, Run

TABLES = (".jsonl", ".csv", ".tsv", ".parquet")
MEASURES = [measure_names.parse(name, 3) for name in ("nDCG@3", "RR@3", "AP@3", "R@3", "P@3", "Success@2")]

_ids = st.text(
    st.sampled_from([*"ab1", " ", '"', ",", ";", "'", "%", "#", "é", "中", "\u00a0"]), min_size=1, max_size=4
)
# Words of headers are no ids here: a first line that has one is a header.
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\t\0"), min_size=1).map(str.strip).filter(bool)


@st.composite
def collections(draw: Any) -> Any:
    queries = draw(st.lists(_ids, min_size=1, max_size=3, unique_by=escape_id))
    docs = draw(st.lists(_ids, min_size=2, max_size=5, unique_by=escape_id))
    qrels = {q: {d: draw(st.integers(-2, 3)) for d in docs if draw(st.booleans())} or {docs[0]: 1} for q in queries}
    scores = {q: {d: draw(st.integers(-9, 9)) / 4 for d in docs} for q in queries}
    return (
        {q: draw(_texts) for q in queries},
        {d: (draw(st.just("") | _texts), draw(_texts)) for d in docs},
        qrels,
        scores,
    )


def escaped(grades: Any) -> Any:
    return {escape_id(q): {escape_id(d): value for d, value in of_query.items()} for q, of_query in grades.items()}


@settings(deadline=None, max_examples=5)
@given(collections())
def test_judgments_are_read_back_from_every_format(tmp_path_factory: pytest.TempPathFactory, collection: Any) -> None:
    _, _, qrels, _ = collection
    folder = tmp_path_factory.mktemp("qrels")
    for end in (".trec", ".trec.gz", ".json", ".json.bz2", *TABLES, *(f".tsv{end}" for end in SUFFIXES)):
        path = folder / f"qrels{end}"
        if end.startswith(".trec"):
            write_qrels(qrels, path)
        elif end.startswith((".json.", ".json")) and "jsonl" not in end:
            write_json(path, qrels)
        else:  # grades as 2.0
            rows = [(q, d, float(grade)) for q, grades in qrels.items() for d, grade in grades.items()]
            write_table(path, ("query-id", "corpus-id", "score"), rows)
        assert escaped(judgments.read(path).grades) == escaped(qrels), end


def measured(run: Run, qrels: Any) -> Any:
    return measures.evaluate(run, escaped(qrels), MEASURES, 1).per_query


@settings(deadline=None, max_examples=4)
@given(collections())
def test_a_run_is_read_back_from_every_format_and_every_measure_is_equal(
    tmp_path_factory: pytest.TempPathFactory, collection: Any
) -> None:
    _, _, qrels, scores = collection
    folder = tmp_path_factory.mktemp("runs")
    ranked = {q: sorted(of_query.items(), key=lambda one: -one[1]) for q, of_query in scores.items()}
    # written once as TREC, where scores are made to fall strictly, and from there in every other format
    run = Run("mine", {q: tuple(Hit(d, s) for d, s in hits) for q, hits in ranked.items()})
    write_run(run, folder / "run.trec")
    expected = read_run_file(folder / "run.trec").run.rankings
    wanted = measured(Run("mine", expected), qrels)
    for end in (".trec.gz", ".json", ".json.zst", *TABLES):
        path = folder / f"run{end}"
        if end == ".trec.gz":
            write_run(Run("mine", expected), path)
        elif "json" in end and "jsonl" not in end:
            write_json(path, {q: {hit.doc_id: hit.score for hit in hits} for q, hits in expected.items()})
        else:
            rows = [(q, hit.doc_id, hit.score) for q, hits in expected.items() for hit in hits[::-1]]
            write_table(path, ("qid", "docno", "score"), rows)
        found = read_run_file(path).run
        assert found.rankings == expected, end
        assert measured(found, qrels) == wanted, end
    ids = [(q, hit.doc_id, rank) for q, hits in expected.items() for rank, hit in enumerate(hits, 1)]
    # MS MARCO's three columns have no scores and no header; an id with a quotation mark is quoted, as in every table.
    write_table(folder / "msmarco.tsv", ("qid", "pid", "rank"), ids)
    whole = (folder / "msmarco.tsv").read_text("utf-8")
    (folder / "msmarco.tsv").write_text(whole.partition("\n")[2], "utf-8")
    file = read_run_file(folder / "msmarco.tsv")
    assert file.order == "rank"
    assert measured(file.run, qrels) == wanted


@settings(deadline=None, max_examples=5)
@given(collections())
def test_queries_and_passages_are_read_back_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, collection: Any
) -> None:
    queries, docs, qrels, _ = collection
    folder = tmp_path_factory.mktemp("files")
    write_table(
        folder / "qrels.tsv", ("query_id", "doc_id", "grade"), [(q, d, g) for q in qrels for d, g in qrels[q].items()]
    )
    found = []
    for end in TABLES:
        write_table(folder / f"queries{end}", ("qid", "query"), queries.items())
        write_table(folder / f"docs{end}", ("docno", "title", "text"), [(d, *both) for d, both in docs.items()])
        found.append((f"docs{end}", f"queries{end}"))
    (folder / "docs.json").write_text(json.dumps({d: {"title": t, "text": x} for d, (t, x) in docs.items()}), "utf-8")
    (folder / "queries.json").write_text(json.dumps(queries), "utf-8")
    prints = set()
    for docs_name, queries_name in [*found, ("docs.json", "queries.json")]:
        data = files.load(
            str(folder / docs_name), str(folder / queries_name), str(folder / "qrels.tsv"), name="x",
            identical_ids="keep",  # some of these queries have the id of a passage
        )  # fmt: skip
        prints.add(data.fingerprint)
        assert data.queries == {escape_id(q): text for q, text in queries.items()}
    assert len(prints) == 1


@pytest.mark.parametrize("docs", ["docs", "docs/part-*.jsonl", "docs/*"])
def test_a_table_in_several_files_is_read_as_one(tmp_path: Path, docs: str) -> None:
    (tmp_path / "docs").mkdir()
    for number, doc_id in enumerate("ab"):
        write_table(tmp_path / "docs" / f"part-{number}.jsonl", ("_id", "text"), [(doc_id, f"text of {doc_id}")])
    write_table(tmp_path / "queries.csv", ("qid", "query"), [("q", "words")])
    write_table(tmp_path / "judged.csv", ("qid", "docno", "label"), [("q", "a", 1)])
    data = files.load(str(tmp_path / docs), str(tmp_path / "queries.csv"), str(tmp_path / "judged.csv"))
    assert data.docs == {"a": "text of a", "b": "text of b"}
    assert data.name == "judged"


def test_columns_can_be_named_where_their_names_are_not_known_ones(tmp_path: Path) -> None:
    write_table(tmp_path / "docs.csv", ("key", "body", "text"), [("a", "read", "not read")])
    (tmp_path / "queries.tsv").write_text("9\tq\twords\n", "utf-8")  # without a header: columns by number
    write_table(tmp_path / "judged.csv", ("qid", "docno", "stars"), [("q", "a", 2)])
    columns = {
        "docs": {"doc_id": "key", "text": "body"},
        "queries": {"query_id": "2", "text": "3"},
        "qrels": {"grade": "stars"},
    }
    docs, queries, qrels = (str(tmp_path / name) for name in ("docs.csv", "queries.tsv", "judged.csv"))
    data = files.load(docs, queries, qrels, columns=columns)
    assert (data.docs, data.queries, data.qrels) == ({"a": "read"}, {"q": "words"}, {"q": {"a": 2}})
    assert data.facts["columns"] == {**columns, "qrels": {"query_id": "qid", "doc_id": "docno", "grade": "stars"}}


def test_the_columns_of_a_run_can_be_named_too(tmp_path: Path) -> None:
    write_table(tmp_path / "run.csv", ("qid", "key", "bm25", "score"), [("q", "a", 2.0, 0.5), ("q", "b", 1.0, 0.75)])
    file = read_run_file(tmp_path / "run.csv", columns={"doc_id": "key", "score": "bm25"})
    assert file.run.rankings == {"q": (Hit("a", 2.0), Hit("b", 1.0))}
    with pytest.raises(EvalkitError, match="columns='key': name them by what they hold"):
        read_run_file(tmp_path / "run.csv", columns="key")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"doc": {}}, "slice.columns: there is no table 'doc'; did you mean docs?"),
        ("body", "slice.columns is 'body', and has to name columns, such as {docs: {text: body}}"),
        ({"docs": "body"}, "slice.columns.docs is 'body', and has to name columns, such as {doc_id: pid}"),
    ],
)
def test_columns_of_no_table_are_refused(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        files.load("docs.csv", "queries.csv", "qrels.csv", columns=columns)
    assert str(caught.value) == message
