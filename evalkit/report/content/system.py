"""The system that a trial measured, in the few facts at the head of every report."""

from evalkit.evaluation.scoring_counts import ScoringCounts
from evalkit.results.schema import RerankerFacts, Result


def facts(result: Result) -> list[tuple[str, str]]:
    """Return names and values: first stage, model, instruction, length and truncation, precision, depth and more.

    What a result does not have, as those of older versions or of rerankers without a model, is left out.
    """
    effective = result.effective
    first, reranker, scoring = effective.first_stage, effective.reranker, effective.scoring
    reranks = reranker.get("reranks", True)
    depth = effective.depth
    found = [
        ("First stage", _joined(first["name"], first.get("model"), first.get("engine"), first.get("path"))),
        ("Reranker", "none" if not reranks else ""),
        ("Run file", str(reranker.get("path") or "") if _is_run(reranker) else ""),
        ("Model", _model(reranker)),
        ("Architecture", _architecture(reranker)),
        ("Instruction", str(reranker.get("instruction") or "")),
        ("Score", str(reranker.get("score") or "")),
        ("Maximum length", _length(reranker)),
        ("Truncation", _truncation(reranker, scoring)),
        ("Runtime", _runtime(reranker)),
        ("Precision", _joined(reranker.get("precision"), reranker.get("dtype"))),
        ("Attention", str(reranker.get("attention") or "") if not (_is_run(reranker) or reranker.get("graph")) else ""),
        ("Device", str(reranker.get("device_name") or "")),
        ("Depth", f"{depth:,} candidates a query" + ("" if reranks else ", none reranked")),
    ]
    return [(name, value) for name, value in found if value]


def line(result: Result) -> str:
    """Return the same in one sentence."""
    joined = "; ".join(f"{name.lower()}: {value}" for name, value in facts(result))
    return f"{joined[0].upper()}{joined[1:]}."


def _is_run(reranker: RerankerFacts) -> bool:
    """Return whether the reranker is a finished run: a file, and no model."""
    return "path" in reranker and "model" not in reranker


def _joined(name: object, *more: object) -> str:
    """Return a name with further facts in brackets, leaving out repetitions."""
    rest = [str(value) for value in dict.fromkeys(more) if value and value != name]
    return f"{name} ({', '.join(rest)})" if name and rest else str(name or "")


def _model(reranker: RerankerFacts) -> str:
    model, revision = reranker.get("model"), str(reranker.get("revision") or "")
    kind, _, digits = revision.rpartition(":")
    short = f"{kind}:{digits[:12]}" if kind else digits[:12]
    return f"{model}, revision {short}" if model and short else str(model or "")


def _architecture(reranker: RerankerFacts) -> str:
    if not reranker.get("architecture"):
        return ""
    layers, parameters = reranker.get("layers"), reranker.get("parameters")
    more = [f"{layers} layers"] if layers else []
    more += [f"{parameters / 1e6:,.1f} million parameters"] if parameters else []
    return ", ".join([str(reranker["architecture"]), *more])


def _runtime(reranker: RerankerFacts) -> str:
    if not reranker.get("graph"):
        return str(reranker.get("runtime") or "")
    version = f"{reranker['runtime']} {reranker.get('runtime_version', '')}".strip()
    how = reranker.get("quantization")
    return f"{version}, graph: {reranker['graph']}" + (f", {how}" if how else "")


def _length(reranker: RerankerFacts) -> str:
    most = reranker.get("max_length")
    return f"{most:,} tokens a pair" if most else ""


def _truncation(reranker: RerankerFacts, scoring: ScoringCounts) -> str:
    rule = reranker.get("truncation")
    if not rule:
        return ""
    words = _RULES.get(rule)
    cut, pairs = scoring.get("truncated_pairs"), scoring.get("pairs")
    counted = "" if cut is None or not pairs else f"; {cut:,} of {pairs:,} pairs were cut"
    return f"{rule}{f', {words}' if words else ''}{counted}"


_RULES = {
    "longest_first": "the longer of query and passage loses its end first",
    "only_second": "the query keeps up to three quarters of the length, the passage loses its end",
}
