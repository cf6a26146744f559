"""A server as the reranker: real requests over a real socket to a server around evalkit's own engine."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary import redaction
from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers.base import CallPrice
from evalkit.rerankers.http import Http
from evalkit.types import Pair, Scores
from tests.conftest import DEV, slow
from tests.helpers.command_line import run_here, sentence
from tests.helpers.rerank_server import COMMIT, FAULTS, MODEL, Served, engine, scoring, serving

KEY = "Zx81-kestrel-9f2c"  # of no known form, in a variable whose name does not give it away
QUERIES = {"q1": "capital of France", "q2": "how do plants make sugar"}
DOCS = {
    "d1": "Paris is the capital of France.",
    "d2": "Photosynthesis turns light into sugar.",
    "d3": "The ball was round.",
    "d4": "Lyon lies on the Rhône.",
}
PAIRS = [Pair(query, doc) for query in QUERIES for doc in DOCS]


def lengths(query: str, texts: Any) -> list[float]:
    return [float(len(text)) for text in texts]


@pytest.fixture(autouse=True)
def _forget_secrets() -> Iterator[None]:
    before = set(redaction.known_secrets)
    yield
    redaction.known_secrets.intersection_update(before)


def loaded(url: str, **settings: Any) -> Http:
    protocol = settings.setdefault("protocol", "tei")
    if protocol != "tei":
        settings.setdefault("model", MODEL)
    one = Http(url, **settings)
    one.check()
    one.load()
    return one


def order(scores: Scores, pairs: list[Pair]) -> dict[str, list[str]]:
    """Return the passages of each query, best first; equal scores in the order of the pairs."""
    found: dict[str, list[tuple[float, str]]] = {}
    for pair, logit in zip(pairs, scores.logits, strict=True):
        assert logit is not None
        found.setdefault(pair.query_id, []).append((logit, pair.doc_id))
    return {query: [doc for _, doc in sorted(of, key=lambda one: -one[0])] for query, of in found.items()}


# --- scores


@pytest.mark.parametrize(
    ("protocol", "extra", "has_logits"),
    [("tei", {}, True), ("tei", {"raw_scores": False}, False), ("cohere", {}, False), ("voyage", {}, False),
     ("cohere", {"raw_scores": True}, True)],
)  # fmt: skip
def test_the_ranking_is_that_of_the_same_model_here_and_so_are_its_logits(
    protocol: str, extra: Any, has_logits: bool
) -> None:
    here = engine().score(PAIRS, QUERIES, DOCS)
    settings = {"scores": "logit"} if protocol == "cohere" and has_logits else {}
    with serving(Served()) as url:
        there = loaded(url, protocol=protocol, extra=extra, **settings)
        for scores in (there.score(PAIRS, QUERIES, DOCS), there.score_all(PAIRS, QUERIES, DOCS)):
            assert order(scores, PAIRS) == order(here, PAIRS)
            if has_logits:
                assert scores.logits == pytest.approx(here.logits, abs=1e-5)
    assert ("precision" in there.describe()) == has_logits
    assert there.describe()["scores"] == ("logit" if has_logits else "relevance")


def test_a_batch_has_one_query_and_no_more_passages_than_the_server_takes() -> None:
    served = Served(lengths, batch=3)
    with serving(served) as url:
        assert loaded(url).score(PAIRS, QUERIES, DOCS).logits == tuple(float(len(DOCS[doc])) for _, doc in PAIRS)
        # The first request is that of the check.
        assert sorted((body["query"], len(body["texts"])) for body in served.asked[1:]) == sorted(
            (query, size) for query in QUERIES.values() for size in (3, 1)
        )
        with pytest.raises(EvalkitError, match=r"batch_size=4: the server takes 3 passages a request at most"):
            Http(url, protocol="tei", batch_size=4).check()


def test_pairs_with_the_same_texts_are_asked_for_once() -> None:
    served = Served(lengths)
    docs = DOCS | {"again": DOCS["d1"]}
    pairs = [*PAIRS, *(Pair(query, "again") for query in QUERIES)]
    with serving(served) as url:
        scores = loaded(url).score_all(pairs, QUERIES, docs)
    assert scores.logits == tuple(float(len(docs[doc])) for _, doc in pairs)
    assert (scores.computed_pairs, scores.from_store) == (8, 0)
    assert sum(len(body["texts"]) for body in served.asked[1:]) == 8


def faulty(number: int) -> str | None:
    """Spoil every third request, by each fault in turn; those that stop all clients for a second are few."""
    if number % 3 != 2:
        return None
    fault = FAULTS[number // 3 % len(FAULTS)]
    return "503" if fault.startswith("429") and number > 100 else fault


def _pairs_of_dev(words: int) -> tuple[list[Pair], dict[str, str], dict[str, str]]:
    """Return 10,000 pairs of 100 queries and 100 passages each, cut to some words, no two of which are equal."""
    lines = (DEV / "en" / "corpus.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"].split() for line in lines]
    docs = {f"d{number}": " ".join([str(number), *text[:words]]) for number, text in enumerate(texts[:100])}
    queries = {f"q{number}": " ".join([str(number), *text[-3:]]) for number, text in enumerate(texts[100:200])}
    return [Pair(query, doc) for query in queries for doc in docs], queries, docs


def _through_a_faulty_server(model: str, words: int) -> None:
    pairs, queries, docs = _pairs_of_dev(words)
    here = engine(model).score(pairs, queries, docs)
    served = Served(scoring(model), fault=faulty, delay_s=0.05)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count

    with serving(served) as url:
        there = loaded(url, concurrency=16, retries=8, timeout_s=30.0)
        scores = there.score_all(pairs, queries, docs, progress)
    assert len(scores.logits) == len(pairs) == done == 10_000
    assert None not in scores.logits
    # Nothing is lost, and nothing is doubled: each pair was answered once in a whole answer.
    answered = Counter({key: count for key, count in served.scored.items() if key[0] in set(queries.values())})
    assert len(answered) == 10_000
    assert set(answered.values()) == {1}
    assert scores.logits == pytest.approx(here.logits, abs=1e-5)
    assert order(scores, pairs) == order(here, pairs)
    assert set(served.happened) == set(FAULTS)
    counts = there.describe()["requests"]
    assert counts["answered"] == 1 + 100 * 4  # that of the check, and 100 passages in batches of 32
    assert counts["attempts"] == len(served.asked)
    assert sum(counts["retried"].values()) == sum(
        served.happened[one] for one in FAULTS if one not in ("delay", "shuffled")
    )
    assert counts["attempts"] == counts["answered"] + sum(counts["retried"].values())


@pytest.mark.slow
def test_ten_thousand_pairs_come_through_a_faulty_server_whole(bert_folder: Path) -> None:
    _through_a_faulty_server(str(bert_folder), words=10)


@slow
def test_ten_thousand_pairs_come_through_a_faulty_server_of_the_packaged_model_whole() -> None:
    _through_a_faulty_server("packaged", words=3)


# --- a run that was killed


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Killed without warning, so that nothing can be saved on the way out."""
    served = Served(lengths, fault=lambda number: "delay", delay_s=0.15, batch=5)
    with serving(served) as url:
        command = [
            sys.executable, "-m", "evalkit", "reranker=http", f"reranker.url={url}", "reranker.protocol=tei",
            "protocol=none", f"store={tmp_path}/store.sqlite", "reranker.concurrency=2", "depth=20",
            "protocol.throughput_pairs=1",  # asked for again, as what a store knows is never timed
        ]  # fmt: skip
        process = subprocess.Popen(
            [*command, "out_dir=killed"], cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL
        )
        while len(served.asked) < 20:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        assert not (tmp_path / "killed" / "result.json").exists()
        before = Counter(served.scored)
        served.fault = lambda number: None
        done = run_here(*command[3:], "out_dir=whole", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "whole" / "result.json").read_text("utf-8"))
    scoring_counts = result["effective"]["scoring"]
    stored = scoring_counts["pairs_from_store"]
    # No more than two requests had begun without being stored; what they had was answered twice, all else once. The two
    # texts of the check are never stored.
    assert stored >= sum(before.values()) - 2 * 5 - 2
    assert stored >= 50
    twice = [key for key, count in served.scored.items() if count > 1 and "snow" not in key[0]]
    assert len(twice) <= 2 * 5 + 1
    assert scoring_counts["pairs"] == stored + result["cost"]["computed_pairs"] + scoring_counts["pairs_repeated"]
    assert result["effective"]["reranker"]["revision"] == COMMIT


