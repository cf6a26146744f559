"""Odd but real files: what is read of each, or the sentence that refuses it."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.run_files import read_run_file
from evalkit.slices import files, judgments

GRADES = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
HEADER = "query-id\tcorpus-id\tscore\n"
ROWS = "q1\td1\t2\nq1\td2\t0\nq2\td1\t1\n"
TREC = "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n"

JUDGMENTS: dict[str, tuple[str, str | bytes, Any]] = {
    "BEIR's header": ("x.tsv", HEADER + ROWS, GRADES),
    "no header": ("x.tsv", ROWS, GRADES),
    "MS MARCO's four columns": ("qrels.dev.small.tsv", ROWS.replace("\td", "\t0\td"), GRADES),
    "trec_eval's spaces as .tsv": ("x.tsv", TREC, GRADES),
    "several spaces": ("x.qrels", TREC.replace(" ", "   "), GRADES),
    "no extension": ("qrels", TREC, GRADES),
    "NIST's extension": ("qrels.covid-round5", TREC, GRADES),
    "a header in a .txt": ("x.txt", HEADER + ROWS, GRADES),
    "a byte order mark": ("x.csv", b"\xef\xbb\xbf" + b"qid,docno,label\nq1,d1,2\nq1,d2,0\nq2,d1,1\n", GRADES),
    "carriage returns": ("x.tsv", (HEADER + ROWS).replace("\n", "\r\n"), GRADES),
    "empty lines": ("x.tsv", HEADER + "\n" + ROWS.replace("\n", "\n \n"), GRADES),
    "no line feed at the end": ("x.tsv", (HEADER + ROWS).rstrip(), GRADES),
    "all cells quoted": ("x.csv", '"query_id","doc_id","relevance"\n"q1","d1","2"\n"q1","d2","0"\n"q2","d1","1"\n',
                         GRADES),
    "semicolons": ("x.csv", "qid;docno;label\nq1;d1;2\nq1;d2;0\nq2;d1;1\n", GRADES),
    "tabs in a .csv": ("x.csv", HEADER + ROWS, GRADES),
    "spaces behind commas": ("x.csv", "qid, docno, label\nq1, d1, 2\nq1, d2, 0\nq2, d1, 1\n", GRADES),
    "another order of columns": ("x.csv", "label,docno,qid\n2,d1,q1\n0,d2,q1\n1,d1,q2\n", GRADES),
    "further columns": ("x.csv", "annotator,qid,docno,label\nx,q1,d1,2\n,q1,d2,0\ny,q2,d1,1\n", GRADES),
    "an index in front, as pandas writes it": ("x.csv", ",qid,docno,label\n0,q1,d1,2\n1,q1,d2,0\n2,q2,d1,1\n", GRADES),
    "a header behind a sign": ("x.tsv", "# query_id\tdoc_id\tgrade\n" + ROWS, GRADES),
    "grades with a fraction of zero": ("x.tsv", HEADER + "q1\td1\t2.0\nq1\td2\t0.0\nq2\td1\t1.0\n", GRADES),
    "trec_eval's format with such grades": ("x.trec", TREC.replace("\n", ".0\n"), GRADES),
    "negative grades": ("x.trec", "q1 0 d1 -2\nq2 0 d1 1\n", {"q1": {"d1": -2}, "q2": {"d1": 1}}),
    "a row twice": ("x.tsv", HEADER + ROWS + "q1\td1\t2\n", GRADES),
    "ids with commas and quotes": ("x.csv", 'qid,docno,label\nq1,"d,1",1\nq1,"d""2""",0\n', {"q1": {"d,1": 1,
                                   'd"2"': 0}}),
    "ids that are numbers": ("x.csv", "qid,docno,label\n007,12,1\n", {"007": {"12": 1}}),
    "a mapping of ranx": ("x.json", '{"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}', GRADES),
    "a mapping over several lines": ("x.json", '{\n "q1": {"d1": 2, "d2": 0},\n "q2": {"d1": 1.0}\n}\n', GRADES),
    "a list of objects": ("x.json", '[{"query_id": "q1", "doc_id": "d1", "rel": 2}]', {"q1": {"d1": 2}}),
    "JSONL as .json": ("x.json", '{"qid": 1, "docno": 2, "label": 1}\n{"qid": 1, "docno": 3, "label": 0}\n',
                       {"1": {"2": 1, "3": 0}}),
    "one line of JSONL as .json": ("x.json", '{"qid": 1, "docno": 2, "label": 1}\n', {"1": {"2": 1}}),
    "gzip": ("x.tsv.gz", gzip.compress((HEADER + ROWS).encode()), GRADES),
    "gzip without its extension": ("x.tsv", gzip.compress((HEADER + ROWS).encode()), GRADES),
    "the extension of gzip without gzip": ("x.tsv.gz", HEADER + ROWS, GRADES),
    "capital letters": ("x.TSV", HEADER.upper() + ROWS, GRADES),
    # --- what is refused
    "a grade with a fraction": ("x.tsv", HEADER + "q1\td1\t1.5\n",
                                "x.tsv, line 2: the grade is '1.5'; a grade is a whole number, such as 0, 1 or 2.0"),
    "a contradiction": ("x.tsv", ROWS + "q1\td1\t1\n", "x.tsv, line 4: 'q1' and 'd1' are judged twice, differently"),
    "a comment": ("x.tsv", "# made by me\n" + HEADER + ROWS, "x.tsv, line 1: not 'query_id 0 doc_id integer"),
    "a comment in between": ("x.tsv", HEADER + "# the rest is by NN\n" + ROWS,
                             "x.tsv, line 2: 1 column where the first line has 3: '# the rest is by NN'"),
    "a comment in trec_eval's format": ("x.trec", "# by NN\n" + TREC, "x.trec, line 1: not 'query_id 0 doc_id integer"),
    "a header in another language": ("x.csv", "frage,antwort,note\nq1,d1,1\n",
                                     "x.csv, line 1: 'frage | antwort | note' has no name of a column (query_id: "),
    "a header that is incomplete": ("x.csv", "qid,docno,stars\nq1,d1,1\n",
                                    "x.csv, line 1: no column is named as the grade: score, relevance, "),
    "two columns of grades": ("x.csv", "qid,docno,label,score\nq1,d1,1,2\n",
                              "x.csv, line 1: the grade can be any of the columns label, score; rename all but one"),
    "a column less": ("x.tsv", HEADER + "q1\td1\n", "x.tsv, line 2: 2 columns where the first line has 3: 'q1 | d1'"),
    "an empty id": ("x.csv", "qid,docno,label\nq1,,1\n", "x.csv, line 2: the passage id is missing"),
    "a quotation mark that is not closed": ("x.csv", 'qid,docno,label\nq1,"d1,1\nq2,d2,1\n',
                                            "x.csv, line 2: not a row of CSV (unexpected end of data)"),
    "UTF-16": ("x.csv", "qid,docno,label\nq1,d1,1\n".encode("utf-16"),
               "x.csv, line 1, as judgments: it is UTF-16, as some spreadsheets write it; save it as UTF-8"),
    "Latin-1": ("x.csv", "qid,docno,label\ncafé,d1,1\n".encode("latin-1"), "line 2, as judgments: it is not UTF-8 ("),
    "gzip that is cut off": ("x.tsv.gz", gzip.compress((HEADER + ROWS).encode())[:-12],
                             "as judgments: its compression is damaged or cut off ("),
    "carriage returns alone": ("x.csv", "qid,docno,label\rq1,d1,1\r",
                               "x.csv, line 1: not a row of CSV (new-line character"),
    "an id twice in a mapping": ("x.json", '{"q1": {"d1": 1, "d1": 2}}',
                                 "x.json is not JSON (a name occurs twice in one"),
    "a mapping of lists": ("x.json", '{"q1": ["d1", "d2"]}',
                           "query 'q1': a list is not a mapping of passage ids to grades"),
    "a spreadsheet": ("x.xlsx", b"PK\x03\x04\xff\xff", "line 1, as judgments: it is not UTF-8 ("),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), JUDGMENTS.values(), ids=JUDGMENTS)
