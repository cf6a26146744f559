"""The order of a measurement: load, prepare, warm up, score all pairs, then the other passes of the protocol.

The scores come first. What the caller does between them and the other passes, such as evaluating, is in no figure: in
another process, or once the passes are made whose memory is read.

Every pass but the scoring of all pairs exists to be timed, so each of its scores is computed: none may be read from the
score store.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from evalkit.boundary.progress import say, stage
from evalkit.cost import gpu, latency_grid, load
from evalkit.cost.gpu import Gpu
from evalkit.cost.latency import measure_latency
from evalkit.cost.memory import MemoryWatch, longest_pairs, measure_memory
from evalkit.cost.protocol import CostProtocol
from evalkit.cost.throughput import (
    TimedPass,
    energy_of,
    estimate_call_price,
    estimate_price,
    throughput_of,
    time_tokenization,
)
from evalkit.rerankers.base import Engine, Reranker, logits_by_query
from evalkit.types import (
    Cost,
    CostEstimate,
    Latency,
    LatencyGrid,
    Load,
    Memory,
    MemoryPass,
    Pair,
    Scores,
    Settings,
    Slice,
    Throughput,
)

if TYPE_CHECKING:
    from evalkit.cost.reference_workload import ReferenceTimer

_T = TypeVar("_T")

_ELSEWHERE = "another machine computed, which this process cannot measure"
_GRID_TEXTS = 500
"""Passages that the latency grid is built from: more than its deepest cell holds in the standard protocol."""


@dataclass(frozen=True)
class _Computed:
    """What the passes were measured to take whose memory is read."""

    timed: TimedPass
    """The pass that throughput is of: the scoring of all pairs, or one over a sample."""
    throughput: Throughput
    memory_pass: MemoryPass | None


class Meter:
    """The passes over the candidates of one slice: `score` first, then `cost`, then `environment`.

    Whoever evaluates in this process calls `make_memory_passes` before; who lets another do it does so in `paused`.
    """

    def __init__(
        self, protocol: CostProtocol, depth: int, reranker: Reranker, data: Slice, pairs: Sequence[Pair]
    ) -> None:
        """Watch memory from now on.

        Args:
            protocol: which passes are made, and how long.
            depth: candidates of each query, for the price of a query and the size of the memory pass.
            reranker: one that has been checked and not loaded.
            data: the slice that the pairs are of.
            pairs: the candidates of all queries; those of a query follow one another, in first-stage order.
        """
        self._protocol, self._depth, self._reranker, self._data, self._pairs = protocol, depth, reranker, data, pairs
        self._groups = list(_by_query(pairs).values())
        self._device = _device(reranker)
        here = reranker.computes and not reranker.remote
        self._reference = _reference_timer(self._device) if protocol.calibrate and here else None
        self._watch = MemoryWatch(self._device)  # before loading: memory in use now is not the reranker's
        self._engine: Engine | None = None
        self._load_s = self._preparation_s = self._warmup_s = 0.0
        self._first_forward_ms: float | None = None
        self._scoring: TimedPass | None = None

    @cached_property
    def _gpu(self) -> Gpu:
        """The GPU, opened after loading: the memory of CUDA itself counts as part of loading."""
        on_cpu = None if self._device.startswith("cuda") else "the reranker ran on the CPU, and only GPUs have NVML"
        on_cpu = _ELSEWHERE if self._reranker.remote else on_cpu
        return Gpu(gpu.gpu_properties(self._device)["uuid"], on_cpu)

    def score(self) -> tuple[Scores, dict[str, dict[str, float]]]:
        """Load the reranker and score all pairs.

        The scoring of all pairs is the one pass that may read scores from a store, and that may use several devices.

        Returns:
            The scores, and their logits as query_id -> doc_id -> logit, without the pairs that have none.

        Raises:
            EvalkitError: whatever the reranker refuses.
            NotFiniteError: a logit is NaN or infinite.
        """
        if not self._reranker.reranks:
            scores = self._reranker.score(self._pairs, self._data.queries, self._data.docs)
            return scores, logits_by_query(self._pairs, scores)
        self._load()
        devices = self._engine.facts.devices if self._engine else 1
        scoring = self._pass("scoring", devices, self._reranker.score_all, self._pairs, "scoring")
        logits = logits_by_query(self._pairs, scoring.scores)  # refuses what is not finite, before more time is spent
        if self._reranker.computes:
            self._scoring = scoring
        return scoring.scores, logits

    def paused(self) -> AbstractContextManager[None]:
        """Leave the memory that the block takes out of all figures."""
        return self._watch.paused()

    def make_memory_passes(self) -> None:
        """Make the passes whose memory is read now, before this process takes memory for something else."""
        if self._scoring is not None:
            _ = self._computed

    @cached_property
    def _computed(self) -> _Computed:
        assert self._scoring is not None, "nothing was scored"
        timed = self._computing_pass(self._scoring)
        throughput = self._throughput(timed)
        with_memory = self._protocol.memory_pass and not self._reranker.remote
        return _Computed(timed, throughput, self._memory_pass(throughput) if with_memory else None)

    def cost(self, first_stage_s: float) -> Cost | None:
        """Make all passes that are left, and return all figures; None where nothing was computed.

        Args:
            first_stage_s: seconds that the first stage took, which `Cost` shows as well.
        """
        if self._scoring is None:
            return None
        protocol, engine, scoring = self._protocol, self._engine, self._scoring
        timed, throughput = self._computed.timed, self._computed.throughput
        latency = self._latency() if protocol.latency_queries else None
        grid = self._grid() if protocol.grid_depths and protocol.grid_lengths else None
        memory = replace(
            Memory(None, None, None, why=_ELSEWHERE) if self._reranker.remote else timed.memory,
            weights_mb=engine.weights_mb() if engine else None,
            own_pass=self._computed.memory_pass,
        )
        under_load = self._under_load() if protocol.clients or protocol.rates else None
        return Cost(
            first_stage_s=first_stage_s,
            load_s=self._load_s,
            preparation_s=self._preparation_s,
            first_forward_ms=self._first_forward_ms,
            warmup_s=self._warmup_s,
            pairs=len(self._pairs),
            computed_pairs=scoring.computed_pairs,
            scoring_s=scoring.wall_s,
            pairs_per_s=throughput.end_to_end_pairs_per_s,
            tokenize_s=scoring.scores.tokenize_s,
            forward_s=scoring.scores.forward_s,
            throughput=throughput,
            latency=latency,
            latency_grid=grid,
            load=under_load,
            memory=memory,
            energy=energy_of(timed.joules, throughput, self._gpu.unavailable),
            estimate=self._estimate(timed, throughput, latency),
            calibration=self._reference.read() if self._reference else None,
        )

    def environment(self) -> Settings | None:
        """Return device, driver, clocks and versions that the figures were measured under; None without figures."""
        if self._scoring is None:
            return None
        facts, known = self._engine.facts if self._engine else None, gpu.gpu_properties(self._device)
        if self._reranker.remote and facts is None:
            return {"nvml": self._gpu.unavailable}
        return {
            "device": self._device,
            "device_name": facts.device_name if facts else None,
            "attention": facts.attention if facts else None,
            "torch": gpu.torch_version(),
            "transformers": version("transformers"),
            "compute_capability": known["compute_capability"],
            "cuda": known["cuda"],
            **self._computed.timed.gpu,
            "nvml": self._gpu.unavailable,
        }

    def _load(self) -> None:
        """Load the reranker, let it prepare, and rerank the warm-up queries."""
        reranker = self._reranker
        say(f"  loading {reranker.shown_name}")
        started = time.perf_counter()
        with stage("loading"):
            reranker.load()
        self._load_s = time.perf_counter() - started - reranker.check_s
        self._engine = reranker.engine
        self._watch.mark_loaded()
        if reranker.computes:
            with stage("taking the fingerprint of the model"):
                reranker.describe()  # may hash the model's files, once: done here so that no timed pass includes it
            prepare = partial(reranker.prepare, self._pairs, self._data.queries, self._data.docs)
            self._preparation_s = _seconds(prepare)
            taken_s = [_seconds(partial(self._fresh, group)) for group in self._groups[: self._protocol.warmup_queries]]
            self._first_forward_ms = taken_s[0] * 1000 if taken_s else None
            self._warmup_s = sum(taken_s)

    def _fresh(self, pairs: Sequence[Pair]) -> Scores:
        """Score pairs for a timing: a score read from a store would make it too short."""
        scores = self._reranker.score(pairs, self._data.queries, self._data.docs)
        _refuse_stored(scores)
        return scores

    def _pass(
        self, source: str, devices: int, score: Callable[..., Scores], pairs: Sequence[Pair], label: str
    ) -> TimedPass:
        with stage(label, len(pairs), "pairs") as advance:
            before_j, started = self._gpu.energy_j(), time.perf_counter()
            scores = score(pairs, self._data.queries, self._data.docs, advance)
            wall_s, after_j = time.perf_counter() - started, self._gpu.energy_j()
        joules = None if before_j is None or after_j is None else after_j - before_j
        return TimedPass(source, devices, scores, wall_s, joules, self._watch.read(), self._gpu.facts())

    def _computing_pass(self, scoring: TimedPass) -> TimedPass:
        """Return the scoring of all pairs if no score came from a store, else a pass over a sample of them."""
        if not scoring.scores.from_store:
            return scoring
        timed = self._pass("sample", 1, self._reranker.score, self._sample(), "timing a sample of the pairs")
        _refuse_stored(timed.scores)
        return timed

    def _throughput(self, timed: TimedPass) -> Throughput:
        matrix_rate = None
        if self._protocol.matrix_rate_s and self._engine:  # without an engine there is no model rate to compare with
            with stage("measuring the matrix rate of the device"):
                matrix_rate = _matrix_rate(self._device, self._engine.facts.dtype, self._protocol.matrix_rate_s)
        texts = [(self._data.queries[pair.query_id], self._data.docs[pair.doc_id]) for pair in self._sample()]
        return throughput_of(timed, time_tokenization(self._engine, texts), matrix_rate)

    def _sample(self) -> list[Pair]:
        """Return `throughput_pairs` pairs of random queries, each with its candidates, as in the scoring of all."""
        groups = _draw(self._groups, len(self._groups), self._protocol.seed)
        return [pair for group in groups for pair in group][: self._protocol.throughput_pairs]

    def _latency(self) -> Latency:
        protocol, timed = self._protocol, _draw(self._groups, self._protocol.latency_queries, self._protocol.seed)
        with stage("timing single queries", None if protocol.latency_min_s else len(timed), "queries") as advance:

            def between() -> None:
                advance(1)
                if self._reference:
                    self._reference.measure()

            return measure_latency(
                [partial(self._fresh, group) for group in timed],
                sum(map(len, timed)) / len(timed),
                protocol.latency_min_repetitions,
                protocol.latency_min_s,
                between,
            )

    def _grid(self) -> LatencyGrid:
        protocol, data, engine = self._protocol, self._data, self._engine
        if engine is None:
            return LatencyGrid((), ("the reranker does not report how many tokens a pair has",))
        by_length = sorted((data.queries[group[0].query_id] for group in self._groups), key=len)
        doc_ids = dict.fromkeys(pair.doc_id for pair in _draw(self._pairs, _GRID_TEXTS, protocol.seed))

        def tokens_of(texts: Sequence[tuple[str, str]]) -> npt.NDArray[np.integer]:
            prompted = [(engine.facts.prompt + query, text) for query, text in texts]
            return np.asarray(engine.tokenize(prompted).lengths)

        def score(query: str, texts: Sequence[str]) -> int:
            pairs = [Pair("grid", str(number)) for number in range(len(texts))]
            docs = {pair.doc_id: text for pair, text in zip(pairs, texts, strict=True)}
            scores = self._reranker.score(pairs, {"grid": query}, docs)
            _refuse_stored(scores)
            return scores.tokens

        with stage("timing a grid of depths and lengths"):
            return latency_grid.measure(
                by_length[len(by_length) // 2],
                [data.docs[doc_id] for doc_id in doc_ids],
                protocol.grid_depths,
                protocol.grid_lengths,
                engine.facts.max_length,
                tokens_of,
                score,
                protocol.grid_repetitions,
                protocol.grid_cell_s,
            )

    def _under_load(self) -> Load:
        """Ask for all queries of the slice in turn, so that a server that keeps answers has as few as possible."""
        groups = _draw(self._groups, len(self._groups), self._protocol.seed)
        at_once = self._reranker.concurrent
        pairs_per_query = sum(map(len, groups)) / len(groups)
        return load.measure(
            self._protocol, lambda query: self._fresh(groups[query]), len(groups), pairs_per_query, at_once
        )

    def _memory_pass(self, throughput: Throughput) -> MemoryPass:
        """Score the longest pairs once more, two batches of them: the largest batch is the peak of any run."""
        facts, data = self._engine.facts if self._engine else None, self._data
        batch_tokens = facts.batch_tokens if facts else None
        with stage("measuring memory"):
            pairs = longest_pairs(
                self._pairs,
                self._sample() if throughput.source == "sample" else self._pairs,
                data.queries,
                data.docs,
                count=self._depth,
                tokens=2 * batch_tokens if batch_tokens else None,
                sample_tokens=throughput.tokens,
                max_length=facts.max_length if facts else None,
            )

            def work() -> tuple[int, int]:
                scores = self._fresh(pairs)
                return len(pairs), scores.tokens

            seen = measure_memory(self._device, work)
        predicted = None
        if self._engine is not None and batch_tokens is not None:
            predicted = self._engine.predicted_peak_mb(min(batch_tokens, seen.tokens))
        return replace(seen, cuda_process_mb=self._gpu.process_mb(), predicted_peak_mb=predicted)

    def _estimate(self, timed: TimedPass, throughput: Throughput, latency: Latency | None) -> CostEstimate | None:
        price, currency = self._protocol.price_per_gpu_hour, self._protocol.currency
        if (of_calls := self._reranker.price) is not None:
            of_pass = self._pairs if timed.source == "scoring" else self._sample()
            queries = len({pair.query_id for pair in of_pass})
            return estimate_call_price(of_calls, currency, self._depth, timed, queries)
        if price is None:
            return None
        if self._reranker.remote:
            return CostEstimate(price, currency, self._depth, None, None, None, _ELSEWHERE)
        return estimate_price(price, currency, self._depth, throughput, latency, self._device)


def _by_query(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.query_id, []).append(pair)
    return groups


def _draw(items: Sequence[_T], count: int, seed: int) -> list[_T]:
    return random.Random(seed).sample(items, min(count, len(items)))  # noqa: S311


def _refuse_stored(scores: Scores) -> None:
    assert not scores.from_store, "a timed pass was given scores from a store"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _device(reranker: Reranker) -> str:
    """Return the device that the reranker will compute on, whose memory is watched from before it is loaded."""
    if not reranker.computes or reranker.device == "cpu" or reranker.remote:
        return "cpu"
    from evalkit.scoring.device import resolve_device

    return str(resolve_device(reranker.device))


# torch, which these two import, is loaded only where it is used.


def _reference_timer(device: str) -> "ReferenceTimer":
    from evalkit.cost.reference_workload import ReferenceTimer

    return ReferenceTimer(device)


def _matrix_rate(device: str, dtype: str, seconds: float) -> float:
    from evalkit.cost.matrix_rate import matrix_flops_per_s

    return matrix_flops_per_s(device, dtype, seconds)
