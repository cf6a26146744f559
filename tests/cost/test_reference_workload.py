"""The calibration workload is the same work each time, and changes nothing of what is measured at the same time."""

from typing import Any

import pytest
import torch

from evalkit.cost import reference_workload
from evalkit.cost.reference_workload import ReferenceTimer, Workload


@pytest.fixture(autouse=True)
def precision() -> Any:
    asked = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    left = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(asked)
    assert left == "medium"


def test_the_work_never_changes() -> None:
    """Ratios measured with another work are other numbers: these may not be renewed."""
    torch.manual_seed(1)
    chance = torch.get_rng_state()
    one, other = Workload("cpu"), Workload("cpu")
    assert torch.equal(torch.get_rng_state(), chance)
    first, second = ([work.input, *(w for layer in work.layers for w in vars(layer).values())] for work in (one, other))
    assert all(map(torch.equal, first, second))
    # Six layers: 3 x 384 x 384 for queries, keys and values, 384 x 384 behind them, and twice 4 x 384 x 384.
    assert sum(weights.numel() for weights in first[1:]) == 6 * 12 * 384 * 384
    assert (first[0].shape, {tensor.dtype for tensor in first}) == ((16, 64, 384), {torch.float32})
    torch.set_float32_matmul_precision("highest")
    result = one.forward()
    assert torch.equal(result, one.forward())
    torch.set_float32_matmul_precision("medium")
    assert result[0, 0, :3].tolist() == pytest.approx([1.6535, -1.0913, 0.6728], abs=2e-3)
    assert result[-1, -1, -3:].tolist() == pytest.approx([0.9044, -1.4657, -0.3875], abs=2e-3)


def test_the_work_is_done_in_full_precision_even_if_it_fails() -> None:
    seen = []

    class Watched(Workload):
        def forward(self) -> Any:
            seen.append(torch.get_float32_matmul_precision())
            if len(seen) == 2:
                raise MemoryError
            return self.input

    with pytest.raises(MemoryError):
        Watched("cpu").run_ms()
    assert seen == ["highest", "highest"]


@pytest.mark.parametrize(("between", "middle"), [(0, 4), (3, 6)])  # nearest rank: number 5 of 10, number 7 of 13
def test_the_reference_workload_is_timed_before_during_and_after(
    between: Any, middle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_workload, "SEQUENCES", 1)  # less work: what is looked at is what is made of the times
    yardstick = ReferenceTimer("cpu")
    for _ in range(between):
        yardstick.measure()
    read = yardstick.read()
    assert (len(read.samples_ms), read.p50_ms) == (5 + between + 5, sorted(read.samples_ms)[middle])
    assert min(read.samples_ms) > 0
    # None where there is no /proc; the kernel's counters lag by some pages.
    before_mb, peak_mb = read.rss_before_mb, read.rss_peak_mb
    assert before_mb is None or (peak_mb is not None and 0 < before_mb <= peak_mb + 1)
