"""What one process measures of the engines in peers.py: their token ids, a round in turn, or latency and memory of one.

Every function that takes a `Job` is meant for `in_own_process`.
"""

import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is a folder: no engine has anything to ask the hub
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from msmarco_pairs import DEPTH, Pairs, by_query
from peers import PEERS, Evalkit, Logits, Setting, evalkit_pairs, ids_of, load, timed, timed_model
from transformers import AutoTokenizer

from evalkit.boundary.errors import EvalkitError
from evalkit.cost.latency import measure_latency
from evalkit.cost.matrix_rate import matrix_flops_per_s
from evalkit.cost.memory import measure_memory
from evalkit.scoring.device import device_name
from evalkit.scoring.flops import forward_flops
from evalkit.scoring.pair_tokenizer import TRUNCATIONS
from evalkit.types import Latency, MemoryPass

LATENCY_REPETITIONS, LATENCY_S = 10, 10.0
"""At least so many repetitions and seconds."""

MATRIX_S = {"cpu": 0.5, "cuda": 2.0}
"""Seconds of matrix products before each round."""

SEARCH_PAIRS, SEARCH_TURNS = 1024, 2
SEARCH_BATCHES = {"cpu": (8, 16, 32, 64, 128), "cuda": (32, 64, 128, 256, 512, 1024)}


@dataclass(frozen=True)
class Job:
    """What one process is asked to do."""

    names: tuple[str, ...]
    setting: Setting
    pairs: Pairs


@dataclass(frozen=True)
class Sample:
    """One engine in one round, in seconds for all pairs."""

    end_to_end_s: float
    model_s: float
    tokenize_s: float


@dataclass(frozen=True)
class Round:
    """What one process measured."""

    samples: dict[str, Sample]
    logits: dict[str, Logits]
    engines: dict[str, dict[str, Any]]
    """What each says of itself."""
    matrix_flops: float


@dataclass(frozen=True)
class Ids:
    """How the ids of one engine compare with evalkit's."""

    truncation: str
    differing_pairs: int
    truncated_pairs: int


@dataclass(frozen=True)
class Compared:
    """Token ids of all engines, and what follows from those on which all agree."""

    ids: dict[str, Ids]
    same: tuple[int, ...]
    """The pairs of which every engine makes evalkit's ids; the rounds take these."""
    token_lengths: tuple[int, ...]
    useful_flops: float


@dataclass(frozen=True)
class Apart:
    """One engine in a process of its own."""

    latency: Latency
    memory: MemoryPass


def search_batch(job: Job) -> dict[int, list[float]]:
    """Return the seconds that sentence-transformers takes at each batch size, a size that does not fit left out."""
    engine = load(["sentence-transformers"], job.setting)["sentence-transformers"]
    sample = neighbours(job.pairs, SEARCH_PAIRS)
    seconds: dict[int, list[float]] = {}
    engine.score(sample[:16])
    for _ in range(SEARCH_TURNS):
        for size in SEARCH_BATCHES[job.setting.torch_device.type]:
            engine.batch_size = size
            try:
                seconds.setdefault(size, []).append(timed(engine, sample, job.setting.torch_device)[0])
            except torch.OutOfMemoryError:
                seconds[size].append(float("inf"))
                torch.cuda.empty_cache()
    return {size: taken for size, taken in seconds.items() if max(taken) < float("inf")}


