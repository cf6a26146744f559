"""The rate of matrix products on a device at one precision, with which the rate of a model is compared."""

import time
from collections.abc import Callable

import torch

from evalkit.cost.latency import percentile
from evalkit.scoring import linear
from evalkit.scoring.device import synchronize

SIDES = {"cuda": (4096, 8192), "cpu": (512, 1024, 2048), "mps": (1024, 2048, 4096)}
"""Sides of the square matrices for each kind of device; the fastest one counts."""


def matrix_flops_per_s(device: str, dtype: str, seconds: float) -> float:
    """Return the floating point operations a second of the fastest square matrix product.

    The product is that of a linear layer (x times W transposed) with 2 n^3 operations. The numbers are random: zeros
    would be faster, as bits that change heat the chip and lower its clock.

    Args:
        device: ``cpu`` or ``cuda:N``.
        dtype: torch's name of the type, such as ``float16``; whether float32 uses TF32 is a setting of the process.
        seconds: duration of the measurement, about.
    """
    where = torch.device(device)
    sides = SIDES[where.type]
    return max(_rate(where, getattr(torch, dtype), side, seconds / len(sides)) for side in sides)


def _rate(device: torch.device, dtype: torch.dtype, side: int, seconds: float) -> float:
    random = torch.Generator(device).manual_seed(0)
    x, weights = (torch.randn(side, side, generator=random, device=device).to(dtype) for _ in range(2))
    product = linear.product_for(device, dtype)  # as in evalkit's models
    with torch.inference_mode():

        def products(times: int) -> None:
            for _ in range(times):
                product(x, weights)

        products(1)  # loads kernels
        times = max(1, round(_CHUNK_S / _seconds(device, products, 3) * 3))
        taken: list[float] = []
        while not taken or sum(taken) < seconds:
            taken.append(_seconds(device, products, times))
    return times * 2 * side**3 / percentile(taken, 50)


def _seconds(device: torch.device, products: Callable[[int], None], times: int) -> float:
    """Return the seconds of `times` products: by events on a GPU, where launches are asynchronous."""
    if device.type != "cuda":
        started = time.perf_counter()
        products(times)
        synchronize(device)
        return time.perf_counter() - started
    with torch.cuda.device(device):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record()
        products(times)
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000


_CHUNK_S = 0.02
"""Seconds that the products of one sample take together: long compared with a launch, short compared with the rest."""
