"""ir_datasets fixes its home when it is imported, so each home of these tests is a process of its own."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate
from evalkit.first_stage.bm25 import BM25
from evalkit.slices import beir, candidates, irds
from tests.conftest import compose
from tests.helpers.web import File, serving

NO_NETWORK = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"), ""),
    "IR_DATASETS_DL_TRIES": "1",
}
"""Whatever ir_datasets wants to download goes to a port where nothing listens."""


def _settle(home: Any) -> None:
    os.environ.update({**NO_NETWORK, "IR_DATASETS_HOME": str(home)})


@contextmanager
def at(home: Any) -> Any:
    """Yield `evalkit.slices.irds.load` as it is where IR_DATASETS_HOME is `home` and there is no network."""
    with ProcessPoolExecutor(1, get_context("spawn"), _settle, (home,)) as process:
        yield lambda dataset, **asked: process.submit(irds.load, dataset, **asked).result()


def refusal(load: Any, dataset: Any, **asked: Any) -> Any:
    """Return the one sentence with which loading fails."""
    with pytest.raises(EvalkitError) as caught:
        load(dataset, **asked)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- a home without files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def nothing(empty_home: Any) -> Any:
    with at(empty_home) as load:
        yield load


@pytest.mark.parametrize(
    ("dataset", "meant"),
    [("msmarco-passage/trec-dl-2091", "msmarco-passage/trec-dl-2019"), ("miracl/yo/dve", "miracl/yo/dev"),
     ("nano-beir/msmarko", "nano-beir/msmarco"), ("miracl/yoruba/dev", "miracl/yo/dev")],
)  # fmt: skip
def test_an_unknown_id_is_refused_with_the_nearest(nothing: Any, dataset: Any, meant: Any) -> None:
    message = refusal(nothing, dataset)
    assert message.startswith(f"slice.dataset={dataset}: ir_datasets has no such id; did you mean ")
    assert meant in message


def test_an_id_that_is_similar_to_no_other_is_refused_without_a_list_of_all(nothing: Any) -> None:
    assert refusal(nothing, "?") == "slice.dataset=?: ir_datasets has no such id"


@pytest.mark.parametrize(
    ("dataset", "lacks"),
    [("msmarco-passage/eval", "qrels"), ("msmarco-passage", "queries and no qrels"), ("miracl/yo/test-b", "qrels")],
)
def test_an_id_that_lacks_a_part_is_refused_before_anything_is_downloaded(
    nothing: Any, dataset: Any, lacks: Any
) -> None:
    assert refusal(nothing, dataset) == (
        f"slice.dataset={dataset}: the id has no {lacks}; a slice needs documents, queries and qrels, so take one of "
        "its subsets, such as .../dev"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"corpus": "half"}, "slice.corpus='half': choose from full, judged"),
        ({"source": "web"}, "slice.source='web': choose from auto, corpus, candidates"),
        ({"empty_docs": "keep"}, "slice.empty_docs='keep': choose from error, drop"),
        ({"unjudged_queries": "keep"}, "slice.unjudged_queries='keep': choose from error, drop"),
    ],
)
def test_a_setting_that_there_is_not_is_refused(nothing: Any, setting: Any, message: Any) -> None:
    assert refusal(nothing, "miracl/yo/dev", **setting) == message


@pytest.mark.parametrize(
    ("dataset", "host"),
    [("miracl/yo/dev", "huggingface.co"), ("msmarco-passage/trec-dl-2019/judged", "trec.nist.gov"),
     ("msmarco-passage/dev/small", "msmarco.z22.web.core.windows.net")],
)  # fmt: skip
def test_no_network_is_one_sentence_that_names_the_home_and_the_host(
    nothing: Any, empty_home: Any, dataset: Any, host: Any
) -> None:
    message = refusal(nothing, dataset)
    assert message.startswith(f"cannot read {dataset} through ir_datasets (")
    assert f"no connection to {host}" in message
    assert message.endswith(
        f"files that are not in {empty_home} are downloaded, so connect to the network once, or set IR_DATASETS_HOME "
        "to a folder that has them"
    )


# --- MS MARCO's candidate files ---------------------------------------------------------------------------------------

# Real query ids, for ir_datasets knows those of DL-HARD (443396 and 1105792); all texts are made up.
QUERIES_2019 = {"443396": "who was the first cat in space", "156493": "do goldfish grow"}
QUERIES_2020 = {"1105792": "what is a geyser", "1030303": "what slows down the flow of blood"}
CANDIDATES_2019 = [
    ("443396", "11", "Félicette was the first cat in space."),
    ("443396", "12", "  A passage with white space around it. "),
    ("156493", "12", "  A passage with white space around it. "),  # a candidate of both queries
    ("156493", "13", "Goldfish grow all their life – “slowly”."),
]
CANDIDATES_2020 = [
    ("1105792", "11", "Félicette was the first cat in space."),  # a candidate in both files
    ("1105792", "21", "A geyser is a spring that erupts."),
    ("1030303", "22", "Cold slows the flow of blood down."),
]
JUDGED_2019 = [("443396", "11", 3), ("156493", "13", 2), ("156493", "99", 1)]
JUDGED_2020 = [("1105792", "21", 3), ("1030303", "22", 2)]


def mojibake(text: Any) -> Any:
    """UTF-8 bytes taken for Latin-1 and encoded once more, as some lines of the official files are."""
    return text.encode("utf-8").decode("latin-1")


def official_lines(rows: Any, queries: Any) -> Any:
    return "".join(f"{q}\t{d}\t{queries[q]}\t{mojibake(text) if d == '11' else text}\n" for q, d, text in rows)


def official_file(downloads: Any, rows: Any, queries: Any) -> Any:
    """Write a file like Microsoft's, under the name that a user may put it there by hand: its MD5."""
    data = gzip.compress(official_lines(rows, queries).encode("utf-8"), mtime=0)
    md5 = hashlib.md5(data).hexdigest()
    (downloads / md5).write_bytes(data)
    return md5