def neighbours(pairs: Pairs, count: int, run: int = 256) -> Pairs:
    """Return about `count` pairs in runs of `run` neighbours in length, so that a batch pads as it does among all."""
    if len(pairs) <= count:
        return pairs
    ordered = sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))
    starts = np.linspace(0, len(ordered) - run, count // run).astype(int)
    return [pair for start in starts for pair in ordered[start : start + run]]


def compare_ids(job: Job) -> Compared:
    """Compare the ids that each engine gives its model with evalkit's under the same truncation rule."""
    tokenizer = AutoTokenizer.from_pretrained(job.setting.folder)
    expected = {rule: evalkit_pairs(job.setting, tokenizer, rule, job.pairs) for rule in TRUNCATIONS}
    found, flops = {}, float("nan")
    same = np.ones(len(job.pairs), dtype=bool)
    engines = load(job.names, job.setting)
    for name, engine in engines.items():
        rule = expected[engine.truncation]
        _, got = engine.tokenize(job.pairs)
        equal = [np.array_equal(a, b) for a, b in zip(got, ids_of(rule), strict=True)]
        found[name] = Ids(engine.truncation, equal.count(False), int(rule.truncated.sum()))
        same &= equal
    rows = np.flatnonzero(same)
    lengths = expected["longest_first"].lengths[rows]
    for engine in engines.values():
        if isinstance(engine, Evalkit):
            flops = forward_flops(engine.scorer.shape, lengths)
    return Compared(found, tuple(rows.tolist()), tuple(lengths.tolist()), flops)


def run_round(job: Job) -> Round:
    """Load the engines, warm them up, and time them in turn."""
    device = job.setting.torch_device
    engines = load(job.names, job.setting)
    for engine in engines.values():
        # On CUDA all pairs: allocators and the choice of kernels settle. On a CPU a few are as good.
        engine.score(job.pairs if device.type == "cuda" else job.pairs[:: max(len(job.pairs) // 16, 1)])
    dtype = str(job.setting.numbers.dtype).removeprefix("torch.")
    rate = matrix_flops_per_s(job.setting.device, dtype, MATRIX_S[device.type])
    end_to_end, model, tokenize, logits = {}, {}, {}, {}
    for name, engine in engines.items():
        end_to_end[name], model[name], logits[name] = timed_model(engine, job.pairs, device)
    for name, engine in engines.items():
        tokenize[name], _ = engine.tokenize(job.pairs)
    samples = {name: Sample(end_to_end[name], model[name], tokenize[name]) for name in engines}
    return Round(samples, logits, {name: engine.describe() for name, engine in engines.items()}, rate)


def reference_logits(job: Job) -> Logits:
    """Return the logits of evalkit's padded path."""
    return load(["evalkit-padded"], job.setting)["evalkit-padded"].score(job.pairs)


def run_apart(job: Job) -> Apart:
    """Measure the peak memory of one engine over all pairs, then its latency query by query."""
    (engine,) = load(job.names, job.setting).values()
    cuda = job.setting.torch_device.type == "cuda"
    tokens = sum(len(ids) for ids in engine.tokenize(job.pairs)[1])

    def score(pairs: Pairs) -> int:
        return len(engine.score(pairs))  # the logits are on the host by then, so the device has finished

    memory = measure_memory(job.setting.device, lambda: (score(job.pairs), tokens))
    queries = [pairs for pairs in by_query(job.pairs) if len(pairs) == DEPTH] or by_query(job.pairs)[:1]
    for pairs in queries[:3]:
        engine.score(pairs)
    chosen = queries if cuda else queries[:LATENCY_REPETITIONS]  # each takes seconds on a CPU
    work = [partial(score, pairs) for pairs in chosen]
    latency = measure_latency(work, len(chosen[0]), min_repetitions=LATENCY_REPETITIONS, min_s=LATENCY_S)
    if isinstance(engine, Evalkit):
        memory = replace(memory, predicted_peak_mb=engine.predicted_peak_mb(job.pairs))
    return Apart(latency, memory)


def environment(device: torch.device) -> dict[str, Any]:
    """Return the versions and the hardware that the figures depend on."""
    packages = ["torch", "transformers", "tokenizers", "numpy", *{package: 0 for _, package in PEERS.values()}]
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found |= {"device": device_name(device), "cpu": device_name(torch.device("cpu")), "cores": os.cpu_count()}
    found["torch_threads"] = torch.get_num_threads()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"cuda": torch.version.cuda, "cuda_memory_mb": properties.total_memory / 2**20}
        found["compute_capability"] = f"{properties.major}.{properties.minor}"
    return found


def in_own_process(work: Callable[[Any], Any], job: Any) -> Any:
    """Return `work(job)`, computed by a fresh process.

    Raises:
        EvalkitError: what `work` raises, or the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, job).result()
        except BrokenProcessPool:
            if not isinstance(job, Job):
                raise EvalkitError(
                    f"the process of {work.__name__} was killed, most likely for want of memory"
                ) from None
            raise EvalkitError(
                f"the process of {', '.join(job.names)} was killed, most likely for want of memory: every engine holds "
                "a model of its own; choose fewer with --engines"
            ) from None
