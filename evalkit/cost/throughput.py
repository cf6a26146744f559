"""Throughput, energy and price, computed from one timed pass over pairs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.rerankers.base import CallPrice, Engine
from evalkit.types import CostEstimate, Energy, Latency, Memory, Scores, Settings, Throughput

_ENERGY_MIN_S = 1.0
"""Seconds. NVML's energy counter advances only some ten times a second: of a shorter pass it shows a few steps."""


@dataclass(frozen=True)
class TimedPass:
    """One pass over pairs: its scores, and what was measured while it ran."""

    source: str
    """``scoring`` for the scoring of all pairs, ``sample`` for a pass over a sample of them."""
    devices: int
    """Devices that shared the work."""
    scores: Scores
    wall_s: float
    joules: float | None
    """Energy that the whole GPU drew; None where it cannot be read."""
    memory: Memory
    gpu: Settings
    """Driver, clocks and temperature of the GPU at the end of the pass, while its clocks are still those of work."""

    @property
    def computed_pairs(self) -> int:
        """Pairs that the model computed."""
        computed = self.scores.computed_pairs
        return len(self.scores.logits) - self.scores.from_store if computed is None else computed


def throughput_of(timed: TimedPass, tokenize_pairs_per_s: float | None, matrix_flops_per_s: float | None) -> Throughput:
    """Return the rates of a pass.

    Args:
        timed: a pass without scores from a store.
        tokenize_pairs_per_s: pairs a second of tokenization alone; None where it is unknown.
        matrix_flops_per_s: floating point operations a second of a matrix product on one device; None where it was not
            measured.

    Returns:
        Rates over computed pairs. The model's rates divide by the model's time on each device (`Scores.forward_s` is
        the sum over devices). Model FLOPs utilisation (MFU) is the model's rate over the matrix rate of all devices,
        after Chowdhery et al. 2022, PaLM, appendix B, with a measured rate in place of the data sheet's.
    """
    scores, wall_s, devices = timed.scores, timed.wall_s, timed.devices
    pairs, model_s, flops = timed.computed_pairs, scores.forward_s / devices, scores.flops
    model_rate = flops / model_s if flops and model_s else None
    return Throughput(
        source=timed.source,
        devices=devices,
        pairs=pairs,
        tokens=scores.tokens,
        padding_share=scores.padding_share,
        wall_s=wall_s,
        tokenize_s=scores.tokenize_s,
        forward_s=scores.forward_s,
        end_to_end_pairs_per_s=pairs / wall_s,
        model_pairs_per_s=pairs / model_s if model_s else None,
        tokenize_pairs_per_s=tokenize_pairs_per_s,
        tokens_per_s=scores.tokens / wall_s,
        flops=flops,
        model_flops_per_s=model_rate,
        matrix_flops_per_s=matrix_flops_per_s,
        model_mfu=model_rate / matrix_flops_per_s / devices if model_rate and matrix_flops_per_s else None,
        end_to_end_mfu=flops / wall_s / matrix_flops_per_s / devices if flops and matrix_flops_per_s else None,
        shared_share=scores.shared_share,
    )


def time_tokenization(engine: Engine | None, texts: Sequence[tuple[str, str]]) -> float | None:
    """Return the pairs a second of tokenizing (query, passage) texts alone; None without an engine.

    Args:
        engine: the reranker's engine.
        texts: (query, passage), one or more.
    """
    if engine is None:
        return None
    started = time.perf_counter()
    engine.tokenize(texts).batch(range(len(texts)))
    return len(texts) / (time.perf_counter() - started)


def energy_of(joules: float | None, throughput: Throughput, unavailable: str | None) -> Energy:
    """Return the energy of the pass that `throughput` describes, or the reason that there is none.

    Args:
        joules: energy that one GPU drew during the pass; None where it has no counter.
        throughput: gives duration, pairs and devices.
        unavailable: why the GPU cannot be read at all; None where it can.
    """
    why, wall_s = unavailable, throughput.wall_s
    if why is None and throughput.devices > 1:
        why = f"energy is read of one GPU, and {throughput.devices} shared the work"
    if why is None and joules is None:
        why = "NVML reports no energy for this GPU (it takes Volta or later, and a whole GPU, not a part of one)"
    if why is None and wall_s < _ENERGY_MIN_S:
        why = f"the pass took {wall_s:.2f} s, too short for a counter that advances every 0.1 s or so"
    if why is not None or joules is None:
        return Energy(None, wall_s, None, None, why)
    return Energy(joules, wall_s, joules / wall_s, 1000 * joules / throughput.pairs)


def estimate_price(
    price_per_gpu_hour: float, currency: str, depth: int, throughput: Throughput, latency: Latency | None, device: str
) -> CostEstimate:
    """Return what reranking costs on GPUs that are paid by the hour and always busy.

    Args:
        price_per_gpu_hour: in `currency`, 0 or more.
        currency: shown next to the prices; nothing is converted.
        depth: passages of a query.
        throughput: gives the end-to-end rate of all devices together.
        latency: of single queries, which run on one device; None where it was not measured.
        device: ``cpu`` or ``cuda:N``; on a CPU there is no estimate, and the reason is given.

    Returns:
        Prices, with price of a pair = price of a GPU second x devices / pairs per second.
    """
    if not device.startswith("cuda"):
        why = "the reranker ran on the CPU, and the price is that of a GPU hour"
        return CostEstimate(price_per_gpu_hour, currency, depth, None, None, None, why)
    per_gpu_s = price_per_gpu_hour / 3600
    per_pair = per_gpu_s * throughput.devices / throughput.end_to_end_pairs_per_s
    samples_ms = latency.samples_ms if latency else ()
    alone = per_gpu_s * 1000 * (sum(samples_ms) / 1000) / len(samples_ms) if samples_ms else None
    return CostEstimate(
        price_per_gpu_hour,
        currency,
        depth,
        per_1000_queries=per_pair * 1000 * depth,
        per_1000_queries_one_by_one=alone,
        per_million_pairs=per_pair * 1e6,
    )


def estimate_call_price(price: CallPrice, currency: str, depth: int, timed: TimedPass, queries: int) -> CostEstimate:
    """Return what reranking costs at the prices of a server.

    Args:
        price: of its calls or of its tokens.
        currency: shown next to the prices; nothing is converted.
        depth: passages of a query.
        timed: a pass that computed every score; it gives calls, tokens and pairs. Calls that were sent again after an
            error count once.
        queries: how many different queries its pairs have.

    Returns:
        Prices, with price of a pair = what the pass cost / its pairs. A query costs its calls, however few passages it
        has; tokens are counted for `depth` passages.
    """
    scores, pairs = timed.scores, timed.computed_pairs
    of_pass = per_query = why = None
    if price.per_1000_calls is not None and scores.billed_calls is not None:
        of_pass = price.per_1000_calls * scores.billed_calls / 1000
        per_query = of_pass / queries
    elif price.per_million_tokens is not None and scores.billed_tokens is not None:
        of_pass = price.per_million_tokens * scores.billed_tokens / 1e6
        per_query = of_pass / pairs * depth
    else:
        why = "the price is that of tokens, and the server does not state how many it counts"
    return CostEstimate(
        None,
        currency,
        depth,
        per_1000_queries=None if per_query is None else per_query * 1000,
        per_1000_queries_one_by_one=None,
        per_million_pairs=None if of_pass is None else of_pass / pairs * 1e6,
        why=why,
        price_per_1000_calls=price.per_1000_calls,
        price_per_million_tokens=price.per_million_tokens,
    )