@pytest.mark.parametrize(
    ("settings", "commit", "why"),
    [
        ({"protocol": "tei"}, COMMIT, None),
        ({"protocol": "tei"}, None, "the server does not state the version of its model"),
        ({"protocol": "cohere"}, COMMIT, "the server does not state the version of its model"),
        ({"protocol": "cohere", "revision": "2024-12"}, COMMIT, None),
    ],
)
def test_scores_are_stored_only_where_model_and_version_are_known(
    settings: Any, commit: str | None, why: str | None, tmp_path: Path
) -> None:
    served = Served(lengths, commit=commit)
    with serving(served) as url:
        for expected in (0, 0 if why else 8):
            one = loaded(url, store=str(tmp_path / "s.sqlite"), **settings)
            scores = one.score_all(PAIRS, QUERIES, DOCS)
            assert scores.from_store == expected
            assert scores.logits == loaded(url, **settings).score(PAIRS, QUERIES, DOCS).logits
    facts = one.describe()
    assert (facts["store"] == "off") == (why is not None)
    assert str(facts["store_off_because"]).startswith(str(why))


def test_a_server_that_is_still_starting_is_asked_again_what_it_is() -> None:
    with serving(Served(lengths, silent_about_itself=2)) as url:
        assert loaded(url).describe()["revision"] == COMMIT


