"""How the logits of a trial relate to relevance: by grade, by threshold, and the calibration of the sigmoid."""

import math
from typing import TYPE_CHECKING, Any

from evalkit.types import Settings, Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Row = dict[str, Any]

HISTOGRAM_BINS, CALIBRATION_BINS, MOST_THRESHOLDS = 30, 10, 60


def has_all_logits(effective: Settings) -> bool:
    """Return whether a model computed a logit for every pair of a trial.

    A run that was read from a file has scores of any kind, not logits. Where some pairs have no logit, the reranked run
    has substitute scores for them, which cannot be distinguished from computed ones.
    """
    return "precision" in effective["reranker"] and not effective["scoring"]["pairs_unscored"]


def analyse_scores(trial: Trial) -> dict[str, Any] | None:
    """Return the ``scores`` of `breakdown.analyse`; None unless every pair has a logit and some pair is judged."""
    if not has_all_logits(trial.effective):
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
    found: dict[str, Any] = {
        "grades": _grades(logits, grades),
        "histogram": _histogram(logits, grades),
        "thresholds": [],
        "best_f1": None,
        "rules": [],
        "calibration": [],
        "expected_calibration_error": None,
    }
    logits, relevant = logits[judged], grades[judged] >= trial.slice.relevance_level
    if relevant.all() or not relevant.any():
        return found
    sigmoids = sigmoid(logits)
    found["thresholds"], found["best_f1"] = _thresholds(logits, relevant)
    found["rules"] = [
        _rule("sigmoid >= 0.8", relevant[sigmoids >= 0.8]),
        _rule("sigmoid < 0.4", relevant[sigmoids < 0.4]),
    ]
    found["calibration"] = _calibration(sigmoids, relevant)
    found["expected_calibration_error"] = math.fsum(
        abs(row["mean_sigmoid"] - row["relevant_share"]) * row["pairs"] for row in found["calibration"]
    ) / len(relevant)
    return found


def _by_grade(logits: "Floats", grades: "Floats") -> dict[int | None, "Floats"]:
    """Return grade -> logits by ascending grade, and last the logits of unjudged pairs under None."""
    import numpy as np

    unjudged = np.isnan(grades)
    parts: dict[int | None, Floats] = {int(g): logits[grades == g] for g in np.unique(grades[~unjudged])}
    return parts | ({None: logits[unjudged]} if unjudged.any() else {})


def _grades(logits: "Floats", grades: "Floats") -> list[Row]:
    import numpy as np

    return [
        {"grade": grade, "pairs": len(part)}
        | {f"p{p}": float(np.percentile(part, p)) for p in (5, 25, 50, 75, 95)}
        for grade, part in _by_grade(logits, grades).items()
    ]  # fmt: skip


def _histogram(logits: "Floats", grades: "Floats") -> dict[str, Any]:
    import numpy as np

    low, high = float(logits[0]), float(logits[-1])
    if low == high:
        low, high = low - max(0.5, math.ulp(low)), high + max(0.5, math.ulp(high))
    edges = np.unique(np.linspace(low, high, HISTOGRAM_BINS + 1))  # fewer edges where floats are not dense enough
    counts = {
        "unjudged" if grade is None else str(grade): np.histogram(part, edges)[0].tolist()
        for grade, part in _by_grade(logits, grades).items()
    }
    return {"edges": edges.tolist(), "counts": counts}


def _thresholds(logits: "Floats", relevant: "Flags") -> tuple[list[Row], Row]:
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

    def row(i: int) -> Row:
        return {
            "logit": float(distinct[i]), "sigmoid": float(sigmoids[i]), "precision": float(right[i] / kept[i]),
            "recall": float(right[i] / everything), "f1": float(f1[i]),
        }  # fmt: skip

    chosen = np.arange(len(distinct))
    if len(chosen) > MOST_THRESHOLDS:
        steps = np.linspace(0, 1, MOST_THRESHOLDS // 2)
        marks = [np.quantile(part, steps, method="inverted_cdf") for part in (logits, logits[relevant])]  # real logits
        chosen = np.searchsorted(distinct, np.unique(marks))
    return [row(i) for i in chosen.tolist()], row(int(np.flatnonzero(f1 == f1.max())[-1]))


def sigmoid(logits: "Floats") -> "Floats":
    """Return 1 / (1 + exp(-logit)) of an array of any shape, without overflow."""
    import numpy as np

    small = np.exp(-np.abs(logits))  # at most 1: no overflow
    return np.where(logits < 0, small, 1.0) / (1.0 + small)


def _rule(text: str, relevant: "Flags") -> Row:
    share = float(relevant.mean()) if len(relevant) else None
    return {"rule": text, "pairs": len(relevant), "relevant_share": share}


def _calibration(sigmoids: "Floats", relevant: "Flags") -> list[Row]:
    """Return, for each tenth of [0, 1] that has pairs, the mean sigmoid and the share of relevant pairs."""
    import numpy as np

    edges = [i / CALIBRATION_BINS for i in range(CALIBRATION_BINS + 1)]
    places = np.digitize(
        sigmoids, edges[1:-1]
    )  # a sigmoid on an edge belongs to the bin above it, and 1 to the last bin
    return [
        {
            "low": edges[i], "high": edges[i + 1], "pairs": int((places == i).sum()),
            "mean_sigmoid": float(sigmoids[places == i].mean()), "relevant_share": float(relevant[places == i].mean()),
        }
        for i in np.unique(places).tolist()
    ]  # fmt: skip
