"""Judges a finished result against a baseline, check by check."""

from collections.abc import Iterator
from dataclasses import replace

from evalkit.boundary.errors import EvalkitError
from evalkit.results.gate import baseline as baselines
from evalkit.results.gate import sanity
from evalkit.results.gate.baseline import Baseline
from evalkit.results.gate.budgets import budgets
from evalkit.results.gate.limits import Limits
from evalkit.results.gate.losses import losses
from evalkit.results.gate.quality import judged, qualities
from evalkit.results.gate.verdict import Check, Verdict
from evalkit.results.reading import Finished
from evalkit.results.same_data import refuse_other_data


def judge(baseline: Baseline, finished: Finished, limits: Limits) -> Verdict:
    """Compare a finished trial with a baseline.

    Args:
        baseline: the trusted values.
        finished: the new result, whole.
        limits: the limits in force.

    Raises:
        EvalkitError: the two cannot be compared, or a budget is set that the result has no figures for.
    """
    limits.check()
    now = baselines.of(finished)
    refuse_unlike(baseline, now)
    found = tuple(qualities(baseline, now, limits))
    checks = (
        sanity.first_stage(baseline, now, limits),
        Check("logits_finite", "passed", "all logits are finite numbers"),
        *sanity.scores(baseline, now, limits),
        *(judged(one, limits, len(baseline.top), len(found)) for one in found),
        sanity.drift(baseline, now, limits),
        *budgets(finished.result.cost, limits),
    )
    skipped = set(limits.skip)
    return Verdict(
        system=f"{now.first_stage.get('name')} + {now.reranker.get('name')}"
        + (f", judged by {now.slice.judged_by}" if now.slice.judged_by else ""),
        changed=tuple(_changed(baseline, now)),
        queries=len(baseline.top),
        qualities=found,
        checks=tuple(
            replace(check, state="skipped")
            if check.state == "failed" and ({check.name, "quality" if "@" in check.name else ""} & skipped)
            else check
            for check in checks
        ),
        losses=tuple(losses(baseline, now, finished, limits.worst)),
        kept=min(baseline.depth, baselines.KEPT_HITS),
        confidence=limits.confidence,
        power=limits.power,
        false_alarms=limits.false_alarms,
    )


def not_finite(message: str) -> Verdict:
    """Return the verdict on a trial that ended because its model gave NaN or infinite logits."""
    check = Check("logits_finite", "failed", message)
    return Verdict("", (), 0, (), (check,), (), 0, 0.0, 0.0, 0.0)


def refuse_unlike(baseline: Baseline, now: Baseline) -> None:
    """Refuse to compare a baseline and a result of other data, depth or measures.

    Args:
        baseline: the trusted values.
        now: the values of the new result.

    Raises:
        EvalkitError: the slice, judgments, queries, depth or measures differ; the message names which.
    """
    refuse_other_data(baseline.slice, now.slice, (baseline.top, now.top), ("the baseline", "the result"))
    if baseline.depth != now.depth:
        raise EvalkitError(
            f"the baseline reranks to depth {baseline.depth}, the result to {now.depth}; run it with "
            f"depth={baseline.depth}, or write a new baseline"
        )
    if list(baseline.reranked) != list(now.reranked):
        raise EvalkitError(
            f"the baseline measures {', '.join(baseline.reranked)}, the result {', '.join(now.reranked)}; run it with "
            "the same measures.names, or write a new baseline"
        )


def _changed(baseline: Baseline, now: Baseline) -> Iterator[str]:
    for part, before, after in (
        ("first stage", baseline.first_stage, now.first_stage),
        ("reranker", baseline.reranker, now.reranker),
    ):
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                yield f"{part} {key}: {before.get(key, 'none')} -> {after.get(key, 'none')}"
