"""Rerankers, which score candidates: `score(pairs, queries, docs) -> Scores`."""
