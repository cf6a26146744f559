"""per_query.csv and passages.jsonl: a trial query by query, with its measures and its passages."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.boundary.text import escape_id
from evalkit.evaluation.trec import AdjustedScore
from evalkit.types import Trial

if TYPE_CHECKING:
    import pandas as pd


def passages(trial: Trial) -> list[dict[str, Any]]:
    """Return for each query its text and the passages to show, as in passages.jsonl.

    Those are the top 10 of either list and the relevant ones, each with its grade (null if unjudged), its rank in
    both lists (from 1; null if it is not there) and the beginning of its text.
    """
    data, lines = trial.slice, []
    for query_id, query in data.queries.items():
        grades = data.qrels[query_id]
        ranks = [
            {hit.doc_id: rank for rank, hit in enumerate(run.rankings[query_id], 1)}
            for run in (trial.first_stage, trial.reranked)
        ]
        shown = [hit.doc_id for run in (trial.reranked, trial.first_stage) for hit in run.rankings[query_id][:10]]
        shown += [doc_id for doc_id, grade in grades.items() if grade >= trial.slice.relevance_level]
        entries = [
            {
                "doc_id": doc_id,
                "grade": grades.get(doc_id),
                "first_stage_rank": ranks[0].get(doc_id),
                "reranked_rank": ranks[1].get(doc_id),
                "text": data.docs.get(doc_id, "")[:_SHOWN_CHARACTERS],
            }
            for doc_id in dict.fromkeys(shown)
        ]
        lines.append({"query_id": query_id, "query": query, "passages": entries})
    return lines


def with_adjusted_scores(
    shown: Sequence[Mapping[str, Any]], adjusted: Mapping[str, Sequence[AdjustedScore]]
) -> list[dict[str, Any]]:
    """Return the lines of `passages`, with the original score of each hit whose score a TREC file has changed.

    `write_run` adjusts scores so that trec_eval reads the same order; this keeps the original ones.

    Args:
        shown: the lines that `passages` returns.
        adjusted: for ``first_stage`` and ``reranked``, the hits that `write_run` adjusted.

    Returns:
        New lines; those with such hits have ``moved_scores``: list -> doc_id, original score (null if infinite), and
        the score that was written.
    """
    lines = [dict(line) for line in shown]
    by_id = {escape_id(line["query_id"]): line for line in lines}
    for label, hits in adjusted.items():
        for hit in hits:
            scores = by_id[hit.query_id].setdefault("moved_scores", {}).setdefault(label, [])
            own = hit.score if math.isfinite(hit.score) else None
            scores.append({"doc_id": hit.doc_id, "score": own, "written": hit.written})
    return lines


_SHOWN_CHARACTERS = 300


def per_query(trial: Trial) -> "pd.DataFrame":
    """Return a row for each query: its text, how many passages are relevant, and each measure before and after.

    A text that a spreadsheet would take for a formula has an apostrophe before it, and U+FFFD stands for control
    characters; passages.jsonl has the texts unchanged.
    """
    import pandas as pd

    before, after = (trial.effectiveness[label].to_frame() for label in ("first_stage", "reranked"))
    data = trial.slice
    frame = pd.DataFrame(
        {
            "query_id": [_cell(query_id) for query_id in data.queries],
            "query": [_cell(query) for query in data.queries.values()],
            "relevant": [sum(g >= data.relevance_level for g in data.qrels[q].values()) for q in data.queries],
            "hits": [len(trial.first_stage.rankings[q]) for q in data.queries],
        },
        index=pd.Index(list(data.queries), dtype=object),  # as `Effectiveness.to_frame`
    )
    for name in before:
        frame[f"{name} before"], frame[f"{name} after"] = before[name], after[name]
        frame[f"{name} delta"] = after[name] - before[name]
    return frame.reset_index(drop=True)


def _cell(text: str) -> str:
    """Return `text` as a spreadsheet shows it and does not run it; what is a number stays one.

    Source of the characters: OWASP, CSV Injection. Behind a semicolon or a tab there may begin another cell.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # a CR alone would end the row: it is not quoted
    return _UNPRINTABLE.sub("\ufffd", text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text))


_FORMULA = re.compile(r"(\A|[;\t])(?=\s{0,99}[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
