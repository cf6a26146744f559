"""``convert``: what it reads and writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_writing import write_table
from evalkit.cli import commands
from evalkit.evaluation.run_files import read_run_file
from evalkit.slices import beir, judgments
from tests.conftest import make_beir_folder


def convert(*arguments: Any) -> int:
    return commands.run(["convert", *map(str, arguments)], lambda _: {})


def refusal(*arguments: Any) -> str:
    with pytest.raises(EvalkitError) as caught:
        convert(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


QRELS = "q1 0 d1 2\nq1 0 d2 -1\nq2 0 d1 1\n"
GRADES = {"q1": {"d1": 2, "d2": -1}, "q2": {"d1": 1}}
RUN = "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 2.5 x\nq2 Q0 d1 1 0.5 x\n"


@pytest.mark.parametrize(
    "name", ["a.tsv", "a.csv", "a.json", "a.jsonl", "a.parquet", "a.qrels", "a.tsv.gz", "a.json.bz2", "a.csv.zst"]
)
def test_judgments_go_into_every_format_and_back(tmp_path: Path, name: str, capsys: Any) -> None:
    (tmp_path / "qrels.trec").write_text(QRELS, "utf-8")
    assert convert(tmp_path / "qrels.trec", tmp_path / name) == 0
    assert judgments.read(tmp_path / name).grades == GRADES
    convert(tmp_path / name, tmp_path / "back.trec", "--as", "judgments")
    assert (tmp_path / "back.trec").read_text("utf-8") == QRELS
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"read {tmp_path}/qrels.trec: 3 judgments of 2 queries",
        f"wrote {tmp_path}/{name}",
    ]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl", "a.parquet", "a.tsv.gz", "a.run"])
def test_runs_go_into_every_format_and_keep_their_order(tmp_path: Path, name: str, capsys: Any) -> None:
    (tmp_path / "run.trec").write_text(RUN, "utf-8")
    convert(tmp_path / "run.trec", tmp_path / name)
    convert(tmp_path / name, tmp_path / "back.trec")
    back = read_run_file(tmp_path / "back.trec").run.rankings
    # equal scores: trec_eval's order is by descending id, d2 before d1, and the written scores keep it
    assert {q: [hit.doc_id for hit in hits] for q, hits in back.items()} == {"q1": ["d2", "d1"], "q2": ["d1"]}
    assert capsys.readouterr().out.splitlines()[:4] == [
        f"read {tmp_path}/run.trec: a run with 3 hits of 2 queries, ordered by score",
        "1 queries have ranks that contradict the scores; --order rank takes the others",
        "1 scores were lowered, so that no two of a query are equal and tools keep the order",
        f"wrote {tmp_path}/{name}",
    ]


def test_what_a_file_holds_is_found_out_by_its_columns(tmp_path: Path, capsys: Any) -> None:
    write_table(tmp_path / "a.csv", ("qid", "docno", "label"), [("q", "d", 1)])
    write_table(tmp_path / "b.csv", ("qid", "docno", "score", "rank"), [("q", "d", 1, 1)])
    (tmp_path / "c.json").write_text(json.dumps({"q": {"d": 1}}), "utf-8")
    (tmp_path / "d.json").write_text(json.dumps({"q": {"d": 1.5}}), "utf-8")
    for name in "a.csv", "b.csv", "c.json", "d.json":
        convert(tmp_path / name, tmp_path / f"{name}.txt")
    found = capsys.readouterr().out
    assert "a.csv: 1 judgments of 1 queries (query_id from 'qid', doc_id from 'docno', grade from 'label')" in found
    assert "b.csv: a run with 1 hits of 1 queries, ordered by score (" in found
    assert "c.json: 1 judgments" in found
    assert "d.json: a run" in found


def test_a_collection_becomes_a_beir_folder(tmp_path: Path, capsys: Any) -> None:
    source, target = make_beir_folder(tmp_path), tmp_path / "new"
    for name, columns in (("corpus", ("docno", "title", "text")), ("queries", ("qid", "query"))):
        lines = (source / f"{name}.jsonl").read_text("utf-8").splitlines()
        write_table(source / f"{name}.parquet", columns, [list(json.loads(line).values()) for line in lines])
        (source / f"{name}.jsonl").unlink()
    convert(source, target)
    assert beir.load(str(target)).fingerprint == beir.load(str(source)).fingerprint
    assert capsys.readouterr().out.splitlines() == [
        f"read {source}/qrels/test.tsv: 5 judgments of 3 queries (query_id from 'query-id', doc_id from 'corpus-id', "
        "grade from 'score')",
        f"read {source}/corpus.parquet: 6 passages (doc_id from 'docno', text from 'text', title from 'title')",
        f"read {source}/queries.parquet: 3 queries (query_id from 'qid', text from 'query')",
        f"wrote {target}: corpus.jsonl, queries.jsonl and qrels/test.tsv",
    ]


def test_an_existing_file_is_replaced_only_where_that_is_allowed(tmp_path: Path) -> None:
    for name in ("qrels.trec", "a.tsv"):
        (tmp_path / name).write_text(QRELS, "utf-8")
    assert refusal(tmp_path / "qrels.trec", tmp_path / "a.tsv") == (
        f"{tmp_path}/a.tsv exists already; name another DEST, or add --overwrite"
    )
    convert(tmp_path / "qrels.trec", tmp_path / "a.tsv", "--overwrite")
    assert (tmp_path / "a.tsv").read_text("utf-8").startswith("query-id\tcorpus-id\tscore\n")


REFUSED = {
    "two meanings": ("a.csv", "qid,docno,score\nq,d,1\n", "b.trec",
                     "a.csv may hold judgments or a run; say which with --as judgments or --as run"),
    "neither": ("a.csv", "a,b,c\n1,2,3\n", "b.trec", "a.csv holds neither judgments nor a run: "),
    "five columns": ("a.trec", "1 2 3 4 5\n", "b.tsv",
                     "its first line has 5 columns; TREC's judgments have 4, and runs 6"),
    "another extension": ("a.trec", QRELS, "b.xlsx", "b.xlsx: judgments can be written to a file named .trec, .qrels,"),
    "parquet in gzip": ("a.trec", QRELS, "b.parquet.gz", "parquet files are compressed already; name it b.parquet"),
    "no such folder": ("a.trec", QRELS, "no/b.tsv", "no/b.tsv: No such file or directory"),
    "a broken line": ("a.trec", QRELS + "q3\n", "b.tsv", "a.trec, line 4: not 'query_id 0 doc_id integer-grade'"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "content", "target", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_nothing_behind(
    tmp_path: Path, source: str, content: str, target: str, message: str
) -> None:
    (tmp_path / source).write_text(content, "utf-8")
    assert message in refusal(tmp_path / source, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == [source]


def test_a_folder_without_judgments_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert refusal(tmp_path / "in", tmp_path / "out").endswith("the folder has no qrels at all")
    assert not (tmp_path / "out").exists()
