"""The engine's bookkeeping: batches, budgets, work ahead, scores that are known, memory that runs out, workers."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import EvalkitError
from evalkit.scoring import batching
from evalkit.scoring.batching import batches, budget, windows
from evalkit.scoring.flops import ModelShape, activation_bytes, forward_flops, predicted_peak_mb
from evalkit.scoring.pool import DevicePool
from evalkit.scoring.runner import Done
from evalkit.scoring.spec import ScorerSpec
from evalkit.scoring.threads import Cores, ahead
from tests.scoring.test_scorer import CPU, PAIRS, load

XLMR_LARGE = ModelShape(24, 1024, 4096, 16, 567_755_777)
MINILM_L6 = ModelShape(6, 384, 1536, 12, 22_713_601)


def test_flops_are_those_worked_out_by_hand() -> None:
    # 24 layers x 2 x (4 x 1024^2 + 2 x 1024 x 4096) = 603,979,776 a token, and 24 x 4 x 1024 = 98,304 a token squared.
    assert forward_flops(XLMR_LARGE, [10]) == 603_979_776 * 10 + 98_304 * 100
    # 6 x 2 x (4 x 384^2 + 2 x 384 x 1536) = 21,233,664, and 6 x 4 x 384 = 9,216; pairs add up.
    assert forward_flops(MINILM_L6, [3, 2]) == 21_233_664 * 5 + 9_216 * (9 + 4)
    assert forward_flops(MINILM_L6, []) == 0


def test_predicted_memory_is_weights_and_ten_times_hidden_a_token() -> None:
    assert activation_bytes(XLMR_LARGE, 2) == 20 * 1024  # 20 KiB a token at half precision
    assert predicted_peak_mb(XLMR_LARGE, 2, 16384) == pytest.approx(567_755_777 * 2 / 2**20 + 320)


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(1, 50), max_size=60), size=st.integers(50, 300))
def test_packed_batches_hold_every_row_once_within_the_budget_and_longest_first(lengths: Any, size: Any) -> None:
    made = list(batches(lengths, size, padded=False))
    assert sorted(row for rows in made for row in rows) == list(range(len(lengths)))
    assert all(0 < sum(lengths[row] for row in rows) <= size for rows in made)
    flat = [lengths[row] for rows in made for row in rows]
    assert flat == sorted(flat, reverse=True)


def test_windows_are_longest_first_and_the_first_one_is_small() -> None:
    sizes = [3, 9, 1, 7, 5]
    assert list(windows([("", "x" * size) for size in sizes], 1, 2)) == [[1], [3, 4], [0, 2]]


def test_packed_batches_are_about_as_long_as_each_other() -> None:
    # 19 x 60 = 1,140 tokens need two batches of 1,024 or less: not 17 pairs and 2.
    assert [len(rows) for rows in batches([60] * 19, 1024, padded=False)] == [10, 9]
    # 100 x 90: a 12th pair would exceed 1,024; 23 are left after seven, and three batches share them.
    assert [len(rows) for rows in batches([90] * 100, 1024, padded=False)] == [11] * 7 + [8, 8, 7]
    # A budget that two pairs exceed leaves no choice.
    assert list(batches([40, 30, 30], 50, padded=False)) == [[0], [1], [2]]


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=200))
def test_no_packed_batch_is_much_longer_than_another(lengths: Any) -> None:
    made = [sum(lengths[row] for row in rows) for rows in batches(lengths, 200, padded=False)]
    assert len(made) <= -(-sum(lengths) // (200 - max(lengths))) + 1
    assert len(made) == 1 or min(made) >= 80


def test_each_core_has_a_batch_of_its_own_and_torch_keeps_its_setting() -> None:
    cores, seen = Cores(), []
    cores.count = 3
    before = torch.get_num_threads()

    def work(item: Any) -> Any:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.1)
        return item + 1

    try:
        assert sorted(cores.as_done(work, [1, 2, 3])) == [2, 3, 4]
        assert len(set(seen)) == 3
        assert {number for _, number in seen} == {1}
    finally:
        torch.set_num_threads(before)
    with ThreadPoolExecutor(1) as others:
        assert (torch.get_num_threads(), others.submit(torch.get_num_threads).result()) == (before, before)


def test_what_fails_on_one_core_is_told_when_no_other_is_at_work_any_more() -> None:
    cores, ended = Cores(), []
    cores.count = 2

    def work(item: Any) -> None:
        if item == 0:
            raise MemoryError
        time.sleep(0.2)
        ended.append(item)

    with pytest.raises(MemoryError):
        list(cores.as_done(work, [0, 1]))
    assert ended == [1]
    torch.set_num_threads(Cores().count)


def test_a_core_that_is_done_takes_the_next_item_at_once() -> None:
    """One slow item, three quick ones: a second core does all of the quick ones meanwhile, and they come first."""
    cores, quick_are_done = Cores(), threading.Event()
    cores.count = 2

    def work(item: Any) -> Any:
        if item == 0:
            assert quick_are_done.wait(10)
        return item

    came = []
    for item in cores.as_done(work, iter(range(4))):
        came.append(item)
        if len(came) == 3:
            quick_are_done.set()
    assert (sorted(came[:3]), came[3]) == ([1, 2, 3], 0)
    torch.set_num_threads(Cores().count)


def test_the_time_of_cores_that_compute_at_once_counts_once(scorer: Any) -> None:
    """Two batches at the same time, each 0.2 s and more: the model took no longer than the clock on the wall says."""
    runner, forward, both = scorer.runner, scorer.runner.model.forward, threading.Barrier(2)
    before = runner.cores.count

    def together(*inputs: torch.Tensor) -> Any:
        both.wait(10)
        time.sleep(0.2)
        return forward(*inputs)

    try:
        runner.cores.count = 2
        runner.model.forward = together
        pairs = scorer.tokenize(PAIRS)
        began = time.perf_counter()
        done = list(runner.run([pairs.batch([0]), pairs.batch([1])]))
        wall_s = time.perf_counter() - began
    finally:
        runner.cores.count, runner.model.forward = before, forward
        torch.set_num_threads(Cores().count)
    assert sorted(int(row) for one in done for row in one.rows) == [0, 1]
    assert 0.2 <= sum(one.forward_s for one in done) <= wall_s


def test_logits_that_are_to_last_do_not_depend_on_the_number_of_cores(xlmr_folder: Any) -> None:
    before, found = torch.get_num_threads(), {}
    try:
        for cores in (1, 2, 3):
            torch.set_num_threads(cores)
            found[cores] = load(xlmr_folder).score(PAIRS, repeatable=True).logits
    finally:
        torch.set_num_threads(before)
    assert found[1].tobytes() == found[2].tobytes() == found[3].tobytes()


def test_a_few_batches_are_shared_by_all_cores_where_time_counts(
    xlmr_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = load(xlmr_folder)
    assert few.runner.cores is not None
    few.runner.cores.count = 1000
    at, forward = [], few.runner.model.forward

    def traced(*inputs: torch.Tensor) -> torch.Tensor:
        at.append(threading.current_thread())
        return forward(*inputs)

    monkeypatch.setattr(few.runner.model, "forward", traced)
    quick = few.score(PAIRS).logits
    assert set(at) == {threading.main_thread()}
    few.runner.cores.count = 2
    np.testing.assert_allclose(quick, few.score(PAIRS, repeatable=True).logits, rtol=0, atol=1e-5)
    assert {thread.name.split("_")[0] for thread in at[1:]} == {"MainThread", "evalkit-core"}


def test_what_is_made_ahead_comes_in_order_and_its_errors_arrive() -> None:
    assert list(ahead(iter(range(20)), 3)) == list(range(20))

    def broken() -> Any:
        yield 1
        raise ValueError("the third")

    taken = ahead(broken(), 3)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="the third"):
        next(taken)


def test_work_ahead_stops_when_nobody_takes_it() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    source: Any = ahead(numbers(), 2)
    assert next(source) == 0
    source.close()
    assert len(made) < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "evalkit-ahead"]


@pytest.mark.parametrize(
    ("asked", "free", "deterministic", "expected"),
    [
        (5000, 0, False, (5000, "as asked")),
        (None, 2**40, False, (1024, "what pays")),
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
def test_the_token_budget_is_what_was_asked_or_what_pays_and_fits(
    monkeypatch: pytest.MonkeyPatch, asked: Any, free: Any, deterministic: Any, expected: Any
) -> None:
    monkeypatch.setattr(batching, "free_bytes", lambda device: free)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = budget(asked, XLMR_LARGE, 4, 512, CPU, deterministic)
    assert (found.tokens, found.source) == expected


def test_too_little_memory_for_one_pair_is_said_before_the_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "free_bytes", lambda device: 20 * 2**20)
    with pytest.raises(EvalkitError, match=r"20 MiB are free on cpu: too little for one pair of .*max_length=512"):
        budget(None, XLMR_LARGE, 4, 512, CPU, False)


def test_this_machine_tells_its_free_memory() -> None:
    assert 2**20 < (batching.free_bytes(CPU) or 0) < 2**50


@pytest.fixture(scope="module")
def scorer(xlmr_folder: Any) -> Any:
    return load(xlmr_folder)


def test_known_logits_stay_and_the_others_get_the_same_bits_as_if_none_were_known(scorer: Any) -> None:
    """A run that goes on where another one stopped ends with that one's result, to the bit."""
    done: list[Done] = []
    whole = scorer.score(PAIRS, on_scored=done.append).logits
    known = np.full(len(PAIRS), np.nan, dtype=np.float32)
    for batch in done[::2]:
        known[batch.rows] = batch.logits
    told: list[int] = []
    again: list[Done] = []
    rest = scorer.score(PAIRS, told.append, known, again.append)
    assert rest.logits.tobytes() == whole.tobytes()
    assert rest.computed_pairs == sum(len(batch.rows) for batch in again)
    assert rest.computed_pairs == int(np.isnan(known).sum())
    assert told[0] == len(PAIRS) - rest.computed_pairs
    assert sum(told) == len(PAIRS)
    assert rest.truncated_pairs == sum(int(batch.cut.sum()) for batch in done)


