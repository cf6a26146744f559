"""What a user types as filters and as the key to sort by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.boundary.errors import EvalkitError
from evalkit.results.history import selecting
from evalkit.results.history.entry import HistoryEntry
from tests.helpers.history import entry

RUNS = [
    entry("/a", slice="dev/en", reranker="packaged", after=0.70, p50_ms=174.25, ended="2026-11-26T22:54:02.000+00:00"),
    entry(
        "/b", slice="dev/de", reranker="bge-m3", after=0.75, p50_ms=900.0, precision="int8", commit="ffff" + "0" * 36
    ),
    entry(
        "/c", slice="tiny", reranker=None, after=0.50, delta=None, p50_ms=None, ended="2026-12-01T00:00:00.000+00:00"
    ),
]


def chosen(*typed: str) -> str:
    found = selecting.select(RUNS, selecting.filters(typed, RUNS))
    return "".join(one.folder[1:] for one in found)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("slice=dev", "ab"),  # a part of the text
        ("slice=DEV/E", "a"),  # in any case
        ("slice==dev", ""),  # the whole text
        ("slice==dev/de", "b"),
        ("reranker=bge,pack", "ab"),  # one of several
        ("reranker=none", "c"),
        ("commit=ffff", "b"),
        ("commit=2b3c", ""),  # a commit by its beginning
        ("precision=int8", "b"),
        ("nDCG@10=0.7..", "ab"),
        ("nDCG@10=..0.7", "ac"),
        ("nDCG@10=0.7", "a"),
        ("nDCG@10=0.75", "b"),
        ("nDCG@10=0.9", ""),
        ("RR(rel=2)@10=0.6", "abc"),  # a measure with an equals sign in its name
        ("p50_ms=..200", "a"),  # a run without the figure is in no range
        ("p50_ms=174", "a"),  # what rounds to it
        ("delta=0..", "ab"),
        ("queries=74", "abc"),
        ("ended=2026-11", "ab"),
        ("ended=2026-11-27..", "c"),
        ("ended=2026-11-26..2026-11-26", "ab"),
        ("ended=..2026-11", "ab"),
        ("folder=/a", "a"),
    ],
)
def test_a_filter_selects(typed: str, expected: str) -> None:
    assert chosen(typed) == expected


def test_all_filters_have_to_hold() -> None:
    assert chosen("slice=dev", "precision=int8") == "b"
    assert chosen() == "abc"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("slic=dev", "the history has no 'slic'; did you mean slice?; there are ended, name, commit, slice, "),
        ("nDCG@5=0.5", "did you mean nDCG@10"),
        ("dev", "'dev' is no filter: write KEY=VALUE"),
        ("slice=", "'slice=' is no filter"),
        ("depth=deep", "depth=deep: give a number, or a range such as"),
        ("depth=..", "depth=..: give a number"),
    ],
)
def test_a_wrong_filter_is_one_sentence(typed: str, message: str) -> None:
    with pytest.raises(EvalkitError) as refused:
        chosen(typed)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(None, "cab"), ("ended", "cab"), ("nDCG@10", "bac"), ("delta", "abc"), ("p50_ms", "abc"), ("slice", "bac"),
     ("reranker", "bac")],
)  # fmt: skip
def test_the_best_comes_first_and_what_has_no_value_last(key: str | None, expected: str) -> None:
    assert "".join(one.folder[1:] for one in selecting.sort(RUNS, key)) == expected


def test_an_unknown_key_to_sort_by_is_one_sentence() -> None:
    with pytest.raises(EvalkitError, match="--sort: the history has no 'speed'"):
        selecting.sort(RUNS, "speed")


@given(st.permutations(RUNS), st.sampled_from([None, "nDCG@10", "p50_ms", "slice"]))
def test_the_order_does_not_depend_on_the_order_before(runs: list[HistoryEntry], key: str | None) -> None:
    assert selecting.sort(runs, key) == selecting.sort(RUNS, key)