def _settle_with_candidates(home: Any, md5s: Any) -> None:
    _settle(home)
    from ir_datasets.util import DownloadConfig

    for key, md5 in md5s.items():  # all else is ir_datasets' own: the local copy, the check of it, the repair
        DownloadConfig.contents()["msmarco-passage"][key]["expected_md5"] = md5


@pytest.fixture(scope="module")
def candidates_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with made-up topics, judgments and candidate files of DL 2019 and 2020, and without the corpus."""
    home = tmp_path_factory.mktemp("candidates")
    base = home / "msmarco-passage"
    for year, queries, judged in (("2019", QUERIES_2019, JUDGED_2019), ("2020", QUERIES_2020, JUDGED_2020)):
        folder = base / f"trec-dl-{year}"
        folder.mkdir(parents=True)
        topics = "".join(f"{q}\t{text}\n" for q, text in queries.items())
        (folder / "queries.tsv").write_text(topics, "utf-8")
        (folder / "queries.tsv.gz").write_bytes(gzip.compress(topics.encode("utf-8")))
        (folder / "qrels").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, grade in judged), "utf-8")
    (base / "irds_version.txt").write_text("v2", "utf-8")
    small = base / "dev" / "small"  # an id without a candidate file
    small.mkdir(parents=True)
    (small / "queries.tsv").write_text("1\twho\n", "utf-8")
    (small / "qrels").write_text("1 0 11 1\n", "utf-8")
    hard = base / "trec-dl-hard"
    hard.mkdir()
    (hard / "irds_version.txt").write_text("v3", "utf-8")
    (hard / "qrels").write_text("443396 0 11 3\n1105792 0 21 3\n", "utf-8")
    (home / "downloads").mkdir()
    return home


@pytest.fixture(scope="module")
def with_candidates(candidates_home: Any) -> Any:
    downloads = candidates_home / "downloads"
    md5s = {
        "trec-dl-2019/scoreddocs": official_file(downloads, CANDIDATES_2019, QUERIES_2019),
        "trec-dl-2020/scoreddocs": official_file(downloads, CANDIDATES_2020, QUERIES_2020),
    }
    with ProcessPoolExecutor(1, get_context("spawn"), _settle_with_candidates, (candidates_home, md5s)) as process:
        yield lambda dataset, **asked: process.submit(irds.load, dataset, **asked).result()


DL19 = "msmarco-passage/trec-dl-2019/judged"


def test_without_the_corpus_auto_takes_the_candidate_file(with_candidates: Any) -> None:
    data = with_candidates(DL19, source="auto", corpus="judged")
    assert data.facts["source"] == "candidates"
    assert data.facts["corpus"] == "candidates"
    assert data.queries == QUERIES_2019
    assert set(data.docs) == {"11", "12", "13"}


def test_candidate_texts_are_repaired_trimmed_and_stored_once(with_candidates: Any, candidates_home: Any) -> None:
    data = with_candidates(DL19, source="candidates")
    assert data.docs == {
        "11": "Félicette was the first cat in space.",
        "12": "A passage with white space around it.",
        "13": "Goldfish grow all their life – “slowly”.",
    }
    official = official_lines(CANDIDATES_2019, QUERIES_2019)
    assert "FÃ\xa9licette" in official  # so the repair had something to do
    assert "Félicette" in (candidates_home / "msmarco-passage/trec-dl-2019/candidates.tsv").read_text("utf-8")


def test_judged_passages_that_are_no_candidates_have_no_text_and_are_counted(with_candidates: Any) -> None:
    assert with_candidates(DL19, source="candidates").facts["judged_docs_without_text"] == 1  # 99


def test_only_candidates_of_the_chosen_queries_are_read(with_candidates: Any) -> None:
    data = with_candidates(DL19, source="candidates", queries=1)
    [query_id] = data.queries
    assert set(data.docs) == {d for q, d, _ in CANDIDATES_2019 if q == query_id}


def test_dl_hard_reads_the_candidates_of_both_years(with_candidates: Any) -> None:
    data = with_candidates("msmarco-passage/trec-dl-hard", source="candidates")
    assert set(data.queries) == {"443396", "1105792"}
    assert set(data.docs) == {"11", "12", "21"}
    assert data.docs["21"] == "A geyser is a spring that erupts."


def test_distractors_cannot_come_out_of_a_candidate_file(with_candidates: Any) -> None:
    assert refusal(with_candidates, DL19, source="candidates", distractors=5).startswith(
        "slice.distractors needs the corpus"
    )


def test_a_broken_candidate_file_is_named_by_its_line(with_candidates: Any, candidates_home: Any) -> None:
    dl20 = "msmarco-passage/trec-dl-2020/judged"
    assert set(with_candidates(dl20, source="candidates").docs) == {"11", "21", "22"}
    path = candidates_home / "msmarco-passage" / "trec-dl-2020" / "candidates.tsv"
    whole = path.read_text("utf-8")
    path.write_text(whole + "1105792\t23\tcut of", "utf-8")
    assert refusal(with_candidates, dl20, source="candidates") == (
        f"{path}, line 4: 3 columns where the candidate file has four (query_id, doc_id, query, passage); delete "
        "it to download it again"
    )
    path.write_text(whole, "utf-8")


def _settle_with_site(home: Any, url: Any, md5: Any) -> None:
    _settle(home)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    from ir_datasets.util import DownloadConfig

    key = DownloadConfig.contents()["msmarco-passage"]["trec-dl-2019/scoreddocs"]
    key.update(url=url, expected_md5=md5, irds_mirror=False)


@pytest.fixture
def site_and_load(candidates_home: Any, tmp_path: Path) -> Any:
    """What the site sends, which a test may change; the file it should send; loading from there into a new home."""
    home = tmp_path / "home"
    shutil.copytree(candidates_home, home, ignore=shutil.ignore_patterns("candidates.tsv", "downloads"))
    (home / "downloads").mkdir()
    data = gzip.compress(official_lines(CANDIDATES_2019, QUERIES_2019).encode("utf-8"), mtime=0)
    files: dict[str, File] = {}
    with serving(files) as (address, _):
        settings = (home, f"{address}/top1000.gz", hashlib.md5(data).hexdigest())
        with ProcessPoolExecutor(1, get_context("spawn"), _settle_with_site, settings) as process:
            yield files, data, lambda dataset, **asked: process.submit(irds.load, dataset, **asked).result()


def test_a_broken_or_wrong_download_is_reported_and_not_used(site_and_load: Any) -> None:
    files, data, load = site_and_load
    for broken, reason in [
        (File(data, breaks_off=100), "IncompleteRead(100 bytes read, "),
        (File(data, sent=data[:-20] + bytes(20)), "Expected md5 hash to be "),
    ]:
        files["/top1000.gz"] = broken
        message = refusal(load, DL19, source="candidates")
        assert message.startswith(f"cannot read {DL19} through ir_datasets (")
        assert reason in message
    files["/top1000.gz"] = File(data)
    assert set(load(DL19, source="candidates").docs) == {"11", "12", "13"}


def test_the_level_is_that_of_the_collection_s_documentation_unless_another_is_asked_for(with_candidates: Any) -> None:
    """TREC DL's official measures are nDCG@10, RR(rel=2) and AP(rel=2)."""
    by_itself, asked = (with_candidates(DL19, source="candidates", relevance_level=level) for level in (None, 1))
    assert (by_itself.relevance_level, by_itself.facts["relevance_level_from"]) == (2, "official_measures")
    assert by_itself.facts["official_measures"] == ["nDCG@10", "RR(rel=2)", "AP(rel=2)"]
    assert (asked.relevance_level, asked.facts["relevance_level_from"]) == (1, "setting")
    assert asked.facts["official_relevance_level"] == 2