def test_pairs_of_the_same_two_texts_are_computed_once_if_asked_and_share_a_score(scorer: Any) -> None:
    """In two places their scores could differ in the last bit, and a store would know them by one name."""
    texts = [*PAIRS, *PAIRS[::-1]]
    done: list[Done] = []
    told: list[int] = []
    once = scorer.score(texts, told.append, on_scored=done.append, repeatable=True)
    assert once.computed_pairs == len(set(PAIRS)) == len(np.concatenate([batch.rows for batch in done]))
    assert sum(told) == len(texts)
    assert once.logits[: len(PAIRS)].tobytes() == once.logits[: len(PAIRS) - 1 : -1].tobytes()
    np.testing.assert_allclose(once.logits, scorer.score(texts).logits, rtol=0, atol=1e-5)
    assert scorer.score(texts).computed_pairs == len(texts)


def test_a_run_with_repeated_pairs_goes_on_to_the_same_bits(scorer: Any) -> None:
    texts = [*PAIRS, *PAIRS[::-1]]
    done: list[Done] = []
    whole = scorer.score(texts, on_scored=done.append, repeatable=True).logits
    kept: dict[Any, float] = {}
    for batch in done[:2]:
        kept |= {texts[row]: logit for row, logit in zip(batch.rows, batch.logits, strict=True)}
    known = np.array([kept.get(pair, np.nan) for pair in texts], dtype=np.float32)
    again: list[Done] = []
    assert scorer.score(texts, known=known, on_scored=again.append, repeatable=True).logits.tobytes() == whole.tobytes()
    assert sorted(batch.rows.tolist() for batch in again) == sorted(batch.rows.tolist() for batch in done[2:])


