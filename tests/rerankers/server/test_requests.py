"""A request has one query and at most so many passages, and counts that a server does not state stay unknown."""

from evalkit.rerankers.server.protocols import Answer
from evalkit.rerankers.server.requests import Batch, Billed, batches


def test_a_request_has_the_passages_of_one_query_up_to_its_size_and_only_the_given_rows() -> None:
    texts = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("b", "5")]
    assert batches(texts, [0, 1, 2, 4], 2) == [
        Batch("a", ("1", "2"), (0, 1)), Batch("a", ("3",), (2,)), Batch("b", ("5",), (4,))
    ]  # fmt: skip


def test_a_request_is_one_call_or_the_units_that_are_stated_and_tokens_are_a_sum_if_all_are() -> None:
    billed = Billed()
    billed.add(Answer((0.5,), None, 2.0, 30))
    billed.add(Answer((0.5,), None, None, 12))
    assert (billed.calls, billed.tokens) == (3.0, 42)
    billed.add(Answer((0.5,)))
    assert (billed.calls, billed.tokens) == (4.0, None)