def test_judgments(tmp_path: Path, name: str, content: str | bytes, expected: Any) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    check(lambda: judgments.read(tmp_path / name).grades, expected)


def check(read: Any, expected: Any) -> None:
    """Compare what is read, or the sentence that refuses it, with what is expected."""
    if not isinstance(expected, str):
        assert read() == expected
        return
    with pytest.raises(EvalkitError) as caught:
        read()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


HITS = {"q1": ["d2", "d1"]}
RUNS: dict[str, tuple[str, str, Any]] = {
    "MS MARCO's three columns": ("run.tsv", "q1\td2\t1\nq1\td1\t2\n", HITS),
    "MS MARCO's columns as .txt": ("run.txt", "q1\td2\t1\nq1\td1\t2\n", HITS),
    "ColBERT's four columns": ("ranking.tsv", "q1\td2\t1\t9.5\nq1\td1\t2\t3.25\n", HITS),
    "three columns with a score": ("run.tsv", "q1\td1\t0.5\nq1\td2\t0.75\n", HITS),
    "TREC's columns between tabs": ("run.tsv", "q1\tQ0\td2\t1\t2.5\tx\nq1\tQ0\td1\t2\t0.5\tx\n", HITS),
    "TREC's columns with a header": ("run.tsv",
                                     "qid\tq0\tdocno\trank\tscore\ttag\nq1\tQ0\td2\t1\t2\tx\nq1\tQ0\td1\t2\t1\tx\n",
                                     HITS),
    "a tag that is called run": ("run.tsv", "q1\tQ0\td2\t1\t2.5\trun\nq1\tQ0\td1\t2\t0.5\trun\n", HITS),
    "a mapping of ranx": ("run.json", '{"q1": {"d1": 0.25, "d2": 0.5}}', HITS),
    "a mapping of lists, best first": ("run.json", '{"q1": ["d2", "d1"]}', HITS),
    "PyTerrier's columns": ("run.csv", "qid,docid,docno,rank,score,query\nq1,7,d1,1,1.5,x\nq1,3,d2,0,2.5,x\n", HITS),
    "ranks alone": ("run.csv", "query_id,doc_id,rank\nq1,d1,2\nq1,d2,1\n", HITS),
    "scores in exponents": ("run.trec", "q1 Q0 d1 2 1e-3 x\nq1 Q0 d2 1 2.5E-3 x\n", HITS),
    "whole numbers that may be scores": ("run.tsv", "q1\td1\t37\nq1\td2\t12\n",
                                         "the third column of a file without a header is the rank, and the ranks of "
                                         "query 'q1' do not count up from 1"),
    "a distance in place of a score": ("run.csv", "qid,docno,distance\nq1,d1,0.5\n",
                                       "run.csv, line 2: no column is named as a score or a rank: score, "),
    "a score that is no number": ("run.csv", "qid,docno,score\nq1,d1,NaN\n",
                                  "run.csv, line 2: the score is 'NaN'; a score is a finite number"),
    "a passage twice": ("run.csv", "qid,docno,score\nq1,d1,2\nq1,d1,1\n",
                        "line 3: passage 'd1' occurs twice for query"),
    "five columns": ("run.trec", "q1 Q0 d1 1 2.5\n", "run.trec, line 1: 5 columns where a TREC run has six"),
    "an empty file": ("run.csv", "", "run.csv holds no hits"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), RUNS.values(), ids=RUNS)
