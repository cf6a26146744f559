"""A batch that does not fit into memory is halved; what cannot be recovered is an error of one sentence."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.boundary.errors import EvalkitError
from tests.helpers.scorers import PAIRS, load_scorer


class SmallDevice:
    """A model on a device whose memory holds a batch of `tokens`."""

    def __init__(self, model: Any, tokens: Any) -> None:
        self.model, self.tokens, self.device = model, tokens, model.device
        self.refused: list[Any] = []

    def inputs(self, batch: Any) -> Any:
        return self.model.inputs(batch)

    def computed_tokens(self, batch: Any) -> Any:
        return self.model.computed_tokens(batch)

    def forward(self, inputs: Any, *more: Any) -> Any:
        if inputs.shape[-1] > self.tokens:
            self.refused.append(inputs.shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model.forward(inputs, *more)


def test_a_batch_that_does_not_fit_into_memory_is_halved(xlmr_folder: Any) -> None:
    small = load_scorer(xlmr_folder)
    small.runner.model = SmallDevice(small.runner.model, 200)
    scored = small.score(PAIRS)
    np.testing.assert_allclose(scored.logits, load_scorer(xlmr_folder).score(PAIRS).logits, rtol=0, atol=1e-5)
    assert len(scored.events) == len(small.runner.model.refused) > 1
    assert all(event.startswith("out of memory on cpu with a batch of") for event in scored.events)
    assert all(event.endswith("tokens; it was halved") for event in scored.events)
    # The budget is not lowered for later batches: one of up to 200 tokens is never split.
    assert scored.computed_pairs == len(PAIRS)


def test_a_pair_that_does_not_fit_alone_is_an_error(xlmr_folder: Any) -> None:
    small = load_scorer(xlmr_folder)
    small.runner.model = SmallDevice(small.runner.model, 50)
    with pytest.raises(
        EvalkitError, match=r"one pair of 96 tokens does not fit; lower reranker\.batch_tokens \(now 40"
    ):
        small.score(PAIRS)


def test_a_deterministic_scorer_never_splits_a_batch(xlmr_folder: Any) -> None:
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        fixed = load_scorer(xlmr_folder, batch_tokens=None, deterministic=True)
        assert fixed.score(PAIRS).logits.tobytes() == fixed.score(PAIRS).logits.tobytes()
        fixed.runner.model = SmallDevice(fixed.runner.model, 200)
        with pytest.raises(EvalkitError, match="out of memory on cpu with a batch of"):
            fixed.score(PAIRS)
    finally:
        torch.use_deterministic_algorithms(False)
        if before is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_an_error_that_is_not_about_memory_is_raised_unchanged(xlmr_folder: Any) -> None:
    broken: Any = load_scorer(xlmr_folder)

    def forward(*inputs: Any) -> None:
        raise RuntimeError("device-side assert")

    broken.runner.model.forward = forward
    with pytest.raises(RuntimeError, match="device-side assert"):
        broken.score(PAIRS)
