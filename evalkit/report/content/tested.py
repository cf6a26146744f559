"""How a corrected test of a difference is put into words, the same in every part of a comparison."""

from evalkit.report.content.numbers import interval, p_value
from evalkit.results.comparison_schema import BestTest, CorrectedTest

SIGNIFICANT = 0.05
"""Corrected p values below this are marked."""

UNCLEAR = "no clear difference"


def trend(test: CorrectedTest | BestTest) -> str:
    """Return ``better``, ``worse``, or `UNCLEAR`, of the system that is tested against another."""
    if test.holm_p is None or test.holm_p >= SIGNIFICANT:
        return UNCLEAR
    return "better" if test.mean > 0 else "worse"


def change(test: CorrectedTest | BestTest) -> str:
    """Return the difference with its interval in brackets, where there is one."""
    ends = interval(test.low, test.high)
    return f"{test.mean:+.4f}" + (f" (95 % interval {ends})" if ends else "")


def p_equals(p: float | None) -> str:
    """Return a p value after "p", with an equals sign where it is a number."""
    return p_value(p, "-") if p is None or p < 0.001 else f"= {p_value(p)}"
