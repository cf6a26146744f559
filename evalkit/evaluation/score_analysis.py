"""How the logits of a trial relate to relevance: by grade, by threshold, and the calibration of the sigmoid."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evalkit.types import Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]


HISTOGRAM_BINS, CALIBRATION_BINS, MOST_THRESHOLDS = 30, 10, 60


@dataclass(frozen=True)
class GradeRow:
    """Percentiles of the logits of one grade."""

    grade: int | None
    """None for unjudged pairs."""
    pairs: int
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True)
class Histogram:
    """Logits of all pairs in bins of equal width."""

    edges: tuple[float, ...]
    """n + 1 edges of n bins."""
    counts: Mapping[str, tuple[int, ...]]
    """Grade, or ``unjudged`` -> pairs in each bin."""


@dataclass(frozen=True)
class Threshold:
    """What keeping the judged pairs with at least this logit would give."""

    logit: float
    sigmoid: float
    precision: float
    recall: float
    """Over relevant candidates."""
    f1: float


@dataclass(frozen=True)
class Rule:
    """A common rule of thumb on the sigmoid, and what it selects here."""

    rule: str
    pairs: int
    relevant_share: float | None
    """None where it selects no pair."""


@dataclass(frozen=True)
class CalibrationBin:
    """The judged pairs whose sigmoid is in [low, high)."""

    low: float
    high: float
    pairs: int
    mean_sigmoid: float
    relevant_share: float


@dataclass(frozen=True)
class ScoreAnalysis:
    """How logits relate to relevance.

    `grades` and `histogram` cover all pairs, the rest judged ones. Where all judged candidates are relevant (as where
    only answers were judged), or none is, the rest is empty or None.
    """

    grades: tuple[GradeRow, ...]
    histogram: Histogram
    thresholds: tuple[Threshold, ...] = ()
    best_f1: Threshold | None = None
    rules: tuple[Rule, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    expected_calibration_error: float | None = None


def has_all_logits(reranker: Mapping[str, Any], scoring: Mapping[str, Any]) -> bool:
    """Return whether a model computed a logit for every pair of a trial.

    A run that was read from a file has scores of any kind, not logits. Where some pairs have no logit, the reranked run
    has substitute scores for them, which cannot be distinguished from computed ones.

    Args:
        reranker: the reranker as the result records it; a model is recorded with its ``precision``.
        scoring: the counts that the result records, with ``pairs_unscored``.
    """
    return "precision" in reranker and not scoring["pairs_unscored"]


def analyse_scores(trial: Trial) -> ScoreAnalysis | None:
    """Return how logits relate to relevance; None unless every pair has a logit and some pair is judged."""
    if not has_all_logits(trial.effective["reranker"], trial.effective["scoring"]):
        return None
    import numpy as np

    depth, qrels = trial.effective["depth"], trial.slice.qrels
    pairs = np.fromiter(
        (
            (hit.score, qrels[query_id].get(hit.doc_id, math.nan))
            for query_id, hits in trial.reranked.rankings.items()
            for hit in hits[:depth]
        ),
        dtype=[("logit", np.float64), ("grade", np.float64)],
    )
    pairs = pairs[np.argsort(pairs["logit"])]  # a fixed order, so that sums do not depend on the order of queries
    logits, grades = pairs["logit"] + 0.0, pairs["grade"]  # turns -0.0 into 0.0
    judged = ~np.isnan(grades)
    if not judged.any():
        return None
    of_all = ScoreAnalysis(grades=_grades(logits, grades), histogram=_histogram(logits, grades))
    logits, relevant = logits[judged], grades[judged] >= trial.slice.relevance_level
    if relevant.all() or not relevant.any():
        return of_all
    sigmoids = sigmoid(logits)
    thresholds, best_f1 = _thresholds(logits, relevant)
    calibration = _calibration(sigmoids, relevant)
    apart = math.fsum(abs(one.mean_sigmoid - one.relevant_share) * one.pairs for one in calibration)
    return replace(
        of_all,
        thresholds=thresholds,
        best_f1=best_f1,
        rules=(
            _rule("sigmoid >= 0.8", relevant[sigmoids >= 0.8]),
            _rule("sigmoid < 0.4", relevant[sigmoids < 0.4]),
        ),
        calibration=calibration,
        expected_calibration_error=apart / len(relevant),
    )


def _by_grade(logits: "Floats", grades: "Floats") -> dict[int | None, "Floats"]:
    """Return grade -> logits by ascending grade, and last the logits of unjudged pairs under None."""
    import numpy as np

    unjudged = np.isnan(grades)
    parts: dict[int | None, Floats] = {int(g): logits[grades == g] for g in np.unique(grades[~unjudged])}
    return parts | ({None: logits[unjudged]} if unjudged.any() else {})


def _grades(logits: "Floats", grades: "Floats") -> tuple[GradeRow, ...]:
    import numpy as np

    return tuple(
        GradeRow(grade, len(part), *(float(np.percentile(part, percent)) for percent in (5, 25, 50, 75, 95)))
        for grade, part in _by_grade(logits, grades).items()
    )


def _histogram(logits: "Floats", grades: "Floats") -> Histogram:
    import numpy as np

    low, high = float(logits[0]), float(logits[-1])
    if low == high:
        low, high = low - max(0.5, math.ulp(low)), high + max(0.5, math.ulp(high))
    edges = np.unique(np.linspace(low, high, HISTOGRAM_BINS + 1))  # fewer edges where floats are not dense enough
    counts = {
        "unjudged" if grade is None else str(grade): tuple(np.histogram(part, edges)[0].tolist())
        for grade, part in _by_grade(logits, grades).items()
    }
    return Histogram(tuple(edges.tolist()), counts)


def _thresholds(logits: "Floats", relevant: "Flags") -> tuple[tuple[Threshold, ...], Threshold]:
    """Return precision, recall and F1 at thresholds of the logit, and the row with the highest F1.

    Every distinct logit is tried as the lowest one that is kept. The list has those at quantiles: half of them over all
    pairs, half over the relevant pairs, in equal steps of recall. Of equal F1, the highest logit is the best.
    """
    import numpy as np

    distinct, start = np.unique(logits, return_index=True)
    kept = len(logits) - start
    right = np.cumsum(relevant[::-1])[::-1][start]  # relevant pairs among those that are kept
    everything = int(relevant.sum())
    f1, sigmoids = 2 * right / (kept + everything), sigmoid(distinct)

    def row(i: int) -> Threshold:
        return Threshold(
            logit=float(distinct[i]),
            sigmoid=float(sigmoids[i]),
            precision=float(right[i] / kept[i]),
            recall=float(right[i] / everything),
            f1=float(f1[i]),
        )

    chosen = np.arange(len(distinct))
    if len(chosen) > MOST_THRESHOLDS:
        steps = np.linspace(0, 1, MOST_THRESHOLDS // 2)
        marks = [np.quantile(part, steps, method="inverted_cdf") for part in (logits, logits[relevant])]  # real logits
        chosen = np.searchsorted(distinct, np.unique(marks))
    return tuple(row(i) for i in chosen.tolist()), row(int(np.flatnonzero(f1 == f1.max())[-1]))


def sigmoid(logits: "Floats") -> "Floats":
    """Return 1 / (1 + exp(-logit)) of an array of any shape, without overflow."""
    import numpy as np

    small = np.exp(-np.abs(logits))  # at most 1: no overflow
    return np.where(logits < 0, small, 1.0) / (1.0 + small)


def _rule(text: str, relevant: "Flags") -> Rule:
    share = float(relevant.mean()) if len(relevant) else None
    return Rule(text, len(relevant), share)


def _calibration(sigmoids: "Floats", relevant: "Flags") -> tuple[CalibrationBin, ...]:
    """Return, for each tenth of [0, 1] that has pairs, the mean sigmoid and the share of relevant pairs."""
    import numpy as np

    edges = [i / CALIBRATION_BINS for i in range(CALIBRATION_BINS + 1)]
    places = np.digitize(sigmoids, edges[1:-1])  # a sigmoid on an edge is in the bin above it, and 1 in the last bin
    return tuple(
        CalibrationBin(
            low=edges[i],
            high=edges[i + 1],
            pairs=int((places == i).sum()),
            mean_sigmoid=float(sigmoids[places == i].mean()),
            relevant_share=float(relevant[places == i].mean()),
        )
        for i in np.unique(places).tolist()
    )
