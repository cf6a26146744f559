"""From a result to its entry, and from folders to all entries."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.results import reading
from evalkit.results.history import entering, index
from evalkit.results.history.entry import HistoryEntry
from tests.conftest import REPOSITORY
from tests.helpers.results import plain_cost, plain_result, result_of

EXAMPLE = REPOSITORY / "reports" / "examples" / "dev"


def test_an_entry_has_what_the_report_of_its_run_shows() -> None:
    one = entering.entry_of(reading.read_result(EXAMPLE), EXAMPLE)
    report = (EXAMPLE / "report.md").read_text("utf-8")
    assert (one.slice, one.first_stage, one.reranker, one.precision) == ("dev/en", "bm25", "packaged", "fp32")
    assert f"{one.before:.4f} -> {one.after:.4f} ({one.delta:+.4f}" in report
    assert f"{one.p50_ms:.0f} ms (p50)" in report
    assert f"{one.peak_mib:.0f} MiB" in report
    assert (one.measure, one.verdict) == ("nDCG@10", "helped")
    assert one.means["nDCG@10"] == one.after
    assert one.means_before["nDCG@10"] == one.before
    assert one.folder == str(EXAMPLE)
    assert one.settings["reranker.max_length"] == 256
    assert not {"reranker.store", "first_stage.cache", "reranker.executor.name"} & one.settings.keys()


def test_the_commit_is_that_of_the_working_folder_else_that_of_evalkit() -> None:
    states = {"working_dir": {"commit": "w", "dirty": True}, "evalkit": {"commit": "e", "dirty": False, "version": "1"}}

    def of(provenance: dict[str, Any]) -> HistoryEntry:
        return entering.entry_of(result_of(plain_result(provenance=provenance)), Path("/runs"))

    one = of(states)
    assert (one.commit, one.dirty, one.evalkit) == ("w", True, "1")
    one = of({**states, "working_dir": {"commit": None, "dirty": None}})
    assert (one.commit, one.dirty) == ("e", False)
    one = of({"evalkit": "a text", "working_dir": {"commit": 7}, "ended": 7})
    assert (one.commit, one.dirty, one.evalkit, one.ended) == (None, None, None, None)


@pytest.mark.parametrize(
    ("provenance", "ended"),
    [
        ({"started": "now", "ended": "2026-11-26T23:00:00.5+02:00"}, "2026-11-26T21:00:00.500+00:00"),
        ({"started": "2026-11-26T22:00:00+00:00"}, "2026-11-26T22:00:00.000+00:00"),  # an older result
        ({"started": "now"}, None),
    ],
)  # fmt: skip
def test_times_are_in_one_zone_so_that_their_texts_have_an_order(provenance: dict[str, str], ended: str | None) -> None:
    assert entering.entry_of(result_of(plain_result(provenance=provenance)), Path("/runs")).ended == ended


def test_a_first_stage_alone_has_no_delta() -> None:
    plain = plain_result(effective={"reranker": {"name": "none", "reranks": False}})
    one = entering.entry_of(result_of(plain), Path("/runs"))
    assert (one.reranker, one.delta, one.verdict, one.after) == (None, None, None, 0.9)


def test_rebuilding_gives_the_entries_of_entering_as_one_goes(tmp_path: Path) -> None:
    went = tmp_path / "went.sqlite"
    for name in ("a", "b/c", "b/d"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        plain = plain_result(
            name=name.replace("/", "-"), cost=plain_cost(), provenance={"ended": "2026-01-01T00:00:00Z"}
        )
        (folder / "result.json").write_text(json.dumps(plain), "utf-8")
        index.enter(went, entering.entry_of(result_of(plain), folder))
    found = entering.below([str(tmp_path / "runs"), str(tmp_path / "runs" / "b")])  # a folder within another
    index.replace_all(tmp_path / "rebuilt.sqlite", found.entries)
    assert found.left_out == []
    assert index.read(tmp_path / "rebuilt.sqlite") == index.read(went)
    assert len(index.read(went)) == 3


def test_what_is_no_finished_run_is_left_out_and_named(tmp_path: Path) -> None:
    for name, text in {
        "failed": json.dumps(
            {"schema_version": 1, "status": "failed", "name": "x", "error": "too hot", "error_kind": ""}
        ),
        "broken": '{"status": "fin',
        "huge": json.dumps(plain_result(effective={"slice": {"queries": 10**30}})),
        ".unfinished-1": json.dumps(plain_result()),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text, "utf-8")
    shutil.copytree(EXAMPLE, tmp_path / "whole")
    found = entering.below([str(tmp_path)])
    assert [Path(one.folder).name for one in found.entries] == ["whole"]
    assert [Path(one.split("/result.json")[0].split()[-1]).name for one in found.left_out] == [
        "broken",
        "failed",
        "huge",
    ]
    assert "too hot" in found.left_out[1]
    assert "beyond 64 bits" in found.left_out[2]


def test_a_folder_that_there_is_not_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"there is no folder .*/none; name folders that hold the folders of runs"):
        entering.below([str(tmp_path / "none")])
