"""The passes in which a reranker is measured: load, warm up, score, and what the protocol asks for besides.

Every pass but `Meter.score` is there to be timed, so it computes: no score of a store may enter it.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from evalkit.boundary.progress import stage
from evalkit.cost import gpu, latency_grid
from evalkit.cost.gpu import Gpu
from evalkit.cost.latency import measure_latency
from evalkit.cost.memory import MemoryWatch, measure_memory
from evalkit.cost.protocol import CostProtocol
from evalkit.cost.throughput import estimate
from evalkit.errors import NotFiniteError
from evalkit.rerankers.base import Engine, Reranker
from evalkit.types import (
    Cost,
    CostEstimate,
    Energy,
    Latency,
    LatencyGrid,
    Memory,
    MemoryPass,
    Pair,
    Scores,
    Settings,
    Slice,
    Throughput,
)

if TYPE_CHECKING:
    pass

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Pass:
    """Pairs that were scored, and what was seen of it."""

    source: str
    devices: int
    scores: Scores
    wall_s: float
    joules: float | None
    memory: Memory
    gpu: Settings
    """Facts of the GPU at its end, when its clocks are still those of work."""

    @property
    def computed_pairs(self) -> int:
        computed = self.scores.computed_pairs
        return len(self.scores.logits) - self.scores.from_store if computed is None else computed


class Meter:
    """Measures one reranker over the candidates of one slice; call `load`, `score` and `cost`, in this order."""

    def __init__(
        self, protocol: CostProtocol, depth: int, reranker: Reranker, data: Slice, pairs: Sequence[Pair]
    ) -> None:
        """Begin to watch this process's memory: what is there now is not the reranker's."""
        self._protocol, self._depth, self._reranker, self._data, self._pairs = protocol, depth, reranker, data, pairs
        self._groups = list(_by_query(pairs).values())
        self.device = _device(reranker)
        self._yardstick = _yardstick(self.device) if protocol.calibrate and reranker.computes else None
        self._watch = MemoryWatch(self.device)
        self._engine: Engine | None = None
        self._load_s = self._warmup_s = 0.0
        self._first_forward_ms: float | None = None
        self._scoring: _Pass | None = None
        self._timed: _Pass | None = None

    @cached_property
    def _gpu(self) -> Gpu:
        """Opened when it is first asked: CUDA's own memory is part of loading, and not of what was there before."""
        on_cpu = None if self.device.startswith("cuda") else "the reranker ran on the CPU, and only GPUs have NVML"
        return Gpu(gpu.gpu_properties(self.device)["uuid"], on_cpu)

    def load(self) -> None:
        """Load the reranker, and rerank some queries before any clock is read."""
        reranker, started = self._reranker, time.perf_counter()
        if not reranker.reranks:
            return
        with stage("loading"):
            reranker.load()
        self._load_s = time.perf_counter() - started - reranker.check_s
        self._engine = reranker.engine
        self._watch.loaded()
        if reranker.computes:
            with stage("taking the fingerprint of the model"):
                reranker.describe()  # reads its files for that, once, where no clock runs
            taken_s = [_seconds(partial(self._fresh, group)) for group in self._groups[: self._protocol.warmup_queries]]
            self._first_forward_ms = taken_s[0] * 1000 if taken_s else None
            self._warmup_s = sum(taken_s)

    def score(self) -> Scores:
        """Score all pairs: the one pass that may take scores from a store, and that runs on several devices."""
        if not self._reranker.reranks:
            return self._reranker.score(self._pairs, self._data.queries, self._data.docs)
        devices = self._engine.facts.devices if self._engine else 1
        self._scoring = self._pass("scoring", devices, self._reranker.score_all, self._pairs, "scoring")
        return self._scoring.scores

    def cost(self, first_stage_s: float) -> Cost | None:
        """Measure what is left to be measured, and return all of it; None where nothing was computed."""
        if not self._reranker.computes or self._scoring is None:
            return None
        protocol, scoring, engine = self._protocol, self._scoring, self._engine
        self._timed = timed = self._computing_pass(scoring)
        throughput = self._throughput(timed)
        latency = self._latency() if protocol.latency_queries else None
        grid = self._grid() if protocol.grid_depths and protocol.grid_lengths else None
        memory = replace(
            timed.memory,
            weights_mb=engine.weights_mb() if engine else None,
            own_pass=self._memory_pass(throughput) if protocol.memory_pass else None,
        )
        return Cost(
            first_stage_s=first_stage_s,
            load_s=self._load_s,
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
            memory=memory,
            energy=self._energy(timed.joules, throughput),
            estimate=self._estimate(throughput, latency),
            calibration=self._yardstick.read() if self._yardstick else None,
        )

    def environment(self) -> dict[str, Any] | None:
        """Return device, driver, clocks and versions that `cost` was measured under; None where nothing was."""
        if self._timed is None:
            return None
        facts, known = self._engine.facts if self._engine else None, gpu.gpu_properties(self.device)
        return {
            "device": self.device,
            "device_name": facts.device_name if facts else None,
            "attention": facts.attention if facts else None,
            "torch": gpu.torch_version(),
            "transformers": version("transformers"),
            "compute_capability": known["compute_capability"],
            "cuda": known["cuda"],
            **self._timed.gpu,
            "nvml": self._gpu.why,
        }

    def _fresh(self, pairs: Sequence[Pair]) -> Scores:
        """Score pairs for a clock: a score out of a store would make it a fast one."""
        scores = self._reranker.score(pairs, self._data.queries, self._data.docs)
        _refuse_stored(scores)
        return scores

    def _pass(
        self, source: str, devices: int, score: Callable[..., Scores], pairs: Sequence[Pair], label: str
    ) -> _Pass:
        with stage(label, len(pairs), "pairs") as advance:
            joules, started = self._gpu.energy_j(), time.perf_counter()
            scores = score(pairs, self._data.queries, self._data.docs, advance)
            wall_s, joules = time.perf_counter() - started, _since(joules, self._gpu.energy_j())
        return _Pass(source, devices, scores, wall_s, joules, self._watch.read(), self._gpu.facts())

    def _computing_pass(self, scoring: _Pass) -> _Pass:
        """Return the scoring of all pairs if no score came from a store, else a pass over a sample of them."""
        if not scoring.scores.from_store:
            return scoring
        found = self._pass("sample", 1, self._reranker.score, self._sample(), "timing a sample of the pairs")
        _refuse_stored(found.scores)
        return found

    def _throughput(self, timed: _Pass) -> Throughput:
        protocol, scores, wall_s, devices = self._protocol, timed.scores, timed.wall_s, timed.devices
        matrix = None
        if protocol.matrix_rate_s and self._engine:  # without one there is no model's rate to hold it against
            with stage("measuring the matrix rate of the device"):
                matrix = _matrix_rate(self.device, self._engine.facts.dtype, protocol.matrix_rate_s)
        pairs, model_s, flops = timed.computed_pairs, scores.forward_s / devices, scores.flops
        per_s = flops / model_s if flops and model_s else None
        return Throughput(
            source=timed.source,
            devices=devices,
            pairs=pairs,
            tokens=scores.tokens,
            padding_share=1 - scores.tokens / scores.padded_tokens if scores.padded_tokens else 0.0,
            wall_s=wall_s,
            tokenize_s=scores.tokenize_s,
            forward_s=scores.forward_s,
            end_to_end_pairs_per_s=pairs / wall_s,
            model_pairs_per_s=pairs / model_s if model_s else None,
            tokenize_pairs_per_s=self._tokenize_pairs_per_s(self._sample()),
            tokens_per_s=scores.tokens / wall_s,
            flops=flops,
            model_flops_per_s=per_s,
            matrix_flops_per_s=matrix,
            model_mfu=per_s / matrix / devices if per_s and matrix else None,
            end_to_end_mfu=flops / wall_s / matrix / devices if flops and matrix else None,
        )

    def _energy(self, joules: float | None, throughput: Throughput) -> Energy:
        why, wall_s = self._gpu.why, throughput.wall_s
        if why is None and throughput.devices > 1:
            why = f"energy is read of one GPU, and {throughput.devices} shared the work"
        if why is None and joules is None:
            why = "NVML tells no energy of this GPU (it takes Volta or later, and not a part of a GPU)"
        if why is None and wall_s < _ENERGY_MIN_S:
            why = f"the pass took {wall_s:.2f} s, too short for a counter that moves every 0.1 s or so"
        if why is not None or joules is None:
            return Energy(None, wall_s, None, None, why)
        return Energy(joules, wall_s, joules / wall_s, 1000 * joules / throughput.pairs)

    def _tokenize_pairs_per_s(self, sample: Sequence[Pair]) -> float | None:
        engine = self._engine
        if engine is None:
            return None
        texts = [(self._data.queries[pair.query_id], self._data.docs[pair.doc_id]) for pair in sample]
        return len(sample) / _seconds(lambda: engine.tokenize(texts).batch(range(len(texts))))

    def _sample(self) -> list[Pair]:
        """Return `throughput_pairs` pairs of random queries, each with its candidates, as in the scoring of all."""
        groups = _chosen(self._groups, len(self._groups), self._protocol.seed)
        return [pair for group in groups for pair in group][: self._protocol.throughput_pairs]

    def _latency(self) -> Latency:
        protocol, timed = self._protocol, _chosen(self._groups, self._protocol.latency_queries, self._protocol.seed)
        beside = self._yardstick.measure if self._yardstick else _nothing
        with stage("timing single queries", None if protocol.latency_min_s else len(timed), "queries") as advance:

            def between() -> None:  # where no clock of ours runs
                advance(1)
                beside()

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
            return LatencyGrid((), ("the reranker does not tell how many tokens a pair is",))
        by_length = sorted((data.queries[group[0].query_id] for group in self._groups), key=len)
        found = dict.fromkeys(pair.doc_id for pair in _chosen(self._pairs, _GRID_TEXTS, protocol.seed))

        prompt = str(self._reranker.describe().get("prompt") or "")  # which the reranker puts before each query

        def tokens_of(texts: Sequence[tuple[str, str]]) -> npt.NDArray[np.integer]:
            return np.asarray(engine.tokenize([(prompt + query, text) for query, text in texts]).lengths)

        def score(query: str, texts: Sequence[str]) -> int:
            pairs = [Pair("grid", str(number)) for number in range(len(texts))]
            docs = {pair.doc_id: text for pair, text in zip(pairs, texts, strict=True)}
            scores = self._reranker.score(pairs, {"grid": query}, docs)
            _refuse_stored(scores)
            return scores.tokens

        with stage("timing a grid of depths and lengths"):
            return latency_grid.measure(
                by_length[len(by_length) // 2],
                [data.docs[doc_id] for doc_id in found],
                protocol.grid_depths,
                protocol.grid_lengths,
                engine.facts.max_length,
                tokens_of,
                score,
                protocol.grid_repetitions,
                protocol.grid_cell_s,
            )

    def _memory_pass(self, throughput: Throughput) -> MemoryPass:
        """Score the longest pairs, two batches of them, once more: the largest batch is the peak of any run."""
        engine = self._engine
        batch_tokens = engine.facts.batch_tokens if engine else None
        with stage("measuring memory"):
            pairs = self._longest(2 * batch_tokens if batch_tokens else None, throughput)

            def work() -> tuple[int, int]:
                scores = self._fresh(pairs)
                return len(pairs), scores.tokens

            seen = measure_memory(self.device, work)
        predicted = None
        if engine is not None and batch_tokens is not None:
            predicted = engine.predicted_peak_mb(min(batch_tokens, seen.tokens))
        return replace(seen, cuda_process_mb=self._gpu.process_mb(), predicted_peak_mb=predicted)

    def _longest(self, tokens: int | None, throughput: Throughput) -> list[Pair]:
        """Return the longest pairs, about so many tokens of them; as many as one query has where None.

        By bytes of UTF-8, which follow tokens across scripts better than characters do: to tokenize all pairs again
        would take as long as to score them on a fast device.
        """
        queries, docs = self._data.queries, self._data.docs
        of_query = {query_id: _size(queries[query_id]) for query_id in {pair.query_id for pair in self._pairs}}
        of_doc = {doc_id: _size(docs[doc_id]) for doc_id in {pair.doc_id for pair in self._pairs}}
        size = {pair: of_query[pair.query_id] + of_doc[pair.doc_id] for pair in self._pairs}
        by_size = sorted(self._pairs, key=lambda pair: -size[pair])
        if tokens is None:
            return by_size[: self._depth]
        sample = self._sample() if throughput.source == "sample" else self._pairs
        tokens_per_byte = throughput.tokens / max(sum(size[pair] for pair in sample), 1)
        most = self._engine.facts.max_length if self._engine else float("inf")
        chosen: list[Pair] = []
        total = 0.0
        for pair in by_size:
            if total >= tokens:
                break
            chosen.append(pair)
            total += min(size[pair] * tokens_per_byte, most)
        return chosen

    def _estimate(self, throughput: Throughput, latency: Latency | None) -> CostEstimate | None:
        protocol = self._protocol
        if protocol.price_per_gpu_hour is None:
            return None
        return estimate(protocol.price_per_gpu_hour, protocol.currency, self._depth, throughput, latency, self.device)


_ENERGY_MIN_S = 1.0
"""A pass shorter than this is a few steps of NVML's energy counter."""
_GRID_TEXTS = 500
"""Passages that the grid's are made of: more than the deepest cell of the standard protocol has."""


def _by_query(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.query_id, []).append(pair)
    return groups


def _chosen(items: Sequence[_T], count: int, seed: int) -> list[_T]:
    return random.Random(seed).sample(items, min(count, len(items)))  # noqa: S311


def _refuse_stored(scores: Scores) -> None:
    assert not scores.from_store, "a timed pass was given scores from a store"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _since(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="surrogatepass"))


def _nothing() -> None:
    pass


def _device(reranker: Reranker) -> str:
    """Return where the reranker will compute, which the memory watch has to know before it is loaded."""
    if not reranker.computes or reranker.device == "cpu" or reranker.remote:
        return "cpu"
    from evalkit.scoring.device import resolve_device

    return str(resolve_device(reranker.device))


def _yardstick(device: str) -> "ReferenceTimer":
    from evalkit.cost.reference_workload import ReferenceTimer

    return ReferenceTimer(device)


def _matrix_rate(device: str, dtype: str, seconds: float) -> float:
    from evalkit.cost.matrix_rate import matrix_flops_per_s

    return matrix_flops_per_s(device, dtype, seconds)


def _logits_by_query(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    logits: dict[str, dict[str, float]] = {}
    for pair, logit in zip(pairs, scores.logits, strict=True):
        if logit is not None and not math.isfinite(logit):
            raise NotFiniteError(
                f"the reranker gave {logit} as logit for query {pair.query_id!r} and passage {pair.doc_id!r}; a wider "
                "precision (bf16 or fp32) may help, or the weights are broken"
            )
        if logit is not None:
            logits.setdefault(pair.query_id, {})[pair.doc_id] = logit
    return logits
