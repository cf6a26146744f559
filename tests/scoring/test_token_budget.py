"""The token budget is the configured one, or as many tokens as are useful and fit into free memory."""

from typing import Any

import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring import token_budget
from evalkit.scoring.flops import ModelShape
from evalkit.scoring.token_budget import choose_token_budget
from tests.helpers.scorers import CPU, load_scorer

XLMR_LARGE = ModelShape(24, 1024, 4096, 16, 567_755_777)


@pytest.mark.parametrize(
    ("asked", "free", "deterministic", "expected"),
    [
        (5000, 0, False, (5000, "as asked")),
        (None, 2**40, False, (1024, "enough to fill the device")),
        (
            None,
            2 * 2 * 1000 * 40 * 1024,
            False,
            (1000, "half of 156 MiB free memory"),
        ),  # 40 KiB a token at fp32, on two cores
        (None, 0, True, (1024, "fixed, for deterministic=true")),
        (None, None, False, (1024, "free memory unknown")),
    ],
)
def test_the_token_budget_is_the_configured_one_or_what_is_useful_and_fits(
    monkeypatch: pytest.MonkeyPatch, asked: Any, free: Any, deterministic: Any, expected: Any
) -> None:
    monkeypatch.setattr(token_budget, "free_memory_bytes", lambda device: free)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = choose_token_budget(asked, XLMR_LARGE, 4, 512, CPU, deterministic)
    assert (found.tokens, found.source) == expected


def test_too_little_memory_for_one_pair_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "free_memory_bytes", lambda device: 20 * 2**20)
    with pytest.raises(EvalkitError, match=r"20 MiB are free on cpu: too little for one pair of .*max_length=512"):
        choose_token_budget(None, XLMR_LARGE, 4, 512, CPU, False)


def test_the_free_memory_of_this_machine_limits_the_budget(xlmr_folder: Any) -> None:
    scorer = load_scorer(xlmr_folder, batch_tokens=None)
    assert scorer.describe()["batch_tokens_source"] == "enough to fill the device"
