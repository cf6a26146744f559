"""Whatever bytes a file holds, it is read as what it says, or refused in one sentence; nothing is run, awaited or lost.

The same properties, for longer: raise `EXAMPLES`. Files are written by somebody who knows the formats, and evalkit.
"""

import gc
import hashlib
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.boundary import text as outside
from evalkit.boundary.errors import EvalkitError
from evalkit.cli import instantiate, run_folder
from evalkit.evaluation.trec import read_run, write_run
from evalkit.report import markdown, per_query, tex
from evalkit.report.html import pages
from evalkit.results import compare, reading
from evalkit.results.gate import baseline, judge
from evalkit.results.gate.limits import Limits
from evalkit.results.result import effectiveness, write_result
from evalkit.slices import beir, clicks, labels
from evalkit.types import Effectiveness, Hit, Run, Slice, Trial
from tests.helpers.results import plain_cost, plain_result, result_of

EXAMPLES = 40
hostile = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

# What breaks parsers: every kind of white space, numbers that Python alone reads, halves of characters, and too much.
ODD = ["", " ", "\t", "\n", "\r\n", "\r", "\x00", "\x1b[2J", "\x85", "\xa0", "\u2028", "\ufeff", "\ud800", "\U0001f600",
       "%20", "..", "/", '"', "'", ",", "=1", "nan", "inf", "1e999", "-0", "1_0", "\uff11", "9" * 400, "9" * 5000,
       "[" * 2000, '{"a":' * 2000, "true", "null", "q1", "a", "1", "1.5"]  # fmt: skip
odd = st.sampled_from(ODD) | st.text(max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, 10**400, 1e308, math.inf, math.nan])
values = st.recursive(
    st.none() | st.booleans() | numbers | odd,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=6,
)


def refusal_of(read: Any) -> str | None:
    """The sentence with which `read` refuses, or None; any other end fails the test."""
    try:
        read()
    except EvalkitError as refused:
        error = str(refused)
        assert "\n" not in error
        assert len(error) < 4_000  # some ids, and not a whole file
        return error
    return None


def dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def cut(draw: Any, whole: bytes) -> bytes:
    """`whole` with some places of it replaced: by other bytes, by nothing, by what breaks parsers."""
    data = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 0, 1, 5, len(data)]))
        data = (
            data[:start]
            + draw(st.binary(max_size=3) | odd.map(lambda t: t.encode(errors="surrogatepass")))
            + data[end:]
        )
    return data


@st.composite
def bent(draw: Any, whole: object) -> object:
    """A copy of the JSON `whole` in which one value is another one, has another name, or is gone."""
    copy = json.loads(json.dumps(whole))
    place, name = draw(st.sampled_from([(at, key) for at in containers(copy) for key in keys(at)]))
    how = draw(st.sampled_from(["value", "value", "name", "gone"]))
    if how == "value":
        place[name] = draw(values)
    elif how == "name" and isinstance(place, dict):
        place[draw(odd)] = place.pop(name)
    else:
        del place[name]
    return copy


def keys(container: Any) -> Any:
    return list(container) if isinstance(container, dict) else range(len(container))


def containers(value: Any) -> Any:
    if isinstance(value, dict | list) and value:
        yield value
        for key in keys(value):
            yield from containers(value[key])


# --- TREC runs


@hostile
@given(
    cut(b"q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 1e-1 tag\n\nq2\tQ0\td1\t1\t-7\ttag\r\n")
    | st.lists(st.tuples(*[odd] * 6).map(" ".join)).map(lambda rows: "\n".join(rows).encode(errors="surrogatepass"))
)
def test_a_run_is_read_and_can_be_written_again_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    path = tmp_path_factory.mktemp("run") / "x.trec"
    path.write_bytes(data)
    error = refusal_of(lambda: read_run(path))
    if error is None:
        run = read_run(path).run
        assert all(math.isfinite(hit.score) for hits in run.rankings.values() for hit in hits)
        again = path.with_name("again.trec")
        write_run(run, again)
        assert read_run(again).run.rankings == run.rankings
    else:
        assert str(path) in error


