"""Rerankers: give each candidate a score, by `score(pairs, queries, docs) -> Scores`."""
