"""Quick checks side by side: one row a passage, a rank for each reranker, and Kendall's tau against the first."""

from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.rerankers import side_by_side
from evalkit.rerankers.quickcheck import QuickCheck, RankedPassage, RankedQuery


def check(*logits: float | None, query: str = "q", **facts: Any) -> QuickCheck:
    """Return a quick check in which passage n, from 1, has the n-th logit."""
    order = sorted(range(len(logits)), key=lambda n: -9e9 if (score := logits[n]) is None else score, reverse=True)
    passages = tuple(
        RankedPassage(rank, logits[n], f"text {n + 1}", n + 1, None, None, None) for rank, n in enumerate(order, 1)
    )
    ranked = RankedQuery(None, query, passages, passages[0].text, None)
    return QuickCheck({"name": "one", **facts}, (ranked,), 0.0, True, len(logits), 0)


def test_passages_stand_in_the_order_of_the_first_reranker_with_their_place_in_each() -> None:
    (query,) = side_by_side.compare({"a": check(1.0, 3.0, 2.0), "b": check(0.7, 0.6, 0.5)}).queries
    assert [passage.text for passage in query.passages] == ["text 2", "text 3", "text 1"]
    assert [[place.rank for place in passage.places] for passage in query.passages] == [[1, 2], [2, 3], [3, 1]]
    assert [place.logit for place in query.passages[0].places] == [3.0, 0.6]


def test_kendalls_tau_is_over_the_passages_against_the_first() -> None:
    # Of three pairs of passages, b orders one as a does (2 before 3) and two the other way round: (1 - 2) / 3.
    compared = side_by_side.compare({"a": check(1.0, 3.0, 2.0), "b": check(0.7, 0.6, 0.5), "c": check(1, 30, 20)})
    assert [(other.label, other.kendall_tau) for other in compared.queries[0].against_first] == [
        ("b", pytest.approx(-1 / 3)), ("c", 1.0)
    ]  # fmt: skip


def test_one_passage_has_no_order_to_agree_on() -> None:
    (query,) = side_by_side.compare({"a": check(1.0), "b": check(2.0)}).queries
    assert query.against_first[0].kendall_tau is None


def test_a_passage_without_a_score_counts_by_its_rank() -> None:
    (query,) = side_by_side.compare({"a": check(1.0, None, 2.0), "b": check(1.0, 0.0, 2.0)}).queries
    assert query.against_first[0].kendall_tau == 1.0


def test_logits_are_subtracted_where_the_model_is_the_same() -> None:
    same: dict[str, Any] = {"model": "m", "revision": "r", "architecture": "A"}
    compared = side_by_side.compare(
        {"a": check(1.0, 2.0, **same, precision="fp32"), "b": check(1.25, 2.125, **same, precision="bf16"),
         "c": check(1.0, 2.0, **(same | {"revision": "s"})), "d": check(1.0, 2.0)}
    )  # fmt: skip
    assert [one.largest_logit_difference for one in compared.queries[0].against_first] == [0.25, None, None]


def test_rerankers_without_a_model_are_not_taken_for_the_same() -> None:
    (query,) = side_by_side.compare({"a": check(1.0, 2.0), "b": check(1.5, 2.0)}).queries
    assert query.against_first[0].largest_logit_difference is None


@pytest.mark.parametrize("other", [check(1.0, 2.0, query="p"), check(1.0)])
def test_other_texts_are_refused(other: QuickCheck) -> None:
    with pytest.raises(EvalkitError, match="these quick checks have different texts"):
        side_by_side.compare({"a": check(1.0, 2.0), "b": other})