def test_a_level_below_1_is_refused_before_anything_is_read(nothing: Any) -> None:
    assert refusal(nothing, "miracl/yo/dev", relevance_level=0).startswith("slice.relevance_level=0: give the lowest")


def test_the_whole_corpus_is_not_replaced_by_the_candidate_file_in_silence(with_candidates: Any) -> None:
    assert refusal(with_candidates, DL19, source="auto", corpus="full").startswith(f"cannot read {DL19}")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("qrels", "443396 0 11 0\n", "'443396' and '11' are judged twice, differently; give corrected judgments with"),
        ("queries.tsv", "443396\tanother question\n", "query id '443396' has two texts; ids must be unique"),
    ],
)
def test_what_contradicts_itself_is_refused_and_what_is_repeated_is_not(
    with_candidates: Any, candidates_home: Any, file: Any, line: Any, message: Any
) -> None:
    path = candidates_home / "msmarco-passage" / "trec-dl-2019" / file
    whole = path.read_text("utf-8")
    try:
        path.write_text(whole + line, "utf-8")
        assert f"ir_datasets id {DL19}: {message}" in refusal(with_candidates, DL19, source="candidates")
        path.write_text(whole + whole.splitlines(keepends=True)[0], "utf-8")
        assert len(with_candidates(DL19, source="candidates").queries) == 2
    finally:
        path.write_text(whole, "utf-8")


