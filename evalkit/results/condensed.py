"""Whether a comparison depends on unjudged passages: its tests again over condensed lists (Sakai 2007)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalkit.evaluation import significance
from evalkit.evaluation.measure_names import parse, without_unjudged
from evalkit.evaluation.significance import any_differs
from evalkit.results.comparison_schema import Best, BestTest, CorrectedTest, JudgedOnly, Matrix
from evalkit.results.corrections import PairedTests, corrected
from evalkit.results.systems import System

Values = Mapping[str, Mapping[str, float]]
"""label -> query_id -> value of one measure."""
Test = Callable[[Mapping[str, float], Mapping[str, float]], significance.Comparison]
"""Compares the values before with those after."""
PValues = Callable[[Values, Sequence[float | None]], Matrix]
"""Returns the corrected p values of all pairs, from values and the p values of the baseline against each other one."""


@dataclass(frozen=True)
class Condensed:
    """The values of one measure over the rankings without unjudged passages."""

    measure: str
    values: Values


def condensed_values(systems: Sequence[System], measure: str) -> Condensed | None:
    """Return a measure without unjudged passages, for every system.

    Args:
        systems: the systems of a comparison.
        measure: its first measure.

    Returns:
        The values; None where a result does not have them.
    """
    wanted = without_unjudged(parse(measure, depth=1))
    values = {one.label: found for one in systems if (found := _values(one, str(wanted))) is not None}
    return Condensed(str(wanted), values) if len(values) == len(systems) else None


def _values(one: System, measure: str) -> Mapping[str, float] | None:
    found = one.finished.result.effectiveness.judged_only
    if found is None or found.measure != measure:
        return None
    values: Mapping[str, float] = found.per_query.first_stage if one.side == "first_stage" else found.per_query.reranked
    return values


def judged_only(
    condensed: Condensed,
    systems: Sequence[System],
    usual: Values,
    against: PairedTests,
    own: PairedTests,
    best: Best | None,
    test: Test,
    p_values: PValues,
) -> JudgedOnly | None:
    """Return the tests of a comparison with condensed lists in place of its first measure.

    Args:
        condensed: values of the first measure without unjudged passages.
        systems: those with condensed lists, the baseline first.
        usual: values of the first measure with unjudged passages as not relevant.
        against: the usual tests against the baseline before correction, the first measure first.
        own: the usual tests against each system's own first stage.
        best: the best system with a reranker and the best without one.
        test: the paired test of two systems.
        p_values: the corrected p values of all pairs.

    Returns:
        The tests, corrected in the families of the usual ones; None where unjudged passages change no value.
    """
    values, labels = condensed.values, [one.label for one in systems]
    if not any(any_differs(usual[label], values[label]) for label in labels):
        return None
    first_stages = {one.label: one.own_first_stage for one in systems if one.own_first_stage is not None}
    raw_against = {label: test(values[labels[0]], values[label]) for label in labels[1:]}
    raw_own = {label: test(values[first], values[label]) for label, first in first_stages.items()}
    against_first = [one.randomization_p for one in raw_against.values()]
    return JudgedOnly(
        measure=condensed.measure,
        unjudged_at_10={one.label: _unjudged(one) for one in systems},
        mean={label: fmean(of.values()) for label, of in values.items()},
        against_baseline=_in_family(raw_against, against),
        against_own_first_stage=_in_family(raw_own, own),
        best=_best_test(best, values, test, p_values(values, against_first)),
    )


def missing(systems: Sequence[System], measure: str) -> list[str]:
    """Return a sentence about results whose unjudged passages count, but without values of condensed lists.

    Args:
        systems: the systems of a comparison.
        measure: its first measure.
    """
    wanted = without_unjudged(parse(measure, depth=1))
    if wanted is None or not any(_unjudged(one) for one in systems):
        return []
    lacking = [one.label for one in systems if _values(one, str(wanted)) is None]
    if not lacking:
        return []
    return [
        f"{wanted} is not known for {', '.join(lacking)} (a result of an older version, or with another first "
        "measure), so this comparison cannot show whether its verdict depends on unjudged passages"
    ]


def _unjudged(one: System) -> float:
    shares = one.finished.result.effectiveness.unjudged_at_10
    return shares.first_stage if one.side == "first_stage" else shares.reranked


def _best_test(best: Best | None, values: Values, test: Test, p_values: Matrix) -> BestTest | None:
    if best is None or best.with_reranker not in values:
        return None
    before, after = best.without_reranker, best.with_reranker
    found = test(values[before], values[after])
    p = p_values.holm_p[p_values.labels.index(before)][p_values.labels.index(after)]
    return BestTest(found.mean, found.low, found.high, found.wins, found.ties, found.losses, holm_p=p)


def _in_family(found: Mapping[str, significance.Comparison], usual: PairedTests) -> dict[str, CorrectedTest]:
    """Return the tests corrected together with the usual ones of all measures but the first, which they replace."""
    replaced = {
        label: {**tests, next(iter(tests)): found[label]} if label in found else tests for label, tests in usual.items()
    }
    return {label: next(iter(tests.values())) for label, tests in corrected(replaced).items() if label in found}