def test_what_goes_wrong_here_ends_the_requests_to_the_server() -> None:
    served = Served(lengths, fault=lambda number: "delay", delay_s=0.05, batch=1)

    def full(count: int) -> None:
        raise EvalkitError("the disk is full")

    with serving(served) as url:
        one = loaded(url, concurrency=2)
        with pytest.raises(EvalkitError, match="the disk is full"):
            one.score(PAIRS, QUERIES, DOCS, full)
        time.sleep(0.5)
    assert len(served.asked) < 1 + 6  # of eight, after that of the check: what was under way


def test_scores_of_another_version_of_the_model_are_not_taken_for_its_own(tmp_path: Path) -> None:
    served = Served(lengths)
    with serving(served) as url:
        loaded(url, store=str(tmp_path / "s.sqlite")).score_all(PAIRS, QUERIES, DOCS)
        served.commit, served.score = "f" * 40, lambda query, texts: [7.0] * len(texts)
        scores = loaded(url, store=str(tmp_path / "s.sqlite")).score_all(PAIRS, QUERIES, DOCS)
    assert (scores.from_store, set(scores.logits)) == (0, {7.0})


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "tie"}, r"reranker\.protocol=tie: choose from cohere, voyage, tei"),
        (
            {"protocol": "cohere"},
            r"reranker\.protocol=cohere names the model in each request; add reranker\.model=NAME",
        ),
        ({"scores": "raw"}, r"reranker\.scores=raw: choose from auto, logit, relevance"),
        ({"concurrency": 0}, r"reranker\.concurrency=0: give a number of 1 or more"),
        ({"batch_size": 0}, r"reranker\.batch_size=0: give a number of passages, 1 or more, or null"),
        ({"retries": -1}, r"reranker\.retries=-1: give 0 or more"),
        ({"timeout_s": 0.0}, r"reranker\.timeout_s=0: give a number of seconds above 0"),
        ({"max_wait_s": float("inf")}, r"reranker\.max_wait_s=inf: give a number of seconds, 0 or more"),
        ({"price_per_1000_calls": -1.0}, r"reranker\.price_per_1000_calls=-1\.0: give a price, or null for none"),
        ({"price_per_1000_calls": 1.0, "price_per_million_tokens": 1.0}, "are two ways to pay; give one"),
        ({"extra": {"texts": []}}, r"reranker\.extra\.texts: evalkit fills in query, texts itself"),
        (
            {"key_env": "EVALKIT_NO_SUCH_KEY"},
            r"reranker\.key_env=EVALKIT_NO_SUCH_KEY: there is no such environment var",
        ),
        ({"key_env": "jina_0123456789abcdef"}, r"reranker\.key_env takes the name of an environment variable"),
        ({"model": "another"}, f"reranker.model=another: the server at .* has {MODEL}"),
        ({"revision": "another"}, f"reranker.revision=another: the server at .* has {COMMIT}"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: Any, message: str) -> None:
    with serving(Served(lengths)) as url, pytest.raises(EvalkitError, match=message):
        Http(url, **({"protocol": "tei"} | settings)).check()


