"""What the logits of a trial say of relevance: by grade, by threshold, and as the sigmoid would have it."""

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
    """Return whether a model gave a logit to every pair, by what a trial says of itself.

    A run that was read from a file has scores of any kind, not logits. And where some pairs have no logit, the reranked
    run continues its scores downwards: made up, and not to be told from the computed ones.
    """
    return "precision" in effective["reranker"] and not effective["scoring"]["pairs_unscored"]


def analyse_scores(trial: Trial) -> dict[str, Any] | None:
    """Return the `scores` of `breakdown.analyse`; None without a model's logit for each pair, or any judged."""
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
    pairs = pairs[np.argsort(pairs["logit"])]  # one order for all sums
    logits, grades = pairs["logit"] + 0.0, pairs["grade"]  # -0.0 becomes 0.0
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
    sigmoids = _sigmoid(logits)
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
    """Return the logits of each grade that occurs, ascending, and last of all those of unjudged pairs, under None."""
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
    edges = np.unique(np.linspace(low, high, HISTOGRAM_BINS + 1))  # fewer where floats do not lie as dense
    counts = {
        "unjudged" if grade is None else str(grade): np.histogram(part, edges)[0].tolist()
        for grade, part in _by_grade(logits, grades).items()
    }
    return {"edges": edges.tolist(), "counts": counts}


def _thresholds(logits: "Floats", relevant: "Flags") -> tuple[list[Row], Row]:
    """Return what it means to keep all pairs with at least some logit, and the logit that makes F1 highest.

    All distinct (ascending) logits are tried. The list holds those at quantiles: half of them over all pairs, half over
    the relevant ones, which are even steps of recall. Of equal F1 the highest logit is best.
    """
    import numpy as np

    distinct, start = np.unique(logits, return_index=True)
    kept = len(logits) - start
    right = np.cumsum(relevant[::-1])[::-1][start]  # relevant pairs among those that are kept
    everything = int(relevant.sum())
    f1, sigmoids = 2 * right / (kept + everything), _sigmoid(distinct)

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


def _sigmoid(logits: "Floats") -> "Floats":
    import numpy as np

    small = np.exp(-np.abs(logits))  # at most 1: no overflow
    return np.where(logits < 0, small, 1.0) / (1.0 + small)


def _rule(text: str, relevant: "Flags") -> Row:
    share = float(relevant.mean()) if len(relevant) else None
    return {"rule": text, "pairs": len(relevant), "relevant_share": share}


def _calibration(sigmoids: "Floats", relevant: "Flags") -> list[Row]:
    """Return, for each tenth of [0, 1] that holds pairs, the mean sigmoid beside the share of relevant pairs."""
    import numpy as np

    edges = [i / CALIBRATION_BINS for i in range(CALIBRATION_BINS + 1)]
    places = np.digitize(sigmoids, edges[1:-1])  # a sigmoid on an edge belongs above it, and 1 into the last bin
    return [
        {
            "low": edges[i], "high": edges[i + 1], "pairs": int((places == i).sum()),
            "mean_sigmoid": float(sigmoids[places == i].mean()), "relevant_share": float(relevant[places == i].mean()),
        }
        for i in np.unique(places).tolist()
    ]  # fmt: skip