def test_mended_judgments_take_the_place_of_the_collection_s(with_candidates: Any, tmp_path: Path) -> None:
    (tmp_path / "mended.trec").write_text("443396 0 11 1\n443396 0 12 2\n999 0 12 2\n", "utf-8")
    settings = {"source": "candidates", "unjudged_queries": "drop"}
    data = with_candidates(DL19, qrels=str(tmp_path / "mended.trec"), **settings)
    assert data.qrels == {"443396": {"11": 1, "12": 2}}
    assert (data.facts["qrels"], data.facts["judged_queries_without_text"]) == ("mended.trec", 1)


def test_a_language_that_the_collection_contradicts_is_written_down(with_candidates: Any) -> None:
    settings = {"source": "candidates"}
    assert with_candidates(DL19, lang="ja", **settings).facts["lang_of_the_collection"] == "en"
    assert "lang_of_the_collection" not in with_candidates(DL19, lang="eng", **settings).facts


@pytest.mark.parametrize("broken", [b"443396 0 11 three\n", b"443396 0\n", b"\xff\xfe 0 11 3\n"])
def test_broken_judgments_end_in_one_sentence(with_candidates: Any, candidates_home: Any, broken: Any) -> None:
    """Each format of ir_datasets has errors of its own kind for what it cannot read."""
    path = candidates_home / "msmarco-passage" / "trec-dl-2019" / "qrels"
    whole = path.read_bytes()
    try:
        path.write_bytes(broken)
        assert refusal(with_candidates, DL19).startswith(f"cannot read {DL19} through ir_datasets (")
    finally:
        path.write_bytes(whole)


