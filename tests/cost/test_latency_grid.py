"""A cell of the grid is one query with so many passages, made of real texts, each pair as long as was asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cost.latency_grid import clip_lengths, make_passages, measure

MAX_LENGTH = 40
TEXTS = ["one two three", "four five six seven", "  ", "eight nine", "ten"]


def tokens_of(pairs: Any) -> Any:
    """Three special tokens, and a token for each word; cut at the model's maximum."""
    return np.array([min(3 + len(query.split()) + len(text.split()), MAX_LENGTH) for query, text in pairs])


@pytest.mark.parametrize("length", [6, 7, 12, MAX_LENGTH])
def test_every_pair_is_as_long_as_was_asked(length: Any) -> None:
    made = make_passages("a query", TEXTS, 4, length, tokens_of)
    assert tokens_of([("a query", text) for text in made]).tolist() == [length] * 4


def test_passages_are_cut_from_texts_that_follow_one_another_and_begin_anew_after_the_last() -> None:
    # Three special tokens and two of the query leave nine for the passage; the empty text counts for nothing.
    made = make_passages("a query", TEXTS, 3, 14, tokens_of)
    assert [text.split()[:8] for text in made] == [
        ["one", "two", "three", "four", "five", "six", "seven", "eight"],
        ["four", "five", "six", "seven", "eight", "nine", "ten", "one"],
        ["eight", "nine", "ten", "one", "two", "three", "four", "five"],
    ]
    assert [len(text.split()) for text in made] == [9, 9, 9]
    assert len({*made}) == 3


def test_a_query_that_fills_the_length_alone_leaves_one_character() -> None:
    assert make_passages("a b c d e f", TEXTS, 2, 5, tokens_of) == ["o", "f"]


def test_texts_without_tokens_give_passages_of_limited_length() -> None:
    [made] = make_passages("a query", ["\u200b"], 1, 10, lambda pairs: np.array([5] * len(pairs)))
    assert len(made) > 1000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ab \u4e2d\u00e9", min_size=1, max_size=30), min_size=1, max_size=5).filter(
        lambda texts: any(text.strip() for text in texts)
    ),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_a_passage_is_the_shortest_that_reaches_the_length(texts: Any, count: Any, length: Any) -> None:
    def characters_of(pairs: Any) -> Any:  # a script that is a token a character
        return np.array([len(query) + len(text) for query, text in pairs])

    made = make_passages("q", texts, count, length, characters_of)
    assert [len(text) for text in made] == [max(length - 1, 1)] * count


def test_lengths_beyond_the_models_are_reduced_to_its_maximum_with_a_note() -> None:
    assert clip_lengths([64, 128, 256, 512], 256) == (
        [64, 128, 256],
        ["length 512 is above reranker.max_length=256, where pairs are truncated"],
    )
    assert clip_lengths([512, 64], 512) == ([64, 512], [])


def test_every_depth_is_timed_with_every_length() -> None:
    scored = []

    def score(query: Any, texts: Any) -> Any:
        scored.append((len(texts), len(texts[0].split())))
        return int(tokens_of([(query, text) for text in texts]).sum())

    grid = measure("a query", TEXTS, [3, 1], [100, 10], MAX_LENGTH, tokens_of, score, 2, 1e9)
    assert [(cell.depth, cell.length, cell.tokens_per_pair) for cell in grid.cells] == [
        (1, 10, 10), (1, 40, 40), (3, 10, 10), (3, 40, 40)
    ]  # fmt: skip
    assert grid.notes == ("length 100 is above reranker.max_length=40, where pairs are truncated",)
    # Once to warm up, and twice timed, in turn; 10 tokens a pair are 5 words of passage, 40 are 35.
    assert scored == [(1, 5), (1, 35), (3, 5), (3, 35)] * 3
    assert [(cell.latency.repetitions, cell.latency.pairs_per_query) for cell in grid.cells] == [
        (2, 1), (2, 1), (2, 3), (2, 3)
    ]  # fmt: skip


def test_a_cell_that_takes_too_long_is_timed_once_with_a_note() -> None:
    scored = []

    def score(query: str, texts: Sequence[str]) -> int:
        scored.append(len(texts))
        return 10

    grid = measure("a query", TEXTS, [1], [10], MAX_LENGTH, tokens_of, score, 1000, 0.0)
    assert (scored, grid.cells[0].latency.repetitions, grid.cells[0].tokens_per_pair) == ([1], 1, 10)
    assert grid.notes == ("depth 1 at length 10 was timed once: it took more than 0 s",)


def test_a_cell_gets_as_many_samples_as_begin_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now_s[0])

    def score(query: Any, texts: Any) -> Any:
        now_s[0] += len(texts)  # a second a pair
        return 10 * len(texts)

    grid = measure("a query", TEXTS, [1, 3, 8], [10], MAX_LENGTH, tokens_of, score, 5, 7.0)
    # Five samples of 1 s; 3, 6 and 9 s of 3; the one of 8 s that was to warm up.
    assert [cell.latency.samples_ms for cell in grid.cells] == [(1000,) * 5, (3000,) * 3, (8000,)]
    assert grid.notes == ("depth 8 at length 10 was timed once: it took more than 7 s",)