def test_nothing_is_computed_where_everything_is_known(scorer: Any) -> None:
    known = np.arange(len(PAIRS), dtype=np.float32)
    scored = scorer.score(PAIRS, known=known)
    assert (scored.logits.tolist(), scored.computed_pairs, scored.tokens) == (known.tolist(), 0, 0)


class Full:
    """A model on a device with room for `tokens` at once."""

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


def test_a_batch_that_does_not_fit_is_halved_and_the_run_goes_on(xlmr_folder: Any, scorer: Any) -> None:
    small = load(xlmr_folder)
    small.runner.model = Full(small.runner.model, 200)
    scored = small.score(PAIRS)
    np.testing.assert_allclose(scored.logits, scorer.score(PAIRS).logits, rtol=0, atol=1e-5)
    assert len(scored.events) == len(small.runner.model.refused) > 1
    assert all(event.startswith("out of memory on cpu with a batch of") for event in scored.events)
    assert all(event.endswith("tokens; it was halved") for event in scored.events)
    # Each batch starts with the whole budget again: a batch of up to 200 tokens is never split.
    assert scored.computed_pairs == len(PAIRS)


def test_a_pair_that_never_fits_ends_in_one_sentence(xlmr_folder: Any) -> None:
    small = load(xlmr_folder)
    small.runner.model = Full(small.runner.model, 50)
    with pytest.raises(
        EvalkitError, match=r"one pair of 96 tokens does not fit; lower reranker\.batch_tokens \(now 40"
    ):
        small.score(PAIRS)