def test_a_dataset_without_a_candidate_file_is_refused(with_candidates: Any) -> None:
    assert refusal(with_candidates, "msmarco-passage/dev/small", source="candidates") == (
        "slice.source=candidates: msmarco-passage/dev/small has no official candidate file; there is one for "
        "msmarco-passage/trec-dl-2019, msmarco-passage/trec-dl-2020, msmarco-passage/trec-dl-hard"
    )


@pytest.mark.parametrize(
    ("dataset", "known"),
    [
        ("msmarco-passage/trec-dl-2019", True),
        ("msmarco-passage/trec-dl-2019/judged", True),
        ("msmarco-passage/trec-dl-2020/judged", True),
        ("msmarco-passage/trec-dl-hard", True),
        ("msmarco-passage/trec-dl-hard/fold3", True),
        ("msmarco-passage/trec-dl-20190", False),
        ("msmarco-passage/dev/small", False),
        ("msmarco-passage-v2/trec-dl-2021/judged", False),
        ("msmarco-passage", False),
    ],
)
def test_candidate_files_are_known_for_the_ids_they_were_made_for(dataset: Any, known: Any) -> None:
    assert candidates.has_candidates(dataset) is known


# --- real collections -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_load(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loading where real slices of ../shared lie as ir_datasets keeps them: DL 2019, Yoruba, Chinese and NFCorpus."""
    home = tmp_path_factory.mktemp("irds")
    keep_nfcorpus(shared / "data" / "nfcorpus", home / "beir" / "nfcorpus")
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import seed_ir_datasets as seed; "
        "home = pathlib.Path(sys.argv[2]); seed.msmarco(home); seed.miracl(home, 'yo'); seed.miracl(home, 'zh')"
    )
    subprocess.run(
        [sys.executable, "-B", "-c", program, str(shared / "tools"), str(home)],
        check=True, env={**os.environ, **NO_NETWORK, "IR_DATASETS_HOME": str(home)},
    )  # fmt: skip
    with at(home) as load:
        yield load


def keep_nfcorpus(source: Path, there: Path) -> None:
    """Write BEIR's archive; its texts have a field more than those of ../shared."""
    there.mkdir(parents=True)
    with zipfile.ZipFile(there / "source.zip", "w") as archive:
        for name in ("corpus.jsonl", "queries.jsonl"):
            texts = (source / name).read_text("utf-8").splitlines()
            lines = [json.dumps(json.loads(text) | {"metadata": {"url": ""}}) for text in texts]
            archive.writestr(f"nfcorpus/{name}", "\n".join(lines))
        archive.write(source / "qrels" / "test.tsv", "nfcorpus/qrels/test.tsv")


def lines_of(path: Any) -> Any:
    return [line.split() for line in path.read_text("utf-8").splitlines()]


@pytest.mark.shared
def test_dl19_has_its_43_judged_queries_and_the_whole_corpus(shared_load: Any) -> None:
    data = shared_load(DL19, relevance_level=2)
    assert len(data.queries) == 43
    assert data.queries["156493"] == "do goldfish grow"
    assert len(data.docs) == 14_581
    assert (data.lang, data.relevance_level, data.name) == ("en", 2, DL19)
    assert data.facts["judgments"] == 9260
    assert {grade for grades in data.qrels.values() for grade in grades.values()} == {0, 1, 2, 3}


