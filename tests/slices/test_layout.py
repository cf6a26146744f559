"""Folders as BEIR, MTEB and Hugging Face's `datasets` lay them out."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.table_writing import write_table
from evalkit.slices import beir
from evalkit.types import Slice

QUERIES = [("q1", "tides"), ("q2", "bread")]
DOCS = [("d1", "Moon", "It causes the tides."), ("d2", "", "Bread needs yeast."), ("d3", "", "Nobody asks.")]
QRELS = [("q1", "d1", 2), ("q2", "d2", 1)]


def write_parts(queries: Path, docs: Path, qrels: Path, key: str = "_id") -> None:
    for path, columns, rows in (
        (queries, (key, "text"), QUERIES),
        (docs, (key, "title", "text"), DOCS),
        (qrels, ("query-id", "corpus-id", "score"), QRELS),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".arrow":
            write_arrow(path, columns, rows)
        else:
            write_table(path, columns, rows)


def write_arrow(path: Path, columns: Any, rows: Any) -> None:
    """Write what `datasets.save_to_disk` writes: a stream of batches, and files that are no tables."""
    pa = pytest.importorskip("pyarrow", reason="the extra formats")
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    for name in ("dataset_info.json", "state.json"):
        (path.parent / name).write_text("{}", "utf-8")


LAYOUTS: dict[str, tuple[str, str, str]] = {
    "BEIR": ("queries.jsonl", "corpus.jsonl", "qrels/test.tsv"),
    "BEIR, compressed, as on the hub": ("queries.jsonl.gz", "corpus.jsonl.gz", "qrels/test.tsv.gz"),
    "MTEB, in parquet": ("queries/queries-00000-of-00001.parquet", "corpus/corpus-00000-of-00001.parquet",
                         "data/test-00000-of-00001.parquet"),
    "MTEB, splits of the same name": ("queries/test-00000-of-00001.parquet", "corpus/test-00000-of-00001.parquet",
                                      "qrels/test-00000-of-00001.parquet"),
    "MTEB, default": ("queries.parquet", "corpus.parquet", "default/test.jsonl"),
    "saved to the disk by datasets": ("queries/data-00000-of-00001.arrow", "corpus/data-00000-of-00001.arrow",
                                      "qrels/test/data-00000-of-00001.arrow"),
    "CSV": ("queries.csv", "corpus.csv", "qrels/test.csv"),
}  # fmt: skip


@pytest.mark.parametrize("parts", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_slice(tmp_path: Path, parts: Any) -> None:
    write_parts(*(tmp_path / "mine" / part for part in parts))
    data = beir.load(str(tmp_path / "mine"))
    assert data.name == "mine/test"
    assert data.queries == dict(QUERIES)
    assert data.docs == {"d1": "Moon It causes the tides.", "d2": "Bread needs yeast.", "d3": "Nobody asks."}
    assert data.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}


def parquet(folder: Path, part: str, split: str = "test") -> Path:
    return folder / part / f"{split}-00000-of-00001.parquet"


def test_a_subset_of_a_collection_in_several_languages(tmp_path: Path) -> None:
    queries, corpus, qrels = (parquet(tmp_path, f"de-{part}") for part in ("queries", "corpus", "qrels"))
    write_parts(queries, corpus, qrels, key="id")
    data = beir.load(str(tmp_path), subset="de", lang="de")
    assert (data.facts["subset"], data.name) == ("de", f"{tmp_path.name}/de/test")
    assert data.facts["columns"]["docs"] == {"doc_id": "id", "title": "title", "text": "text"}


def test_shards_are_read_in_their_order(tmp_path: Path) -> None:
    write_parts(tmp_path / "queries.jsonl", tmp_path / "corpus" / "x.jsonl", tmp_path / "qrels" / "test.tsv")
    (tmp_path / "corpus" / "x.jsonl").unlink()
    for number, row in enumerate(DOCS):
        write_table(tmp_path / "corpus" / f"corpus-{number:05}-of-00003.parquet", ("_id", "title", "text"), [row])
    assert list(beir.load(str(tmp_path)).docs) == ["d1", "d2", "d3"]


def with_two_splits(folder: Path) -> None:
    write_parts(folder / "queries.jsonl", parquet(folder, "corpus", "train"), parquet(folder, "qrels", "dev"))
    shutil.copy(parquet(folder, "corpus", "train"), parquet(folder, "corpus", "validation"))


def with_readme(folder: Path) -> None:
    write_parts(folder / "queries.jsonl", folder / "corpus" / "x.jsonl", folder / "qrels" / "test.tsv")
    (folder / "qrels" / "test.tsv").replace(folder / "qrels" / "test.xlsx")


REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a split that there is not": (with_two_splits, "test", "there is no HERE/qrels/test.tsv; choose from dev"),
    "passages of other splits": (with_two_splits, "dev",
                                 "HERE/corpus has train, validation, and none of them is dev"),
    "judgments in another format": (with_readme, "test", "; it has test.xlsx, and files named SPLIT.tsv, SPLIT.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "split", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_is_refused_with_what_there_is(tmp_path: Path, make: Any, split: str, message: str) -> None:
    make(tmp_path)
    with pytest.raises(EvalkitError) as caught:
        beir.load(str(tmp_path), split=split)
    assert message.replace("HERE", str(tmp_path)) in str(caught.value)


def test_only_the_columns_that_are_needed_are_read_of_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra formats")
    import pyarrow.parquet as pq

    write_parts(tmp_path / "queries.jsonl", tmp_path / "corpus.parquet", tmp_path / "qrels" / "test.tsv")
    rows = [{"_id": d, "title": t, "text": x, "embedding": [0.5] * 4, "title_embedding": None} for d, t, x in DOCS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet")
    data: Slice = beir.load(str(tmp_path))
    assert data.facts["columns"]["docs"] == {"doc_id": "_id", "title": "title", "text": "text"}


@pytest.mark.parametrize("name", ["corpus.parquet", "corpus.arrow", "corpus.jsonl.zst"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str) -> None:
    write_parts(tmp_path / "queries.jsonl", tmp_path / "corpus.jsonl", tmp_path / "qrels" / "test.tsv")
    (tmp_path / "corpus.jsonl").unlink()
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd and no more")
    with pytest.raises(EvalkitError, match=f"{name}.* should be passages|cannot read .*{name} as passages"):
        beir.load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "packages"), [("corpus.parquet", ["pyarrow"]), ("corpus.jsonl.zst", ["backports", "compression"])]
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, packages: list[str]
) -> None:
    import sys

    write_parts(tmp_path / "queries.jsonl", tmp_path / name, tmp_path / "qrels" / "test.tsv")
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EvalkitError, match=rf"{name}.* pip install 'evalkit-rerank\[formats\]' brings it"):
        beir.load(str(tmp_path))


def test_compressed_judgments_can_take_the_place_of_those_of_a_split(tmp_path: Path) -> None:
    write_parts(tmp_path / "queries.jsonl", tmp_path / "corpus.jsonl", tmp_path / "qrels" / "test.tsv")
    (tmp_path / "mine.trec.gz").write_bytes(gzip.compress(b"q1 0 d3 1\n"))
    data = beir.load(str(tmp_path), qrels=str(tmp_path / "mine.trec.gz"))
    assert data.qrels == {"q1": {"d3": 1}}
    assert data.name == f"{tmp_path.name}/mine"
