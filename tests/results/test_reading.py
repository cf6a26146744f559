import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError, NotFiniteError
from evalkit.evaluation.trec import write_run
from evalkit.report import per_query
from evalkit.report.content import cost as costs
from evalkit.results import reading, result, summary
from evalkit.results.passages import Passage
from evalkit.results.result import effectiveness, failed, write_result
from evalkit.types import Effectiveness, Hit, Run, Slice, Trial
from tests.helpers.results import plain_cost, plain_result, result_of

NASTY = 'one\u2028two\u2029three\nfour\x85five\r\n"six" \\ ق\x1c'
DATA = Slice("", "", {"q1": NASTY, "ق-1": "w"}, {"a": NASTY, "b": "x"}, {"q1": {"a": 2, "c": 1}, "ق-1": {"b": 0}}, "")
RERANKED = Run("ce", {"q1": (Hit("b", 1.5), Hit("a", -0.25)), "ق-1": (Hit("b", 3.0),)})
VALUES = Effectiveness({"nDCG@10": {"q1": 0.5, "ق-1": 0.25}})
EFFECTIVE = {
    "slice": {"name": "s", "lang": "en", "queries": 2, "docs": 2, "relevance_level": 1, "fingerprint": "f",
              "fingerprints": {"queries": "q", "docs": "d", "judgments": "j"}},
    "first_stage": {"name": "bm25"}, "reranker": {"name": "ce"}, "scoring": {"pairs_unscored": 0}, "depth": 2,
}  # fmt: skip
UNJUDGED = {"first_stage": 0.0, "reranked": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    values = dict.fromkeys(("first_stage", "reranked", "ceiling"), VALUES)
    trial = Trial("tiny", {}, EFFECTIVE, {}, DATA, RERANKED, RERANKED, values, UNJUDGED, None)
    write_run(trial.reranked, tmp_path / "reranked.trec")
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in per_query.passages(trial))
    (tmp_path / "passages.jsonl").write_text("".join(lines), "utf-8")
    plain = {"schema_version": 1, "status": "finished", "name": "tiny", "effective": EFFECTIVE, "warnings": []}
    write_result(result_of(plain | {"effectiveness": asdict(effectiveness(trial))}), tmp_path)
    return tmp_path


def refused(where: Any, kind: Any = EvalkitError) -> Any:
    with pytest.raises(EvalkitError) as caught:
        reading.read(where)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("where", ["~", "~/result.json"])
def test_a_trial_is_read_from_its_folder_or_its_result(
    folder: Any, where: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    done = reading.read(where)
    assert (done.where, done.reranked, done.queries) == (where, RERANKED, DATA.queries)
    assert done.result.effectiveness.per_query.reranked == VALUES.per_query
    # For q1, b is retrieved and not judged; c is judged relevant, but neither retrieved nor there.
    assert done.passages == {
        "q1": {"b": Passage("b", None, "x"), "a": Passage("a", 2, NASTY), "c": Passage("c", 1, "")},
        "ق-1": {"b": Passage("b", 0, "x")},
    }


@pytest.mark.parametrize("name", ["result.json", "reranked.trec", "passages.jsonl"])
def test_what_is_missing_is_named(folder: Any, name: Any) -> None:
    (folder / name).unlink()
    assert refused(folder).startswith("there is no ")
    assert name in refused(folder)
    assert f"there is no {folder / 'no'}; it should be a result of evalkit" in refused(folder / "no")


ENTRY = '{"query_id": "q", "query": "", "passages": [%s]}\n'
BROKEN = [
    ("result.json", b"", "is empty; it should be a result of evalkit"),
    ("result.json", b'{"schema_version": 1, "status": "fin', "is not whole, or no JSON"),
    ("result.json", b"[1]", "holds a list; it should be a result of evalkit"),
    ("result.json", b"\x1f\x8b\x08\xff", "cannot read"),
    ("result.json", b'{"schema_version": 2}', "has schema version 2, and this evalkit reads 1; run the trial again"),
    ("result.json", b"{}", "has schema version None"),
    ("result.json", b'{"schema_version": 1, "status": "partial"}', "did not finish (status 'partial')"),
    ("result.json", b'{"schema_version": 1, "status": "finished"}', "is no result of evalkit: it has no 'name'"),
    ("reranked.trec", b"q1 Q0 a 1 nan ce\n", "line 1: the score is nan"),
    ("passages.jsonl", b"q1 why\n", "is damaged ("),
    ("passages.jsonl", ENTRY[:30].encode(), "is damaged ("),
    (
        "passages.jsonl",
        b'{"qid": "q1", "query": "why", "passages": []}\n',
        "is damaged (line 1: it has no 'query_id')",
    ),
    (
        "passages.jsonl",
        (ENTRY % '{"id": "a", "grade": 1, "text": ""}').encode(),
        "passages.0 has no 'doc_id'",
    ),
    ("passages.jsonl", (ENTRY % '"a"').encode(), "is damaged ("),
    ("passages.jsonl", b"\x1f\x8b\x08\xff", "it is compressed (gzip); unpack it first"),
]


@pytest.mark.parametrize(("name", "content", "why"), BROKEN)
def test_a_broken_file_is_refused_by_name(folder: Any, name: Any, content: Any, why: Any) -> None:
    (folder / name).write_bytes(content)
    message = refused(folder)
    assert str(folder / name) in message
    assert why in message


@pytest.mark.parametrize("error", [EvalkitError("no GPU here"), NotFiniteError("a NaN for 'q1'")])
def test_a_trial_that_failed_is_refused_with_its_error(tmp_path: Path, error: Any) -> None:
    result.write_result(failed("tiny", {}, {}, error), tmp_path)
    assert refused(tmp_path, type(error)) == f"{tmp_path / 'result.json'} is of a trial that failed: {error}"


def test_the_cost_of_an_older_version_is_read_and_what_it_lacks_is_none() -> None:
    plain = plain_result(cost=plain_cost(latency={"samples_ms": [250.0, 300.0]}))
    plain["effective"]["scoring"]["padding_share"] = 0.015
    cost = plain["cost"]
    for key in ("first_forward_ms", "computed_pairs", "throughput", "latency_grid", "load", "energy", "estimate"):
        cost.pop(key, None)
    measured = ("samples_ms", "p50_ms", "p90_ms", "p99_ms", "pairs_per_query")
    cost["latency"] = {key: cost["latency"][key] for key in measured}
    del cost["memory"]["weights_mb"], cost["memory"]["own_pass"]

    older = result_of(plain)

    assert older.cost
    assert older.cost.latency
    assert (older.cost.throughput, older.cost.energy, older.cost.computed_pairs, older.cost.load) == (None,) * 4
    assert (older.cost.latency.p50_ms, older.cost.latency.p95_ms) == (300.0, None)
    found = summary.cost_figures(older)
    assert found
    assert (found.p50_ms, found.latency_samples, found.weights_mb) == (300.0, 2, None)

    shown = {part.title: part for part in costs.parts(older)}
    assert shown["Throughput"].rows == (
        ("pairs/s, end to end", "50.0"),
        ("pairs/s, the model alone", "not measured"),
        ("pairs/s, tokenization alone", "not measured"),
        ("padding, share of the tokens that were computed", "1.5%"),
    )
    assert [row[:2] for row in shown["Latency of a query"].rows] == [("p50", "300"), ("p90", "300"), ("p99", "300")]
    assert not [text for part in shown.values() for row in part.rows for text in row if "None" in text]
