"""Requests and answers of each protocol, as its document has them."""

import json
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.server.protocols import PROTOCOLS, Answer, UnusableAnswerError, about, endpoint, read, request

COHERE, VOYAGE, TEI = (PROTOCOLS[name] for name in ("cohere", "voyage", "tei"))


def test_a_request_asks_for_the_scores_of_all_passages() -> None:
    texts = ["one", "two"]
    assert request(COHERE, "m", {}, "q", texts) == {"model": "m", "query": "q", "documents": texts, "top_n": 2}
    # Voyage answers 400 to a field that it does not know, top_n among them.
    assert request(VOYAGE, "m", {}, "q", texts) == {"model": "m", "query": "q", "documents": texts, "top_k": 2}
    assert request(TEI, "m", {}, "q", texts) == {"query": "q", "texts": texts, "raw_scores": True, "truncate": True}


def test_further_fields_take_the_place_of_the_protocol_s() -> None:
    assert request(TEI, None, {"truncate": False, "x": 1}, "q", ["t"]) == {
        "query": "q", "texts": ["t"], "raw_scores": True, "truncate": False, "x": 1,
    }  # fmt: skip


def test_cohere_s_answer_gives_scores_in_the_order_of_the_request_and_search_units() -> None:
    answer = {
        "id": "07734bd2",
        "results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.5},
                    {"index": 1, "relevance_score": 0.1}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }  # fmt: skip
    assert read(COHERE, json.dumps(answer), 3) == Answer((0.5, 0.1, 0.9), None, 1.0, None)


def test_jina_s_and_vllm_s_answers_name_the_model_and_count_tokens() -> None:
    answer = {
        "model": "jina-reranker-v2-base-multilingual",
        "usage": {"total_tokens": 815},
        "results": [{"index": 0, "document": {"text": "..."}, "relevance_score": 0.87}],
    }
    assert read(COHERE, json.dumps(answer), 1) == Answer((0.87,), "jina-reranker-v2-base-multilingual", None, 815)


def test_voyage_s_answer_has_its_results_under_data() -> None:
    answer = {"object": "list", "data": [{"relevance_score": 0.4, "index": 0}], "model": "rerank-2.5",
            "usage": {"total_tokens": 26}}  # fmt: skip
    assert read(VOYAGE, json.dumps(answer), 1) == Answer((0.4,), "rerank-2.5", None, 26)


def test_tei_s_answer_is_a_list() -> None:
    assert read(TEI, '[{"index": 1, "score": 3.5}, {"index": 0, "score": -2}]', 2) == Answer((-2.0, 3.5))


def of(*results: Any) -> str:
    return json.dumps({"results": [{"index": index, "relevance_score": score} for index, score in results]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (of((0, 0.5)), "has scores of 1 of 2 passages; that of passage 1 is missing"),
        (of((0, 0.5), (0, 0.5)), "has passage 0 twice"),
        (of((0, 0.5), (2, 0.5)), "has a result with 2 as index, where 2 passages were sent"),
        (of((0, 0.5), (-1, 0.5)), "has a result with -1 as index, where 2 passages were sent"),
        (of((0, 0.5), (True, 0.5)), "has a result with True as index, where 2 passages were sent"),
        (of((0, 0.5), ("1", 0.5)), "has a result with a text as index, where 2 passages were sent"),
        (of((0, 0.5), (1, "0.5")), "has a text as relevance_score of passage 1, and no finite number"),
        (of((0, 0.5), (1, None)), "has nothing as relevance_score of passage 1, and no finite number"),
        (of((0, 0.5), (1, True)), "has True as relevance_score of passage 1, and no finite number"),
        (of((0, 0.5), (1, 1e39)), "has 1e+39 as relevance_score of passage 1, and no finite number"),
        ('{"results": [{"index": 0, "relevance_score": NaN}]}', "is no JSON (NaN is no JSON)"),
        ('{"results": [1, 2]}', "has a result with nothing as index, where 2 passages were sent"),
        ('{"results": {}}', "has no list of results under 'results'"),
        ('{"error": "out of memory"}', "has no list of results under 'results', and says: out of memory"),
        ('{"data": []}', "has no list of results under 'results'"),
        ("[]", "has no list of results under 'results'"),
        ("", "is no JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_an_answer_without_one_score_for_each_passage_is_none(text: str, message: str) -> None:
    with pytest.raises(UnusableAnswerError) as refused:
        read(COHERE, text, 2)
    assert str(refused.value).startswith(message)


def test_counts_that_are_none_are_left_out() -> None:
    answer = {"results": [{"index": 0, "relevance_score": 1}], "meta": "x", "usage": {"total_tokens": -1}, "model": 3}
    assert read(COHERE, json.dumps(answer), 1) == Answer((1.0,))


@pytest.mark.parametrize(
    ("url", "protocol", "address"),
    [
        ("https://api.cohere.com", COHERE, "https://api.cohere.com/v2/rerank"),
        ("https://api.jina.ai/v1/", COHERE, "https://api.jina.ai/v1/rerank"),
        ("https://api.jina.ai/v1/rerank", COHERE, "https://api.jina.ai/v1/rerank"),
        ("https://api.voyageai.com", VOYAGE, "https://api.voyageai.com/v1/rerank"),
        ("http://127.0.0.1:8080/", TEI, "http://127.0.0.1:8080/rerank"),
        ("http://[::1]:8080/behind/a/proxy", TEI, "http://[::1]:8080/behind/a/proxy/rerank"),
    ],
)
def test_an_address_may_end_anywhere(url: str, protocol: Any, address: str) -> None:
    assert endpoint(protocol, url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "127.0.0.1:8080",
            r"reranker\.url='127\.0\.0\.1:8080': give the address of the server with http:// or https://",
        ),
        ("localhost", "with http:// or https:// in front"),
        ("ftp://host", "with http:// or https:// in front"),
        ("file:///etc/passwd", "with http:// or https:// in front"),
        ("http://", "with http:// or https:// in front"),
        ("http://host:99999", "with http:// or https:// in front"),
        ("http://host\n.example", "with http:// or https:// in front"),
        ("http://me:mysecret@host", r"reranker\.url has a user or password in it"),
        ("http://mysecret@host", r"reranker\.url has a user or password in it"),
        ("http://host/rerank?key=mysecret", r"'http://host/rerank': give the address without what follows \? or #"),
    ],
)
def test_an_address_that_is_none_is_refused_without_a_word_of_its_secrets(url: str, message: str) -> None:
    with pytest.raises(EvalkitError, match=message) as refused:
        endpoint(COHERE, url)
    assert "mysecret" not in str(refused.value)


def test_the_addresses_of_a_servers_facts_are_next_to_that_of_its_scores() -> None:
    assert about(TEI, "http://host/a/rerank") == {"info": "http://host/a/info"}
    assert about(COHERE, "http://host/v2/rerank") == {
        "models": "http://host/v1/models", "version": "http://host/version",
    }  # fmt: skip
