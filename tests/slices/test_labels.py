"""Labels name their judge: read from three formats, taken by name or by a rule, and never mixed in silence."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.judged_by import Judge, is_its_own_judge, judged_by
from evalkit.slices import beir, labels
from evalkit.slices.sources import qrels_from
from tests.slices.test_judgments import GRADES, folder

ROWS = [("q1", "d1", 2, "a"), ("q1", "d2", 0, "a"), ("q1", "d1", 0, "b"), ("q2", "d3", 1, "b"), ("q1", "d1", 1, "c")]


def written(tmp_path: Path, rows: object = ROWS, name: str = "labels.jsonl") -> Path:
    path = tmp_path / name
    keys = ("query_id", "doc_id", "grade", "judge", "kind")
    if name.endswith(".jsonl"):
        lines = [json.dumps(dict(zip(keys, row))) for row in rows]  # type: ignore[attr-defined]
    else:
        end = "\t" if name.endswith(".tsv") else ","
        lines = [end.join(keys[:4]), *(end.join(map(str, row)) for row in rows)]  # type: ignore[attr-defined]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def refusal(path: Path, judge: str | None = None, kind: str | None = None) -> str:
    with pytest.raises(EvalkitError) as caught:
        labels.read_qrels([path], judge, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv", "labels.tsv"])
def test_each_format_gives_the_judges_apart(tmp_path: Path, name: str) -> None:
    found = labels.read(written(tmp_path, name=name))
    assert {judge: one.grades for judge, one in found.items()} == {
        "a": {"q1": {"d1": 2, "d2": 0}}, "b": {"q1": {"d1": 0}, "q2": {"d3": 1}}, "c": {"q1": {"d1": 1}},
    }  # fmt: skip
    assert {one.kind for one in found.values()} == {"llm"}


def test_beir_s_names_of_columns_are_known_too(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("query-id\tcorpus-id\tscore\tjudge\nq1\td1\t2\ta\n", "utf-8")
    assert labels.read(tmp_path / "l.tsv")["a"].grades == {"q1": {"d1": 2}}


def test_of_several_judges_one_has_to_be_named_or_a_rule(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert refusal(path) == (
        f"{path} has labels of 3 judges (a, b, c); slice.judge=NAME takes those of one, slice.judge=majority or median "
        "makes one grade of all"
    )
    assert refusal(path, "d") == f"slice.judge=d: {path} has no labels of it; it has those of a, b, c"
    one = labels.read_qrels([path], "b")
    assert one.grades == {"q1": {"d1": 0}, "q2": {"d3": 1}}
    assert one.facts == {"judged_by": {"kind": "llm", "judge": "b", "file": "labels.jsonl"}}


def test_a_rule_makes_one_grade_and_is_recorded_with_what_it_is_made_of(tmp_path: Path) -> None:
    # d1 has 2, 0 and 1: each grade once, so the lowest; the median is 1. The other pairs have one label.
    majority, median = (labels.read_qrels([written(tmp_path)], rule) for rule in ("majority", "median"))
    assert majority.grades == {"q1": {"d1": 0, "d2": 0}, "q2": {"d3": 1}}
    assert median.grades == {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 1}}
    assert majority.facts["judged_by"] == {
        "kind": "llm", "judge": "majority of a, b, c", "judges": ["a", "b", "c"], "file": "labels.jsonl",
        "pairs_without_a_label_of_each": 2,
    }  # fmt: skip


def test_people_s_labels_and_an_llm_s_are_not_mixed(tmp_path: Path) -> None:
    path = written(tmp_path, [("q1", "d1", 2, "ann", "human"), ("q1", "d1", 1, "gpt", "llm")])
    assert "has labels of different kinds (human, llm), which are not mixed" in refusal(path, "median")
    assert judged_by(labels.read_qrels([path], "ann").facts) == "human assessor ann"


def test_labels_and_qrels_in_one_file_are_refused_where_the_judge_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(
        '{"query-id": "q1", "corpus-id": "d1", "score": 2}\n'
        '{"query-id": "q1", "corpus-id": "d2", "score": 0, "judge": "gpt"}\n'
    )
    assert refusal(path).startswith(f"{path}, line 1: a label has query_id, doc_id, an integer grade and its judge")


@pytest.mark.parametrize("form", [".csv.gz", ".parquet", "frame"])
def test_labels_are_not_taken_for_qrels_where_their_judge_is_not_read(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame(ROWS[:2], columns=["query_id", "doc_id", "grade", "judge"])
    path = tmp_path / f"labels{form}"
    if form == ".parquet":
        frame.to_parquet(path)
    elif form == ".csv.gz":
        frame.to_csv(path, index=False)
    with pytest.raises(EvalkitError, match="this is a label of judge 'a'; labels that name their judge are read from"):
        qrels_from(frame) if form == "frame" else labels.read_qrels([path])


def test_the_source_of_labels_is_recorded(tmp_path: Path) -> None:
    labels.write(tmp_path / "l.tsv", [Judge("gpt", "llm", {"q1": {"d1": 1}}, "prompt v2")])
    about = labels.read_qrels([tmp_path / "l.tsv"]).facts["judged_by"]
    assert about == {"kind": "llm", "judge": "gpt", "file": "l.tsv", "source": "prompt v2"}


@pytest.mark.parametrize(
    ("judge", "own"),
    [("Qwen/Qwen3-Reranker-4B", True), ("qwen3-reranker", True), ("gpt-4o", False), ("4b", False)],
)
def test_a_judge_with_the_name_of_the_reranker_s_model_is_seen(judge: str, own: bool) -> None:
    assert is_its_own_judge(judge, {"name": "mine", "model": "Qwen/qwen3-reranker-4b"}) is own
    assert not is_its_own_judge(judge, {"name": "bm25"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("q1", "d1", 2, "a"), ("q1", "d1", 1, "a")], "'q1' and 'd1' are judged twice, differently; labels that were"),
        ([("q1", "d1", 1.5, "a")], "a label has query_id, doc_id, an integer grade and its judge, and this one has"),
        ([("q1", "d1", 1, "median")], "the judge is 'median', and has to have a name other than majority and median"),
        ([("q1", "d1", 1, "a", "robot")], "the kind is 'robot', and has to be one of human, llm, clicks"),
        ([("q1", "d1", 1, "a", "human"), ("q1", "d2", 1, "a", "llm")], "kind and source of judge a are 'llm ' here"),
    ],
)
def test_labels_that_make_no_sense_are_refused_with_their_line(tmp_path: Path, rows: object, message: str) -> None:
    path = written(tmp_path, rows)
    assert f"{path}, line {len(rows)}" in refusal(path)  # type: ignore[arg-type]
    assert message in refusal(path)


def test_qrels_of_a_named_judge_are_recorded_as_labels(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (tmp_path / "gpt.trec").write_text("q1 0 d1 2\nq1 0 d2 0\nq2 0 d3 1\n")
    data = beir.load(str(path), qrels=str(tmp_path / "gpt.trec"), judge="gpt-4o")
    assert data.qrels == GRADES
    assert data.facts["judged_by"] == {"kind": "llm", "judge": "gpt-4o", "file": "gpt.trec"}
    assert judged_by(data.facts) == "LLM judge gpt-4o"
    plain = beir.load(str(path), qrels=str(tmp_path / "gpt.trec"))
    assert "judged_by" not in plain.facts
    assert plain.fingerprint == data.fingerprint
    with pytest.raises(EvalkitError, match=r"slice.judge=gpt-4o: name the file of its labels with slice.qrels=FILE"):
        beir.load(str(path), judge="gpt-4o")
    with pytest.raises(EvalkitError, match=r"slice.judge_kind='robot': choose from human, llm, clicks"):
        beir.load(str(path), qrels=str(tmp_path / "gpt.trec"), judge_kind="robot")


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-2, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_is_read_back(tmp_path: Path, grades: dict[str, dict[str, int]]) -> None:
    path = tmp_path / "back.tsv"
    labels.write(path, [Judge("a b", "clicks", grades, "eta=1")])
    assert labels.read(path) == {"a b": Judge("a b", "clicks", grades, "eta=1")}