# --- labels and logs of clicks

LABEL = {"query_id": "q", "doc_id": "d", "grade": 1, "judge": "a", "kind": "llm", "source": "v1"}
CLICK = {"query_id": "q", "doc_id": "d", "rank": 1, "impressions": 40, "clicks": 8}


@hostile
@given(
    bent(LABEL) | bent(CLICK) | bent([LABEL, CLICK]) | values, st.sampled_from([".jsonl", ".csv", ".tsv"]), st.data()
)
def test_labels_and_logs_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, line: Any, ending: Any, more: Any
) -> None:
    path = tmp_path_factory.mktemp("labels") / f"x{ending}"
    between = "\t" if ending == ".tsv" else ","
    header = between.join(more.draw(st.sampled_from([LABEL, CLICK]))).encode()
    row = dumped(line) if ending == ".jsonl" else header + b"\n" + more.draw(cut(between.join("qd1a2").encode()))
    path.write_bytes(row + b"\n" + row)
    for read in (lambda: labels.read_qrels([path]), lambda: clicks.estimate(path, clicks.ClickModel())):
        error = refusal_of(read)
        assert error is None or str(path) in error


@pytest.mark.parametrize("column", range(6))
def test_a_column_without_end_is_refused_in_a_short_sentence_or_is_an_id(tmp_path: Path, column: Any) -> None:
    columns = ["q1", "Q0", "d1", "1", "2.5", "tag"]
    columns[column] = "7" * 10_000_000
    (tmp_path / "x.trec").write_text(" ".join(columns), "utf-8")
    error = refusal_of(lambda: read_run(tmp_path / "x.trec"))
    assert (error is None) == (column not in (3, 4))


# --- BEIR folders


@hostile
@given(st.data())
def test_a_beir_folder_is_read_or_refused_by_file(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    files = {
        "corpus.jsonl": [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "text": "two"}],
        "queries.jsonl": [{"_id": "q1", "text": "ask"}, {"_id": "q2", "text": "ask more"}],
    }
    written = {name: b"".join(dumped(record) + b"\n" for record in records) for name, records in files.items()}
    written["qrels/test.tsv"] = b"query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tb\t2\n"
    name = data.draw(st.sampled_from(list(written)))
    records = files.get(name)
    rows = st.tuples(odd, odd, odd).map(lambda row: "\t".join(row).encode(errors="surrogatepass"))
    more = st.one_of([bent(record).map(dumped) for record in records] if records else rows)
    written[name] = data.draw(cut(written[name]) | more.map(lambda line: written[name] + line + b"\n"))
    for file, content in written.items():
        (folder / file).write_bytes(content)
    error = refusal_of(lambda: beir.load(str(folder), empty_docs="drop", unjudged_queries="drop"))
    if error is not None:
        assert str(folder) in error
        return
    slice_ = beir.load(str(folder), empty_docs="drop", unjudged_queries="drop")
    for text in (*slice_.queries, *slice_.queries.values(), *slice_.docs, *slice_.docs.values()):
        text.encode()  # a half character would stop a tokenizer, and a file
    assert all(len(item.split()) == 1 for item in (*slice_.queries, *slice_.docs))


@pytest.mark.parametrize("item", [None, True, 1.5, [], {}, ["a"]])
def test_an_id_is_a_text_or_a_whole_number(tmp_path: Path, item: Any) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td\t1\n", "utf-8")
    (tmp_path / "queries.jsonl").write_bytes(dumped({"_id": item, "text": "t"}))
    error = refusal_of(lambda: beir.load(str(tmp_path)))
    assert error is not None
    assert error.startswith(f"{tmp_path}/queries.jsonl, line 1: the query id is ")


# --- results and baselines


DATA = Slice("s", "en", {"q1": "one", "q2": "two"}, {"a": "A", "b": "B"}, {"q1": {"a": 1}, "q2": {"b": 1}}, "")
RUN = Run("ce", {"q1": (Hit("b", 1.5), Hit("a", -0.25)), "q2": (Hit("b", 3.0),)})
COUNTS = ("pairs_unscored", "truncated_pairs", "tied_pairs", "queries_with_constant_score", "queries_reordered",
          "queries_without_hits")  # fmt: skip
