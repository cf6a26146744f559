"""The time of a smaller depth, from the grid of depths and lengths."""

from dataclasses import replace

import pytest

from evalkit.boundary.typed import typed
from evalkit.results.latency_by_depth import latency_ms
from evalkit.types import Cost, GridCell, LatencyGrid
from tests.helpers.results import plain_cost


def cost(cells: dict[tuple[int, int], float]) -> Cost:
    """A reranker that takes 300 ms at the depth of its trial, with pairs of 10 tokens: (depth, length) -> ms."""
    found: Cost = typed(Cost, plain_cost())
    assert found.latency is not None
    latency = found.latency
    grid = LatencyGrid(tuple(
        GridCell(depth, length, float(length), replace(latency, p50_ms=ms))
        for (depth, length), ms in cells.items()
    ))  # fmt: skip
    return replace(found, latency_grid=grid if cells else None)


def test_a_time_is_the_measured_one_times_the_ratio_of_the_depths_in_the_grid() -> None:
    measured = cost({(10, 16): 50.0, (50, 16): 150.0, (100, 16): 200.0})
    assert latency_ms(measured, 100, 100) == 300.0
    assert latency_ms(measured, 100, 50) == pytest.approx(300 * 150 / 200)
    assert latency_ms(measured, 100, 20) == pytest.approx(300 * 75 / 200)  # 50 + (150 - 50) / 4


def test_the_length_nearest_to_that_of_the_pairs_is_read() -> None:
    grid = {(10, 8): 10.0, (20, 8): 40.0, (10, 512): 100.0, (20, 512): 150.0}
    assert latency_ms(cost(grid), 20, 10) == pytest.approx(300 / 4)


def test_beyond_the_grid_and_without_one_a_time_is_unknown() -> None:
    grid = {(10, 16): 50.0, (50, 16): 150.0}
    assert latency_ms(cost(grid), 50, 5) is None
    assert latency_ms(cost(grid), 100, 50) is None
    assert latency_ms(cost({}), 100, 50) is None
    assert latency_ms(replace(cost(grid), latency=None), 50, 50) is None
    assert latency_ms(None, 50, 50) is None
