"""The pictures: a result or a comparison in, a matplotlib Figure out, or None where there is nothing to draw."""

from evalkit.report.plots.blend import blend
from evalkit.report.plots.canvas import save
from evalkit.report.plots.comparison import forest, tradeoff
from evalkit.report.plots.cost import costs, latency, latency_grid
from evalkit.report.plots.history import trend
from evalkit.report.plots.judges import confusion, gains
from evalkit.report.plots.load import load
from evalkit.report.plots.pick import settings
from evalkit.report.plots.scores import reliability, scores
from evalkit.report.plots.sweep import sweep, varying
from evalkit.report.plots.trial import before_after, deltas, depths

__all__ = [
    "before_after",
    "blend",
    "confusion",
    "costs",
    "deltas",
    "depths",
    "forest",
    "gains",
    "latency",
    "latency_grid",
    "load",
    "reliability",
    "save",
    "scores",
    "settings",
    "sweep",
    "tradeoff",
    "trend",
    "varying",
]
