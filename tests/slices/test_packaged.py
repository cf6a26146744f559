import itertools
import json
import re
from typing import Any

import pytest
import regex

from evalkit.boundary.errors import EvalkitError
from evalkit.evaluation.measure_names import parse
from evalkit.evaluation.measures import evaluate, unjudged_share
from evalkit.first_stage.bm25 import BM25
from evalkit.slices import packaged

LANGS = ["ar", "de", "en", "es", "hi", "ja", "ru", "sw", "zh"]
SCRIPTS = {"ar": "Arabic", "hi": "Devanagari", "ru": "Cyrillic", "zh": "Han", "ja": "Han}\\p{Hiragana}\\p{Katakana"}


@pytest.fixture(scope="module", params=LANGS)
def data(request: pytest.FixtureRequest) -> Any:
    return packaged.load(request.param)


def test_the_collection_is_large_enough_to_mean_something(data: Any) -> None:
    queries, docs = (60, 400) if data.lang == "en" else (20, 80)
    assert len(data.queries) >= queries
    assert len(data.docs) >= docs
    assert data.name == f"dev/{data.lang}"


@pytest.mark.parametrize("lang", SCRIPTS)
def test_texts_are_in_the_script_of_their_language(lang: Any) -> None:
    texts = packaged.load(lang)
    for text in [*texts.queries.values(), *texts.docs.values()]:
        assert regex.search(rf"[\p{{{SCRIPTS[lang]}}}]", text), text


def test_no_collection_is_a_list_of_another_ones_topics() -> None:
    topics = {}
    for lang in LANGS:
        with (packaged.DEV / lang / "queries.jsonl").open(encoding="utf-8") as queries:
            topics[lang] = {json.loads(line)["metadata"]["topic"] for line in queries}
    for one, other in itertools.combinations(LANGS, 2):
        assert len(topics[one] & topics[other]) <= len(topics[other]) / 2, (one, other)


def test_grades_go_from_0_to_3_and_2_is_relevant(data: Any) -> None:
    assert {grade for grades in data.qrels.values() for grade in grades.values()} == {0, 1, 2, 3}
    assert data.relevance_level == 2


def test_every_query_has_an_answer(data: Any) -> None:
    assert {query_id for query_id, grades in data.qrels.items() if 3 not in grades.values()} == set()
    assert data.facts["queries_without_relevant"] == 0


def test_every_query_has_a_passage_that_is_judged_not_relevant(data: Any) -> None:
    assert {query_id for query_id, grades in data.qrels.items() if 0 not in grades.values()} == set()


def test_every_judged_passage_and_every_query_of_the_file_is_there(data: Any) -> None:
    assert data.facts["judged_docs_without_text"] == 0
    assert data.facts["other_queries_in_file"] == 0
    assert data.facts["empty_docs_dropped"] == 0


def test_no_text_occurs_twice(data: Any) -> None:
    assert len(set(data.docs.values())) == len(data.docs)
    assert len(set(data.queries.values())) == len(data.queries)


def test_ids_fit_into_a_run_file(data: Any) -> None:
    ids = [*data.queries, *data.docs]
    assert [name for name in ids if not re.fullmatch(r"[\w-]+", name, re.ASCII)] == []


def test_bm25_is_neither_hopeless_nor_perfect(data: Any) -> None:
    # Room above for a reranker to gain, and enough below for it to lose.
    found = BM25().search(data, 100)
    ndcg = evaluate(found, data.qrels, [parse("nDCG@10", 100)], data.relevance_level).mean()["nDCG@10"]
    assert 0.3 < ndcg < 0.8


def test_what_bm25_puts_at_the_top_is_judged(data: Any) -> None:
    assert unjudged_share(BM25().search(data, 20), data.qrels, cutoff=20) == 0.0


def test_the_readme_counts_what_is_there(data: Any) -> None:
    counts = (packaged.DEV / "README.md").read_text("utf-8").split("## Counts")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in counts.splitlines() if "|" in line]
    row = next(row for row in rows if row[0] == data.lang)
    stated = {name: cell.replace(",", "") for name, cell in zip(rows[0], row, strict=True)}
    grades = [grade for judged in data.qrels.values() for grade in judged.values()]
    with (packaged.DEV / data.lang / "corpus.jsonl").open(encoding="utf-8") as corpus:
        titles = sum(bool(json.loads(line).get("title")) for line in corpus)
    counted = {
        "queries": len(data.queries),
        "passages": len(data.docs),
        "with a title": titles,
        "judgments": len(grades),
        **{f"grade {grade}": grades.count(grade) for grade in range(4)},
    }
    assert {name: stated[name] for name in counted} == {name: str(count) for name, count in counted.items()}


def test_fewer_queries_are_some_of_all_of_them() -> None:
    some = packaged.load("en", queries=10, seed=1).queries
    assert len(some) == 10
    assert some.items() < packaged.load("en").queries.items()


def test_a_language_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        EvalkitError,
        match=r"slice\.lang=fr: the packaged dev collection .*; choose from ar, de, en, es, hi, ja, ru, sw, zh",
    ):
        packaged.load("fr")
