"""A load has a level for each number of clients and each rate, and is part of the result and its reports."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cost import load
from evalkit.cost.protocol import CostProtocol
from tests.helpers.command_line import run_here, sentence
from tests.helpers.rerank_server import MODEL, Served, serving
from tests.helpers.timed_scorer import Scorer


def protocol(**settings: Any) -> CostProtocol:
    made = CostProtocol(0, 0, **settings)
    made.check()
    return made


def test_the_more_clients_wait_for_one_model_the_longer_each_waits_and_no_more_are_answered() -> None:
    found = load.measure(protocol(clients=[4, 1], load_s=0.5), Scorer(0.01), 3, 10.0, at_once=False)
    one, four = found.levels
    assert (one.clients, four.clients) == (1, 4)
    assert one.p50_ms is not None
    assert four.p50_ms is not None
    assert one.p50_ms >= 10  # a query takes ten milliseconds at least
    assert four.p50_ms >= 30  # and the fourth in the line stands behind three others
    assert four.queries_per_s <= 100  # a hundred of ten milliseconds fit into a second
    assert one.waiting_share is not None
    assert four.waiting_share is not None
    assert four.waiting_share > one.waiting_share


def test_arrivals_end_early_where_the_queue_grows_without_bound() -> None:
    found = load.measure(protocol(rates=[500.0], load_s=1.0), Scorer(0.05), 3, 10.0, at_once=False)
    [one] = found.levels
    assert one.unanswered > one.answered
    assert one.p99_ms is None
    assert found.saturates_at_per_s == 500.0
    [note] = found.notes
    assert note.startswith("500 queries/s: stopped after ")
    assert note.endswith("as more than half of the queries were waiting")


def test_requests_that_fail_are_counted_and_the_first_reason_is_reported() -> None:
    scorer = Scorer(fails=lambda number: number % 2 == 1)
    found = load.measure(protocol(clients=[1], load_s=0.2), scorer, 3, 10.0, at_once=True)
    [one] = found.levels
    assert one.answered + one.failed == len(scorer.queries)
    assert abs(one.answered - one.failed) <= 1
    total = len(scorer.queries)
    assert found.notes == (
        f"1 client: {one.failed} of {total} queries failed, the first one because the server is tired",
    )


def test_a_client_gives_up_after_five_failures_in_a_row_and_without_any_answer_the_trial_fails() -> None:
    scorer = Scorer(fails=lambda number: True)
    with pytest.raises(EvalkitError, match=r"no query was answered under load \(.*\): the server is tired"):
        load.measure(protocol(clients=[2], load_s=60.0), scorer, 3, 10.0, at_once=True)
    assert len(scorer.queries) == 10


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("loop", ["closed", "open"])
def test_a_mistake_in_the_code_ends_everything(at_once: bool, loop: str) -> None:
    def broken(query: int) -> None:
        raise ZeroDivisionError("a mistake")

    settings = {"clients": [3]} if loop == "closed" else {"rates": [1.0]}
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        load.measure(protocol(load_s=60.0, **settings), broken, 3, 10.0, at_once)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clients": [1, 0]}, r"protocol\.clients has 0: give numbers of clients from 1 to 256, or \[\] for none"),
        ({"clients": [257]}, r"protocol\.clients has 257: "),
        ({"clients": [4, 1, 4]}, r"protocol\.clients has 4 twice: give different numbers"),
        ({"rates": [0.0]}, r"protocol\.rates has 0: give queries a second, above 0 and at most 1,000, or \[\]"),
        ({"rates": [float("nan")]}, r"protocol\.rates has nan: "),
        ({"rates": [2.5, 2.5]}, r"protocol\.rates has 2\.5 twice"),
        ({"rates": [0.1]}, r"protocol\.rates has 0\.1: fewer than 5 queries arrive in protocol\.load_s=10 seconds; give"
                           r" 50 seconds or more"),
        ({"load_s": 0.0}, r"protocol\.load_s=0: give a number of seconds above 0, of at most 3,600"),
        ({"load_s": float("inf")}, r"protocol\.load_s=inf"),
    ],
)  # fmt: skip
def test_a_load_that_cannot_be_measured_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        protocol(**settings)


def cost_in(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text("utf-8"))["cost"]


def test_a_load_is_part_of_the_result_and_of_its_reports(bert_folder: Path, tmp_path: Path) -> None:
    done = run_here(
        f"reranker.model={bert_folder}", "device=cpu", "slice.queries=4", "depth=5", "protocol.clients=[2,1]",
        "protocol.rates=[20]", "protocol.load_s=0.5", "out_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = cost_in(tmp_path / "out")["load"]
    assert [(one["kind"], one["clients"], one["rate_per_s"]) for one in found["levels"]] == [
        ("closed", 1, None), ("closed", 2, None), ("open", None, 20.0)
    ]  # fmt: skip
    assert (found["at_once"], found["queries"]) == (False, 4)
    assert all(one["answered"] and not one["failed"] for one in found["levels"])
    for report in ("report.md", "report.html"):
        text = (tmp_path / "out" / report).read_text("utf-8")
        assert "Under load" in text
        assert "one model on one device computes them in the order in which they come" in text
    assert (tmp_path / "out" / "load.png").exists()


def test_the_clients_of_a_server_are_sent_at_once_also_where_there_are_more_than_its_concurrency(
    tmp_path: Path,
) -> None:
    now = most = 0
    lock = threading.Lock()

    def score(query: str, texts: Any) -> list[float]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.1)
        with lock:
            now -= 1
        return [float(len(text)) for text in texts]

    with serving(Served(score)) as url:
        done = run_here(
            "reranker=http", f"reranker.url={url}", f"reranker.model={MODEL}", "reranker.concurrency=1",
            "slice.queries=4", "depth=5", "protocol.clients=[4]", "protocol.load_s=1", "out_dir=out", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert most == 4  # all other passes send one request at a time
    found = cost_in(tmp_path / "out")["load"]
    assert found["at_once"] is True
    assert found["levels"][0]["answered"] >= 4


def test_nothing_is_asked_under_load_where_nothing_is_computed(tmp_path: Path) -> None:
    done = run_here("reranker=none", "slice.queries=4", "depth=5", "protocol.clients=[4]", "out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cost_in(tmp_path / "out") is None


def test_other_machines_cannot_be_measured_under_load(tmp_path: Path) -> None:
    done = run_here("protocol=none", "executor=ray", "protocol.clients=[4]", cwd=tmp_path)
    assert done.returncode == 2
    assert "ray" in sentence(done.stderr)