def test_of_a_server_that_is_not_there_it_is_not_said_that_it_states_nothing() -> None:
    with pytest.raises(EvalkitError, match="cannot be reached"):
        Http("http://127.0.0.1:1", protocol="tei", model="m", revision="r").check()


def test_a_key_given_in_place_of_its_name_is_not_repeated() -> None:
    with pytest.raises(EvalkitError) as refused:
        Http("http://127.0.0.1:1", protocol="tei", key_env="jina_0123456789abcdef").check()
    assert "0123456789" not in str(refused.value)
    assert "jina_0123456789abcdef" in redaction.known_secrets


def test_a_server_with_an_embedding_model_is_no_reranker() -> None:
    with (
        serving(Served(lengths, kind="embedding")) as url,
        pytest.raises(EvalkitError, match="the server has a model of kind embedding"),
    ):
        Http(url, protocol="tei").check()


def test_a_protocol_that_measures_this_machine_is_refused() -> None:
    with pytest.raises(EvalkitError, match=r"protocol\.calibrate=true times a fixed workload on this machine"):
        Http("http://127.0.0.1:1").check_protocol({"calibrate": True})


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def run_trial(url: str, *more: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_here(
        "reranker=http", f"reranker.url={url}", "reranker.key_env=MY_ENTRY", "slice.queries=3", "depth=4",
        f"store={cwd}/store.sqlite", f"history={cwd}/history.sqlite", *more, cwd=cwd, **environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "settings", "message"),
    [
        ("key", (), r"refuses the key that the environment variable MY_ENTRY has \(401, 'invalid api token Bearer RED"),
        ("echo", (), r"refuses the request \(400, 'bad header Authorization: Bearer REDACTED'\)"),
        (None, ("reranker.model=other",), r"has no such address or no such model \(404, \"model 'other' not found"),
        ("html", (), "answers with HTML instead of JSON"),
        ("redirect", (), "redirects to another host, localhost, which was sent neither texts nor the key"),
        ("missing", ("reranker.retries=1",), "gave an answer that has scores of 1 of 2 passages"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_the_key_is_nowhere(
    fault: str | None, settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    served = Served(lengths, key="another" if fault == "key" else KEY, redirect_to="http://localhost:1/v2/rerank")
    if fault != "key":
        served.fault = lambda number: fault
    with serving(served) as url:
        done = run_trial(url, f"reranker.model={MODEL}", *settings, "out_dir=out", cwd=tmp_path, MY_ENTRY=KEY)
    assert done.returncode == 2
    assert re.search(message, sentence(done.stderr)), done.stderr
    assert served.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in done.stdout + done.stderr
    assert KEY.encode() not in everything_written(tmp_path)
    assert (tmp_path / "out" / "result.json").exists()


def test_of_a_trial_with_a_key_nothing_that_is_written_has_it(tmp_path: Path) -> None:
    served = Served(lengths, key=KEY, fault=lambda number: "429" if number == 3 else None)
    with serving(served) as url:
        done = run_trial(url, "reranker.protocol=tei", "out_dir=out", cwd=tmp_path, MY_ENTRY=KEY)
    assert done.returncode == 0, done.stderr
    assert {one.get("authorization") for one in served.headers} == {f"Bearer {KEY}"}
    assert KEY not in done.stdout + done.stderr
    written = everything_written(tmp_path)
    assert KEY.encode() not in written
    assert b"MY_ENTRY" in written
    assert (tmp_path / "store.sqlite").exists()
    assert (tmp_path / "history.sqlite").exists()


# --- what is recorded, and what it costs


def trial(url: str, cwd: Path, *more: str) -> Any:
    done = run_here("reranker=http", f"reranker.url={url}", "slice.queries=4", "depth=6", "out_dir=out", *more, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads((cwd / "out" / "result.json").read_text("utf-8")), done.stdout


def test_latency_is_the_client_s_and_memory_and_energy_are_nobody_s(tmp_path: Path) -> None:
    with serving(Served(lengths, fault=lambda number: "delay", delay_s=0.05)) as url:
        result, _ = trial(url, tmp_path, "reranker.protocol=tei", "protocol.memory_pass=true")
    cost = result["cost"]
    assert cost["latency"]["p50_ms"] >= 50
    assert {name: value for name, value in cost["memory"].items() if value is not None} == {
        "why": "another machine computed, which this process cannot measure"
    }
    assert cost["energy"]["why"] == "another machine computed, which this process cannot measure"
    assert result["effective"]["environment"].get("torch") is None
    requests = result["effective"]["reranker"]["requests"]
    assert requests["while_scoring_all_ms"]["p50"] >= 50
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "Memory was not measured: another machine computed" in report


def test_the_facts_that_a_server_returns_are_recorded(tmp_path: Path) -> None:
    with serving(Served(lengths)) as url:
        result, _ = trial(url, tmp_path, "reranker.protocol=tei", f"reranker.model={MODEL}")
    facts = result["effective"]["reranker"]
    assert (facts["name"], facts["model"], facts["revision"], facts["precision"]) == (MODEL, MODEL, COMMIT, "fp32")
    assert facts["server"] == {
        "model_type": "reranker", "model_id": MODEL, "model_sha": COMMIT, "model_dtype": "float32",
        "max_input_length": 256, "max_batch_tokens": 16384, "max_client_batch_size": 32, "auto_truncate": False,
        "version": "1.8.0", "sha": "cafe", "docker_label": "sha-cafe",
    }  # fmt: skip
    assert facts["address"] == f"{url}/rerank"


def test_a_server_that_answers_by_another_model_is_noted(tmp_path: Path) -> None:
    with serving(Served(lengths, names_model_as="smaller-one")) as url:
        result, _ = trial(url, tmp_path, f"reranker.model={MODEL}")
    assert f"the server was asked for the model {MODEL} and says that it used smaller-one" in result["warnings"]


def test_a_version_that_cannot_be_checked_is_noted() -> None:
    with serving(Served(lengths, commit=None)) as url:
        facts = loaded(url, revision="mine").describe()
    assert (facts["revision"], facts["notes"]) == (
        "mine", ["reranker.revision could not be checked, for the server does not state it"],
    )  # fmt: skip
    with serving(Served(lengths)) as url:
        assert loaded(url, revision=COMMIT, model=MODEL).describe()["notes"] == []
        assert loaded(url, protocol="cohere").describe()["notes"] == []


def test_calls_are_priced_by_the_query(tmp_path: Path) -> None:
    with serving(Served(lengths)) as url:
        result, shown = trial(url, tmp_path, f"reranker.model={MODEL}", "reranker.price_per_1000_calls=2")
    # A query is one call, and one search unit, however few passages it has.
    assert result["cost"]["estimate"]["per_1000_queries"] == pytest.approx(2)
    assert "1,000 queries for 2.00 USD" in " ".join(shown.split())


def test_tokens_are_priced_by_the_server_s_count(tmp_path: Path) -> None:
    served = Served(lengths)
    with serving(served) as url:
        result, _ = trial(
            url, tmp_path, "reranker.protocol=voyage", f"reranker.model={MODEL}", "reranker.price_per_million_tokens=50"
        )
    pairs = {(body["query"], text) for body in served.asked[1:] for text in body["documents"]}
    tokens = sum(len(f"{query} {text}".split()) for query, text in pairs)
    # The average pair, six of them a query, a thousand queries, 50 for each million of tokens.
    assert result["cost"]["estimate"]["per_1000_queries"] == pytest.approx(tokens / len(pairs) * 6 * 1000 * 50 / 1e6)


def test_tokens_that_a_server_does_not_count_have_no_price(tmp_path: Path) -> None:
    with serving(Served(lengths, counts_tokens=False)) as url:
        result, _ = trial(url, tmp_path, f"reranker.model={MODEL}", "reranker.price_per_million_tokens=50")
    assert result["cost"]["estimate"]["why"] == (
        "the price is that of tokens, and the server does not state how many it counts"
    )
    assert Http("http://x", price_per_1000_calls=2.0).price == CallPrice(2.0, None)
    assert Http("http://x").price is None


def test_it_is_compared_with_the_same_weights_run_here(tmp_path: Path) -> None:
    few = ("slice.queries=4", "depth=6", "protocol=none")
    with serving(Served()) as url:
        for name, of in (
            ("here", ("reranker=packaged", "device=cpu")),
            ("tei", ("reranker=http", "reranker.protocol=tei", f"reranker.url={url}")),
            ("cohere", ("reranker=http", f"reranker.model={MODEL}", f"reranker.url={url}")),
        ):
            done = run_here(*of, *few, f"out_dir={name}", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
    done = run_here("compare", "here", "tei", "cohere", "--output", "compared", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text("utf-8"))["parity"]
    tei, cohere = (next(one for label, one in found.items() if one and end in label) for end in (COMMIT, "none"))
    assert tei["max_abs"] < 1e-5
    assert cohere["max_abs"] is None  # probabilities, and no logits
    for one in (tei, cohere):
        assert (one["kendall_tau"], one["top10_overlap"], one["same_top_1"]) == (1, 1, 1)
        assert one["equivalence"]["equivalent"]


def test_results_of_a_server_are_distinguished_by_settings_and_not_by_times(tmp_path: Path) -> None:
    with serving(Served(lengths)) as url:
        done = run_here(
            "--multirun", "reranker=http", "reranker.protocol=tei", f"reranker.url={url}", "slice.queries=3", "depth=4",
            "reranker.concurrency=1,8", "protocol=none", "out_dir=out", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "comparison" / "comparison.json").read_text("utf-8"))["parity"]
    assert [label for label, one in found.items() if one] == [f"bm25 + {MODEL} at fp32, concurrency 8"]


def test_a_query_is_asked_by_several_clients_at_once() -> None:
    served = Served(lengths, fault=lambda number: "delay", delay_s=0.3, batch=1)
    with serving(served) as url:
        one = loaded(url, concurrency=8)
        began = time.perf_counter()
        one.score(PAIRS, QUERIES, DOCS)
        assert time.perf_counter() - began < 8 * 0.3 / 2  # eight requests of 0.3 s each
