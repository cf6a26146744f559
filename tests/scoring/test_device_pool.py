"""Worker processes give the logits of one process, and the failure of one worker does not end the run."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from evalkit.boundary.errors import EvalkitError
from evalkit.scoring.device_pool import DevicePool
from evalkit.scoring.spec import ScorerSpec
from tests.helpers.scorers import PAIRS, load_scorer


def test_worker_processes_give_the_logits_of_one_process_and_may_die(xlmr_folder: Any) -> None:
    scorer = load_scorer(xlmr_folder)
    expected = scorer.score(PAIRS, repeatable=True).logits
    spec = ScorerSpec(str(xlmr_folder), "cpu", "fp32", scorer.pair_tokenizer.max_length, "longest_first", 400)
    with DevicePool([spec, spec], batch_timeout_s=60) as pool:
        both = scorer.score(PAIRS, runner=pool)
        assert both.logits.tobytes() == expected.tobytes()
        assert not both.events

        pool.local_runner = scorer.runner  # this process takes batches as well
        assert scorer.score(PAIRS, runner=pool).logits.tobytes() == expected.tobytes()
        pool.local_runner = None

        killed, other = multiprocessing.active_children()
        killed.kill()
        assert other.pid is not None
        one = scorer.score(PAIRS, runner=pool)
        assert one.logits.tobytes() == expected.tobytes()

        pool.batch_timeout_s = 0.5
        os.kill(other.pid, signal.SIGSTOP)  # it hangs
        with pytest.raises(EvalkitError, match=r"no worker is left to score on: .*did not answer for 0\.5 s"):
            scorer.score(PAIRS, runner=pool)
        started = time.monotonic()
    assert time.monotonic() - started < 60  # closing the pool does not wait for the worker that hangs


def test_a_worker_that_cannot_load_its_model_ends_the_run_with_its_error(tmp_path: Path) -> None:
    spec = ScorerSpec(str(tmp_path / "nowhere"), "cpu", "fp32", 96, "longest_first", 400)
    with pytest.raises(EvalkitError, match=r"reranker\.model=.*there is no such folder"):
        DevicePool([spec])
