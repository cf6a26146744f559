"""The latency of a trial's reranker at a smaller depth than its own, from the grid of depths and lengths."""

from itertools import pairwise

from evalkit.types import Cost, LatencyGrid


def latency_ms(cost: Cost | None, measured_depth: int, depth: int) -> float | None:
    """Return the median latency of reranking one query with `depth` passages.

    At the depth of the trial it is the measured one. At a smaller one it is the measured one times the ratio of the two
    depths in the grid, interpolated linearly between its depths, at the length that is nearest to that of the trial's
    pairs.

    Args:
        cost: of the trial.
        measured_depth: the depth of the trial.
        depth: up to `measured_depth`.

    Returns:
        Milliseconds; None where no latency was measured, or the grid does not reach from `depth` to `measured_depth`.
    """
    if cost is None or cost.latency is None:
        return None
    if depth == measured_depth:
        return cost.latency.p50_ms
    curve = _curve(cost.latency_grid, _tokens_per_pair(cost)) if cost.latency_grid else []
    before, at = _interpolated(curve, depth), _interpolated(curve, measured_depth)
    return None if before is None or not at else cost.latency.p50_ms * before / at


def _tokens_per_pair(cost: Cost) -> float | None:
    return cost.throughput.tokens / cost.throughput.pairs if cost.throughput and cost.throughput.pairs else None


def _curve(grid: LatencyGrid, tokens: float | None) -> list[tuple[int, float]]:
    """Return (depth, ms) by ascending depth, at the length nearest to `tokens`; at the shortest one if that is None."""
    if not grid.cells:
        return []
    lengths = {cell.length: cell.tokens_per_pair for cell in grid.cells}
    length = min(lengths, key=lambda one: (abs(lengths[one] - (tokens or 0.0)), one))
    found = {cell.depth: cell.latency.p50_ms for cell in grid.cells if cell.length == length}
    return sorted(found.items())


def _interpolated(curve: list[tuple[int, float]], depth: int) -> float | None:
    for (low, low_ms), (high, high_ms) in pairwise(curve):
        if low <= depth <= high:
            return low_ms + (high_ms - low_ms) * (depth - low) / (high - low)
    return None
