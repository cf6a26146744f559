"""Under load a client waits for its turn, no query is lost, and what a rate leaves waiting is no faster for it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.cost import load
from evalkit.cost.load import Asked
from evalkit.cost.protocol import CostProtocol
from evalkit.types import LoadLevel
from tests.helpers.command_line import run_here, sentence
from tests.helpers.rerank_server import MODEL, Served, serving


class Scorer:
    """Takes `seconds` for a query, and notes which thread asked for which, and how many did at once."""

    def __init__(self, seconds: float = 0.005, fails: Callable[[int], bool] = lambda number: False) -> None:
        self.seconds, self.fails = seconds, fails
        self.queries: list[int] = []
        self.threads: set[int] = set()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, query: int) -> None:
        with self._lock:
            number = len(self.queries)
            self.queries.append(query)
            self.threads.add(threading.get_ident())
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self._lock:
            self.now -= 1
        if self.fails(number):
            raise EvalkitError("the server is tired")


def protocol(**settings: Any) -> CostProtocol:
    made = CostProtocol(0, 0, **settings)
    made.check()
    return made


def level(clients: int | None = None, rate: float | None = None, per_s: float = 1.0, unanswered: int = 0) -> LoadLevel:
    kind = "open" if clients is None else "closed"
    return LoadLevel(kind=kind, clients=clients, rate_per_s=rate, answered=10, unanswered=unanswered, seconds=1.0,
                     queries_per_s=per_s, p50_ms=1.0, p90_ms=1.0, p99_ms=1.0)  # fmt: skip


# --- clients


@pytest.mark.parametrize("at_once", [False, True])
def test_no_query_is_lost_and_all_are_asked_in_turn(at_once: bool) -> None:
    scorer = Scorer()
    done: list[int] = []
    asked = load.closed_loop(scorer, 7, 4, 0.3, at_once, done.append)
    assert len(asked) == len(scorer.queries) == sum(done) >= 4
    assert all(one.ended_s is not None and one.error is None for one in asked)
    counts = Counter(scorer.queries)
    assert max(counts.values()) - min(counts[query] for query in range(7)) <= 1  # in turn: none is asked twice as often


def test_one_model_is_asked_by_the_thread_that_loaded_it_one_query_at_a_time_in_the_order_of_arrival() -> None:
    scorer = Scorer()
    asked = load.closed_loop(scorer, 5, 4, 0.3, at_once=False)
    assert scorer.threads == {threading.get_ident()}
    assert scorer.most == 1
    assert scorer.queries == [
        number % 5 for number in range(len(asked))
    ]  # arrivals are numbered, so this is their order
    begun = [one.began_s for one in asked]
    assert begun == sorted(begun, key=lambda at_s: at_s or 0.0)


def test_a_reranker_for_several_threads_is_asked_by_every_client_at_once() -> None:
    four = threading.Barrier(4, timeout=60)  # none passes before there are four
    load.closed_loop(lambda query: four.wait(), 5, 4, 0.0, at_once=True)


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


def test_each_client_gets_an_answer_however_short_the_time() -> None:
    assert len(load.closed_loop(Scorer(0.02), 3, 5, 0.001, at_once=False)) == 5
    assert len(load.closed_loop(Scorer(0.02), 3, 5, 0.001, at_once=True)) == 5


def test_throughput_and_percentiles_of_clients_are_over_what_was_answered() -> None:
    # Three answers and one failure in two seconds: 1.5 answers a second.
    asked = [Asked(0.0, 0.0, 0.5), Asked(0.0, 0.5, 1.0), Asked(0.5, 1.0, 1.5), Asked(1.0, 1.5, 2.0, "no")]
    found = load.closed_level(2, asked)
    assert (found.answered, found.failed, found.unanswered) == (3, 1, 0)
    assert (found.seconds, found.queries_per_s) == (2.0, 1.5)
    assert (found.p50_ms, found.p99_ms) == (1000.0, 1000.0)  # of 500, 1000 and 1000 ms
    # They waited 0, 500 and 500 ms of 2,500.
    assert found.waiting_share == pytest.approx(0.4)


def test_only_one_client_alone_gives_independent_samples_and_so_an_interval() -> None:
    # Of ten samples the second and the ninth enclose the median: at most one below has a probability of 11/1024.
    asked = [Asked(float(n), float(n), n + (n + 1) / 1000) for n in range(10)]
    assert load.closed_level(1, asked).p50_ci95_ms == pytest.approx((2.0, 9.0))
    assert load.closed_level(2, asked).p50_ci95_ms == (None, None)


@pytest.mark.parametrize(
    ("per_s", "saturated"),
    [
        ({1: 10.0, 4: 40.0, 16: 100.0}, None),  # still rises
        ({1: 10.0, 4: 40.0, 16: 41.0}, 4),  # 2.5 % more
        ({1: 10.0, 4: 10.4, 16: 9.0}, 1),
        ({1: 10.0, 4: 10.4, 16: 12.0}, None),  # rises by 20 % in the end
        ({1: 10.0}, None),
        ({}, None),
    ],
)
def test_throughput_is_saturated_where_no_more_clients_raise_it_by_five_percent(per_s: Any, saturated: Any) -> None:
    levels = [level(clients, per_s=value) for clients, value in per_s.items()]
    assert load.saturating_clients([level(rate=3.0), *levels]) == saturated


# --- a rate


def test_arrivals_have_the_rate_exactly_and_gaps_that_differ() -> None:
    times = load.arrivals_s(5.0, 10.0, seed=1)
    assert (len(times), times[0]) == (50, 0.0)
    assert times[-1] == pytest.approx(49 / 5)  # 49 gaps of a fifth of a second on average
    assert times == sorted(times)
    gaps = [later - one for one, later in pairwise(times)]
    assert max(gaps) > 2 / 5 > 1 / 5 > min(gaps)
    assert times == load.arrivals_s(5.0, 10.0, seed=1) != load.arrivals_s(5.0, 10.0, seed=2)


def test_latency_at_a_rate_counts_from_the_moment_of_arrival() -> None:
    # One answer takes a second. The second query was to arrive after 0.1 s, is begun after 1 s, and ends after 1.1 s.
    found = load.open_level(10.0, [Asked(0.0, 0.0, 1.0), Asked(0.1, 1.0, 1.1)])
    assert (found.p50_ms, found.p99_ms) == (1000.0, 1000.0)
    assert found.waiting_share == pytest.approx(0.9 / 2)


def test_a_sustained_rate_is_answered_at_that_rate_however_long_an_answer_takes() -> None:
    # Ten queries a second, each answered after three seconds: the answers come at ten a second as well.
    asked = [Asked(n / 10, n / 10, n / 10 + 3) for n in range(50)]
    found = load.open_level(10.0, asked)
    assert found.queries_per_s == pytest.approx(10.0)
    assert found.seconds == pytest.approx(7.9)
    assert load.saturating_rate([found]) is None


def test_queries_that_were_given_up_are_the_slowest_ones() -> None:
    # Two of four were answered: the median is the second of four, and the slower half is not known.
    asked = [Asked(0.0, 0.0, 1.0), Asked(0.1, 1.0, 2.0), Asked(0.2), Asked(0.3)]
    found = load.open_level(10.0, asked)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (1900.0, None, None)
    assert (found.answered, found.unanswered) == (2, 2)
    assert load.open_level(10.0, [Asked(0.0), Asked(0.1)]).p50_ms is None


@pytest.mark.parametrize(
    ("levels", "saturated"),
    [
        ([level(rate=2.0, per_s=2.0), level(rate=5.0, per_s=4.8)], None),  # 96 %
        ([level(rate=2.0, per_s=2.0), level(rate=5.0, per_s=4.7), level(rate=9.0, per_s=4.7)], 5.0),  # 94 %
        ([level(rate=2.0, per_s=2.0, unanswered=1)], 2.0),
        ([level(4, per_s=1.0)], None),
    ],
)
def test_a_rate_saturates_where_fewer_than_95_percent_are_answered(levels: Any, saturated: Any) -> None:
    assert load.saturating_rate(levels) == saturated


def test_queries_arrive_whether_or_not_earlier_ones_are_answered() -> None:
    four = threading.Barrier(4, timeout=60)  # none is answered before the last has come
    asked = load.open_loop(lambda query: four.wait(), 3, [0.0, 0.01, 0.02, 0.03], 60.0, at_once=True)
    assert [one.arrived_s for one in asked] == [0.0, 0.01, 0.02, 0.03]
    assert load.most_under_way(asked) == 4
    assert load.most_under_way([Asked(0.0, 0.0, 1.0), Asked(0.0, 1.0, 2.0), Asked(0.0)]) == 1


def test_at_a_rate_one_model_answers_in_the_order_of_arrival_in_the_thread_that_loaded_it() -> None:
    scorer = Scorer(0.01)
    asked = load.open_loop(scorer, 4, [n / 500 for n in range(12)], 5.0, at_once=False)
    assert scorer.threads == {threading.get_ident()}
    assert scorer.queries == [number % 4 for number in range(12)]
    # The last arrives after 22 ms, and eleven others of ten milliseconds each come first.
    last = asked[-1]
    assert last.ended_s is not None
    assert last.ended_s - last.arrived_s >= 0.12 - 0.022 - 1e-6


def test_what_waits_after_the_time_is_over_is_given_up() -> None:
    asked = load.open_loop(Scorer(0.1), 3, [n / 1000 for n in range(15)], 0.25, at_once=False)
    answered = [one for one in asked if one.ended_s is not None]
    assert 1 <= len(answered) < len(asked) == 15
    assert asked[: len(answered)] == answered  # those that came first


@pytest.mark.parametrize(
    ("arrived", "begun", "now_s", "grows"),
    [(100, 49, 5.0, True), (100, 50, 5.0, False), (100, 49, 4.9, False), (19, 1, 9.0, False), (20, 9, 5.0, True)],
)
def test_a_queue_grows_without_bound_where_more_than_half_wait_after_half_of_the_time(
    arrived: int, begun: int, now_s: float, grows: bool
) -> None:
    assert load.is_growing(arrived, begun, now_s, 10.0) == grows


def test_arrivals_end_early_where_the_queue_grows_without_bound() -> None:
    found = load.measure(protocol(rates=[500.0], load_s=1.0), Scorer(0.05), 3, 10.0, at_once=False)
    [one] = found.levels
    assert one.unanswered > one.answered
    assert one.p99_ms is None
    assert found.saturates_at_per_s == 500.0
    [note] = found.notes
    assert note.startswith("500 queries/s: stopped after ")
    assert note.endswith("as more than half of the queries were waiting")


# --- failures


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


# --- settings


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


# --- the whole way


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
