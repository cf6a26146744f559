"""What is known of a collection before it is downloaded: as ir_datasets states it, or not at all."""

from pathlib import Path

import pytest
import yaml

from evalkit.cli.config import conf_dir
from evalkit.results import published
from evalkit.slices import catalogue

NAMED = {
    path.stem: settings
    for path in sorted((conf_dir() / "slice").glob("*.yaml"))
    if "dataset" in (settings := yaml.safe_load(path.read_text("utf-8"))) and settings["defaults"][0] == "schema_irds"
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", NAMED)
def test_every_named_slice_has_its_size_and_terms_and_published_figures_that_can_be_read(name: str) -> None:
    settings = NAMED[name]
    facts = catalogue.facts(settings["dataset"].replace("${slice.lang}", settings.get("lang", "")))
    assert facts.queries
    assert facts.passages
    assert facts.licence
    assert facts.page.startswith("https://")
    published.check(settings.get("reference", []))


def test_the_named_slices_are_ids_of_ir_datasets_with_documents_queries_and_judgments() -> None:
    import ir_datasets

    for settings in NAMED.values():
        data = ir_datasets.load(settings["dataset"].replace("${slice.lang}", settings.get("lang", "")))
        assert data.has_docs()
        assert data.has_queries()
        assert data.has_qrels()


def test_all_public_sets_of_beir_nano_beir_and_bright_have_a_name() -> None:
    for family, count in (("beir_", 14), ("nano_beir_", 13), ("bright_", 12)):
        assert sum(name.startswith(family) for name in NAMED) == count


def test_sizes_are_those_that_ir_datasets_states() -> None:
    """https://ir-datasets.com/beir.html: SciFact has 300 test queries over 5,183 documents, in 2.8 MB."""
    facts = catalogue.facts("beir/scifact/test")
    assert (facts.queries, facts.passages) == (300, 5_183)
    assert facts.download_bytes is not None
    assert facts.download_bytes // 100_000 == 28


@pytest.mark.parametrize("dataset", ["nano-beir/scifact", "miracl/yo/dev", "beir/nothing", "nothing"])
def test_a_size_that_is_no_size_in_bytes_is_not_stated(dataset: str) -> None:
    """Of NanoBEIR ir_datasets has numbers of rows, of MIRACL's Yoruba 11 KB for 49,043 passages."""
    assert catalogue.facts(dataset).download_bytes is None


def test_candidate_files_take_the_place_of_the_corpus_where_a_slice_reads_them() -> None:
    corpus, candidates = (catalogue.facts("msmarco-passage/trec-dl-2019/judged", by) for by in (False, True))
    assert corpus.download_bytes is not None
    assert candidates.download_bytes is not None
    assert corpus.download_bytes > 1e9
    assert candidates.download_bytes < 3e7
    assert (corpus.reads_candidates, candidates.reads_candidates) == (False, True)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("beir/nfcorpus/test", "beir/nfcorpus/source.zip"),
        ("beir/cqadupstack/android", "beir/cqadupstack/android/docs.pklz4"),
        ("beir/webis-touche2020/v2", "beir/webis-touche2020/v2/docs.pklz4"),
        ("msmarco-passage/trec-dl-2020/judged", "msmarco-passage/collection.tsv"),
        ("msmarco-passage/trec-dl-2020/judged", "msmarco-passage/trec-dl-2020/candidates.tsv"),
        ("miracl/sw/dev", "miracl/v1.0/sw/docs/docs-0.jsonl.gz"),
        ("mmarco/v2/zh/dev/small", "mmarco/v2/chinese_collection.tsv"),
        ("bright/biology", "bright/biology.docs.parquet"),
        ("nano-beir/nq", "nano-beir/nq/corpus.parquet"),
    ],
)
def test_what_lies_in_ir_datasets_folder_is_known_to_be_here(home: Path, dataset: str, file: str) -> None:
    assert not catalogue.facts(dataset, True).is_here
    (home / file).parent.mkdir(parents=True)
    (home / file).touch()
    assert catalogue.facts(dataset, True).is_here
    assert not catalogue.facts("beir/scifact/test").is_here
