"""Runs a job in a fresh process, so that one trial's memory and CUDA context never touch another's."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from evalkit.errors import EvalkitError

T = TypeVar("T")


def in_fresh_process(job: Callable[..., T], *arguments: Any) -> T:
    """Return what `job` returns, or raise what it raises.

    Raises:
        EvalkitError: the process died, as it does when the system kills it for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(job, *arguments).result()
        except BrokenProcessPool:
            raise EvalkitError(
                "the trial's process died without a word, most likely killed for using too much memory; lower "
                "reranker.batch_tokens, cut the slice (slice.corpus=judged, slice.queries=N) or use a smaller model"
            ) from None
