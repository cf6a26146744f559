"""Rows and sentences on unjudged passages: whether a verdict depends on counting them as not relevant."""

from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.report.content.numbers import counted, interval, p_value, signed
from evalkit.report.content.tested import p_equals, trend
from evalkit.results.comparison_schema import BestTest, Comparison, CorrectedTest
from evalkit.results.schema import Result
from evalkit.results.summary import reranks


def of_trial(result: Result) -> str | None:
    """Return the first measure without unjudged passages, and whether the verdict is the same.

    Args:
        result: a finished trial.

    Returns:
        A sentence; None where unjudged passages change no value, or the result does not have the values.
    """
    effect, found = result.effectiveness, result.effectiveness.judged_only
    usual = next(iter(effect.per_query.first_stage))
    if found is None or (
        found.per_query.first_stage == effect.per_query.first_stage[usual]
        and found.per_query.reranked == effect.per_query.reranked[usual]
    ):
        return None
    lead = f"Without unjudged passages, {found.measure} is {found.mean.first_stage:.4f}"
    if not reranks(result):
        return f"{lead}."
    ends = interval(*found.delta_ci95)
    same = found.verdict == effect.verdict[usual]
    verdict = "the verdict is the same" if same else f'the verdict would be "reranking {found.verdict}"'
    return (
        f"{lead} before and {found.mean.reranked:.4f} after ({signed(found.delta)}"
        f"{f', 95 % interval {ends}' if ends else ''}): {verdict}."
    )


TITLE = "Without unjudged passages"
NOTE = (
    "Unjudged passages count as not relevant. Judged only: they are removed from every ranking before the cutoff "
    "(condensed lists, Sakai 2007). Each p is corrected as in its own comparison: with the best system without a "
    "reranker over all pairs, with a system's own first stage over all reranked systems, with the baseline over all "
    "systems, the last two over all measures as well. Blended systems are left out."
)


@dataclass(frozen=True)
class _Pair:
    """One difference between two systems, tested with unjudged passages as not relevant and without them."""

    before: str
    after: str
    usual: CorrectedTest | BestTest
    condensed: CorrectedTest | BestTest

    @property
    def survives(self) -> bool:
        return trend(self.usual) == trend(self.condensed)


def columns(compared: Comparison) -> list[str]:
    """Return the headings of `rows`."""
    measure = compared.measures[0]
    return [
        "system",
        "against",
        "unjudged in top 10",
        f"{measure} change",
        "p Holm",
        "judged only",
        "p Holm",
        "verdict",
    ]


def rows(compared: Comparison) -> list[list[str]]:
    """Return a row for each tested difference: with unjudged passages as not relevant, and without them.

    Args:
        compared: a comparison.

    Returns:
        Cells under `columns`; nothing where unjudged passages change no value.
    """
    found = compared.judged_only
    if found is None:
        return []
    return [
        [
            pair.after,
            pair.before,
            f"{found.unjudged_at_10[pair.after]:.1%}",
            signed(pair.usual.mean),
            p_value(pair.usual.holm_p, "-"),
            signed(pair.condensed.mean),
            p_value(pair.condensed.holm_p, "-"),
            "the same" if pair.survives else f"{trend(pair.usual)} -> {trend(pair.condensed)}",
        ]
        for pair in _pairs(compared)
    ]


def lines(compared: Comparison) -> list[str]:
    """Return whether the verdicts of a comparison are the same without unjudged passages.

    Args:
        compared: a comparison.

    Returns:
        A sentence, and one more for each verdict that is another; nothing where unjudged passages change no value.
    """
    found = compared.judged_only
    if found is None:
        return []
    pairs = list(_pairs(compared))
    other = [pair for pair in pairs if not pair.survives]
    lead = f"Without unjudged passages ({found.measure}), "
    if not other:
        return [f"{lead}every verdict is the same."]
    return [
        f"{lead}{counted(len(other), 'verdict')} of {len(pairs)} {'is' if len(other) == 1 else 'are'} another.",
        *(
            f"{pair.after} against {pair.before}: {trend(pair.usual)} with unjudged passages as not relevant, "
            f"{trend(pair.condensed)} without them ({signed(pair.condensed.mean)}, p "
            f"{p_equals(pair.condensed.holm_p)} corrected)."
            for pair in other
        ),
    ]


def _pairs(compared: Comparison) -> Iterator[_Pair]:
    """Yield what the comparison tests in its first measure: the best two, own first stages, and the baseline."""
    found, measure = compared.judged_only, compared.measures[0]
    if found is None:
        return
    seen = set()
    if compared.best is not None and found.best is not None:
        seen.add((compared.best.without_reranker, compared.best.with_reranker))
        yield _Pair(compared.best.without_reranker, compared.best.with_reranker, compared.best.test, found.best)
    first_stages = {system.label: system.own_first_stage or "" for system in compared.systems}
    for usual, condensed, before_of in (
        (compared.against_own_first_stage, found.against_own_first_stage, first_stages),
        (
            compared.against_baseline,
            found.against_baseline,
            dict.fromkeys(compared.against_baseline, compared.baseline),
        ),
    ):
        for label, test in condensed.items():
            if (before_of[label], label) not in seen:
                seen.add((before_of[label], label))
                yield _Pair(before_of[label], label, usual[label][measure], test)
