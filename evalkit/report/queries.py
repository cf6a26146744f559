"""A trial query by query: a table of its measures, and the passages that a reader would look at."""

from typing import TYPE_CHECKING, Any

from evalkit.types import Trial

if TYPE_CHECKING:
    import pandas as pd


def passages(trial: Trial) -> list[dict[str, Any]]:
    """Return for each query its text and the passages that a reader would look at, as passages.jsonl holds them.

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


_SHOWN_CHARACTERS = 300


def per_query(trial: Trial) -> "pd.DataFrame":
    """Return a row for each query: its text, how many passages are relevant, and each measure before and after."""
    import pandas as pd

    first, reranked = (trial.effectiveness[label].per_query for label in ("first_stage", "reranked"))
    data = trial.slice
    frame = pd.DataFrame(
        {
            "query_id": list(data.queries),
            "query": list(data.queries.values()),
            "relevant": [sum(g >= data.relevance_level for g in data.qrels[q].values()) for q in data.queries],
            "hits": [len(trial.first_stage.rankings[q]) for q in data.queries],
        }
    )
    for name in first:
        frame[f"{name} before"] = [first[name][q] for q in data.queries]
        frame[f"{name} after"] = [reranked[name][q] for q in data.queries]
        frame[f"{name} delta"] = frame[f"{name} after"] - frame[f"{name} before"]
    return frame
