"""Labels estimated from a log of clicks: clicks over expected examinations, where only the rank decides on those."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from evalkit.boundary.cells import id_text
from evalkit.boundary.errors import EvalkitError
from evalkit.boundary.text import quoted
from evalkit.slices import labels

COLUMNS = {
    "query_id": labels.COLUMNS["query_id"],
    "doc_id": labels.COLUMNS["doc_id"],
    "rank": ("rank", "position"),
    "clicked": ("clicked", "click"),
    "impressions": ("impressions",),
    "clicks": ("clicks",),
}
"""Column of a log -> its names; a row is one impression with `clicked`, or a sum of `impressions` with `clicks`."""


@dataclass(frozen=True)
class ClickModel:
    """The position-based model: a user clicks what is examined and attractive, and examines rank r with r ** -eta.

    Sources: Craswell, Zoeter, Taylor and Ramsey 2008, An experimental comparison of click position-bias models, for the
    model; Joachims, Swaminathan and Schnabel 2017, Unbiased learning-to-rank with biased feedback, for r ** -eta. The
    other two defaults are a choice of evalkit's; labels state all three as their `source`.
    """

    eta: float = 1.0
    """0: every rank is examined, so that the estimate is the clickthrough rate."""
    min_examinations: float = 20.0
    """Pairs with fewer expected examinations are left unjudged."""
    thresholds: tuple[float, ...] = (0.1, 0.3)
    """Ascending estimates; a grade is the number of thresholds that the estimate reaches."""

    def check(self) -> None:
        """Check every number.

        Raises:
            EvalkitError: one is out of its range.
        """
        if not (isfinite(self.eta) and self.eta >= 0):
            raise EvalkitError(f"--eta {self.eta:g}: give 0 or more; 1 means that rank 2 is examined half as often")
        if not (isfinite(self.min_examinations) and self.min_examinations > 0):
            raise EvalkitError(f"--min-examinations {self.min_examinations:g}: give a number above 0")
        if not self.thresholds or list(self.thresholds) != sorted({*self.thresholds}) or self.thresholds[0] <= 0:
            raise EvalkitError("--thresholds: give ascending numbers above 0, such as 0.1,0.3 for grades 0, 1 and 2")

    @property
    def source(self) -> str:
        """Return all numbers as a text: ``eta=1 examinations>=20 grades=0.1/0.3``."""
        grades = "/".join(f"{value:g}" for value in self.thresholds)
        return f"eta={self.eta:g} examinations>={self.min_examinations:g} grades={grades}"


@dataclass(frozen=True)
class Shown:
    """How often a passage was shown for a query, and clicked."""

    impressions: int = 0
    clicks: int = 0
    examinations: float = 0.0
    """Sum of rank ** -eta over the impressions."""


@dataclass(frozen=True)
class Estimated:
    """Grades from clicks, and what they rest on."""

    grades: Mapping[str, Mapping[str, int]]
    """query_id -> doc_id -> grade; pairs with too few examinations are missing."""
    impressions: int
    clicks: int
    pairs: int
    """That were shown."""
    above_one: int
    """Graded pairs with more clicks than expected examinations, which the model cannot explain."""
    changed: int
    """Graded pairs that would have another grade by their clickthrough rate."""
    by_grade: Mapping[int, int] = field(default_factory=dict)
    """grade -> pairs."""


def estimate(path: Path, model: ClickModel) -> Estimated:
    """Estimate grades from a log.

    The estimate for a pair is its clicks over its expected examinations: the maximum likelihood of a Poisson model, and
    unbiased under the position-based model where eta is right (Zhang and Jones 2007, Comparing click logs and editorial
    labels for training query rewriting, with the examination in place of the mean clickthrough rate of a rank).

    Args:
        path: .csv or .tsv with a header, or .jsonl, with `COLUMNS`.
        model: examination and thresholds.

    Raises:
        EvalkitError: a number of the model is out of its range, the log is malformed, or no pair has enough
            examinations.
    """
    model.check()
    shown = _read(path, model.eta)
    grades: dict[str, dict[str, int]] = {}
    by_grade = dict.fromkeys(range(len(model.thresholds) + 1), 0)
    above_one = changed = 0
    for (query_id, doc_id), one in shown.items():
        if one.examinations < model.min_examinations:
            continue
        grade = _grade(one.clicks / one.examinations, model)
        grades.setdefault(query_id, {})[doc_id] = grade
        by_grade[grade] += 1
        above_one += one.clicks > one.examinations
        changed += grade != _grade(one.clicks / one.impressions, model)
    if not grades:
        most = max((one.examinations for one in shown.values()), default=0.0)
        raise EvalkitError(
            f"{path}: no passage has {model.min_examinations:g} expected examinations for a query (the most is "
            f"{most:.3g}); a longer log or --min-examinations would help"
        )
    return Estimated(
        grades=grades,
        impressions=sum(one.impressions for one in shown.values()),
        clicks=sum(one.clicks for one in shown.values()),
        pairs=len(shown),
        above_one=above_one,
        changed=changed,
        by_grade=by_grade,
    )


def _grade(value: float, model: ClickModel) -> int:
    return sum(value >= threshold for threshold in model.thresholds)


def _read(path: Path, eta: float) -> dict[tuple[str, str], Shown]:
    found: dict[tuple[str, str], Shown] = {}
    for where, row in labels.rows(path, COLUMNS, "a log of clicks"):
        try:
            pair = id_text(row["query_id"]), id_text(row["doc_id"])
            rank, impressions, clicks = _counts(row)
        except (KeyError, TypeError, ValueError):
            has = ", ".join(f"{key} {quoted(value)}" for key, value in row.items())
            raise EvalkitError(
                f"{where}: a row has query_id, doc_id, rank from 1 on, and clicked (0 or 1), or impressions with as "
                f"many clicks or fewer; this one has {has}"
            ) from None
        before = found.get(pair, Shown())
        found[pair] = Shown(
            before.impressions + impressions,
            before.clicks + clicks,
            before.examinations + impressions * rank**-eta,
        )
    return found


_MOST = 2**53
"""Larger counts are not exact as floats."""


def _counts(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return rank, impressions and clicks of a row."""
    rank = labels.whole(row["rank"])
    if "clicked" in row:
        flags = {"0": 0, "1": 1, "false": 0, "true": 1}
        impressions, clicks = 1, flags[str(row["clicked"]).strip().lower()]
    else:
        impressions, clicks = labels.whole(row["impressions"]), labels.whole(row["clicks"])
    if not 1 <= rank <= _MOST or not 0 <= clicks <= impressions <= _MOST or not impressions:
        raise ValueError("ranks count from 1, and nothing is clicked more often than shown")
    return rank, impressions, clicks