def test_runs(tmp_path: Path, name: str, content: str, expected: Any) -> None:
    (tmp_path / name).write_text(content, "utf-8")

    def read() -> Any:
        return {q: [hit.doc_id for hit in hits] for q, hits in read_run_file(tmp_path / name).run.rankings.items()}

    check(read, expected)


TEXTS: dict[str, tuple[str, str, Any]] = {
    "MS MARCO's collection.tsv": ("collection.tsv", 'd1\t"Sea" is\nd2\tMoon\n',
                                  {"d1": '"Sea" is', "d2": "Moon"}),
    "quotation marks in MS MARCO's texts stay": ("collection.tsv", 'd1\t"Sea"\n', {"d1": '"Sea"'}),
    "quotation marks around a cell go": ("docs.tsv", 'id\ttext\nd1\t"He said ""no"""\n', {"d1": 'He said "no"'}),
    "a text over two lines": ("docs.csv", 'id,text\nd1,"one\n\ntwo"\nd2,x\n', {"d1": "one\n\ntwo", "d2": "x"}),
    "a text over two lines in .tsv": ("docs.tsv", 'id\ttext\nd1\t"one\ntwo"\n',
                                      "docs.tsv, line 3: 1 column where the first line"),
    "a comma in a text": ("docs.csv", 'id,text\nd1,"a, b"\n', {"d1": "a, b"}),
    "a comma without quotation marks": ("docs.csv", "id,text\nd1,a, b\n",
                                        "line 2: 3 columns where the first line has 2"),
    "a title that is null": ("docs.jsonl", '{"id": 1, "title": null, "text": "x"}\n', {"1": "x"}),
    "a text that is null": ("docs.jsonl", '{"id": 1, "title": "x", "text": null}\n', "line 1: the text is missing"),
    "Pyserini's contents": ("docs.jsonl", '{"id": "d1", "contents": "x"}\n', {"d1": "x"}),
    "two texts": ("docs.csv", "id,text,body\nd1,x,y\n",
                  "the text can be any of the columns text, body; rename all but"),
    "a passage twice": ("docs.csv", "id,text\nd1,x\nd1,y\n", "passage id 'd1' occurs twice; ids must be unique"),
    "three columns without a header": ("docs.tsv", "d1\ttitle of it\tx y\n",
                                       "docs.tsv, line 1: 'd1 | title of it | x y' has"),
    "a format that is not read": ("docs.xml", "<doc/>", "docs.xml: passages are read from files named .jsonl, "),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), TEXTS.values(), ids=TEXTS)
def test_passages(tmp_path: Path, name: str, content: str, expected: Any) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    (tmp_path / "queries.tsv").write_text("q1\twords\n", "utf-8")
    first = "d1" if isinstance(expected, str) else next(iter(expected))
    (tmp_path / "qrels.trec").write_text(f"q1 0 {first} 1\n", "utf-8")

    def read() -> Any:
        docs, queries, qrels = (str(tmp_path / one) for one in (name, "queries.tsv", "qrels.trec"))
        return files.load(docs, queries, qrels).docs

    check(read, expected)


@pytest.mark.parametrize("kind", [JUDGMENTS, RUNS, TEXTS], ids=["judgments", "runs", "passages"])
def test_the_documentation_lists_all_of_them(kind: Any) -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8").split())
    assert [name for name in kind if name not in page] == []
