"""trec_eval's own figures for TREC files, to be held against those that evalkit states for the same lists."""

import json
from pathlib import Path
from typing import Any

import pytest

_NAMES = {"nDCG": "ndcg_cut", "RR": "recip_rank", "AP": "map_cut", "R": "recall", "P": "P", "Success": "success"}


def figures(run: Path, qrels: Path, measures: Any, relevance_level: int) -> dict[str, dict[str, float]]:
    """Measure -> query_id -> what trec_eval finds in a run file; a query that the file lacks counts 0.

    Columns are taken as trec_eval takes them: parted at ASCII white space, the rank column not looked at.
    """
    import pytrec_eval

    from evalkit.evaluation.measure_names import parse

    scores: dict[str, dict[str, float]] = {}
    for query_id, _, doc_id, _, score, _ in map(_columns, run.read_bytes().splitlines()):
        scores.setdefault(query_id, {})[doc_id] = float(score)
    grades: dict[str, dict[str, int]] = {}
    for query_id, _, doc_id, grade in map(_columns, qrels.read_bytes().splitlines()):
        grades.setdefault(query_id, {})[doc_id] = max(int(grade), 0)  # the Python wrapper crashes below 0
    found = {}
    for name in measures:
        measure = parse(name, 1)
        cut = "" if measure.kind == "RR" else f"{measure.cutoff}"  # trec_eval's recip_rank has no cutoff
        level = 1 if measure.kind == "nDCG" else measure.relevance_level or relevance_level
        asked, key = (sign.join(filter(None, (_NAMES[measure.kind], cut))) for sign in "._")
        answer = pytrec_eval.RelevanceEvaluator(grades, {asked}, relevance_level=level).evaluate(scores)
        values = {query_id: answer.get(query_id, {}).get(key, 0.0) for query_id in grades}
        if measure.kind == "RR":
            values = {q: value if value * measure.cutoff > 0.999999 else 0.0 for q, value in values.items()}
        found[name] = values
    return found


def _columns(line: bytes) -> list[str]:
    return [column.decode() for column in line.split()]


def assert_agrees(folder: Path) -> None:
    """Hold trec_eval's figures for a trial's folder against those of its result.json, to six decimals."""
    result = json.loads((folder / "result.json").read_text("utf-8"))
    if result["status"] == "failed":
        return
    effect = result["effectiveness"]
    for label in ("first_stage", "reranked"):
        ours = effect["per_query"][label]
        theirs = figures(folder / f"{label}.trec", folder / "qrels.trec", ours, effect["relevance_level"])
        for name, values in theirs.items():
            assert values == pytest.approx(ours[name], abs=5e-7), (folder, label, name)
            mean = sum(values.values()) / len(values)
            assert mean == pytest.approx(effect[label]["mean"][name], abs=5e-7), (folder, label, name)
