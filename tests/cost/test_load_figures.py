"""Throughput and latency of a load are over all its queries: those that were given up count as the slowest."""

from typing import Any

import pytest

from evalkit.cost.load_figures import closed_level, open_level, saturating_clients, saturating_rate
from evalkit.cost.load_loops import Asked
from evalkit.types import LoadLevel


def level(clients: int | None = None, rate: float | None = None, per_s: float = 1.0, unanswered: int = 0) -> LoadLevel:
    kind = "open" if clients is None else "closed"
    return LoadLevel(kind=kind, clients=clients, rate_per_s=rate, answered=10, unanswered=unanswered, seconds=1.0,
                     queries_per_s=per_s, p50_ms=1.0, p90_ms=1.0, p99_ms=1.0)  # fmt: skip


def test_throughput_and_percentiles_of_clients_are_over_what_was_answered() -> None:
    # Three answers and one failure in two seconds: 1.5 answers a second.
    asked = [Asked(0.0, 0.0, 0.5), Asked(0.0, 0.5, 1.0), Asked(0.5, 1.0, 1.5), Asked(1.0, 1.5, 2.0, "no")]
    found = closed_level(2, asked)
    assert (found.answered, found.failed, found.unanswered) == (3, 1, 0)
    assert (found.seconds, found.queries_per_s) == (2.0, 1.5)
    assert (found.p50_ms, found.p99_ms) == (1000.0, 1000.0)  # of 500, 1000 and 1000 ms
    # They waited 0, 500 and 500 ms of 2,500.
    assert found.waiting_share == pytest.approx(0.4)


def test_only_one_client_alone_gives_independent_samples_and_so_an_interval() -> None:
    # Of ten samples the second and the ninth enclose the median: at most one below has a probability of 11/1024.
    asked = [Asked(float(n), float(n), n + (n + 1) / 1000) for n in range(10)]
    assert closed_level(1, asked).p50_ci95_ms == pytest.approx((2.0, 9.0))
    assert closed_level(2, asked).p50_ci95_ms == (None, None)


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
    assert saturating_clients([level(rate=3.0), *levels]) == saturated


def test_latency_at_a_rate_counts_from_the_moment_of_arrival() -> None:
    # One answer takes a second. The second query was to arrive after 0.1 s, is begun after 1 s, and ends after 1.1 s.
    found = open_level(10.0, [Asked(0.0, 0.0, 1.0), Asked(0.1, 1.0, 1.1)])
    assert (found.p50_ms, found.p99_ms) == (1000.0, 1000.0)
    assert found.waiting_share == pytest.approx(0.9 / 2)


def test_a_sustained_rate_is_answered_at_that_rate_however_long_an_answer_takes() -> None:
    # Ten queries a second, each answered after three seconds: the answers come at ten a second as well.
    asked = [Asked(n / 10, n / 10, n / 10 + 3) for n in range(50)]
    found = open_level(10.0, asked)
    assert found.queries_per_s == pytest.approx(10.0)
    assert found.seconds == pytest.approx(7.9)
    assert saturating_rate([found]) is None


def test_queries_that_were_given_up_are_the_slowest_ones() -> None:
    # Two of four were answered: the median is the second of four, and the slower half is not known.
    asked = [Asked(0.0, 0.0, 1.0), Asked(0.1, 1.0, 2.0), Asked(0.2), Asked(0.3)]
    found = open_level(10.0, asked)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (1900.0, None, None)
    assert (found.answered, found.unanswered) == (2, 2)
    assert open_level(10.0, [Asked(0.0), Asked(0.1)]).p50_ms is None


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
    assert saturating_rate(levels) == saturated
