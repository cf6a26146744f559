"""A resumed run, with some logits known, gets the same bits as an uninterrupted one."""

from typing import Any

import numpy as np
import pytest

from tests.helpers.scorers import PAIRS, load_scorer


@pytest.fixture(scope="module")
def scorer(xlmr_folder: Any) -> Any:
    return load_scorer(xlmr_folder)


def test_unknown_logits_get_the_same_bits_as_without_known_ones(scorer: Any) -> None:
    done: list[Any] = []
    whole = scorer.score(PAIRS, on_scored=done.append, repeatable=True).logits
    known = np.full(len(PAIRS), np.nan, dtype=np.float32)
    for batch in done[::2]:
        known[batch.rows] = batch.logits
    steps: list[Any] = []
    again: list[Any] = []
    rest = scorer.score(PAIRS, steps.append, known, again.append, repeatable=True)
    assert rest.logits.tobytes() == whole.tobytes()
    assert rest.computed_pairs == np.isnan(known).sum() == sum(len(batch.rows) for batch in again)
    assert steps[0] == len(PAIRS) - rest.computed_pairs
    assert sum(steps) == len(PAIRS)
    assert rest.truncated_pairs == sum(int(batch.truncated.sum()) for batch in done)


def test_repeated_pairs_are_computed_once_if_scores_are_to_be_repeatable(scorer: Any) -> None:
    """In two batches their scores could differ in the last bit, while a store has one score for both."""
    texts = [*PAIRS, *PAIRS[::-1]]
    done: list[Any] = []
    steps: list[Any] = []
    once = scorer.score(texts, steps.append, on_scored=done.append, repeatable=True)
    assert once.computed_pairs == len(set(PAIRS)) == len(np.concatenate([batch.rows for batch in done]))
    assert sum(steps) == len(texts)
    assert once.logits[: len(PAIRS)].tobytes() == once.logits[: len(PAIRS) - 1 : -1].tobytes()
    np.testing.assert_allclose(once.logits, scorer.score(texts).logits, rtol=0, atol=1e-5)
    assert scorer.score(texts).computed_pairs == len(texts)


def test_a_resumed_run_with_repeated_pairs_gets_the_same_bits(scorer: Any) -> None:
    texts = [*PAIRS, *PAIRS[::-1]]
    done: list[Any] = []
    whole = scorer.score(texts, on_scored=done.append, repeatable=True).logits
    stored: dict[Any, Any] = {}
    for batch in done[:2]:
        stored |= {texts[row]: logit for row, logit in zip(batch.rows, batch.logits, strict=True)}
    known = np.array([stored.get(pair, np.nan) for pair in texts], dtype=np.float32)
    again: list[Any] = []
    assert (
        scorer.score(texts, known_logits=known, on_scored=again.append, repeatable=True).logits.tobytes()
        == whole.tobytes()
    )
    assert sorted(batch.rows.tolist() for batch in again) == sorted(batch.rows.tolist() for batch in done[2:])


def test_nothing_is_computed_if_all_logits_are_known(scorer: Any) -> None:
    known = np.arange(len(PAIRS), dtype=np.float32)
    scored = scorer.score(PAIRS, known_logits=known)
    assert (scored.logits.tolist(), scored.computed_pairs, scored.tokens) == (known.tolist(), 0, 0)