@pytest.mark.shared
def test_auto_takes_the_corpus_where_it_is(shared_load: Any) -> None:
    assert shared_load(DL19, source="auto").facts["source"] == "corpus"


@pytest.mark.shared
@pytest.mark.parametrize("queries", [None, 10])
def test_a_judged_corpus_is_the_judged_passages_and_the_candidates_of_the_chosen_queries(
    shared_load: Any, shared: Path, queries: Any
) -> None:
    source = shared / "data" / "msmarco-dl19"
    with (source / "corpus.jsonl").open(encoding="utf-8") as lines:
        there = {json.loads(line)["_id"] for line in lines}
    data = shared_load(DL19, corpus="judged", queries=queries)
    judged = {columns[1] for columns in lines_of(source / "qrels" / "test.tsv") if columns[0] in data.queries}
    scored = {columns[2] for columns in lines_of(source / "runs" / "bm25.trec") if columns[0] in data.queries}
    assert set(data.docs) == (judged | scored) & there


@pytest.mark.shared
def test_distractors_come_on_top_of_the_judged_passages(shared_load: Any) -> None:
    judged, more = (shared_load(DL19, corpus="judged", queries=10, distractors=n) for n in (0, 50))
    assert len(judged.queries) == 10
    assert judged.docs.items() < more.docs.items()
    assert len(more.docs) == len(judged.docs) + 50


@pytest.mark.shared
def test_fewer_queries_are_some_of_more_queries(shared_load: Any) -> None:
    few, more = (shared_load(DL19, queries=n, seed=3).queries for n in (5, 20))
    assert len(few) == 5
    assert few.items() < more.items()


@pytest.mark.shared
@pytest.mark.parametrize("lang", ["zho", "chi", "ZH", "zh-Hans"])
def test_miracl_s_language_is_known_by_any_of_its_codes(shared_load: Any, lang: Any) -> None:
    data = shared_load(f"miracl/{lang}/dev", lang=lang, queries=5)
    assert (data.name, data.lang, data.facts["lang_asked"]) == ("miracl/zh/dev", "zh", lang)


@pytest.mark.shared
def test_a_collection_is_the_same_slice_through_ir_datasets_and_as_a_folder(shared_load: Any, shared: Path) -> None:
    through_ir_datasets = shared_load("miracl/zh/dev")
    assert through_ir_datasets.lang == "zh"
    as_a_folder = beir.load(str(shared / "data" / "miracl-zh"), split="dev", lang="zh")
    assert through_ir_datasets.fingerprint == as_a_folder.fingerprint


@pytest.mark.shared
def test_bm25_on_the_whole_of_miracl_yoruba_comes_out_as_published(shared_load: Any) -> None:
    data = shared_load("miracl/yo/dev")
    assert (len(data.docs), len(data.queries), data.lang) == (49_043, 119, "yo")
    found = BM25(analysis="auto").search(data, 100)
    # Pyserini, MIRACL v1.0 dev, BM25: nDCG@10 0.406.
    assert evaluate(found, data.qrels, [parse("nDCG@10", 100)], 1).mean()["nDCG@10"] == pytest.approx(0.406, abs=0.03)


@pytest.mark.shared
def test_bm25_on_nfcorpus_comes_out_as_published(shared_load: Any) -> None:
    data = shared_load(compose("slice=beir_nfcorpus").slice.dataset)
    assert (len(data.docs), len(data.queries)) == (3_633, 323)
    found = BM25(analysis="auto").search(data, 100)
    # Pyserini 2CR, flat index: nDCG@10 0.3218, with Lucene's analyzers.
    assert evaluate(found, data.qrels, [parse("nDCG@10", 100)], 1).mean()["nDCG@10"] == pytest.approx(0.3218, abs=0.01)
