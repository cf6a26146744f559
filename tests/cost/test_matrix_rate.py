"""The matrix rate is that of real products on the device, at the precision that was asked for."""

from typing import Any

import pytest
import torch

from evalkit.cost import matrix_rate
from evalkit.cost.matrix_rate import matrix_flops_per_s


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Small products, and a clock that each of them moves on by what it would take at 10 FLOP/s, those of 4 at 20."""
    seen = []
    now = [0.0]

    def product(x: Any, weights: Any) -> Any:
        seen.append((tuple(x.shape), x.dtype, x.equal(weights)))
        now[0] += 2 * len(x) ** 3 / (20 if len(x) == 4 else 10)
        return x @ weights.T

    for place in ("torch.nn.functional.linear", "evalkit.scoring.linear.linear"):
        monkeypatch.setattr(place, product)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setitem(matrix_rate.SIDES, "cpu", (2, 4, 8))
    return seen


def test_the_rate_is_that_of_the_fastest_product(watched: Any) -> None:
    # A product of n x n takes 2 n^3 operations; those of 4 x 4 run at 20 FLOP/s, the others at 10.
    assert matrix_flops_per_s("cpu", "float32", 1.0) == pytest.approx(20)
    assert {shape for shape, _, _ in watched} == {(2, 2), (4, 4), (8, 8)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_products_are_of_random_numbers_at_the_precision_and_leave_chance_as_it_was(
    watched: Any, dtype: Any
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    matrix_flops_per_s("cpu", dtype, 0.0)
    assert {found for _, found, _ in watched} == {getattr(torch, dtype)}
    assert not any(equal for _, _, equal in watched)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_real_product_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matrix_rate.SIDES, "cpu", (64,))
    assert 1e6 < matrix_flops_per_s("cpu", "float32", 0.01) < 1e14


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "least"), [("float32", 1e12), ("float16", 1e13)])
def test_a_gpu_is_measured_by_its_own_clock(dtype: Any, least: Any) -> None:
    """Launches alone would give thousands of times the rate that any device has."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    torch.set_float32_matmul_precision("highest")
    assert least < matrix_flops_per_s("cuda:0", dtype, 0.2) < 5e15
