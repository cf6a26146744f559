"""Judgments: in the formats that people keep them in, under one rule for every source, at a level that is stated."""

import json
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import trial
from evalkit.boundary.errors import EvalkitError
from evalkit.cost.protocol import CostProtocol
from evalkit.evaluation.trec import write_qrels
from evalkit.first_stage.bm25 import BM25
from evalkit.rerankers.none import NoReranker
from evalkit.slices import beir, irds, judgments, official_measures
from evalkit.slices.assemble import assemble
from evalkit.trial import Plan
from tests.helpers.command_line import run_here

CORPUS = [{"_id": d, "text": f"words of {d}"} for d in ("d1", "d2", "d3", "page 7")]
QUERIES = [{"_id": q, "text": f"words for {q}"} for q in ("q1", "q2")]
GRADES = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}


def folder(
    tmp_path: Path, qrels: Any = None, name: Any = "test.tsv", corpus: Any = CORPUS, queries: Any = QUERIES
) -> Any:
    path = tmp_path / "mine"
    (path / "qrels").mkdir(parents=True, exist_ok=True)
    for part, records in (("corpus", corpus), ("queries", queries)):
        (path / f"{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    if qrels is not None:
        (path / "qrels" / name).write_text(qrels, "utf-8")
    return path


def refusal(path: Any, **asked: Any) -> Any:
    with pytest.raises(EvalkitError) as caught:
        beir.load(str(path), **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- formats ----------------------------------------------------------------------------------------------------------

TSV = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n"
TREC = "q1 0 d1 2\nq1 Q0 d2 0\nq2\t0\td3\t1\n"
JSONL = (
    '{"query-id": "q1", "corpus-id": "d1", "score": 2}\n'
    '{"query-id": "q1", "corpus-id": "d2", "score": 0}\n'
    '{"query-id": "q2", "corpus-id": "d3", "score": 1.0}\n'
)


@pytest.mark.parametrize(
    ("name", "text"),
    [("test.tsv", TSV), ("test.jsonl", JSONL), ("test.trec", TREC), ("test.qrels", TREC), ("test.txt", TREC)],
)
def test_judgments_are_the_same_in_every_format(tmp_path: Path, name: Any, text: Any) -> None:
    assert beir.load(str(folder(tmp_path, text, name))).qrels == GRADES


@pytest.mark.parametrize("name", ["mine.tsv", "mine.jsonl", "mine.trec"])
def test_a_file_of_judgments_can_take_the_place_of_the_collection_s(tmp_path: Path, name: Any) -> None:
    path = folder(tmp_path, "query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    (tmp_path / name).write_text({"tsv": TSV, "jsonl": JSONL, "trec": TREC}[name.split(".")[1]], "utf-8")
    data = beir.load(str(path), qrels=str(tmp_path / name))
    assert data.qrels == GRADES
    assert (data.facts["qrels"], data.facts["split"], data.name) == (name, None, "mine/mine")


@given(st.dictionaries(st.sampled_from(["q1", "q2", "q 3", "q%4"]), st.dictionaries(
    st.sampled_from(["d1", "d 2", "d\u00a03", "d%20"]), st.integers(-1, 3), min_size=1), min_size=1))  # fmt: skip
def test_judgments_that_evalkit_wrote_are_read_back(tmp_path_factory: pytest.TempPathFactory, qrels: Any) -> None:
    from evalkit.boundary.text import escape_id

    path = tmp_path_factory.mktemp("qrels") / "qrels.trec"
    write_qrels(qrels, path)
    assert judgments.read(path).grades == {
        escape_id(q): {escape_id(d): grade for d, grade in grades.items()} for q, grades in qrels.items()
    }


def test_a_result_s_own_qrels_trec_gives_the_same_slice_again_odd_ids_included(
    tmp_path: Path, beir_folder: Any
) -> None:
    for name in ("corpus.jsonl", "qrels/test.tsv", "queries.jsonl"):
        path = beir_folder / name
        text = path.read_text("utf-8").replace('"b"', '"page 7"').replace("\tb\t", "\tpage 7\t")
        path.write_text(text.replace('"q3"', '"q 3"').replace("q3\t", "q 3\t"), "utf-8")
    settings = ("slice=beir", f"slice.path={beir_folder}", "first_stage=trec_run",
                f"first_stage.path={beir_folder}/first.trec", "reranker=none")  # fmt: skip
    found = []
    for more in (("out_dir=one",), ("slice.qrels=one/qrels.trec", "out_dir=two")):
        done = run_here(*settings, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / more[-1].split("=")[1] / "result.json").read_text("utf-8"))
        found.append((result["effective"]["slice"]["fingerprint"], result["effectiveness"]["first_stage"]["mean"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("row", "columns"),
    [('"q1"\t"d1"\t"2"', ("q1", "d1", 2)), ('q1\t"d1"\t2', ("q1", "d1", 2)), ('q1\t"d ""1"""\t2', ("q1", 'd "1"', 2)),
     ('q1\t"a\tb"\t2', ("q1", "a\tb", 2)), ('q1\td"1"\t2', ("q1", 'd"1"', 2))],
)  # fmt: skip
def test_quoted_fields_are_read_as_beir_reads_them(tmp_path: Path, row: Any, columns: Any) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f'"query-id"\t"corpus-id"\t"score"\n{row}\n', "utf-8")
    query_id, doc_id, grade = columns
    assert judgments.read(path).grades == {query_id: {doc_id: grade}}


@pytest.mark.parametrize("doc_id", ['"quoted", with commas', '"d1', 'd1"', '"'])
def test_quotation_marks_that_enclose_no_whole_field_are_part_of_an_id(tmp_path: Path, doc_id: Any) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f"q1\t{doc_id}\t2\n", "utf-8")
    assert judgments.read(path).grades == {"q1": {doc_id: 2}}


def test_a_quotation_mark_that_takes_a_field_with_it_is_named_by_its_line(tmp_path: Path) -> None:
    message = refusal(folder(tmp_path, 'q1\td1\t1\n"q1\td1\t"x\t2\n'))
    assert "qrels/test.tsv, line 2: quotation marks have to enclose a whole column: " in message


BROKEN = {
    "test.trec": {"q1 0 d1": "not ", "q1 0 d1 two": "not ", "q1 0 d1 1.5": "not ", "q1 0 d1 1 run": "not "},
    "test.jsonl": {
        '{"query-id": "q1"': "not a JSON object",
        "[]": "not a JSON object",
        '{"query-id": "q1", "corpus-id": "d1"}': "no column is named as the grade: ",
        '{"query-id": "q1", "corpus-id": "d1", "score": 1.5}': "the grade is 1.5; a grade is a whole number",
        '{"query-id": "q1", "corpus-id": "d1", "score": true}': "the grade is True; a grade is a whole number",
        '{"query-id": 1.5, "corpus-id": "d1", "score": 1}': "the query id is 1.5, and has to be a text or a whole",
    },
}


@pytest.mark.parametrize(
    ("name", "row", "why"), [(name, row, why) for name, rows in BROKEN.items() for row, why in rows.items()]
)
def test_a_broken_line_is_named_in_every_format(tmp_path: Path, name: Any, row: Any, why: Any) -> None:
    good = {"test.trec": TREC, "test.jsonl": JSONL}[name]
    assert f"qrels/{name}, line 4: {why}" in refusal(folder(tmp_path, good + row + "\n", name))


def test_trec_eval_s_format_is_read_under_beir_s_name(tmp_path: Path) -> None:
    assert beir.load(str(folder(tmp_path, TREC.replace("\t", " ")))).qrels == GRADES


def test_judgments_in_a_format_that_is_not_read_are_not_called_missing(tmp_path: Path) -> None:
    message = refusal(folder(tmp_path, "anything", "test.xlsx"))
    assert "; it has test.xlsx, and files named SPLIT.tsv, SPLIT.jsonl, " in message


def test_judgments_outside_of_the_folder_of_judgments_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "qrels.trec").write_text(TREC, "utf-8")
    assert refusal(path).endswith(f"there is qrels.trec in the folder, which slice.qrels={path}/qrels.trec reads")
    assert beir.load(str(path), qrels=f"{path}/qrels.trec").qrels == GRADES


def test_a_split_given_with_a_file_of_judgments_is_reported_as_without_effect(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(TSV, "utf-8")
    data = beir.load(str(folder(tmp_path, TSV)), split="dev", qrels=str(tmp_path / "mine.tsv"))
    assert data.facts["without_effect"] == ["slice.split=dev: slice.qrels is read"]


def test_a_file_of_judgments_that_there_is_not_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    message = refusal(folder(tmp_path, TSV), qrels=str(tmp_path / "judged.csv"))
    assert message == f"there is no {tmp_path}/judged.csv; it should be judgments"


# --- one rule for every source ----------------------------------------------------------------------------------------


class Source:
    """What ir_datasets gives of a dataset, as far as judgments go."""

    def __init__(self, rows: Any, definitions: Any = None, official: Any = None) -> None:
        self.rows, self.definitions, self.official = rows, definitions, official

    def qrels_iter(self) -> Any:
        return (Row(query_id=q, doc_id=d, relevance=grade) for q, d, grade in self.rows)

    def qrels_defs(self) -> Any:
        return self.definitions

    def documentation(self) -> Any:
        return {"official_measures": self.official} if self.official else None


ROWS = [("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d3", 1)]


def test_judgments_that_contradict_one_another_are_refused_through_ir_datasets_too() -> None:
    with pytest.raises(EvalkitError, match=r"HERE: 'q1' and 'd1' are judged twice, differently; .*slice\.qrels=FILE"):
        irds.read_judgments("HERE", Source([*ROWS, ("q1", "d1", 0)]))
    assert irds.read_judgments("HERE", Source([*ROWS, ROWS[0]])) == GRADES


@given(st.permutations([*ROWS, *ROWS]))
def test_neither_the_order_of_judgments_nor_their_repetition_matters(rows: Any) -> None:
    assert irds.read_judgments("HERE", Source(rows)) == GRADES


def test_a_topic_with_two_texts_is_refused() -> None:
    with pytest.raises(EvalkitError, match="HERE: query id 'q1' has two texts; ids must be unique"):
        judgments.collect_queries("HERE", [("q1", "one"), ("q2", "two"), ("q1", "other")])
    assert judgments.collect_queries("HERE", [("q1", "one"), ("q1", "one")]) == {"q1": "one"}


def test_what_a_collection_excludes_from_evaluation_is_no_judgment() -> None:
    """BRIGHT's own definitions in ir_datasets; a clinical trial's "Excluded" is a grade like others."""
    bright = Source([*ROWS, ("q1", "d3", -100)], {1: "Relevant", -100: "Excluded from evaluation"})
    assert (irds.read_judgments("HERE", bright), irds.read_excluded(bright)) == (GRADES, {"q1": {"d3"}})
    trials = Source(ROWS, {0: "Not Relevant", 1: "Excluded", 2: "Eligible"})
    assert (irds.read_judgments("HERE", trials), irds.read_excluded(trials)) == (GRADES, {})


@pytest.mark.parametrize(("lang", "own", "two"), [("nl", "dt", False), ("en", "ja", True), ("jpn", "ja", False)])
def test_a_language_of_ir_datasets_that_is_no_code_contradicts_nothing(lang: Any, own: Any, two: Any) -> None:
    assert irds.are_two_languages(lang, own) is two


def test_a_title_is_no_part_of_a_query(tmp_path: Path) -> None:
    titled = [{"_id": "q1", "title": "Not searched with", "text": "words"}, QUERIES[1]]
    data = beir.load(str(folder(tmp_path, TSV, queries=titled)))
    assert data.queries["q1"] == "words"
    assert data.facts["query_titles_left_out"] == 1


# --- the relevance level ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("official", "level"),
    [(["nDCG@10", "RR(rel=2)", "AP(rel=2)"], (2, "official_measures")), (["P(rel=3)@5"], (3, "official_measures")),
     (["RR@10"], (1, "default")), (None, (1, "default")), (["RR(rel=1)", "AP(rel=2)"], (1, "default")),
     (["AP@100", "RR(rel=2)@10"], (2, "official_measures"))],
)  # fmt: skip
def test_the_level_is_that_of_the_official_measures(official: Any, level: Any) -> None:
    assert official_measures.relevance_level(Source(ROWS, official=official)) == level


@pytest.mark.parametrize("level", [0, -1])
def test_a_level_below_1_is_refused(tmp_path: Path, level: Any) -> None:
    path = folder(tmp_path, TSV)
    assert refusal(path, relevance_level=level).startswith(f"slice.relevance_level={level}: give the lowest grade")
    with pytest.raises(EvalkitError, match=f"slice.relevance_level={level}: "):
        assemble("n", "en", "HERE", {"q": "text"}, {"d": "text"}, {"q": {"d": 1}}, level, {})


def noted(qrels: Any, level: Any = 1, lang: Any = "en", **facts: Any) -> Any:
    """Return what is noted of a trial over made-up texts with these judgments."""
    queries = {q: f"text for {q}" for q in qrels}
    docs = {d: f"text of {d}" for grades in qrels.values() for d in grades}
    data = assemble("s", lang, "HERE", queries, docs, qrels, level, {"corpus": "full", **facts})
    plan = Plan("t", 5, ["RR@10"], CostProtocol(0, 0, 0))
    return trial.run(plan, data, BM25(), NoReranker(), {}, {}).warnings


def test_it_is_noted_where_no_judged_grade_lies_below_the_level() -> None:
    """ANTIQUE's grades run from 1 to 4, and 1 says that a passage makes no sense."""
    antique = {f"q{i}": {f"d{i}": 1, f"e{i}": 4} for i in range(30)}
    [note] = [note for note in noted(antique) if "relevance level" in note]
    assert note.startswith("no judged grade lies below the relevance level 1 (the lowest is 1)")
    assert not any("relevance level" in note for note in noted(antique, level=3))
    only_relevant = {f"q{i}": {f"d{i}": 1} for i in range(30)}  # as in MS MARCO: no grades, so nothing to choose
    assert not any("relevance level" in note for note in noted(only_relevant))


def test_another_level_than_the_documented_one_is_noted_and_so_is_that_one() -> None:
    qrels = {f"q{i}": {f"d{i}": 0, f"e{i}": 2} for i in range(30)}
    facts = official_measures.facts(Source(ROWS, official=["nDCG@10", "RR(rel=2)"]), qrels, 1)
    assert facts == {"official_measures": ["nDCG@10", "RR(rel=2)"], "official_relevance_level": 2}
    assert (
        "grade 1 and above is relevant here, and 2 and above in the collection's official measures (nDCG@10, RR(rel=2))"
    ) in noted(qrels, **facts)
    official = {"official_measures": ["RR(rel=2)"], "relevance_level_from": "official_measures"}
    assert (
        "grade 2 and above is relevant, as the collection's official measures have it (RR(rel=2))"
    ) in noted(qrels, level=2, **official)  # fmt: skip


def test_the_meaning_of_the_lowest_grade_is_reported_where_the_collection_documents_it() -> None:
    defined = Source(ROWS, {1: "It makes no sense.", 4: "It is convincing."})
    assert official_measures.facts(defined, {"q": {"a": 1, "b": 4}}, 1) == {"lowest_grade_means": "It makes no sense."}
    assert official_measures.facts(defined, {"q": {"a": 1, "b": 4}}, 3) == {}


# --- settings that change nothing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"seed": 5}, "slice.seed=5: nothing is drawn without slice.queries or slice.distractors"),
        ({"queries": 9}, "slice.queries=9: there are only 2, and all of them are used"),
        (
            {"corpus": "judged", "distractors": 9},
            "slice.distractors=9: the corpus has only 1 others, and all of them are used",
        ),
    ],
)
def test_a_cut_that_changes_nothing_is_written_down(tmp_path: Path, asked: Any, expected: Any) -> None:
    assert beir.load(str(folder(tmp_path, TSV)), **asked).facts["without_effect"] == [expected]


@pytest.mark.parametrize("asked", [{}, {"queries": 1, "seed": 5}, {"corpus": "judged", "distractors": 1, "seed": 5}])
def test_a_cut_that_has_an_effect_is_not_reported_as_without_one(tmp_path: Path, asked: Any) -> None:
    assert "without_effect" not in beir.load(str(folder(tmp_path, TSV)), **asked).facts
