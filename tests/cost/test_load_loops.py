"""Under load a client waits for its turn, no query is lost, and queries arrive at their rate whatever the answers."""

import threading
from collections import Counter
from itertools import pairwise

import pytest

from evalkit.cost.load_figures import most_under_way
from evalkit.cost.load_loops import Asked, arrivals_s, closed_loop, is_growing, open_loop
from tests.helpers.timed_scorer import Scorer


@pytest.mark.parametrize("at_once", [False, True])
def test_no_query_is_lost_and_all_are_asked_in_turn(at_once: bool) -> None:
    scorer = Scorer()
    done: list[int] = []
    asked = closed_loop(scorer, 7, 4, 0.3, at_once, done.append)
    assert len(asked) == len(scorer.queries) == sum(done) >= 4
    assert all(one.ended_s is not None and one.error is None for one in asked)
    counts = Counter(scorer.queries)
    assert max(counts.values()) - min(counts[query] for query in range(7)) <= 1  # in turn: none is asked twice as often


def test_one_model_is_asked_by_the_thread_that_loaded_it_one_query_at_a_time_in_the_order_of_arrival() -> None:
    scorer = Scorer()
    asked = closed_loop(scorer, 5, 4, 0.3, at_once=False)
    assert scorer.threads == {threading.get_ident()}
    assert scorer.most == 1
    assert scorer.queries == [
        number % 5 for number in range(len(asked))
    ]  # arrivals are numbered, so this is their order
    begun = [one.began_s for one in asked]
    assert begun == sorted(begun, key=lambda at_s: at_s or 0.0)


def test_a_reranker_for_several_threads_is_asked_by_every_client_at_once() -> None:
    four = threading.Barrier(4, timeout=60)  # none passes before there are four
    closed_loop(lambda query: four.wait(), 5, 4, 0.0, at_once=True)


def test_each_client_gets_an_answer_however_short_the_time() -> None:
    assert len(closed_loop(Scorer(0.02), 3, 5, 0.001, at_once=False)) == 5
    assert len(closed_loop(Scorer(0.02), 3, 5, 0.001, at_once=True)) == 5


def test_arrivals_have_the_rate_exactly_and_gaps_that_differ() -> None:
    times = arrivals_s(5.0, 10.0, seed=1)
    assert (len(times), times[0]) == (50, 0.0)
    assert times[-1] == pytest.approx(49 / 5)  # 49 gaps of a fifth of a second on average
    assert times == sorted(times)
    gaps = [later - one for one, later in pairwise(times)]
    assert max(gaps) > 2 / 5 > 1 / 5 > min(gaps)
    assert times == arrivals_s(5.0, 10.0, seed=1) != arrivals_s(5.0, 10.0, seed=2)


def test_queries_arrive_whether_or_not_earlier_ones_are_answered() -> None:
    four = threading.Barrier(4, timeout=60)  # none is answered before the last has come
    asked = open_loop(lambda query: four.wait(), 3, [0.0, 0.01, 0.02, 0.03], 60.0, at_once=True)
    assert [one.arrived_s for one in asked] == [0.0, 0.01, 0.02, 0.03]
    assert most_under_way(asked) == 4
    assert most_under_way([Asked(0.0, 0.0, 1.0), Asked(0.0, 1.0, 2.0), Asked(0.0)]) == 1


def test_at_a_rate_one_model_answers_in_the_order_of_arrival_in_the_thread_that_loaded_it() -> None:
    scorer = Scorer(0.01)
    asked = open_loop(scorer, 4, [n / 500 for n in range(12)], 5.0, at_once=False)
    assert scorer.threads == {threading.get_ident()}
    assert scorer.queries == [number % 4 for number in range(12)]
    # The last arrives after 22 ms, and eleven others of ten milliseconds each come first.
    last = asked[-1]
    assert last.ended_s is not None
    assert last.ended_s - last.arrived_s >= 0.12 - 0.022 - 1e-6


def test_what_waits_after_the_time_is_over_is_given_up() -> None:
    asked = open_loop(Scorer(0.1), 3, [n / 1000 for n in range(15)], 0.25, at_once=False)
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
    assert is_growing(arrived, begun, now_s, 10.0) == grows
