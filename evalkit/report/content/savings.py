"""What cheaper settings save: the memory of fp16 and int8, and which of several equivalent systems costs least."""

from evalkit.report.content.numbers import amount
from evalkit.results.comparison_schema import ComparedSystem, Comparison


def lines(compared: Comparison) -> list[str]:
    """Return a sentence for each saving: memory first, then the choice among equivalent systems."""
    return [*memory_claims(compared), *cheapest(compared)]


def cheapest(compared: Comparison) -> list[str]:
    """Return which system is the fastest, and which takes the least memory, of those equivalent to the baseline.

    Nothing where no other system is equivalent, or where costs were measured on several devices.
    """
    base = next(system for system in compared.systems if system.label == compared.baseline)
    tests = {label: found.equivalence for label, found in compared.parity.items() if found}
    same = [base, *(s for s in compared.systems if s.label in tests and tests[s.label].equivalent)]
    costs = {system.label: system.cost for system in same if system.cost}
    if len(costs) < 2 or base.cost is None or len({(cost.device, cost.peak_of) for cost in costs.values()}) > 1:
        return []
    margin = next(iter(tests.values())).margin
    best = []
    for unit, words, figures in (
        ("ms at p50", "answers a query fastest", {label: cost.p50_ms for label, cost in costs.items()}),
        ("MiB", "takes the least memory", {label: cost.peak_mb for label, cost in costs.items()}),
    ):
        known = {label: value for label, value in figures.items() if value is not None}
        if len(known) < 2 or compared.baseline not in known:
            continue
        label = min(known, key=lambda one: (known[one], one != compared.baseline))
        ratio = f", \u00d7{known[label] / known[compared.baseline]:.2f}" if label != compared.baseline else ""
        best.append(f"{label} {words} ({amount(known[label])} {unit}{ratio})")
    if not best:
        return []
    return [
        f"Of the {len(costs)} systems that are equivalent within {margin:g} {compared.measures[0]}, "
        f"{compared.baseline} included, {' and '.join(best)}."
    ]


def memory_claims(compared: Comparison) -> list[str]:
    """Return what fp16 and int8 save of fp32's memory, a sentence for each reranker measured at both on one device."""
    found = []
    for half in compared.systems:
        for full in compared.systems:
            cheaper = half.precision in ("fp16", "int8") and full.precision == "fp32"
            if cheaper and _differ_in_precision_only(half, full):
                found += _memory_claim(half, full)
    return found


CLAIMED = 0.4
"""Share of memory that half precision is commonly claimed to save."""


def _memory_claim(half: ComparedSystem, full: ComparedSystem) -> list[str]:
    """Return the sentence, or nothing where a peak was not measured."""
    one, other = half.cost, full.cost
    if not (one and other and one.peak_mb is not None and other.peak_mb):
        return []
    saved = 1 - one.peak_mb / other.peak_mb
    of = "GPU memory" if one.peak_of == "GPU" else "the process's memory"
    parts = [f"peak of {of} {_saving(other.peak_mb, one.peak_mb)}"]
    if one.weights_mb and other.weights_mb:
        parts.insert(0, f"weights {_saving(other.weights_mb, one.weights_mb)}")
    batches = ""
    if one.batch_tokens is not None and other.batch_tokens is not None:
        same = one.batch_tokens == other.batch_tokens
        batches = f", batches of {other.batch_tokens:,} tokens"
        batches += "" if same else f" at fp32 and of {one.batch_tokens:,} at {half.precision}"
    verdict = "it does" if round(saved, 3) >= CLAIMED else "it does not"  # rounded as it is printed
    return [
        f"Does {half.precision} save {CLAIMED:.0%} of memory? Here {verdict}: {half.label} against {full.label}, "
        f"{', '.join(parts)}{batches}."
    ]


def _saving(before: float, after: float) -> str:
    share = after / before - 1
    return f"{before:,.0f} -> {after:,.0f} MiB ({share:+.1%})"


def _differ_in_precision_only(half: ComparedSystem, full: ComparedSystem) -> bool:
    """Return whether two systems have the same parts, runtime, device and kind of peak."""
    one, other = half.cost, full.cost
    return (
        one is not None
        and other is not None
        and (half.reranker, half.first_stage, half.depth, half.runtime)
        == (full.reranker, full.first_stage, full.depth, full.runtime)
        and (one.device, one.peak_of) == (other.device, other.peak_of)
    )