EFFECTIVE = {
    "slice": {"name": "s", "lang": "en", "queries": 2, "docs": 2, "relevance_level": 1, "fingerprint": "f",
              "fingerprints": {"queries": "q", "docs": "d", "judgments": "j"}},
    "first_stage": {"name": "bm25", "k1": 0.9}, "reranker": {"name": "ce", "precision": "fp32", "max_length": 9},
    "scoring": {"pairs": 3} | dict.fromkeys(COUNTS, 0), "depth": 2,
}  # fmt: skip
COST = plain_cost(
    pairs_per_s=9.5,
    latency={"samples_ms": [1.5, 2.5], "p50_ms": 1.5, "p50_ci95_ms": [None, 2.5], "p99_ms": 2.5},
    memory={"rss_peak_mb": 90.5, "weights_mb": 1.5},
    calibration={"samples_ms": [3.5], "p50_ms": 3.5, "rss_before_mb": 20.5, "rss_peak_mb": 60.5,
                 "cuda_allocated_peak_mb": None},
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a finished trial, what it holds, and its baseline."""
    where = tmp_path_factory.mktemp("finished")
    before, after = (
        Effectiveness({"nDCG@10": {"q1": low, "q2": 1.0}, "R@10": {"q1": 1.0, "q2": 1.0}}) for low in (0.5, 1)
    )
    lists = {"first_stage": before, "reranked": after, "ceiling": after}
    unjudged = {"first_stage": 0.5, "reranked": 0.5}
    trial = Trial("tiny", {}, EFFECTIVE, {}, DATA, RUN, RUN, lists, unjudged, None)
    write_run(RUN, where / "reranked.trec")
    (where / "passages.jsonl").write_bytes(b"".join(dumped(line) + b"\n" for line in per_query.passages(trial)))
    plain = {"schema_version": 1, "status": "finished", "name": "tiny", "effective": EFFECTIVE, "cost": COST,
             "effectiveness": asdict(effectiveness(trial)), "warnings": ["few queries"]}  # fmt: skip
    write_result(result_of(plain), where)
    return where, reading.read(where), baseline.of(reading.read(where))


@pytest.fixture
def without_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statsmodels collects garbage at each correction of p values, which takes longer than all the rest together."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@hostile
@given(st.data())
def test_a_result_is_compared_and_judged_or_refused(
    finished: Any, tmp_path_factory: pytest.TempPathFactory, without_collecting: Any, data: Any
) -> None:
    where, good, standard = finished
    folder = tmp_path_factory.mktemp("result")
    name = data.draw(st.sampled_from(["result.json", "result.json", "passages.jsonl"]))
    for file in ("reranked.trec", "result.json", "passages.jsonl"):
        (folder / file).write_bytes((where / file).read_bytes())
    whole = (where / name).read_bytes()
    if name == "result.json":
        content = data.draw(cut(whole) | bent(json.loads(whole)).map(dumped))
    else:
        content = data.draw(cut(whole) | bent(json.loads(whole.splitlines()[0])).map(dumped))
    (folder / name).write_bytes(content)

    def use() -> None:
        found = reading.read(folder)
        compared = compare.side_by_side([found, replace(good, where="the good one")], resamples=20)
        for render in (markdown.comparison, tex.comparison, lambda it: pages.comparison(it, {})):
            render(compared)
        judged = judge.judge(standard, found, Limits())
        markdown.gate(judged)
        baseline.dump(baseline.of(found))

    refusal_of(use)


ASKED = {"task": "trial", "overwrite": False, "depth": 10}
WHOLE = plain_result(asked=ASKED, provenance={"evalkit": "1"})


def test_a_whole_result_of_these_settings_is_taken_for_done(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(dumped(WHOLE))
    assert run_folder.is_done(tmp_path, ASKED, {"evalkit": "1"})


@hostile
@given(bent(WHOLE))
def test_nothing_but_a_whole_result_of_these_settings_is_taken_for_done(
    tmp_path_factory: pytest.TempPathFactory, result: Any
) -> None:
    folder = tmp_path_factory.mktemp("done")
    (folder / "result.json").write_bytes(dumped(result))
    assert not run_folder.is_done(folder, ASKED, {"evalkit": "1"}) or (
        isinstance(result, dict)
        and (result.get("status"), result.get("asked")) == ("finished", ASKED)
        and "name" in result
        and isinstance(result.get("provenance"), dict)
        and result["provenance"].get("evalkit") == "1"
        and not constants(result)  # NaN and the infinities, which are no JSON
    )


def constants(value: Any) -> Any:
    found: list[str] = []
    json.loads(json.dumps(value), parse_constant=found.append)
    return found


@hostile
@given(st.data())
def test_a_baseline_is_used_or_refused_though_its_checksum_is_right(
    finished: Any, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    _, good, standard = finished
    path = tmp_path_factory.mktemp("baseline") / "ci.json"
    whole = baseline.dump(standard).encode()
    content = data.draw(cut(whole) | bent(json.loads(whole)).map(signed))
    path.write_bytes(content)
    refusal_of(lambda: judge.judge(baseline.read(path), good, Limits()))


def signed(content: Any) -> Any:
    """The file with the checksum that its content has: no secret is needed for it."""
    if not isinstance(content, dict):
        return dumped(content)
    content.pop("checksum", None)
    canonical = json.dumps(json.loads(json.dumps(content)), sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
    return dumped(content | {"checksum": f"sha256:{digest}"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"status": "failed", "status": "finished"}', "a name occurs twice in one object"),
        (b'{"schema_version": NaN}', "NaN is no JSON"),
        (b'{"schema_version": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
        (b'{"a":' * 100_000, "is not whole, or no JSON"),
        (b'\xef\xbb\xbf{"schema_version": 1}', "BOM"),
        (b'{"schema_version": \xff}', "it is not UTF-8"),
        (b"\x1f\x8b\x08\x00", "it is compressed (gzip); unpack it first"),
    ],
)
def test_invalid_json_is_refused_with_the_reason(tmp_path: Path, content: Any, why: Any) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    error = refusal_of(lambda: reading.read(path))
    assert error is not None
    assert str(path) in error
    assert why in error


# --- what is no file


READERS = {
    "run": ("x.trec", read_run),
    "result": ("result.json", reading.read),
    "baseline": ("ci.json", baseline.read),
    "queries": ("queries.jsonl", lambda path: beir.load(str(path.parent))),
}


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, name: Any, read: Any, kind: Any) -> None:
    path = tmp_path / name
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td\t1\n", "utf-8")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # whoever opens it waits until somebody writes
    else:
        path.symlink_to("/dev/zero")  # which never ends
    error = refusal_of(lambda: read(path))
    assert error is not None
    assert name in error


@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_a_name_that_no_file_can_have_is_refused(name: Any, read: Any) -> None:
    for odd_name in ("a" * 500, "nul\0", "~nobody-has-this-name/x"):
        assert refusal_of(lambda: read(Path(odd_name, name))) is not None  # noqa: B023


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "LONGEST_LINE", 1000)
    path = tmp_path / "x.trec"
    path.write_bytes(b"q1 Q0 d1 1 2.5 tag\n" + b"x" * 2000)
    assert refusal_of(lambda: read_run(path)) == f"{path}, line 2: longer than 0 MiB; is it a TREC run?"


def test_a_byte_order_mark_belongs_to_no_id(tmp_path: Path) -> None:
    (tmp_path / "x.trec").write_bytes(b"\xef\xbb\xbfq1 Q0 d1 1 2.5 tag\n")
    assert list(read_run(tmp_path / "x.trec").run.rankings) == ["q1"]


# --- configuration


TARGETS = {
    "another package": "os.system",
    "a name of ours that is no component": "evalkit.evaluation.trec.read_run",
    "what a module of ours imports": "evalkit.slices.beir.layout",
    "a class that a module of ours imports": "evalkit.rerankers.cross_encoder.Path",
    "a function next to a component": "evalkit.slices.subset.sample_ids",
    "through a module of ours": "evalkit.slices.beir.layout.glob",
    "a class next to a component": "evalkit.rerankers.trec_run.RunFile",
    "a method": "evalkit.first_stage.trec_run.TrecRun.check",
    "two dots": "evalkit.slices..beir.load",
    "a path": "evalkit.slices./tmp/x.load",
    "an attribute of each class": "evalkit.first_stage.bm25.__class__",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_configuration_builds_components_of_evalkit_and_nothing_else(target: Any) -> None:
    error = refusal_of(lambda: instantiate.build({"_target_": target, "path": "x"}))
    assert error is not None
    assert error.startswith(f"_target_={target}: a configuration can name only evalkit's own components")


def test_a_user_can_allow_a_package_and_no_configuration_can(monkeypatch: pytest.MonkeyPatch) -> None:
    settings_ = {"_target_": "fractions.Fraction", "numerator": 3}
    assert "EVALKIT_ALLOW_TARGETS" in (refusal_of(lambda: instantiate.build(settings_)) or "")
    monkeypatch.setenv("EVALKIT_ALLOW_TARGETS", "fractions, other.package")
    assert instantiate.build(settings_) == 3
    assert refusal_of(lambda: instantiate.build({"_target_": "fractionsx.y"})) is not None
    assert refusal_of(lambda: instantiate.build({"_target_": "os.system"})) is not None


@hostile
@given(st.dictionaries(odd | st.sampled_from(["path", "queries", "seed", "name", "_facts"]), values, max_size=4))
def test_settings_of_any_kind_build_a_component_or_are_refused(given_settings: Any) -> None:
    for target in ("evalkit.slices.beir.load", "evalkit.first_stage.trec_run.TrecRun"):
        refusal_of(lambda: instantiate.build({"path": "/nowhere", **given_settings, "_target_": target}))  # noqa: B023


HYDRA = {
    "callbacks": {"callbacks": {"x": {"_target_": "subprocess.Popen", "args": ["true"]}}},
    "launcher": {"launcher": {"_target_": "hydra.utils.call", "config": {}}},
    "sweeper": {"sweeper": {"_target_": "${x}"}},
    "deeper": {"callbacks": {"x": {"_target_": "evalkit.cli.sweep.SweepReport", "y": [{"_target_": "os.system"}]}}},
    "a formatter": {"job_logging": {"formatters": {"x": {"()": "subprocess.Popen"}}}},
    "a handler": {"hydra_logging": {"handlers": {"x": {"class": "logging.config.listen"}}}},
    "an object": {"job_logging": {"handlers": {"x": {"class": "logging.StreamHandler", "stream": "ext://os.system"}}}},
}


@pytest.mark.parametrize("part", HYDRA.values(), ids=HYDRA)
def test_hydra_is_given_nothing_to_build_but_its_own(part: Any) -> None:
    error = refusal_of(lambda: instantiate.check_hydra(part))
    assert error is not None
    assert "a configuration can name only Hydra's own parts and plugins" in error


def test_what_hydra_and_its_plugins_provide_is_accepted() -> None:
    instantiate.check_hydra({
        "callbacks": {"sweep_report": {"_target_": "evalkit.cli.sweep.SweepReport"}},
        "launcher": {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"},
        "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None},
        "job_logging": {"handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}}},
    })  # fmt: skip


def test_a_component_of_another_kind_is_refused() -> None:
    error = refusal_of(lambda: instantiate.build({"_target_": "evalkit.rerankers.none.NoReranker"}, "first_stage"))
    assert error == (
        "_target_=evalkit.rerankers.none.NoReranker: this is one of evalkit.rerankers, and one of evalkit.first_stage "
        "is needed"
    )
    assert instantiate.build({"_target_": "evalkit.rerankers.none.NoReranker"}, "rerankers") is not None