def test_deterministic_would_rather_fail_than_split_a_batch(xlmr_folder: Any) -> None:
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        fixed = load(xlmr_folder, batch_tokens=None, deterministic=True)
        assert fixed.score(PAIRS).logits.tobytes() == fixed.score(PAIRS).logits.tobytes()
        fixed.runner.model = Full(fixed.runner.model, 200)
        with pytest.raises(EvalkitError, match="out of memory on cpu with a batch of"):
            fixed.score(PAIRS)
    finally:
        torch.use_deterministic_algorithms(False)
        if before is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_an_error_that_is_not_about_memory_is_an_error(xlmr_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = load(xlmr_folder)

    def forward(*inputs: Any) -> None:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(broken.runner.model, "forward", forward)
    with pytest.raises(RuntimeError, match="device-side assert"):
        broken.score(PAIRS)


def test_two_workers_give_one_workers_logits_and_outlive_each_other(xlmr_folder: Any, scorer: Any) -> None:
    expected = scorer.score(PAIRS, repeatable=True).logits
    spec = ScorerSpec(str(xlmr_folder), "cpu", "fp32", scorer.pairs.max_length, "longest_first", 400)
    with DevicePool([spec, spec], batch_timeout_s=60) as pool:
        both = scorer.score(PAIRS, runner=pool)
        assert both.logits.tobytes() == expected.tobytes()
        assert not both.events

        pool._own = scorer.runner  # this process works beside them
        assert scorer.score(PAIRS, runner=pool).logits.tobytes() == expected.tobytes()
        pool._own = None

        os.kill(pool._workers[0].process.pid or 0, signal.SIGKILL)
        one = scorer.score(PAIRS, runner=pool)
        assert one.logits.tobytes() == expected.tobytes()

        pool._batch_timeout_s = 0.5
        os.kill(pool._workers[-1].process.pid or 0, signal.SIGSTOP)  # it hangs
        with pytest.raises(EvalkitError, match=r"no worker is left to score on: .*did not answer for 0\.5 s"):
            scorer.score(PAIRS, runner=pool)
        started = time.monotonic()
    assert time.monotonic() - started < 60  # nobody waits for a worker that is gone


def test_a_worker_that_cannot_load_its_model_says_why(tmp_path: Path) -> None:
    spec = ScorerSpec(str(tmp_path / "nowhere"), "cpu", "fp32", 96, "longest_first", 400)
    with pytest.raises(EvalkitError, match=r"reranker\.model=.*there is no such folder"):
        DevicePool([spec])
