"""Tokens of a passage become one in groups from its beginning, whatever else is in the batch; worked out by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalkit.scoring.merged_passages import Merge, merge_passages
from evalkit.scoring.packed_attention import Span
from evalkit.scoring.packed_decoder import Arrangement


def arranged(*pairs: tuple[int, int, int]) -> Arrangement:
    """Pairs of so many tokens before the passage, in it and behind it."""
    ends = np.cumsum([sum(pair) for pair in pairs])
    types = np.concatenate([np.repeat([1, 2, 1], pair) for pair in pairs]).astype(np.int32)
    spans = tuple(Span(int(end) - sum(pair), sum(pair)) for end, pair in zip(ends, pairs, strict=True))
    return Arrangement(types, ends - 1, spans)


def test_the_last_group_of_a_passage_may_be_smaller() -> None:
    # query query | passage passage passage | end: the passage's first two tokens become one, and its third one stays.
    merge = merge_passages(arranged((2, 3, 1)), 2)
    assert merge.rows.tolist() == [[0, 0], [1, 1], [2, 3], [4, 4], [5, 5]]
    assert merge.weights.tolist() == [[1, 0], [1, 0], [0.5, 0.5], [1, 0], [1, 0]]
    assert merge.after.types.tolist() == [1, 1, 2, 2, 1]
    assert (merge.after.spans, merge.after.last.tolist()) == ((Span(0, 5),), [4])
    assert merge.after.positions.tolist() == [0, 1, 2, 3, 4]


def test_a_second_merge_goes_on_where_the_first_one_ended() -> None:
    # 7 tokens become 4, the last of which is one token, and 4 become 2: the second is the mean of (4, 5) and of 6.
    once = merge_passages(arranged((1, 7, 1)), 2)
    twice = merge_passages(once.after, 2)
    assert once.after.types.tolist() == [1, 2, 2, 2, 2, 1]
    assert twice.rows.tolist() == [[0, 0], [1, 2], [3, 4], [5, 5]]
    values = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0], dtype=np.float32)
    for merge in (once, twice):
        values = (values[merge.rows] * merge.weights).sum(1)
    # (1 + 2 + 3 + 4) / 4 and ((5 + 6) / 2 + 7) / 2
    assert values.tolist() == [0, 2.5, 6.25, 0]


def test_a_shared_query_stays_shared() -> None:
    # Two passages behind the same two tokens of a query, with nothing behind them.
    spans = (Span(0, 2), Span(2, 3, 0, 2), Span(5, 2, 0, 2))
    before = Arrangement(np.array([0, 0, 2, 2, 2, 2, 2], dtype=np.int32), np.array([4, 6]), spans)
    merge = merge_passages(before, 2)
    assert merge.rows.tolist() == [[0, 0], [1, 1], [2, 3], [4, 4], [5, 6]]
    assert merge.after.spans == (Span(0, 2), Span(2, 2, 0, 2), Span(4, 1, 0, 2))
    assert merge.after.positions.tolist() == [0, 1, 2, 3, 2]
    assert merge.after.last.tolist() == [3, 4]


sizes = st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(0, 9))


@given(st.lists(sizes, min_size=1, max_size=6), st.sampled_from([2, 4, 8]))
def test_a_pair_becomes_the_same_alone_and_in_a_batch(pairs: list[tuple[int, int, int]], ratio: int) -> None:
    together = merge_passages(arranged(*pairs), ratio)
    np.testing.assert_allclose(together.weights.sum(1), 1, rtol=1e-6)
    start = 0
    for pair, span in zip(pairs, together.after.spans, strict=True):
        alone: Merge = merge_passages(arranged(pair), ratio)
        rows = slice(span.start, span.start + span.length)
        assert span.length == pair[0] + -(-pair[1] // ratio) + pair[2]
        np.testing.assert_array_equal(together.rows[rows] - start, alone.rows)
        np.testing.assert_array_equal(together.weights[rows], alone.weights)
        start += sum(pair)
